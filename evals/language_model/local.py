"""A causal language model in this process, from a folder or the hub."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from evals.language_model.decoding import decode_by_sampling, decode_greedily, text_before
from evals.language_model.forward import CausalForward
from evals.language_model.protocol import Continuation, Sampling, Score
from evals.language_model.scoring import SpanScorer, halved_when_full
from evals.language_model.spans import Span, SpanBuilder, check_span
from evals.language_model.vocabulary import TokenizerVocabulary
from rag_embedder.batching import plan_batches
from rag_embedder.engine.device import resolve_device
from rag_embedder.engine.whole_weights import load_whole
from rag_embedder.errors import ConfigError
from rag_embedder.model_source import locate

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_SAMPLE = 4096


class LocalLanguageModel:
    """`AutoModelForCausalLM`, in evaluation mode, without gradients."""

    def __init__(
        self,
        model: PreTrainedModel,
        vocabulary: TokenizerVocabulary,
        *,
        name: str,
        device: str = "auto",
        max_length: int | None = None,
        batch_tokens: int | None = None,
        share_prefixes: bool = True,
    ) -> None:
        """Wrap a loaded model; options as for `load`."""
        self.name = name
        self.max_length = _limit(model, vocabulary, max_length)
        target = resolve_device(device)
        self._weights = _weights_sample(model)
        torch.nn.Module.to(model, device=target)
        self._forward = CausalForward(model, target)
        # On a CPU small batches stay in the caches (benchmarks/score_pairs.py).
        self._batch_tokens = batch_tokens or (1024 if target.type == "cpu" else 32_768)
        self._shares_prefixes = share_prefixes
        self._scorer = SpanScorer(self._forward, batch_tokens=self._batch_tokens, share_prefixes=share_prefixes)
        self._vocabulary = vocabulary
        self._spans = SpanBuilder(vocabulary)
        self._end_ids = _end_ids(model, vocabulary)

    @classmethod
    def load(
        cls,
        folder_or_hub_id: str | Path,
        *,
        device: str = "auto",
        dtype: str = "auto",
        max_length: int | None = None,
        batch_tokens: int | None = None,
        share_prefixes: bool = True,
    ) -> "LocalLanguageModel":
        """Read a model. dtype "auto" is bfloat16 on an accelerator and float32 on a CPU.

        `max_length` overrides what the model's files say; `batch_tokens` bounds the padded tokens of one pass. Turn
        `share_prefixes` off for models whose memory is not keys and values (state-space models).

        Raises:
            ModelLoadError: if it cannot be found, or its weights do not fit its config.
            ConfigError: for a device or dtype that is not there.
        """
        source = locate(folder_or_hub_id)
        target = resolve_device(device)
        if dtype == "auto":
            dtype = "float32" if target.type == "cpu" else "bfloat16"
        if dtype not in _DTYPES:
            raise ConfigError(f"unknown dtype {dtype!r}; expected one of: auto, {', '.join(_DTYPES)}.")
        vocabulary = TokenizerVocabulary.load(source.folder)
        model = load_whole(AutoModelForCausalLM, source.folder, _DTYPES[dtype], what="causal language model")
        return cls(
            model,
            vocabulary,
            name=source.name,
            device=str(target),
            max_length=max_length,
            batch_tokens=batch_tokens,
            share_prefixes=share_prefixes,
        )

    @property
    def fingerprint(self) -> str:
        """Over a sample of every weight, the precision, the tokenizer and the limit."""
        parts = [self._weights, self._vocabulary.description(), str(self.max_length)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text, without special tokens."""
        return self._vocabulary.encode(texts, special=False)

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Text of each row of ids, special tokens left out."""
        return self._vocabulary.decode(ids)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, without special tokens."""
        return [len(ids) for ids in self.tokenize(texts)]

    def log_likelihoods(self, requests: Sequence[Continuation], *, max_length: int | None = None) -> list[Score]:
        """One score per request, in order; errors as in `LanguageModel`."""
        spans = self._spans.spans(requests, self._room(max_length))
        return [
            Score(sum(scored.log_probabilities), len(scored.log_probabilities), scored.is_greedy)
            for scored in self._scorer.score(spans)
        ]

    def token_log_likelihoods(self, ids: Sequence[int], score_from: int) -> list[float]:
        """Log p of `ids` from `score_from` on, in nats; errors as in `LanguageModel`."""
        check_span(ids, score_from, self.max_length)
        return self._scorer.score([Span(tuple(ids[:score_from]), tuple(ids[score_from:]))])[0].log_probabilities

    def generate(
        self, prompts: Sequence[str], *, max_new_tokens: int, stop: Sequence[str] = (), max_length: int | None = None
    ) -> list[str]:
        """Greedy decoding of each prompt, in order; new text up to the first of the `stop` texts."""
        rows = self._spans.prompts(prompts, self._room(max_length) - max_new_tokens)
        texts: dict[int, str] = {}
        lengths = [len(row) + max_new_tokens for row in rows]
        for batch in plan_batches(lengths, max_tokens=self._batch_tokens):
            made = halved_when_full(
                lambda part: decode_greedily(
                    self._forward,
                    part,
                    max_new_tokens=max_new_tokens,
                    end_ids=self._end_ids,
                    is_finished=self._holds(stop),
                ),
                [rows[position] for position in batch],
            )
            texts.update(zip(batch, (text_before(text, stop) for text in self.decode(made)), strict=True))
        return [texts[position] for position in range(len(rows))]

    def sample(
        self, prompts: Sequence[str], sampling: Sampling, *, seeds: Sequence[str], max_length: int | None = None
    ) -> list[list[str]]:
        """`sampling.count` outputs of each prompt, in order; one seed each."""
        rows = self._spans.prompts(prompts, self._room(max_length) - sampling.max_new_tokens)
        seeded = list(zip(rows, seeds, strict=True))
        outputs: dict[int, list[str]] = {}
        lengths = [sampling.count * (len(row) + sampling.max_new_tokens) for row in rows]
        for batch in plan_batches(lengths, max_tokens=self._batch_tokens):
            made = halved_when_full(
                lambda part: decode_by_sampling(
                    self._forward,
                    [row for row, _ in part],
                    sampling,
                    seeds=[seed for _, seed in part],
                    end_ids=self._end_ids,
                    is_finished=self._holds(sampling.stop),
                    shares_prefixes=self._shares_prefixes,
                ),
                [seeded[position] for position in batch],
            )
            for position, ids in zip(batch, made, strict=True):
                outputs[position] = [text_before(text, sampling.stop) for text in self.decode(ids)]
        return [outputs[position] for position in range(len(rows))]

    def _holds(self, stop: Sequence[str]) -> Callable[[list[int]], bool]:
        """Whether ids hold one of the stop texts."""
        return lambda ids: bool(stop) and any(each in self.decode([ids])[0] for each in stop)

    def _room(self, max_length: int | None) -> int:
        return self.max_length if max_length is None else min(max_length, self.max_length)


