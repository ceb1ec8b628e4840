"""A writer that is meant to be killed: `python kill_child.py FOLDER LOG SEED NUM_OPERATIONS PREFIX`.

It logs what it will do before each operation and that it is done after it, so that whoever kills it knows what must
be in the store. `PREFIX` starts every id, so that several writers can be told apart. An operation is a list of ids
to put, or to delete; the texts and vectors follow from operation number and id.
"""

import json
import os
import sys
import zlib

import numpy as np

from rag_embedder.index.catch_up import open_index, refresh
from rag_embedder.index.faiss import FaissSettings
from rag_embedder.store import NewEntry, NewPart, Store

DIM = 16
NUM_IDS = 60


def num_parts(entry_id):
    return 1 + zlib.crc32(entry_id.encode()) % 2


def vector_of(operation, entry_id, part):
    generator = np.random.default_rng([operation, zlib.crc32(entry_id.encode()), part])
    vector = generator.standard_normal(DIM).astype(np.float32)
    return vector / np.linalg.norm(vector)


def open_space(store):
    return store.open_space(kind="passage", scenario="qa", fingerprint="f" * 64, model="toy", dim=DIM)


def put(store, space, operation, ids):
    entries = [
        NewEntry(each, tuple(NewPart({"operation": operation}) for _ in range(num_parts(each))), str(operation))
        for each in ids
    ]
    vectors = [vector_of(operation, each, part) for each in ids for part in range(num_parts(each))]
    store.put("passage", entries, space=space, vectors=np.array(vectors))


def main(folder, log_path, seed, num_operations, prefix):
    log = os.open(log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def note(*words):
        os.write(log, (json.dumps(words) + "\n").encode())

    generator = np.random.default_rng(seed)
    note("start")
    store = Store.open(folder)
    space = open_space(store)
    index, position = open_index(FaissSettings(), store, space)
    for count in range(num_operations):
        operation = seed * 100_000 + count
        ids = [f"{prefix}{i}" for i in generator.choice(NUM_IDS, int(generator.integers(1, 11)), replace=False)]
        kind = "delete" if generator.random() < 0.25 else "put"
        note("intent", operation, kind, ids)
        if kind == "put":
            put(store, space, operation, ids)
        else:
            store.delete("passage", "", ids)
        note("answer", operation)
        position = refresh(index, store, space, position)
        if generator.random() < 0.2:
            index.save()
    index.save()
    index.close()
    store.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
