"""Hits of ours as LlamaIndex nodes, and LlamaIndex nodes as documents of ours."""

import copy

import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.schema import Document as LlamaDocument
from llama_index.core.schema import MetadataMode, NodeRelationship, TextNode

from integrations.llama_index.embedding import RagEmbedding
from integrations.llama_index.nodes import EmbedTextOnly, node_of
from integrations.llama_index.retriever import RagRetriever
from rag_embedder import (
    Demonstration,
    DemonstrationRetriever,
    Document,
    KnowledgeRetriever,
    MemoryRetriever,
    Tool,
    ToolRetriever,
    Turn,
)
from rag_embedder.errors import InputError, InvalidTextError
from rag_embedder.types import Chunk, Hit
from tests.retriever_cases import TEXTS, Watched, WordEncoder


@pytest.fixture
def watched():
    return Watched(WordEncoder())


@pytest.fixture
def knowledge(watched):
    retriever = KnowledgeRetriever(watched)
    retriever.add([Document(text, id=id_, metadata={"length": len(text)}) for id_, text in TEXTS.items()])
    return retriever


def test_a_node_holds_id_text_and_a_copy_of_the_metadata_and_the_score_stays_outside(knowledge):
    best = RagRetriever(knowledge, k=1).retrieve(TEXTS["cat"])[0]
    assert best.node.node_id == "cat"
    assert best.node.text == TEXTS["cat"]
    assert best.node.metadata == {"length": len(TEXTS["cat"])}
    assert best.score == knowledge.retrieve(TEXTS["cat"], 1)[0].score
    assert best.node.get_content(metadata_mode=MetadataMode.EMBED) == TEXTS["cat"]
    assert best.node.get_content(metadata_mode=MetadataMode.LLM) == f"length: {len(TEXTS['cat'])}\n\n{TEXTS['cat']}"


def test_metadata_named_score_survive():
    hit = Hit(Document("text", id="a", metadata={"score": "B+"}), "a", 0.5, 1)
    found = node_of(hit)
    assert found.node.metadata == {"score": "B+"}
    assert found.score == 0.5


def test_a_chunk_knows_its_span_and_its_document():
    chunk = Chunk("doc#1", "part", "doc", 10, 14, title="Title", metadata={"year": 1})
    node = node_of(Hit(chunk, "doc#1", 0.5, 1)).node
    assert (node.start_char_idx, node.end_char_idx) == (10, 14)
    assert node.ref_doc_id == "doc"
    assert node.metadata == {"year": 1, "document_id": "doc", "start": 10, "end": 14, "title": "Title"}
    assert node.get_content(metadata_mode=MetadataMode.LLM) == "year: 1\ntitle: Title\n\npart"


def test_memories_demonstrations_and_tools_become_readable_nodes(watched):
    with MemoryRetriever(watched) as memory, DemonstrationRetriever(watched) as shown, ToolRetriever(watched) as tools:
        memory.add_turns([Turn("user", "I like cats"), Turn("assistant", "Noted")], user="ann", session="monday")
        shown.add([Demonstration("cats are great", "positive", task="mood")])
        tools.add([Tool("feed_cat", "Feeds the cat.")])
        said = RagRetriever(memory, user="ann").retrieve("cats")[0].node
        example = RagRetriever(shown).retrieve("cats")[0].node
        tool = RagRetriever(tools).retrieve("cats")[0].node
    assert said.text == "user: I like cats\nassistant: Noted"
    assert said.metadata == {"user": "ann", "session": "monday", "position": 0}
    assert said.get_content(metadata_mode=MetadataMode.LLM) == said.text
    assert example.metadata == {"input": "cats are great", "output": "positive", "task": "mood"}
    assert (tool.node_id, tool.text) == ("feed_cat", "feed_cat: Feeds the cat.")


# --- from nodes


def test_nodes_and_documents_are_indexed_in_one_line(watched, tmp_path):
    nodes = [TextNode(id_="a", text="the blue cat", metadata={"year": 2024}), LlamaDocument(doc_id="b", text="bread")]
    retriever = RagRetriever.from_nodes(nodes, watched, path=tmp_path / "store", k=1)
    found = retriever.retrieve("cat")[0]
    assert (found.node.node_id, found.node.text, found.node.metadata) == ("a", "the blue cat", {"year": 2024})
    assert watched.documents == ["the blue cat", "bread"]
    retriever.retriever.close()
    again = RagRetriever.from_nodes(nodes, watched, path=tmp_path / "store", k=1)
    assert again.retrieve("bread")[0].node.node_id == "b"
    assert watched.documents == ["the blue cat", "bread"]
    again.retriever.close()


def test_a_title_is_encoded_before_the_text_and_the_source_document_is_kept(watched):
    node = TextNode(id_="a", text="It is in the north.", metadata={"name": "Oslo"})
    node.relationships[NodeRelationship.SOURCE] = LlamaDocument(doc_id="atlas", text="all of it").as_related_node_info()
    retriever = RagRetriever.from_nodes([node], watched, title_key="name")
    assert watched.documents == ["Oslo It is in the north."]
    found = retriever.retrieve("oslo")[0].node
    assert found.text == "It is in the north."
    assert found.ref_doc_id == "atlas"
    assert node.metadata == {"name": "Oslo"}


def test_nodes_that_were_found_can_be_stored_again_without_a_change(knowledge, watched):
    found = RagRetriever(knowledge).retrieve("the cat")
    again = RagRetriever.from_nodes(found, watched).retrieve("the cat")
    assert [(n.node.node_id, n.node.text, n.node.metadata) for n in again] == [
        (n.node.node_id, n.node.text, n.node.metadata) for n in found
    ]


@pytest.mark.parametrize(
    ("nodes", "error", "said"),
    [
        (TextNode(text="bare"), InvalidTextError, "bare TextNode.*Wrap it in a list"),
        ("text", InvalidTextError, "bare str"),
        ([TextNode(text="a"), "text"], InputError, r"nodes\[1\]: got str"),
        ([TextNode(text="a"), TextNode(text=" ")], InvalidTextError, r"documents\[1\]"),
    ],
)
def test_what_is_no_node_is_refused_with_its_position(watched, nodes, error, said):
    with pytest.raises(error, match=said):
        RagRetriever.from_nodes(nodes, watched)
    with pytest.raises(InputError, match=r"nodes\[0\].metadata\['t'\]: got int"):
        RagRetriever.from_nodes([TextNode(text="a", metadata={"t": 1})], watched, title_key="t")


def test_from_no_nodes_comes_a_retriever_that_finds_nothing(watched):
    assert RagRetriever.from_nodes([], watched).retrieve("cat") == []


def test_metadata_before_the_text_are_embedded_by_llama_index_and_left_out_by_our_step(watched):
    document = LlamaDocument(text="the blue cat", metadata={"file": "cats.txt"})
    VectorStoreIndex.from_documents([document], embed_model=RagEmbedding(embedder=watched))
    assert watched.documents == ["file: cats.txt\n\nthe blue cat"]  # the trap
    watched.documents.clear()
    before = copy.deepcopy(document)
    VectorStoreIndex.from_documents(
        [document], embed_model=RagEmbedding(embedder=watched), transformations=[EmbedTextOnly()]
    )
    assert watched.documents == ["the blue cat"]
    assert document == before
