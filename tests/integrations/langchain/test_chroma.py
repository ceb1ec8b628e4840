"""Chroma through LangChain, end to end: persisted, opened again in another process, the same hits."""

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest
from langchain_chroma import Chroma
from langchain_core.documents import Document

from integrations.langchain import RagEmbeddings, VectorStoreIndexSettings
from rag_embedder import Document as OurDocument
from rag_embedder import KnowledgeRetriever, watch_encodings

NOTES = {
    "oslo": "Oslo is the capital of Norway and lies at the end of a fjord.",
    "bread": "Bread is baked from flour, water, salt and yeast.",
    "python": "A Python generator yields one value at a time.",
    "heart": "The heart pumps blood through the body.",
    "tax": "Income tax is due at the end of April.",
}
QUESTIONS = {
    "oslo": "Which city is the seat of the Norwegian government?",
    "bread": "What do I need to bake a loaf?",
    "heart": "Which organ moves blood?",
    "tax": "When must I pay the state its share of my earnings?",
}

OTHER_PROCESS = """
import json, os, sys
os.environ["HF_HUB_OFFLINE"] = "1"
from langchain_chroma import Chroma
from integrations.langchain import RagEmbeddings, RagRetriever, VectorStoreIndexSettings
from rag_embedder import Embedder, KnowledgeRetriever, watch_encodings

folder, questions = sys.argv[1], json.loads(sys.argv[2])
theirs = Chroma("notes", RagEmbeddings(device="cpu"), persist_directory=f"{folder}/theirs")
found = {id_: [[hit.id, score] for hit, score in theirs.similarity_search_with_score(question, k=3)]
         for id_, question in questions.items()}

settings = VectorStoreIndexSettings(
    lambda embeddings: Chroma("rows", embeddings, persist_directory=f"{folder}/rows"), exact_up_to=0)
encoder = Embedder.load(device="cpu")
with watch_encodings() as seen, KnowledgeRetriever(encoder, path=f"{folder}/kb", index=settings) as kb:
    retriever = RagRetriever(retriever=kb, k=1)
    ours = {id_: [[hit.id, hit.metadata["score"]] for hit in retriever.invoke(question)]
            for id_, question in questions.items()}
documents = sum(each.role == "document" for each in seen)
print(json.dumps({"count": len(theirs.get()["ids"]), "theirs": found, "ours": ours, "documents": documents}))
"""


def hits(answers):
    """Names, and scores to the precision that another process may differ in."""
    return {id_: [(name, pytest.approx(score, abs=1e-4)) for name, score in found] for id_, found in answers.items()}


@pytest.fixture(scope="module")
def found(minilm, tmp_path_factory):
    """What is found here and in another process, in Chroma over our embeddings and in our retriever over Chroma."""
    folder = tmp_path_factory.mktemp("chroma")
    theirs = Chroma(
        "notes",
        RagEmbeddings(embedder=minilm),
        persist_directory=str(folder / "theirs"),
        collection_configuration={"hnsw": {"space": "cosine"}},  # Chroma's default is squared Euclidean distance
    )
    with watch_encodings() as seen:
        theirs.add_documents([Document(text, id=id_, metadata={"source": id_}) for id_, text in NOTES.items()])
        in_theirs = {
            id_: [(hit.id, score) for hit, score in theirs.similarity_search_with_score(question, k=3)]
            for id_, question in QUESTIONS.items()
        }
    settings = VectorStoreIndexSettings(
        lambda embeddings: Chroma(
            "rows",
            embeddings,
            persist_directory=str(folder / "rows"),
            collection_configuration={"hnsw": {"space": "ip"}},
        ),
        exact_up_to=0,
    )
    with KnowledgeRetriever(minilm, path=folder / "kb", index=settings) as knowledge:
        knowledge.add([OurDocument(text, id=id_) for id_, text in NOTES.items()])
        in_ours = {id_: [(hit.id, hit.score) for hit in knowledge.retrieve(text, 1)] for id_, text in QUESTIONS.items()}
    words = [sys.executable, "-c", OTHER_PROCESS, str(folder), json.dumps(QUESTIONS)]
    out = subprocess.run(words, capture_output=True, check=False, text=True)
    assert out.returncode == 0, out.stderr[-3000:]
    elsewhere = json.loads(out.stdout.splitlines()[-1])
    return SimpleNamespace(store=theirs, roles=seen, theirs=in_theirs, ours=in_ours, elsewhere=elsewhere)


def test_the_right_note_is_found_with_each_side_in_its_role(found):
    assert {id_: answers[0][0] for id_, answers in found.theirs.items()} == {id_: id_ for id_ in QUESTIONS}
    assert [(each.role, each.scenario) for each in found.roles] == [("document", "qa")] + [("query", "qa")] * 4


@pytest.mark.filterwarnings("ignore:legacy embedding function config:DeprecationWarning")  # Chroma warns of itself
def test_distances_and_relevance_are_those_of_the_cosine(found, minilm):
    for id_, question in QUESTIONS.items():
        cosine = float(minilm.encode_queries([question])[0] @ minilm.encode_documents([NOTES[id_]])[0])
        assert found.theirs[id_][0][1] == pytest.approx(1 - cosine, abs=1e-4)
        ((_, relevance),) = found.store.similarity_search_with_relevance_scores(question, k=1)
        assert relevance == pytest.approx(cosine, abs=1e-4)


def test_another_process_finds_the_same_in_the_persisted_store(found):
    assert found.elsewhere["count"] == len(NOTES)
    assert {id_: [tuple(each) for each in answers] for id_, answers in found.elsewhere["theirs"].items()} == hits(
        found.theirs
    )


def test_another_process_finds_the_same_with_our_retriever_over_chroma_and_encodes_no_document(found):
    assert {id_: answers[0][0] for id_, answers in found.ours.items()} == {id_: id_ for id_ in QUESTIONS}
    assert {id_: [tuple(each) for each in answers] for id_, answers in found.elsewhere["ours"].items()} == hits(
        found.ours
    )
    assert found.elsewhere["documents"] == 0
