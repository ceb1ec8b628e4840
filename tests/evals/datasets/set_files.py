"""Writes small data sets, right ones that a test then damages."""

import gzip
import json


def write_lines(file, lines):
    """Text lines to a file, packed if its name ends in .gz; dicts become JSON."""
    text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(gzip.compress(text.encode()) if file.suffix == ".gz" else text.encode())
    return file


CORPUS = [
    {"_id": "oslo", "title": "Oslo", "text": "The capital of Norway."},
    {"_id": "bread", "text": "Flour, water and yeast."},
    {"_id": "rome", "title": None, "text": "The capital of Italy."},
]
QUERIES = [
    {"_id": "q1", "text": "Norway's capital?", "answers": ["Oslo", "the city of Oslo"]},
    {"_id": "q2", "text": "How is bread made?", "answer": {"steps": 2}},
    {"_id": "q3", "text": "And Italy's?", "history": [{"role": "user", "content": "Norway's capital?"}], "answer": "x"},
]
LABELS = ["query-id\tcorpus-id\tscore", "q1\toslo\t2", "q1\trome\t1", "q2\tbread\t1", "q3\trome\t1"]


def write_set(folder, *, corpus=CORPUS, queries=QUERIES, labels=LABELS, end=".gz"):
    """A folder of three files with the split "test"."""
    write_lines(folder / f"corpus.jsonl{end}", corpus)
    write_lines(folder / f"queries.test.jsonl{end}", queries)
    write_lines(folder / f"qrels.test.tsv{end}", labels)
    return folder


CONVERSATIONS = [
    {
        "_id": "ann",
        "turns": [
            {"role": "user", "content": "I am allergic to nuts.", "session": 0},
            {"role": "assistant", "content": "Noted.", "session": 0},
            {"role": "user", "content": "I run on Mondays.", "session": 1},
            {"role": "assistant", "content": "Good for you.", "session": 1},
        ],
        "windows": [[0, 2], [2, 4]],
        "session_dates": {"0": "2023-05-01", "1": "2023-05-02"},
    },
    {
        "_id": "bob",
        "turns": [{"role": "user", "content": "I like jazz.", "session": 0}],
        "windows": [[0, 1]],
    },
]
MEMORY_QUERIES = [
    {"_id": "m1", "doc_id": "ann", "text": "Which dessert suits me?", "answers": ["one without nuts"]},
    {"_id": "m2", "doc_id": "ann", "text": "What never happened?", "answers": []},
    {"_id": "m3", "doc_id": "bob", "text": "Which music?", "answers": ["jazz"]},
]
MEMORY_LABELS = ["query-id\tcorpus-id\tscore", "m1\tann#0\t1", "m3\tbob#0\t1"]


def write_memory(folder, *, conversations=CONVERSATIONS, queries=MEMORY_QUERIES, labels=MEMORY_LABELS):
    """A folder of conversations and questions about them, with the split "test"."""
    write_lines(folder / "documents.test.jsonl.gz", conversations)
    write_lines(folder / "queries.test.jsonl.gz", queries)
    write_lines(folder / "qrels.test.tsv.gz", labels)
    return folder
