"""An encoder that sentence-transformers loads: for models with modules of their own, such as a dense layer."""

import hashlib
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np

from rag_embedder.errors import ConfigError, MissingExtraError
from rag_embedder.scenario import INSTRUCTION_SETS, SCENARIO_NAMES, Scenario
from rag_embedder.types import Vectors


class SentenceTransformerEncoder:
    """Unit rows from `SentenceTransformer.encode`, with a scenario's instruction as the prompt.

    Raises:
        MissingExtraError: if sentence-transformers is not installed.
    """

    def __init__(
        self, model: str, *, instructions: str | Sequence[Scenario] | None = None, device: str = "auto"
    ) -> None:
        try:
            library: Any = import_module("sentence_transformers")
        except ModuleNotFoundError as fault:
            raise MissingExtraError("library=sentence-transformers: pip install sentence-transformers") from fault
        self._model: Any = library.SentenceTransformer(model, device=None if device == "auto" else device)
        self.name = model
        self.scenarios = _scenarios(self._model, instructions)
        self.max_length = int(self._model.max_seq_length or 512)
        self.dim = int(self._model.get_embedding_dimension())
        self._weights = _hash(self._model)

    def fingerprint_of(self, scenario: str) -> str:
        """Hash over weights, library version, length and the scenario's instructions."""
        pair = self._scenario(scenario)
        parts = [self._weights, str(self.max_length), pair.query_instruction, pair.document_instruction]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]

    def encode_queries(self, texts: Sequence[str], scenario: str = "qa") -> Vectors:
        """Unit rows, shape (n, dim)."""
        return self._encode(texts, self._scenario(scenario).query_instruction, None)

    def encode_documents(
        self, texts: Sequence[str], scenario: str = "qa", *, show_progress: bool | None = None
    ) -> Vectors:
        """Unit rows, shape (n, dim)."""
        return self._encode(texts, self._scenario(scenario).document_instruction, show_progress)

    def token_offsets(self, text: str) -> list[tuple[int, int]]:
        """Character span of every token of `text`, special tokens left out."""
        encoded = self._model.tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)
        return [(start, end) for start, end in encoded["offset_mapping"]]

    def _encode(self, texts: Sequence[str], instruction: str, show_progress: bool | None) -> Vectors:
        rows = self._model.encode(
            list(texts), prompt=instruction, normalize_embeddings=True, show_progress_bar=bool(show_progress)
        )
        return np.asarray(rows, dtype=np.float32).reshape(len(texts), self.dim)

    def _scenario(self, name: str) -> Scenario:
        if name not in self.scenarios:
            raise ConfigError(f"{self.name}: no scenario {name!r}; expected one of: {', '.join(self.scenarios)}.")
        return self.scenarios[name]


def _scenarios(model: Any, instructions: str | Sequence[Scenario] | None) -> dict[str, Scenario]:  # noqa: ANN401
    if instructions is None:
        prompts = model.prompts or {}
        query, document = prompts.get("query", ""), prompts.get("document", prompts.get("passage", ""))
        return {name: Scenario(name, query, document) for name in SCENARIO_NAMES}
    if isinstance(instructions, str):
        if instructions not in INSTRUCTION_SETS:
            raise ConfigError(f"instructions: got {instructions!r}; expected one of: {', '.join(INSTRUCTION_SETS)}.")
        return dict(INSTRUCTION_SETS[instructions])
    return {scenario.name: scenario for scenario in instructions}


def _hash(model: Any) -> str:  # noqa: ANN401  (a SentenceTransformer)
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().float().numpy().tobytes())
    return digest.hexdigest()
