"""The reranker with gradients: the same scores as `rag_embedder.Reranker`."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel

from rag_embedder.engine.device import resolve_device
from rag_embedder.engine.loading import embedding_table, is_causal
from rag_embedder.engine.transformers import float32_weights
from rag_embedder.engine.whole_weights import load_with_new
from rag_embedder.model_folder import check_weights, merge_delta
from rag_embedder.model_source import ModelSource, locate
from rag_embedder.reranker.folder import RerankerSettings, chosen_length, chosen_template, read_reranker_settings
from rag_embedder.reranker.forward import is_decoder, pair_logits
from rag_embedder.reranker.reranker import pair_tokenizer
from rag_embedder.reranker.template import PairTokenizer
from rag_embedder.reranker.weights import hash_weights, is_head, load_weights
from trainer.adapters import merged, with_adapters
from trainer.settings import ModelSettings
from trainer.token_batches import padded_batches
from trainer.trainable import TrainableModel


class TrainableReranker(TrainableModel):
    """Pairs of query and text in, one score each with a gradient out.

    Dropout is off, as for encoders. With `lora_rank` above 0 adapters and the head are trained; the head always is.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PairTokenizer,
        settings: RerankerSettings,
        *,
        tokenizer_folder: Path,
        base_hash: str,
        options: ModelSettings,
    ) -> None:
        super().__init__(base_hash=base_hash)
        self.model = model
        self.tokenizer = tokenizer
        self.settings = settings
        self.tokenizer_folder = tokenizer_folder
        self._autocast = torch.bfloat16 if options.dtype == "bfloat16" else None
        if options.lora_rank:
            base = model.base_model
            assert isinstance(base, PreTrainedModel)
            with_adapters(base, rank=options.lora_rank, alpha=options.lora_alpha)
        table = embedding_table(model)
        for name, weight in model.named_parameters():
            if is_head(name):
                weight.data = weight.data.float()
                weight.requires_grad_(True)
            elif options.trained == "layers" and (weight is table or "embeddings." in name):
                weight.requires_grad_(False)
        self.eval()

    @classmethod
    def load(cls, options: ModelSettings, *, device: str = "auto") -> "TrainableReranker":
        """Load a reranker, or an encoder or decoder that gets a new head, drawn from torch's generator.

        With bfloat16 and adapters the frozen weights of a decoder are held in bfloat16.

        Raises:
            ModelLoadError: if the model is not found, incomplete or damaged.
            ConfigError: for an unknown template or device, a length that does not fit, or a decoder of which nobody
                says how it reads a pair.
        """
        source = locate(options.base)
        model, new = _load(source, options)
        settings = read_reranker_settings(source)
        template = chosen_template(settings, options.template, is_decoder=is_decoder(model))
        length = chosen_length(settings, options.max_length, source=source.files)
        tokenizer = pair_tokenizer(model, source.tokenizer, template=template, max_length=length)
        # Rounded, so that it is the same whether they are held in float32, as export does, or in bfloat16.
        known = {name: tensor.bfloat16() for name, tensor in model.state_dict().items() if name not in new}
        base_hash = hash_weights(known)
        torch.nn.Module.to(model, device=resolve_device(device))
        return cls(
            model,
            tokenizer,
            replace(settings, template=template, max_length=length),
            tokenizer_folder=source.tokenizer,
            base_hash=base_hash,
            options=options,
        )

    def merged_weights(self) -> dict[str, Tensor]:
        """All tensors under the base's own names, float32 on the CPU, adapters added to the weights they adapt."""
        return merged(self.model)

    def tokenize(self, pairs: Sequence[tuple[str, str]]) -> list[list[int]]:
        """Ids of every pair, the text's end cut where it is too long; errors as `PairTokenizer.encode`."""
        return [row.ids for row in self.tokenizer.encode(pairs)]

    def forward(self, token_ids: Sequence[Sequence[int]]) -> Tensor:
        """Scores of shape (n, 1), float32, in the order of the rows."""
        if not token_ids:
            return torch.empty((0, 1), device=self.device)
        batches = padded_batches([len(ids) for ids in token_ids], max_tokens=self.batch_tokens)
        with torch.autocast(self.device.type, dtype=self._autocast, enabled=self._autocast is not None):
            scores = torch.cat([self._run([token_ids[position] for position in batch]) for batch in batches])
        order = torch.empty(len(token_ids), dtype=torch.long)
        order[torch.tensor([position for batch in batches for position in batch])] = torch.arange(len(token_ids))
        return scores[order.to(self.device)].unsqueeze(1)

    def _run(self, rows: Sequence[Sequence[int]]) -> Tensor:
        lengths = [len(row) for row in rows]
        self.padding.add(real=sum(lengths), computed=max(lengths) * len(lengths))
        return pair_logits(self.model, rows, self.tokenizer.types_of(rows))


def _load(source: ModelSource, options: ModelSettings) -> tuple[PreTrainedModel, list[str]]:
    """The model on the CPU, and the names of its tensors that are new."""
    config = AutoConfig.from_pretrained(str(source.files), local_files_only=True, trust_remote_code=False)
    holds_half = options.dtype == "bfloat16" and options.lora_rank > 0 and is_causal(config)
    dtype = torch.bfloat16 if holds_half else torch.float32
    if source.adapter is not None:
        return load_weights(source, dtype), []
    check_weights(source.files, allow_pickle=False)
    model, new = load_with_new(
        AutoModelForSequenceClassification,
        source.files,
        dtype,
        what="model to train as a reranker",
        may_be_new=is_head,
        num_labels=1,
    )
    if source.delta is not None:
        base = model.base_model
        assert isinstance(base, PreTrainedModel)
        merge_delta(source.delta, float32_weights(base))
    return model, new
