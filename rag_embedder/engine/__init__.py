"""How a batch of token ids becomes vectors: one file per engine, one registry line each."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from rag_embedder.registry import Registry
from rag_embedder.types import Vectors

ENGINES = Registry(
    "engine",
    {
        "auto": "rag_embedder.engine.automatic:AutomaticEngine",
        "transformers": "rag_embedder.engine.transformers:TransformersEngine",
        "packed": "rag_embedder.engine.packed:PackedEngine",
    },
)


class Engine(Protocol):
    """A loaded model. Engines pad or pack as they like; rows come back in the order of the texts.

    A registered class also has `load(folder, *, delta, adapter, pooling, num_slots, normalize, device, dtype,
    allow_pickle)`.
    """

    @property
    def name(self) -> str:
        """What `Embedder.load(engine=...)` calls it."""
        ...

    @property
    def dim(self) -> int:
        """Length of one vector."""
        ...

    @property
    def is_normalized(self) -> bool:
        """Whether rows are unit vectors."""
        ...

    @property
    def device(self) -> str:
        """Where the model runs, as torch writes it."""
        ...

    @property
    def dtype(self) -> str:
        """The number format it computes in: "float32", "bfloat16" or "float16"."""
        ...

    @property
    def batch_tokens(self) -> int:
        """Tokens of one pass that this engine does fastest, padding included if it pads."""
        ...

    @property
    def pads(self) -> bool:
        """Whether every text of a batch costs as much as the longest."""
        ...

    @property
    def vocabulary_size(self) -> int:
        """Rows of the embedding table."""
        ...

    def weights_hash(self) -> str:
        """Hash of the float32 weights: the same for every file layout, device and precision of one model."""
        ...

    def check_can_save(self) -> None:
        """Raise ConfigError unless the weights are held without loss."""
        ...

    def write_weights(self, path: Path) -> None:
        """Write all tensors to one safetensors file."""
        ...

    def encode(self, token_ids: Sequence[list[int]]) -> Vectors:
        """Rows of shape (n, dim) for one batch of token id lists (special tokens included, none empty)."""
        ...
