"""A cross-encoder as teacher: it reads query and candidate together and answers one number.

LLM-Embedder's question-answering data were scored this way: a cross-encoder trained on a language model's scores,
which alone are close to hard labels there.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel

from evals.language_model.scoring import halved_when_full
from evals.language_model.whole_weights import load_whole
from rag_embedder.batching import plan_batches
from rag_embedder.engine.transformers import resolve_device
from rag_embedder.errors import ConfigError, InputError, ModelLoadError
from rag_embedder.model_source import locate
from trainer.examples import Example
from trainer.rewards.protocol import RewardOptions

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class RerankerReward:
    """The logit of a sequence classifier with one output; a pair that is too long loses the candidate's end."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: Any,  # noqa: ANN401  (transformers' tokenizers have no common type that is callable)
        *,
        device: torch.device,
        max_length: int,
        batch_tokens: int | None = None,
    ) -> None:
        if model.config.num_labels != 1:
            raise ConfigError(
                f"reranker: the model gives {model.config.num_labels} numbers for a pair; expected 1: a cross-encoder "
                "with one output."
            )
        self._digest = _weights_hash(model)
        self._model = model.eval()
        torch.nn.Module.to(model, device=device)
        self._tokenizer = tokenizer
        self._device = device
        self._max_length = max_length
        self._batch_tokens = batch_tokens or (4096 if device.type == "cpu" else 65_536)

    @classmethod
    def build(cls, options: RewardOptions) -> Self:
        """Load the cross-encoder; errors as in `Reward`, and ModelLoadError."""
        if options.reranker is None:
            raise ConfigError("reranker: got none; expected a folder or hub id of a cross-encoder.")
        device = resolve_device(options.device)
        dtype = options.dtype if options.dtype != "auto" else "float32" if device.type == "cpu" else "bfloat16"
        if dtype not in _DTYPES:
            raise ConfigError(f"unknown dtype {dtype!r}; expected one of: auto, {', '.join(_DTYPES)}.")
        model, tokenizer = _load(locate(options.reranker).folder, _DTYPES[dtype])
        own = [getattr(model.config, "max_position_embeddings", None), tokenizer.model_max_length, options.max_length]
        # RoBERTa's positions begin after the padding id; its tokenizer says how much it really reads.
        limit = min(size for size in own if isinstance(size, int))
        return cls(model, tokenizer, device=device, max_length=limit, batch_tokens=options.batch_tokens)

    @property
    def settings(self) -> Mapping[str, object]:
        """The weights and how much of a pair they read."""
        return {"reranker": self._digest, "max_length": self._max_length}

    def check(self, examples: Sequence[Example]) -> None:
        """Raise InputError for a query that leaves no room for a candidate."""
        queries = [example.query for example in examples]
        if not queries:
            return
        special = self._tokenizer.num_special_tokens_to_add(pair=True)
        rows = self._tokenizer(queries, add_special_tokens=False, verbose=False)["input_ids"]
        for example, ids in zip(examples, rows, strict=True):
            if len(ids) + special >= self._max_length:
                raise InputError(
                    f"example {example.id}: the query has {len(ids)} tokens; expected less than "
                    f"{self._max_length - special}, so that a candidate has room. Leave it out."
                )

    def rewards(self, examples: Sequence[Example]) -> list[list[float]]:
        """One per candidate; pairs are batched by length."""
        pairs = [(example.query, candidate.text) for example in examples for candidate in example.candidates]
        if not pairs:
            return [[] for _ in examples]
        made = self._tokenizer(
            [query for query, _ in pairs],
            [text for _, text in pairs],
            truncation="only_second",
            max_length=self._max_length,
            return_attention_mask=False,
        )
        rows = [{name: made[name][number] for name in made} for number in range(len(pairs))]
        values: dict[int, float] = {}
        for batch in plan_batches([len(row["input_ids"]) for row in rows], max_tokens=self._batch_tokens):
            found = halved_when_full(self._logits, [rows[number] for number in batch])
            values.update(zip(batch, found, strict=True))
        in_order = iter([values[number] for number in range(len(pairs))])
        return [[next(in_order) for _ in example.candidates] for example in examples]

    @torch.inference_mode()
    def _logits(self, rows: Sequence[Mapping[str, list[int]]]) -> list[float]:
        width = max(len(row["input_ids"]) for row in rows)
        pad = {"input_ids": self._model.config.pad_token_id or 0}
        inputs = {
            name: torch.tensor([row[name] + [pad.get(name, 0)] * (width - len(row[name])) for row in rows])
            for name in rows[0]
        }
        lengths = torch.tensor([len(row["input_ids"]) for row in rows])
        inputs["attention_mask"] = (torch.arange(width) < lengths.unsqueeze(1)).long()
        logits = self._model(**{name: tensor.to(self._device) for name, tensor in inputs.items()}).logits
        return logits[:, 0].float().tolist()


def _weights_hash(model: PreTrainedModel) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {list(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _load(folder: Path, dtype: torch.dtype) -> tuple[PreTrainedModel, Any]:
    model = load_whole(
        AutoModelForSequenceClassification, folder, dtype, what="cross-encoder with its classification head"
    )
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except Exception as error:  # every library below has its own
        raise ModelLoadError(
            f"cannot load the tokenizer of the cross-encoder in {folder}: {type(error).__name__}: {str(error)[:300]}"
        ) from error
    return model, tokenizer
