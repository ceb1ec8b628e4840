"""A program that adds documents until it is killed: `python -m tests.rag_embedder.kill_add_child FOLDER FIRST`.

Prints the numbers of the documents that `add` has acknowledged, a line each, after the call has returned.
"""

import os
import sys

from rag_embedder import Document, KnowledgeRetriever
from tests.retriever_cases import WordEncoder

PER_CALL = 5


def text_of(number):
    return f"document number{number} about topic{number % 7}"


def main(folder, first):
    with KnowledgeRetriever(WordEncoder(), path=folder) as knowledge:
        os.write(1, b"open\n")
        while True:
            numbers = range(first, first + PER_CALL)
            knowledge.add([Document(text_of(number), id=str(number)) for number in numbers])
            os.write(1, b"".join(b"%d\n" % number for number in numbers))
            first += PER_CALL


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
