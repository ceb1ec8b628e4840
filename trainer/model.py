"""The encoder with gradients: the same vectors as `rag_embedder.Embedder`, and no padding computed on the way."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from rag_embedder.engine.loading import embedding_table
from rag_embedder.engine.packing import Packing
from rag_embedder.engine.transformers import TransformersEngine, padding_id
from rag_embedder.errors import ConfigError
from rag_embedder.model_folder import ModelSettings, check_weights, read_settings
from rag_embedder.model_source import locate
from rag_embedder.pooling import pooling_named
from rag_embedder.registry import unknown_name
from rag_embedder.scenario import INSTRUCTION_SETS, Role, Scenario
from rag_embedder.tokenizer import TextTokenizer
from trainer.adapters import merged, with_adapters
from trainer.model_settings import training_settings
from trainer.packed_attention import PACKED
from trainer.slot_embeddings import SlotEmbeddings
from trainer.token_batches import padded_batches, unpadded_batches
from trainer.trainable import TrainableModel

_POSITION_START = {"bert": lambda _: 0, "roberta": lambda pad: pad + 1, "xlm-roberta": lambda pad: pad + 1}
"""Encoders that are packed, by where their positions begin; others are padded in buckets of like length."""

_PACKED_DECODERS = ("llama", "mistral", "qwen2", "qwen3")
"""Decoders that are packed, where no window narrower than a text limits what a token attends to."""

_AUTOCAST = {"float32": None, "bfloat16": torch.bfloat16}


class TrainableEncoder(TrainableModel):
    """Texts of one scenario and role in, unit rows with a gradient out.

    Weights are float32; with dtype="bfloat16" the model runs under autocast. Dropout is off: a reward says how good a
    candidate is and not how good a random part of it is, and without noise gradient caching, resuming and many
    processes give the same numbers as one plain run. That is why there is no dropout on adapters either. With
    `lora_rank` above 0 only low-rank adapters are trained (Hu et al. 2021), scaled by `lora_alpha` / `lora_rank`; where
    embeddings stay as they are, those of a prompt form's own tokens are trained all the same.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: TextTokenizer,
        settings: ModelSettings,
        *,
        folder: Path,
        base_hash: str,
        tokenizer_folder: Path | None = None,
        trained: str = "all",
        lora_rank: int = 0,
        lora_alpha: float | None = None,
        dtype: str = "float32",
    ) -> None:
        super().__init__(base_hash=base_hash)
        if dtype not in _AUTOCAST:
            raise ConfigError(f"model.dtype: got {dtype!r}; expected one of: {', '.join(_AUTOCAST)}.")
        if trained not in ("all", "layers"):
            raise ConfigError(f"model.trained: got {trained!r}; expected one of: all, layers.")
        self.settings = settings
        self.folder = folder
        self.tokenizer_folder = tokenizer_folder or folder
        self.tokenizer = tokenizer
        self._autocast = _AUTOCAST[dtype]
        self._pool = pooling_named(settings.pooling, num_slots=settings.num_slots)
        self._pad_id = padding_id(model)
        start_of = _POSITION_START.get(model.config.model_type)
        self._is_causal = _is_packed_decoder(model, settings.max_length)
        self._first_position = 0 if self._is_causal else None if start_of is None else start_of(self._pad_id)
        if self._first_position is not None:
            model.set_attn_implementation(PACKED)
        # Length of one vector.
        self.dim = int(model.config.hidden_size)
        table = embedding_table(model)
        self.model: nn.Module = with_adapters(model, rank=lora_rank, alpha=lora_alpha) if lora_rank else model
        for name, weight in self.model.named_parameters():
            # BERT's tanh layer: its output is never used.
            if "pooler." in name or (trained == "layers" and ("embeddings." in name or weight is table)):
                weight.requires_grad_(False)
        own = () if table.requires_grad else tokenizer.own_slots
        self.slots = SlotEmbeddings(table, sorted(own)) if own else None
        self.eval()

    @classmethod
    def load(
        cls,
        path_or_hub_id: str | Path | None = None,
        *,
        pooling: str | None = None,
        prompt_form: str | None = None,
        scenarios: str | Sequence[Scenario] | None = None,
        more_scenarios: Sequence[Scenario] = (),
        max_length: int | None = None,
        trained: str = "all",
        lora_rank: int = 0,
        lora_alpha: float | None = None,
        dtype: str = "float32",
        device: str = "auto",
    ) -> "TrainableEncoder":
        """Load what `Embedder.load` loads, ready to be trained.

        Args:
            path_or_hub_id: a folder, a delta or PEFT folder, a hub id, or None for the shipped default.
            pooling: "cls", "mean" or "last" instead of what the model's files say.
            prompt_form: of a decoder, a name in `PROMPT_FORMS` instead of what its files say.
            scenarios: a named set ("llm-embedder" or "none") or these scenarios instead of what the files say.
            more_scenarios: added to those, or put in the place of one with the same name.
            max_length: tokens read of one text; at most what the model's position table holds.
            trained: "all" weights, or "layers" for all but the embeddings.
            lora_rank: rank of the adapters; 0 trains all weights.
            lora_alpha: what adapters are multiplied by, times the rank; None is twice the rank.
            dtype: "float32", or "bfloat16" for autocast over float32 weights. The frozen weights of a decoder with
                adapters are held in bfloat16 then.
            device: "auto" (CUDA when there is one), "cpu", "cuda:1".

        Raises:
            ModelLoadError: if the model is not found, incomplete or damaged.
            ConfigError: for an unknown pooling, prompt form, instruction set, dtype or device, or a length that does
                not fit.
        """
        source = locate(path_or_hub_id)
        chosen = source.instructions if scenarios is None else scenarios
        settings = training_settings(
            read_settings(source.files, delta=source.delta),
            folder=source.files,
            name=source.name,
            scenarios=None if chosen is None else _scenarios(chosen),
            more_scenarios=_scenarios(more_scenarios),
            pooling=pooling,
            max_length=max_length,
            prompt_form=prompt_form or (source.prompt_form if pooling in (None, "last") else None),
        )
        for folder in (source.files, source.adapter):
            if folder is not None:
                check_weights(folder, allow_pickle=False)
        tokenizer = TextTokenizer.from_folder(
            source.tokenizer,
            max_length=settings.max_length,
            lower_case=settings.lower_case,
            form=settings.prompt_form,
        )
        holds_half = dtype == "bfloat16" and lora_rank > 0 and settings.prompt_form is not None
        engine = TransformersEngine.load(
            source.files,
            delta=source.delta,
            adapter=source.adapter,
            pooling=settings.pooling,
            device=device,
            dtype="bfloat16" if holds_half else "float32",
        )
        return cls(
            engine.model,
            tokenizer,
            settings,
            folder=source.files,
            base_hash=engine.weights_hash(),
            tokenizer_folder=source.tokenizer,
            trained=trained,
            lora_rank=lora_rank,
            lora_alpha=lora_alpha,
            dtype=dtype,
        )

    @property
    def vocabulary_size(self) -> int:
        """Rows of the embedding table."""
        return len(embedding_table(_base_of(self.model)))

    def merged_weights(self) -> dict[str, Tensor]:
        """All tensors under the base's own names, on the CPU, adapters added to the weights they adapt."""
        tensors = merged(self.model)
        if self.slots is not None:
            table = _base_of(self.model).get_input_embeddings()
            (name,) = (name for name, module in self.model.named_modules() if module is table)
            self.slots.put_into(tensors[f"{name}.weight"])
        return tensors

    def tokenize(self, texts: Sequence[str], scenario: str, role: Role) -> list[list[int]]:
        """Ids of every text with its instruction in front and its role's prompt around, cut to `max_length`.

        Raises:
            ConfigError: for a scenario that the model does not have.
        """
        known = self.settings.scenarios
        if scenario not in known:
            raise unknown_name("scenario", scenario, list(known))
        instruction = known[scenario].instruction(role)
        return [text.ids for text in self.tokenizer.encode([instruction + text for text in texts], role)]

    def encode(self, texts: Sequence[str], scenario: str, role: Role) -> Tensor:
        """Unit rows of shape (n, dim), float32, in the order of the texts."""
        return self(self.tokenize(texts, scenario, role))

    def forward(self, token_ids: Sequence[Sequence[int]]) -> Tensor:
        """Unit rows of shape (n, dim), float32; a text that occurs several times is encoded once."""
        if not token_ids:
            return torch.empty((0, self.dim), device=self.device)
        rows: dict[tuple[int, ...], int] = {}
        places = [rows.setdefault(tuple(ids), len(rows)) for ids in token_ids]
        unique = list(rows)
        lengths = [len(ids) for ids in unique]
        plan = padded_batches if self._first_position is None else unpadded_batches
        batches = plan(lengths, max_tokens=self.batch_tokens)
        run = self._run_padded if self._first_position is None else self._run_packed
        with torch.autocast(self.device.type, dtype=self._autocast, enabled=self._autocast is not None):
            vectors = run([[unique[position] for position in batch] for batch in batches])
        order = torch.empty(len(unique), dtype=torch.long)
        order[torch.tensor([position for batch in batches for position in batch])] = torch.arange(len(unique))
        return torch.cat(vectors)[order[torch.tensor(places)].to(self.device)]

    def _embed(self, token_ids: Tensor) -> Tensor:
        embedded = _base_of(self.model).get_input_embeddings()(token_ids)
        return embedded if self.slots is None else self.slots(token_ids, embedded)

    def _run_packed(self, batches: Sequence[Sequence[Sequence[int]]]) -> list[Tensor]:
        # All tokens are looked up at once: a gradient as large as the table of them, per batch, would cost more.
        flat = torch.tensor([[token for batch in batches for ids in batch for token in ids]], device=self.device)
        embedded = self._embed(flat)
        parts = embedded.split([sum(len(ids) for ids in batch) for batch in batches], dim=1)
        return [self._run_row(part, [len(ids) for ids in batch]) for part, batch in zip(parts, batches, strict=True)]

    def _run_row(self, embedded: Tensor, lengths: Sequence[int]) -> Tensor:
        """`embedded` (1, tokens, width): one packed row of texts of these lengths."""
        self.padding.add(real=sum(lengths), computed=sum(lengths))
        first = self._first_position or 0
        positions = torch.cat([torch.arange(first, first + length) for length in lengths]).unsqueeze(0)
        packing = Packing.of(lengths, self.device)
        # Types are given, because the model's own table of them is only as long as one text.
        own = (
            {"is_causal": True} if self._is_causal else {"token_type_ids": torch.zeros_like(positions).to(self.device)}
        )
        states = self.model(
            inputs_embeds=embedded, position_ids=positions.to(self.device), packing=packing, **own
        ).last_hidden_state.squeeze(0)
        vectors = []
        # Split and not sliced: the gradient of each slice would be as long as the row.
        sizes = [span.stop - span.start for span in packing.spans]
        for span, texts in zip(packing.spans, states.split(sizes), strict=True):
            part = texts.unflatten(0, (span.count, span.length)).float()
            vectors.append(self._pool(part, part.new_ones(part.shape[:2])))
        return nn.functional.normalize(torch.cat(vectors), dim=-1)

    def _run_padded(self, batches: Sequence[Sequence[Sequence[int]]]) -> list[Tensor]:
        return [self._run_batch(batch) for batch in batches]

    def _run_batch(self, token_ids: Sequence[Sequence[int]]) -> Tensor:
        lengths = torch.tensor([len(ids) for ids in token_ids])
        width = int(lengths.max())
        self.padding.add(real=int(lengths.sum()), computed=width * len(token_ids))
        input_ids = torch.tensor([[*ids, *[self._pad_id] * (width - len(ids))] for ids in token_ids]).to(self.device)
        mask = (torch.arange(width) < lengths.unsqueeze(1)).long().to(self.device)
        read = {"input_ids": input_ids} if self.slots is None else {"inputs_embeds": self._embed(input_ids)}
        states = self.model(**read, attention_mask=mask).last_hidden_state.float()
        return nn.functional.normalize(self._pool(states, mask), dim=-1)


def _base_of(model: nn.Module) -> PreTrainedModel:
    """Adapters are put inside of a model and leave its class."""
    assert isinstance(model, PreTrainedModel)
    return model


def _is_packed_decoder(model: PreTrainedModel, max_length: int) -> bool:
    window = getattr(model.config, "sliding_window", None)
    return model.config.model_type in _PACKED_DECODERS and (window is None or window >= max_length)


def _scenarios(chosen: str | Sequence[Scenario]) -> Mapping[str, Scenario]:
    if not isinstance(chosen, str):
        return {scenario.name: scenario for scenario in chosen}
    if chosen not in INSTRUCTION_SETS:
        raise unknown_name("instruction set", chosen, list(INSTRUCTION_SETS))
    return INSTRUCTION_SETS[chosen]
