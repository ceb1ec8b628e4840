import pytest

from evals.datasets.conversations import read_conversations
from evals.datasets.memory import read_memory
from evals.errors import DataSetError
from rag_embedder import Turn
from tests.evals.datasets.set_files import (
    CONVERSATIONS,
    MEMORY_LABELS,
    MEMORY_QUERIES,
    write_lines,
    write_memory,
)


def read(folder, scenario="chat", **options):
    return read_memory(folder, "test", scenario=scenario, suite="memory", **options)


def problems_of(folder, scenario="chat"):
    with pytest.raises(DataSetError) as caught:
        read(folder, scenario)
    return list(caught.value.problems)


def test_windows_become_documents_of_their_conversation(tmp_path):
    found = read(write_memory(tmp_path))
    assert [(document.id, document.metadata) for document in found.documents] == [
        ("ann#0", {"within": "ann"}),
        ("ann#1", {"within": "ann"}),
        ("bob#0", {"within": "bob"}),
    ]
    assert [(query.id, query.within) for query in found.queries] == [("m1", "ann"), ("m3", "bob")]
    assert found.num_unlabelled == 1  # the question about what never happened


def test_a_chat_window_is_written_as_the_memory_retriever_encodes_it(tmp_path):
    assert read(write_memory(tmp_path)).documents[0].text == "Speaker 1: I am allergic to nuts.\nSpeaker 2: Noted."


def test_a_window_of_a_transcript_keeps_its_speakers(tmp_path):
    turns = [{"role": "MATT", "content": "Roll.", "session": 0}, {"role": "SAM", "content": "Twelve.", "session": 0}]
    write_memory(
        tmp_path,
        conversations=[{"_id": "game", "turns": turns, "windows": [[0, 2]]}],
        queries=[{"_id": "m1", "doc_id": "game", "text": "What did Sam roll?"}],
        labels=["m1\tgame#0\t1"],
    )
    assert read(tmp_path, "lrlm").documents[0].text == "MATT: Roll.\nSAM: Twelve."
    assert problems_of(tmp_path, "chat")[0].endswith(":1: role 'MATT'; expected one of: user, assistant")


def test_conversations_that_no_drawn_query_is_about_are_left_out(tmp_path):
    for seed in range(4):
        found = read(write_memory(tmp_path), limit=1, seed=seed)
        (query,) = found.queries
        assert {document.metadata["within"] for document in found.documents} == {query.within}


def test_a_label_in_another_conversation_is_a_problem(tmp_path):
    write_memory(tmp_path, labels=[*MEMORY_LABELS, "m1\tbob#0\t1"])
    assert problems_of(tmp_path) == [
        f"{tmp_path}/qrels.test.tsv.gz: query 'm1': document 'bob#0' is of another conversation"
    ]


def test_a_question_about_no_conversation_is_a_problem(tmp_path):
    write_memory(tmp_path, queries=[*MEMORY_QUERIES, {"_id": "m4", "doc_id": "eve", "text": "?"}])
    assert problems_of(tmp_path) == [f"{tmp_path}/queries.test.jsonl.gz:4: there is no conversation 'eve'"]


@pytest.mark.parametrize("window", [[0, 9], [2, 2], [-1, 2], [0], "0-2", [0.5, 2]])
def test_a_window_outside_its_conversation_is_a_problem(tmp_path, window):
    write_memory(tmp_path, conversations=[{**CONVERSATIONS[0], "windows": [[0, 2], window]}, CONVERSATIONS[1]])
    expected = f"{tmp_path}/documents.test.jsonl.gz:1: windows[1] is no [first turn, last turn + 1] of 4 turns"
    assert problems_of(tmp_path)[0] == expected


def test_conversations_are_read_with_sessions_and_days(tmp_path):
    ann, bob = read_conversations(write_memory(tmp_path), "test")
    assert (ann.id, ann.sessions, ann.windows) == ("ann", (0, 0, 1, 1), ((0, 2), (2, 4)))
    assert ann.turns[2] == Turn("user", "I run on Mondays.")
    assert ann.dates == {0: "2023-05-01", 1: "2023-05-02"}
    assert (bob.sessions, bob.dates) == ((0,), {})


def test_sessions_out_of_order_and_missing_conversations_are_problems(tmp_path):
    turns = [{"role": "a", "content": "b", "session": 1}, {"role": "a", "content": "b", "session": 0}]
    write_lines(tmp_path / "documents.test.jsonl", [{"_id": "x", "turns": turns}, {"_id": "y", "turns": [5]}])
    with pytest.raises(DataSetError, match=r"not in order(?s:.)*a turn is int"):
        read_conversations(tmp_path, "test")
    with pytest.raises(DataSetError, match="no conversation"):
        read_conversations(write_memory(tmp_path / "empty", conversations=[]), "test")
