"""The five retrievers behind one face, a fast encoder of words, and an embedder that is watched."""

import re
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np

from rag_embedder import (
    ConversationRetriever,
    Demonstration,
    DemonstrationRetriever,
    Document,
    KnowledgeRetriever,
    MemoryRetriever,
    Tool,
    ToolRetriever,
    Turn,
)
from rag_embedder.types import Chunk

TEXTS = {
    "rain": "will it rain in oslo next week",
    "cat": "the blue cat is on the green tree",
    "train": "send the train number by email",
    "capital": "the capital of france is paris",
    "music": "people play music in the house",
    "fire": "fire and water make snow work",
}


@dataclass(frozen=True, slots=True)
class Case:
    """One retriever: how to open it, what it is given, and how it is asked."""

    name: str
    open: Callable
    add: Callable
    ask: Callable = lambda query: query
    item_type: type = Document
    options: dict = field(default_factory=dict)
    kind: str = "passage"

    def retrieve(self, retriever, text, k=5, **more):
        return retriever.retrieve(self.ask(text), k, **self.options, **more)

    def delete(self, retriever, ids):
        return retriever.delete(ids, **self.options)


def _documents(texts):
    return [Document(text, id=id_) for id_, text in texts.items()]


def _add_texts(retriever, texts):
    for id_, text in texts.items():
        retriever.add_text(text, user="ann", source=id_)
    return list(texts)


CASES = [
    Case("knowledge", KnowledgeRetriever, lambda r, texts: r.add(_documents(texts))),
    Case(
        "conversation",
        ConversationRetriever,
        lambda r, texts: r.add(_documents(texts)),
        ask=lambda text: [Turn("user", text)] if isinstance(text, str) else text,
    ),
    Case("memory", MemoryRetriever, _add_texts, item_type=Chunk, options={"user": "ann"}, kind="chunk"),
    Case(
        "demonstrations",
        DemonstrationRetriever,
        lambda r, texts: r.add([Demonstration(text, "yes", id=id_) for id_, text in texts.items()]),
        item_type=Demonstration,
        kind="demonstration",
    ),
    Case(
        "tools",
        ToolRetriever,
        lambda r, texts: r.add([Tool(id_, text) for id_, text in texts.items()]),
        item_type=Tool,
        kind="tool",
    ),
]


def entry_id(hit):
    """The id under which the entry of a hit was added."""
    return hit.item.document_id if isinstance(hit.item, Chunk) else hit.id


class WordEncoder:
    """Texts that share words are near; another scenario or role gives other vectors. No model, so tests are fast."""

    dim = 48
    max_length = 64
    name = "words"

    def __init__(self, salt="", name="words"):
        self.salt, self.name = salt, name

    def fingerprint_of(self, scenario):
        return f"{zlib.crc32(f'{self.salt}/{scenario}'.encode()):032x}"

    def encode_queries(self, texts, scenario="qa"):
        return self._encode(texts, scenario, "query")

    def encode_documents(self, texts, scenario="qa", *, show_progress=None):
        return self._encode(texts, scenario, "document")

    def _encode(self, texts, scenario, role):
        rows = np.zeros((len(texts), self.dim), np.float32)
        for position, text in enumerate(texts):
            words = [_direction(word, self.dim) for word in re.findall(r"\w+", text.lower())]
            row = np.sum([0.1 * _direction(f"{self.salt}/{scenario}/{role}", self.dim), *words], axis=0)
            rows[position] = row / np.linalg.norm(row)
        return rows

    def token_offsets(self, text):
        return [match.span() for match in re.finditer(r"\w+|[^\w\s]", text)]

    def count_tokens(self, texts):
        return [len(self.token_offsets(text)) for text in texts]

    def preview(self, text, scenario="qa", role="query"):
        return SimpleNamespace(is_truncated=len(self.token_offsets(text)) > self.max_length)


def _direction(word, dim):
    vector = np.random.default_rng(zlib.crc32(word.encode())).standard_normal(dim).astype(np.float32)
    return vector / np.linalg.norm(vector)


class Watched:
    """An encoder that notes what it encodes and can be told to be slow or to fail."""

    def __init__(self, encoder):
        self._encoder = encoder
        self._lock = threading.Lock()
        self.documents: list[str] = []
        self.queries: list[str] = []
        self.seconds = 0.0
        self.failure: Exception | None = None
        self.spoil: Callable = lambda vectors: vectors

    def __getattr__(self, name):
        return getattr(self._encoder, name)

    def encode_documents(self, texts, scenario="qa", *, show_progress=None):
        with self._lock:
            self.documents += texts
        time.sleep(self.seconds)
        if self.failure is not None:
            raise self.failure
        return self.spoil(self._encoder.encode_documents(texts, scenario))

    def encode_queries(self, texts, scenario="qa"):
        with self._lock:
            self.queries += texts
        time.sleep(self.seconds)
        return self._encoder.encode_queries(texts, scenario)
