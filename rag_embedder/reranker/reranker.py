"""`Reranker`: pairs of query and text in, one number each out."""

import hashlib
import json
import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import torch
from transformers import PreTrainedModel

from rag_embedder.batching import plan_batches
from rag_embedder.engine.device import resolve_device
from rag_embedder.engine.loading import embedding_table
from rag_embedder.engine.one_batch import vectors_of_batch
from rag_embedder.engine.precision import dtype_named, name_of
from rag_embedder.errors import InvalidTextError, ModelLoadError
from rag_embedder.model_source import locate
from rag_embedder.pair_scores import best_first
from rag_embedder.reranker.folder import RerankerSettings, chosen_length, chosen_template, read_reranker_settings
from rag_embedder.reranker.forward import is_decoder, pair_logits
from rag_embedder.reranker.item_text import item_text
from rag_embedder.reranker.template import TEMPLATES, PairTokenizer
from rag_embedder.reranker.weights import hash_weights, load_weights
from rag_embedder.retrievers.base import in_thread
from rag_embedder.search import check_k
from rag_embedder.texts import check_text, check_texts
from rag_embedder.tokenizer import read_tokenizer
from rag_embedder.truncation import Truncation
from rag_embedder.types import Hit


class Reranker:
    """A model that reads query and text together: an encoder with one output, or a decoder read at its last token.

    RankLLaMA (arXiv 2310.08319) is such a decoder. A score is the model's own number, on its own scale; it is for
    ordering the texts of one query. It does not depend on what else is scored, beyond rounding. Safe to share between
    threads.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PairTokenizer,
        settings: RerankerSettings,
        *,
        device: torch.device,
        batch_tokens: int | None = None,
    ) -> None:
        model.eval()
        torch.nn.Module.to(model, device=device)
        self._model = model
        self._tokenizer = tokenizer
        self._settings = settings
        self._device = device
        # On a CPU small batches stay in its caches; a GPU wants large ones.
        self._batch_tokens = batch_tokens or (4096 if device.type == "cpu" else 65_536)
        self._lock = threading.Lock()
        self._fingerprint: str | None = None
        self._truncation = Truncation("warn")

    @classmethod
    def load(
        cls,
        path_or_hub_id: str | Path,
        *,
        device: str = "auto",
        dtype: str = "auto",
        max_length: int | None = None,
        template: str | None = None,
        batch_tokens: int | None = None,
        allow_pickle: bool = False,
    ) -> "Reranker":
        """Load a folder or hub id: a cross-encoder, a decoder with a score head, or a LoRA adapter over a decoder.

        Args:
            path_or_hub_id: what `trainer.export` wrote for a reranker, any folder that transformers'
                AutoModelForSequenceClassification reads with one label, or a PEFT folder, merged into its base; also
                "castorini/rankllama-v1-7b-lora-passage".
            device: "auto" (CUDA when there is one), "cpu", "cuda", "cuda:1", "mps".
            dtype: "float32", "bfloat16", "float16"; "auto" is float32 on a CPU and bfloat16 elsewhere.
            max_length: tokens read of query and text together, special tokens included; None as its files say.
            template: one of `rag_embedder.reranker.template.TEMPLATES` instead of what its files say.
            batch_tokens: tokens that go through the model at once.
            allow_pickle: accept pickled weights, but for adapters, read by torch's weights-only loader. Model code is
                never run.

        Raises:
            ModelLoadError: if it is not found, incomplete or damaged; also an encoder without a head.
            UntrustedModelError: if it would need pickled weights.
            ConfigError: for an unknown device, dtype or template, a length that does not fit, several outputs, or a
                decoder of which nobody says how it reads a pair.
        """
        source = locate(path_or_hub_id, allow_pickle=allow_pickle)
        target = resolve_device(device)
        name = dtype if dtype != "auto" else "float32" if target.type == "cpu" else "bfloat16"
        model = load_weights(source, dtype_named(name, more=("auto",)), allow_pickle=allow_pickle)
        settings = read_reranker_settings(source)
        chosen = chosen_template(settings, template, is_decoder=is_decoder(model))
        length = chosen_length(settings, max_length, source=source.files)
        tokenizer = pair_tokenizer(model, source.tokenizer, template=chosen, max_length=length)
        settings = replace(settings, template=chosen, max_length=length)
        return cls(model, tokenizer, settings, device=target, batch_tokens=batch_tokens)

    @property
    def name(self) -> str:
        """Model name for messages: hub id, folder name, or the name it was exported under."""
        return self._settings.name

    @property
    def training_state(self) -> str:
        """What training the weights have seen, in words."""
        return self._settings.training_state

    @property
    def max_length(self) -> int:
        """Tokens the model reads of query and text together, special tokens included."""
        return self._settings.max_length

    @property
    def template(self) -> str:
        """How it reads a pair, by name."""
        return self._tokenizer.template.name

    @property
    def device(self) -> str:
        """Where the model runs, as torch writes it."""
        return str(self._device)

    @property
    def dtype(self) -> str:
        """The number format the model computes in."""
        return name_of(self._model.dtype)

    @property
    def num_truncated(self) -> int:
        """How many pairs were cut so far."""
        return self._truncation.num_truncated

    @property
    def fingerprint(self) -> str:
        """32 hex digits over weights, number format, tokenizer, template and length: all that decides a score."""
        with self._lock:
            if self._fingerprint is None:
                shape = json.dumps([self.template, self.max_length, self.dtype])
                parts = [hash_weights(self._model.state_dict()), self._tokenizer.definition(), shape]
                self._fingerprint = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
            return self._fingerprint

    def rooms(self, queries: Iterable[str]) -> list[int]:
        """Tokens of a text that are read with each query; a query with less than 1 cannot be asked."""
        return self._tokenizer.rooms(check_texts(queries, field="queries"))

    def leaves_room(self, query: str) -> bool:
        """Whether at least half of what the model reads is left for a text: how long a dialogue should become."""
        return self.rooms([query])[0] >= self.max_length // 2

    def too_long(self, room: int) -> str:
        """What to tell the owner of a query whose room is below 1."""
        return self._tokenizer.too_long(room)

    def score(self, query: str, texts: Iterable[str]) -> npt.NDArray[np.float32]:
        """One number per text, shape (n,), float32, in the order of the texts; no texts give shape (0,).

        Raises:
            InvalidTextError: for a query or text that is not a string, with its position.
            InputError: for a query that leaves no room for a text.
            VectorError: if the model answers NaN or infinity.
        """
        query = check_text(query, field="query")
        return self._score([(query, text) for text in check_texts(texts)])

    def score_pairs(self, pairs: Iterable[tuple[str, str]]) -> npt.NDArray[np.float32]:
        """As `score`, for pairs of query and text; they are batched by length, whatever query they belong to."""
        return self._score([_checked_pair(pair, position) for position, pair in enumerate(pairs)])

    def rerank(self, query: str, candidates: Sequence[Any], k: int | None = None) -> list[Hit[Any]]:
        """The `k` best candidates, all for None, best first; equal scores stay in the order given.

        A candidate is a `Hit` of any retriever, an item such as a `Document` or `Tool`, or a string. The answer is
        always hits: with this model's score, rank from 1, and the score that a given hit had as `retrieval_score`. The
        id of what was no hit is its own, or else its position. What is read of an item is what retrievers encode of it.

        Raises:
            InvalidTextError: for a candidate that is none of these, with its position.
            InputError: for a `k` that is no int from 1 to 10,000, or a query that leaves no room.
        """
        if k is not None:
            check_k(k)
        query = check_text(query, field="query")
        hits = [_as_hit(candidate, position) for position, candidate in enumerate(candidates)]
        texts = [item_text(hit.item, field=f"candidates[{position}]") for position, hit in enumerate(hits)]
        scores = self._score([(query, text) for text in check_texts(texts, field="candidates")])
        found = [(hits[position], float(scores[position])) for position in best_first(scores, k)]
        return [replace(hit, score=score, rank=rank) for rank, (hit, score) in enumerate(found, start=1)]

    async def arerank(self, query: str, candidates: Sequence[Any], k: int | None = None) -> list[Hit[Any]]:
        """`rerank` off the event loop."""
        return await in_thread(lambda: self.rerank(query, candidates, k))

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a Reranker cannot be pickled or copied: it holds a model and locks. Share it between threads, and load "
            "it again in another process: Reranker.load(...)."
        )

    def __repr__(self) -> str:
        return (
            f"Reranker({self.name!r}, template={self.template!r}, max_length={self.max_length}, "
            f"device={self.device!r}, dtype={self.dtype!r})"
        )

    def _score(self, pairs: Sequence[tuple[str, str]]) -> npt.NDArray[np.float32]:
        scores = np.empty(len(pairs), dtype=np.float32)
        if not pairs:
            return scores
        rows = self._tokenizer.encode(pairs)
        self._truncation.report(rows, self.max_length, "warn")
        ids = [row.ids for row in rows]
        for batch in plan_batches([len(row) for row in ids], max_tokens=self._batch_tokens):
            scores[batch] = vectors_of_batch(
                self._forward, [ids[position] for position in batch], dtype=self._model.dtype
            )
        return scores

    @torch.inference_mode()
    def _forward(self, rows: Sequence[list[int]]) -> npt.NDArray[np.float32]:
        return pair_logits(self._model, rows, self._tokenizer.types_of(rows)).cpu().numpy()


def pair_tokenizer(model: PreTrainedModel, folder: Path, *, template: str, max_length: int) -> PairTokenizer:
    """The tokenizer in `folder` for this model.

    Raises:
        ModelLoadError: if it cannot be read, does not join texts, or has ids that the model does not embed.
    """
    backend, end = read_tokenizer(folder)
    tokenizer = PairTokenizer(
        backend,
        TEMPLATES[template],
        max_length=max_length,
        end_id=None if end is None else backend.token_to_id(end),
        has_types=getattr(model.config, "type_vocab_size", 0) > 1,
    )
    size = len(embedding_table(model))
    if tokenizer.vocabulary_size > size:
        raise ModelLoadError(
            f"the tokenizer in {folder} has {tokenizer.vocabulary_size} ids but the model embeds {size}; "
            "expected the tokenizer the model was trained with."
        )
    return tokenizer


def _as_hit(candidate: object, position: int) -> Hit[Any]:
    if isinstance(candidate, Hit):
        return replace(candidate, retrieval_score=candidate.score)
    own = getattr(candidate, "id", None) or getattr(candidate, "name", None)
    return Hit(item=candidate, id=str(own or position), score=0.0, rank=0)


def _checked_pair(pair: object, position: int) -> tuple[str, str]:
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise InvalidTextError(f"pairs[{position}]: got {type(pair).__name__}; expected (query, text).")
    query, text = (check_text(part, field=f"pairs[{position}][{place}]") for place, part in enumerate(pair))
    return query, text
