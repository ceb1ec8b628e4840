"""Our hits as LlamaIndex nodes, and LlamaIndex nodes as our documents."""

from collections.abc import Iterable, Sequence
from typing import Any

from llama_index.core.schema import (
    BaseNode,
    MetadataMode,
    NodeRelationship,
    NodeWithScore,
    RelatedNodeInfo,
    TextNode,
    TransformComponent,
)

from integrations.hit_fields import metadata_of, text_of
from rag_embedder.errors import InputError, InvalidTextError
from rag_embedder.types import Chunk, Document, Hit

_READ_BY_LLM = ("title",)
"""What a hit's kind adds to the metadata and a language model should read; the rest is for programs."""


def node_of(hit: Hit[Any]) -> NodeWithScore:
    """A new node with the hit's id, text, a copy of its metadata, and its score.

    The metadata are left out of the text that is embedded, should the node ever be put into an index: they would come
    before the instruction's text. A language model reads the item's own metadata, as LlamaIndex does by default.
    """
    metadata = metadata_of(hit, score_key=None)
    own = getattr(hit.item, "metadata", {})
    node = TextNode(
        id_=hit.id,
        text=text_of(hit),
        metadata=metadata,
        excluded_embed_metadata_keys=list(metadata),
        excluded_llm_metadata_keys=[key for key in metadata if key not in own and key not in _READ_BY_LLM],
    )
    if isinstance(hit.item, Chunk):
        node.start_char_idx, node.end_char_idx = hit.item.start, hit.item.end
    if isinstance(source := metadata.get("document_id"), str):
        node.relationships[NodeRelationship.SOURCE] = RelatedNodeInfo(node_id=source)
    return NodeWithScore(node=node, score=hit.score)


def nodes_of(hits: Iterable[Hit[Any]]) -> list[NodeWithScore]:
    """A new node for each hit, in their order."""
    return [node_of(hit) for hit in hits]


def documents_of(nodes: Iterable[BaseNode | NodeWithScore], *, title_key: str | None = None) -> list[Document]:
    """LlamaIndex nodes and documents as ours: same ids, the text without metadata, and copies of the metadata.

    Where a node knows which document it came from, the metadata gain its id as "document_id".

    Args:
        nodes: what a reader or splitter gave, or what was retrieved.
        title_key: the metadata key whose text is encoded before the node's.

    Raises:
        InputError: for what is no node, or a title that is no text; the message names the position.
    """
    if isinstance(nodes, str | bytes | BaseNode | NodeWithScore) or not isinstance(nodes, Iterable):
        raise InvalidTextError(
            f"nodes: got a bare {type(nodes).__name__}; expected a list of nodes. Wrap it in a list."
        )
    return [_document(node, position, title_key) for position, node in enumerate(nodes)]


def _document(given: object, position: int, title_key: str | None) -> Document:
    node = given.node if isinstance(given, NodeWithScore) else given
    if not isinstance(node, BaseNode):
        raise InputError(f"nodes[{position}]: got {type(node).__name__}; expected a LlamaIndex node or document.")
    metadata = dict(node.metadata)
    title = "" if title_key is None else metadata.get(title_key, "")
    if not isinstance(title, str):
        raise InputError(
            f"nodes[{position}].metadata[{title_key!r}]: got {type(title).__name__}; expected str, the title."
        )
    if node.source_node is not None:
        metadata.setdefault("document_id", node.source_node.node_id)
    return Document(node.get_content(metadata_mode=MetadataMode.NONE), id=node.node_id, title=title, metadata=metadata)


class EmbedTextOnly(TransformComponent):
    """A step of `transformations` after which a node's text alone is embedded, and none of its metadata.

    LlamaIndex embeds "file_path: ...", "author: ..." lines before the text of every node. Our encoder was trained on
    texts, not on such lines. Put this before the embed model of a pipeline, or into
    `VectorStoreIndex.from_documents(..., transformations=[SentenceSplitter(), EmbedTextOnly()])`. The nodes given stay
    as they are; metadata remain readable and can be filtered.
    """

    def __call__(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[BaseNode]:  # noqa: ANN401  (LlamaIndex's)
        """Copies of the nodes, whose metadata are all left out of the embedded text."""
        return [
            node.model_copy(update={"excluded_embed_metadata_keys": sorted({*node.metadata})}, deep=True)
            for node in nodes
        ]

    @classmethod
    def class_name(cls) -> str:
        """The name under which LlamaIndex serialises it."""
        return "EmbedTextOnly"
