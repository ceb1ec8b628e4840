"""Replies of the last session, each with what was said before it."""

import gzip
import json

from evals.end_task.next_turns import read_next_turns


def write(folder, turns, windows):
    rows = [{"role": role, "content": content, "session": session} for role, content, session in turns]
    with gzip.open(folder / "documents.test.jsonl.gz", "wt") as file:
        file.write(json.dumps({"_id": "c", "turns": rows, "windows": windows}) + "\n")


def test_each_reply_of_the_last_session_may_recall_all_exchanges_before_it(tmp_path):
    turns = [
        ("user", "I like tea", 0),
        ("assistant", "Noted", 0),
        ("user", "Hello", 1),
        ("assistant", "Hi", 1),
        ("user", "What do I drink?", 1),
        ("assistant", "Tea", 1),
    ]
    write(tmp_path, turns, [[0, 2], [2, 4], [4, 6]])
    found = read_next_turns(tmp_path, "test", name="memory/mine")
    assert found.key == "memory/mine.test_next_turn"
    assert [(query.id, query.text, query.answers) for query in found.queries] == [
        ("c@1", "Hello", ("Hi",)),
        ("c@2", "What do I drink?", ("Tea",)),
    ]
    texts = {}
    for document in found.documents:
        texts.setdefault(document.metadata["within"], []).append(document.text)
    tea, hello = "Speaker 1: I like tea\nSpeaker 2: Noted", "Speaker 1: Hello\nSpeaker 2: Hi"
    assert texts == {"c@1": [tea], "c@2": [tea, hello]}


def test_exchanges_without_a_reply_and_the_very_first_are_no_queries(tmp_path):
    write(tmp_path, [("user", "Hello", 0), ("assistant", "Hi", 0), ("user", "Still there?", 0)], [[0, 2], [2, 3]])
    assert read_next_turns(tmp_path, "test", name="mine").queries == ()
