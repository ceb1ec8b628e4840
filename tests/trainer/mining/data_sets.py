"""Small data sets of every kind, as files."""

import gzip
import json


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def write(folder, **files):
    """Files by name, where __ stands for a dot; lists become JSON lines, names that end in gz are packed."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        text = content if isinstance(content, str) else lines(content)
        path = folder / name.replace("__", ".")
        path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return folder


def passages(folder):
    """Three passages; the first is relevant to the first question."""
    return write(
        folder,
        corpus__jsonl=[
            {"_id": "d1", "title": "Oslo", "text": "rain falls in oslo"},
            {"_id": "d2", "text": "bread is baked from flour"},
            {"_id": "d3", "text": "snow falls in bergen"},
            {"_id": "d4", "text": "Snow falls in  Bergen"},
        ],
        queries__train__jsonl__gz=[
            {"_id": "q1", "text": "where falls rain", "answers": ["oslo"]},
            {"_id": "q2", "text": "what is baked from flour", "answers": ["bread"]},
        ],
        qrels__train__tsv="query-id\tcorpus-id\tscore\nq1\td1\t1\nq2\td2\t1\n",
    )


def dialogues_with_documents(folder):
    """One question that needs its history."""
    history = [{"role": "user", "content": "tell me of bergen"}, {"role": "assistant", "content": "a town"}]
    return write(
        folder,
        corpus__jsonl=[{"_id": "a", "text": "oslo tram"}, {"_id": "b", "text": "bergen tram"}],
        queries__train__jsonl=[{"_id": "q", "text": "and its tram", "history": history, "answer": "yellow"}],
        qrels__train__tsv="query-id\tcorpus-id\tscore\nq\tb\t1\n",
    )


def meetings(folder):
    """Two meetings of the same words, three windows each; one question about each."""
    return write(
        folder,
        documents__train__jsonl=[
            {
                "_id": id_,
                "turns": [{"role": "A", "content": f"{word} {number}"} for number in range(3)],
                "windows": [[0, 1], [1, 2], [2, 3]],
            }
            for id_, word in (("m1", "budget"), ("m2", "design"))
        ],
        queries__train__jsonl=[
            {"_id": "q1", "doc_id": "m1", "text": "budget 1", "answers": ["ten"]},
            {"_id": "q2", "doc_id": "m2", "text": "budget 1", "answers": ["red"]},
        ],
        qrels__train__tsv="query-id\tcorpus-id\tscore\nq1\tm1#1\t1\nq2\tm2#0\t1\n",
    )


def demonstrations(folder):
    """Six examples of two tasks; the last repeats the first in capitals."""
    rows = [
        ("x1", "mood", "a good film", "positive"),
        ("x2", "mood", "a bad film", "negative"),
        ("x3", "mood", "a good play", "positive"),
        ("x4", "sum", "two and two", "four"),
        ("x5", "sum", "a good sum of one and two", "three"),
        ("x6", "mood", "A GOOD FILM", "positive"),
    ]
    pool = [{"_id": i, "task": t, "category": "c", "input": q, "output": a} for i, t, q, a in rows]
    return write(folder, pool__seen__jsonl=pool, test__seen__jsonl=pool[:1], pool__new_task__jsonl=pool)


def chats(folder):
    """One dialogue of four exchanges over two sessions; the third has no reply."""
    said = [
        ("user", "i like rain"),
        ("assistant", "why"),
        ("user", "it is wet"),
        ("assistant", "true"),
        ("user", "hello?"),
        ("user", "what do i like"),
        ("assistant", "rain"),
    ]
    turns = [{"role": role, "content": text, "session": int(n > 3)} for n, (role, text) in enumerate(said)]
    return write(folder, documents__train__jsonl=[{"_id": "c", "turns": turns}])


def novels(folder, words=2000):
    """Two texts of numbered words."""
    texts = [{"_id": name, "text": " ".join(f"{name}{n}" for n in range(words))} for name in ("a", "b")]
    return write(folder, documents__train__jsonl__gz=texts)


def stories(folder):
    """Two stories in chunks, one question about each, no judgements."""
    return write(
        folder,
        documents__train__jsonl=[
            {"_id": "s1", "chunks": ["a ship leaves", "a storm comes", "the ship sinks"]},
            {"_id": "s2", "chunks": ["a ship is built", " "]},
        ],
        queries__train__jsonl=[
            {"_id": "q1", "doc_id": "s1", "text": "why a storm", "answers": ["to sink it", "for the plot"]},
            {"_id": "q2", "doc_id": "s2", "text": "what is built"},
        ],
    )
