"""Questions about a long conversation, searched inside that one: its windows are the documents."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from evals.datasets.beir import read_answers
from evals.datasets.conversations import Conversation, conversations_in, find_documents
from evals.datasets.labels import read_labels
from evals.datasets.selection import Description, Selection, finish
from evals.datasets.validation import Reading
from evals.records import EvaluationSet, Query
from rag_embedder.retrievers.memory import exchange_text
from rag_embedder.types import Document, Turn


def read_memory(
    folder: Path,
    split: str,
    *,
    scenario: str,
    suite: str,
    name: str | None = None,
    is_zero_shot: bool | None = None,
    limit: int | None = None,
    seed: int = 0,
    max_documents: int | None = None,
) -> EvaluationSet:
    """Read and check one split of a folder of conversations and questions about them.

    Files, each plain or with .gz: `documents.<split>.jsonl` (see `read_conversations`), `queries.<split>.jsonl`
    (`_id`, `doc_id`, `text`, perhaps `answers`) and `qrels.<split>.tsv`, in which D#k is window k, from 0, of
    conversation D. The documents carry their conversation as metadata "within".

    A window's text is what the memory retriever encodes for an exchange where the scenario is "chat", and lines of
    "role: content" elsewhere; days of sessions are not part of it.

    Args:
        folder: where the files lie.
        split: which conversations and questions.
        scenario: whose instructions the texts get.
        suite: what the report puts the set under.
        name: what results call the set; the folder's name if None.
        is_zero_shot: whether training has not seen the source; None if nobody said.
        limit: at most so many queries, drawn with `seed`; conversations that none of them is about are left out.
        seed: for the draws.
        max_documents: fewer windows, for trying out; see `Selection`.

    Raises:
        DataSetError: with all that is wrong with the files.
    """
    name = folder.name if name is None else name
    reading = Reading(f"{name}.{split}")
    about = find_documents(reading, folder, split)
    asked = reading.find(folder, [f"queries.{split}.jsonl.gz", f"queries.{split}.jsonl"], what="queries")
    judged = reading.find(folder, [f"qrels.{split}.tsv.gz", f"qrels.{split}.tsv"], what="judgements")
    reading.raise_problems()
    is_chat = scenario == "chat"
    conversations = conversations_in(reading, about, roles=("user", "assistant") if is_chat else ())
    documents = _windows(conversations.values(), _chat_text if is_chat else _transcript_text)
    queries: dict[str, Query] = {}
    for row in reading.rows(asked):
        id_ = row.new_id(queries)
        within = row.id("doc_id")
        if within not in conversations:
            row.problem(f"there is no conversation {within!r}")
        queries[id_] = Query(
            id=id_, text=row.text("text", may_be_blank=False), within=within, answers=read_answers(row)
        )
    qrels = read_labels(reading, judged, queries=queries.keys(), documents=documents.keys())
    for id_, scores in qrels.items():
        for document in scores:
            if documents[document].metadata["within"] != queries[id_].within:
                reading.problem(f"query {id_!r}: document {document!r} is of another conversation", judged)
    return finish(
        reading,
        Description(name=name, split=split, scenario=scenario, suite=suite, is_zero_shot=is_zero_shot),
        list(documents.values()),
        list(queries.values()),
        qrels,
        Selection(limit=limit, seed=seed, max_documents=max_documents),
    )


def _windows(conversations: Iterable[Conversation], text_of: Callable[[Sequence[Turn]], str]) -> dict[str, Document]:
    documents = {}
    for conversation in conversations:
        for number, (first, stop) in enumerate(conversation.windows):
            id_ = f"{conversation.id}#{number}"
            text = text_of(conversation.turns[first:stop])
            documents[id_] = Document(text, id=id_, metadata={"within": conversation.id})
    return documents


def _chat_text(turns: Sequence[Turn]) -> str:
    return exchange_text({"turns": [(turn.role, turn.content) for turn in turns]})


def _transcript_text(turns: Sequence[Turn]) -> str:
    return "\n".join(f"{turn.role}: {turn.content}" for turn in turns)
