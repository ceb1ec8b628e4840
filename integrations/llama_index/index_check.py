"""Whether an index holds the vectors of an embed model, found out by asking for one, and asks with that model."""

import math

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.indices import VectorStoreIndex
from llama_index.core.schema import BaseNode, MetadataMode
from llama_index.core.vector_stores.types import VectorStoreQuery, VectorStoreQueryResult

from rag_embedder.errors import InputError, ModelMismatchError

_TOLERANCE = 1e-3
"""Rounding, and a store's shortened floats. Another instruction alone moves a vector twenty times as far."""


def check_vectors(index: VectorStoreIndex, embedding: BaseEmbedding) -> None:
    """Raise ModelMismatchError unless the index holds document vectors of `embedding`; an empty index is fine.

    One stored text is encoded again and its vector is looked for: if model, scenario, instructions and role are the
    ones that were used, the index holds an equal one. Nothing is written. Stores are understood that call equal
    vectors similar by 1 (cosine, inner product, Chroma) or distant by 0. Blocks: meant for a program's start.

    Raises:
        InputError: for what is no VectorStoreIndex.
    """
    if not isinstance(index, VectorStoreIndex):
        raise InputError(
            f"index: got {type(index).__name__}; expected a VectorStoreIndex, such as load_index_from_storage(...) or "
            "VectorStoreIndex.from_vector_store(...) gives."
        )
    node = _any_node(index, embedding)
    if node is None:
        return
    text = node.get_content(metadata_mode=MetadataMode.EMBED)
    similarity = (_ask(index, embedding, text).similarities or [math.nan])[0]
    if not (math.isclose(similarity, 1.0, abs_tol=_TOLERANCE) or math.isclose(similarity, 0.0, abs_tol=1e-9)):
        raise _mismatch(
            embedding, f"node {node.node_id!r}, encoded again, is similar to what is stored by {similarity:.4f}, not 1"
        )


def check_asking(index: VectorStoreIndex, embedding: BaseEmbedding) -> None:
    """Raise ModelMismatchError unless queries of the index are encoded by `embedding`, or by its equal."""
    asking = index._embed_model  # there is no public name for it
    if asking is embedding or (_scenario(asking) is not None and _identity(asking) == _identity(embedding)):
        return
    raise ModelMismatchError(
        f"index: it asks with {_named(asking)}; expected {_named(embedding)}, with which it is checked. Where no embed "
        "model is named, LlamaIndex takes Settings.embed_model: pass embed_model= with the object that is checked to "
        "load_index_from_storage, VectorStoreIndex or from_vector_store."
    )


def _identity(embedding: BaseEmbedding) -> tuple[object, object]:
    return getattr(embedding, "fingerprint", None), _scenario(embedding)


def _scenario(embedding: BaseEmbedding) -> object:
    return getattr(embedding, "scenario", None)


def _named(embedding: BaseEmbedding) -> str:
    scenario = _scenario(embedding)
    return repr(embedding.model_name) if scenario is None else f"{embedding.model_name!r} in scenario {scenario!r}"


def _any_node(index: VectorStoreIndex, embedding: BaseEmbedding) -> BaseNode | None:
    found = _ask(index, embedding, "any")
    if found.nodes:
        return found.nodes[0]
    ids = [index.index_struct.nodes_dict[id_] for id_ in found.ids or []]
    return index.docstore.get_nodes(ids)[0] if ids else None


def _ask(index: VectorStoreIndex, embedding: BaseEmbedding, text: str) -> VectorStoreQueryResult:
    query = VectorStoreQuery(query_embedding=embedding.get_text_embedding(text), similarity_top_k=1)
    try:
        return index.vector_store.query(query)
    except Exception as fault:
        # Stores have no error in common for vectors of another length: numpy's is a ValueError, Chroma's its own.
        if not isinstance(fault, ValueError) and "dimension" not in str(fault).lower():
            raise
        raise _mismatch(
            embedding, f"the store refused a vector of length {len(query.query_embedding or [])}"
        ) from fault


def _mismatch(embedding: BaseEmbedding, came: str) -> ModelMismatchError:
    return ModelMismatchError(
        f"index: {came}; expected vectors made by {embedding.model_name!r} as documents of "
        f"{getattr(embedding, 'scenario', 'its one scenario')!r}. Open it with the embed model it was built with, or "
        "build it again."
    )
