"""From what systems found for one query to its candidates: positives first, then negatives, nothing twice."""

import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, zip_longest

from evals.records import Query
from evals.systems import Ranking
from evals.systems.texts import document_text
from rag_embedder.types import Document
from trainer.examples import Candidate
from trainer.mining.queries import TrainingQueries


def normalised(text: str) -> str:
    """What makes two texts the same: compatibility forms, case and white space do not count."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def interleaved(rankings: Sequence[Ranking]) -> Iterator[str]:
    """The union of rankings, each document once: the best of each first, then the second of each, and so on."""
    missing = ("", 0.0)
    hits = chain.from_iterable(zip_longest(*rankings, fillvalue=missing))
    return iter(dict.fromkeys(id_ for id_, _ in hits if id_))


class CandidateChoice:
    """Chooses the candidates of every query of one set.

    Args:
        queries: with their documents, known positives and what is hidden from each.
        k: at most so many candidates that are no known positives.
        skip_answers: leave out those that hold an answer of the query, whatever its case: they may well be positives
            that nobody labelled.
    """

    def __init__(self, queries: TrainingQueries, *, k: int, skip_answers: bool = False) -> None:
        self._queries = queries
        self._k = k
        self._skip_answers = skip_answers
        self._documents = {document.id or "": document for document in queries.documents.documents}
        self._keys = {id_: normalised(document_text(each)) for id_, each in self._documents.items()}
        self._within = _ids_within(queries.documents.documents)

    def choose(self, query: Query, rankings: Sequence[Ranking]) -> list[Candidate]:
        """Known positives by falling judgement, then what was found, the best first, then the rest of its own text.

        A candidate is left out if it is hidden or may not be given, or if its normalised text is that of a hidden one,
        of a positive or of one before it.
        """
        hidden = self._queries.hidden.get(query.id, frozenset())
        # One text, one entry: whatever has the text of a hidden document or of a positive is out, these themselves too.
        seen = {self._keys[id_] for id_ in hidden} | {""}
        judged = self._queries.documents.qrels.get(query.id, {})
        known = [id_ for id_ in sorted(judged, key=lambda id_: (-judged[id_], id_)) if judged[id_] > 0]
        labels = {id_: judged[id_] for id_ in self._new(known, seen)}
        others = self._allowed(chain(interleaved(rankings), self._within.get(query.within, ())))
        chosen = self._taken(query, self._new(self._without_answers(others, query), seen))
        labels |= {id_: 1 for id_ in chosen if self._is_same_task(query, id_)}
        ordered = [*labels, *(id_ for id_ in chosen if id_ not in labels)]
        return [self._candidate(id_, labels.get(id_, 0)) for id_ in ordered]

    def _new(self, ids: Iterable[str], seen: set[str]) -> Iterator[str]:
        """Those whose text is not among those seen; it is then."""
        for id_ in ids:
            if self._keys[id_] not in seen:
                seen.add(self._keys[id_])
                yield id_

    def _allowed(self, ids: Iterable[str]) -> Iterable[str]:
        allowed = self._queries.may_be_given
        return ids if allowed is None else (id_ for id_ in ids if id_ in allowed)

    def _without_answers(self, ids: Iterable[str], query: Query) -> Iterable[str]:
        answers = [answer for answer in map(normalised, query.answers) if answer]
        if not self._skip_answers or not answers:
            return ids
        return (id_ for id_ in ids if not any(answer in self._keys[id_] for answer in answers))

    def _taken(self, query: Query, found: Iterator[str]) -> list[str]:
        """The first `k`; where the own task is labelled, it takes no more than half, so that negatives are left."""
        taken: list[str] = []
        room = self._k - self._k // 2 if self._queries.tasks else self._k
        for id_ in found:
            if self._is_same_task(query, id_):
                if room == 0:
                    continue
                room -= 1
            taken.append(id_)
            if len(taken) == self._k:
                break
        return taken

    def _is_same_task(self, query: Query, id_: str) -> bool:
        tasks = self._queries.tasks
        return bool(tasks) and tasks[query.id] == tasks[id_]

    def _candidate(self, id_: str, label: int) -> Candidate:
        return Candidate(
            id=id_,
            text=document_text(self._documents[id_]),
            label=label,
            continuation=self._queries.continuations.get(id_, ""),
        )


def _ids_within(documents: Sequence[Document]) -> Mapping[object, list[str]]:
    """The documents of each text or conversation, in order; none for a set whose queries search all of it."""
    ids: dict[object, list[str]] = {}
    for document in documents:
        if "within" in document.metadata:
            ids.setdefault(document.metadata["within"], []).append(document.id or "")
    return ids