def _limit(model: PreTrainedModel, vocabulary: TokenizerVocabulary, asked: int | None) -> int:
    own = getattr(model.config.get_text_config(), "max_position_embeddings", None) or vocabulary.longest
    limit = asked if asked is not None else own
    if not isinstance(limit, int) or limit < 2:
        raise ConfigError(
            f"max_length is {limit}; expected at least 2. The model's config.json and tokenizer_config.json may not "
            "say how much it reads: pass max_length."
        )
    return limit


def _end_ids(model: PreTrainedModel, vocabulary: TokenizerVocabulary) -> frozenset[int]:
    named = model.generation_config.eos_token_id if model.generation_config is not None else None
    ids = named if isinstance(named, list) else [named]
    return frozenset(number for number in [*ids, vocabulary.end_id] if isinstance(number, int))


def _weights_sample(model: PreTrainedModel) -> str:
    """Sha256 over name, shape, precision and up to 4096 values of every tensor, evenly spread.

    Reading all the weights of a large model takes as long as a short evaluation, and training changes nearly all.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        flat = tensor.detach().reshape(-1)
        values = flat[:: max(1, len(flat) // _SAMPLE)].float().cpu().contiguous()
        digest.update(f"{name} {list(tensor.shape)} {tensor.dtype}".encode())
        digest.update(values.numpy().tobytes())
    return digest.hexdigest()
