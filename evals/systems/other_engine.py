"""An encoder in another engine or number format: the same model, vectors that differ in their last digits."""

import hashlib
from collections.abc import Mapping, Sequence

from rag_embedder import Embedder, Scenario
from rag_embedder.encoder import Preview
from rag_embedder.protocols import TextEncoder
from rag_embedder.scenario import Role
from rag_embedder.types import Vectors

REFERENCE = ("transformers", "float32")
"""The engine and number format whose vectors an encoder's own fingerprint stands for."""


class OtherEngineEncoder:
    """`Embedder` with a fingerprint of its own, so that results and cached vectors never mix with the reference's.

    An index may be searched with any engine; a figure in a table is one engine's.
    """

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self.engine = embedder.engine
        self.dtype = embedder.dtype
        self.prompt_form = embedder.prompt_form
        self.name = embedder.name
        self.dim = embedder.dim
        self.max_length = embedder.max_length
        self.training_state = embedder.training_state

    @property
    def scenarios(self) -> Mapping[str, Scenario]:
        """Those of the model."""
        return self._embedder.scenarios

    def fingerprint_of(self, scenario: str) -> str:
        """Hash over the model's fingerprint for the scenario, the engine and the number format it chose."""
        parts = [self._embedder.fingerprint_of(scenario), self.engine, self.dtype]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]

    def encode_queries(self, texts: Sequence[str], scenario: str = "qa") -> Vectors:
        """Unit rows, shape (n, dim)."""
        return self._embedder.encode_queries(texts, scenario)

    def encode_documents(
        self, texts: Sequence[str], scenario: str = "qa", *, show_progress: bool | None = None
    ) -> Vectors:
        """Unit rows, shape (n, dim)."""
        return self._embedder.encode_documents(texts, scenario, show_progress=show_progress)

    def token_offsets(self, text: str) -> list[tuple[int, int]]:
        """Character span of every token of `text`, special tokens left out."""
        return self._embedder.token_offsets(text)

    def preview(self, text: str, scenario: str = "qa", role: Role = "query") -> Preview:
        """What the model would be given."""
        return self._embedder.preview(text, scenario, role)


def told_apart(embedder: Embedder) -> TextEncoder:
    """The encoder itself if it is the reference, else one with another fingerprint."""
    return embedder if (embedder.engine, embedder.dtype) == REFERENCE else OtherEngineEncoder(embedder)
