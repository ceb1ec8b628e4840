"""A dialogue becomes one query, and the documents may be those of a knowledge retriever."""

import copy
import subprocess
import sys

import numpy as np
import pytest

from rag_embedder import ConversationRetriever, Document, Embedder, KnowledgeRetriever, Turn
from rag_embedder.errors import InputError, InvalidTextError
from tests.retriever_cases import TEXTS, Watched, WordEncoder

DIALOGUE = [
    {"role": "system", "content": "You are helpful."},
    {"role": "user", "content": "where is oslo?"},
    {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
    {"role": "tool", "content": "norway.json"},
    {"role": "assistant", "content": " in Norway "},
    {"role": "user", "content": "and its river?"},
]


@pytest.fixture
def watched():
    return Watched(WordEncoder())


@pytest.fixture
def conversation(watched):
    with ConversationRetriever(watched) as opened:
        yield opened


def test_what_was_said_becomes_one_query_in_order(conversation):
    before = copy.deepcopy(DIALOGUE)
    assert conversation.query_text(DIALOGUE) == "where is oslo? in Norway and its river?"
    assert before == DIALOGUE
    turns = (Turn(turn["role"], turn["content"] or "") for turn in DIALOGUE)
    assert conversation.query_text(turns) == "where is oslo? in Norway and its river?"
    assert conversation.query_text("as it is ") == "as it is "


def test_earlier_turns_help_to_find_the_document(conversation):
    conversation.add([Document("oslo river", id="oslo"), Document("paris river", id="paris")])
    found = conversation.retrieve([Turn("user", "is oslo big"), Turn("user", "and its river?")])
    assert [hit.id for hit in found] == ["oslo", "paris"]


def test_the_oldest_turns_go_first_and_the_last_question_is_never_cut(conversation):
    turns = [Turn("user" if n % 2 == 0 else "assistant", f"turn{n} " + "word " * 14) for n in range(9)]
    kept = conversation.query_text(turns).split()
    assert [word for word in kept if word.startswith("turn")] == ["turn5", "turn6", "turn7", "turn8"]
    assert len(kept) == 60
    long_question = " ".join(f"q{n}" for n in range(100))
    assert conversation.query_text([Turn("user", "first"), Turn("user", long_question)]) == long_question


def test_a_real_encoder_reads_the_last_question_to_its_end(embedder):
    turns = [Turn("user", f"turn {n} about the river and the city " * 3) for n in range(20)]
    turns.append(Turn("user", "where is the red house?"))
    with ConversationRetriever(embedder) as conversation:
        query = conversation.query_text(turns)
    assert query.endswith("where is the red house?")
    assert not embedder.preview(query, "convsearch").is_truncated
    assert embedder.preview(f"turn 0 about the river and the city {query} " * 2, "convsearch").is_truncated


@pytest.mark.parametrize("last", ["", "  ", "\u200b"])
def test_an_empty_last_question_finds_nothing(conversation, last):
    conversation.add(["a cat"])
    assert conversation.retrieve([Turn("user", "a cat"), Turn("assistant", "yes"), Turn("user", last)]) == []
    assert conversation.retrieve([Turn("system", "a cat")]) == []
    assert conversation.retrieve([]) == []


@pytest.mark.parametrize(
    ("dialogue", "message"),
    [
        ([Turn("user", "a"), Turn("assistant", "b")], r"last of its 2 spoken turns is the assistant's"),
        ([{"role": "user"}], r"dialogue\[0\]: got dict; expected a Turn or a dict with 'role' and 'content'"),
        (
            [Turn("user", "a"), {"role": "boss", "content": "x"}],
            r"dialogue\[1\]\.role: got 'boss'; expected one of: user",
        ),
        ([{"role": "user", "content": 5}], r"dialogue\[0\]\.content: got int; expected str"),
        (["hello"], r"dialogue\[0\]: got str"),
        ({"role": "user", "content": "x"}, r"dialogue: got a bare dict; .* Wrap it in a list"),
        (Turn("user", "x"), r"dialogue: got a bare Turn"),
        (5, "dialogue: got a bare int"),
    ],
)
def test_what_is_no_dialogue_is_refused_with_its_position(conversation, dialogue, message):
    with pytest.raises(InputError, match=message):
        conversation.retrieve(dialogue)


def test_one_dialogue_in_place_of_a_batch_is_refused(conversation):
    with pytest.raises(InputError, match="got a bare Turn"):
        conversation.retrieve_batch([Turn("user", "a")])
    with pytest.raises(InvalidTextError, match="expected a list of dialogues"):
        conversation.retrieve_batch("hello")


def test_it_opens_the_store_of_a_knowledge_retriever_and_follows_it(watched, tmp_path):
    with KnowledgeRetriever(watched, path=tmp_path / "kb") as kb:
        kb.add([Document(text, id=id_) for id_, text in TEXTS.items()])
        with ConversationRetriever(watched, path=tmp_path / "kb") as conversation:
            assert len(conversation) == len(TEXTS)
            for id_, text in TEXTS.items():
                assert conversation.retrieve([Turn("user", text)], 1)[0].id == id_
            assert len(watched.documents) == 2 * len(TEXTS)
            kb.add([Document("a later bird", id="later"), Document("now about snow", id="cat")])
            assert conversation.retrieve("a later bird", 1)[0].id == "later"
            assert conversation.retrieve("now about snow", 1)[0].item.text == "now about snow"
            conversation.add([Document("from the other side", id="other")])
            assert kb.retrieve("from the other side", 1)[0].id == "other"
            assert kb.delete(["later"]) == 1
            assert "later" not in [hit.id for hit in conversation.retrieve("a later bird", 20)]
            assert len(kb) == len(conversation) == len(TEXTS) + 1


def test_each_scenario_keeps_its_own_vectors(embedder, tmp_path):
    texts = list(TEXTS.values())
    with KnowledgeRetriever(embedder, path=tmp_path / "kb") as kb:
        kb.add([Document(text, id=text) for text in texts])
        with ConversationRetriever(embedder, path=tmp_path / "kb") as conversation:
            for retriever, scenario in ((kb, "qa"), (conversation, "convsearch")):
                query = "where will it rain"
                hits = retriever.retrieve(query, 10)
                documents = embedder.encode_documents([hit.id for hit in hits], scenario)
                expected = documents @ embedder.encode_queries([query], scenario)[0]
                assert np.allclose([hit.score for hit in hits], expected, atol=1e-5)
                assert len(hits) == len(texts)
    assert not np.allclose(
        embedder.encode_documents(texts, "qa"), embedder.encode_documents(texts, "convsearch"), atol=1e-3
    )


def test_it_sees_what_another_process_adds(embedder, tmp_path):
    embedder.save(tmp_path / "model")
    script = (
        "import sys; from rag_embedder import *\n"
        "with KnowledgeRetriever(Embedder.load(sys.argv[1], device='cpu'), path=sys.argv[2]) as kb:\n"
        "    kb.add([Document('the blue bird', id='there')])\n"
    )
    same = Embedder.load(tmp_path / "model", device="cpu")
    with ConversationRetriever(same, path=tmp_path / "kb") as conversation:
        conversation.add([Document("people play music", id="here")])
        assert [hit.id for hit in conversation.retrieve("blue bird")] == ["here"]
        arguments = [sys.executable, "-c", script, str(tmp_path / "model"), str(tmp_path / "kb")]
        subprocess.run(arguments, check=True, timeout=60)
        assert [hit.id for hit in conversation.retrieve("the blue bird")] == ["there", "here"]
        assert len(conversation) == 2
