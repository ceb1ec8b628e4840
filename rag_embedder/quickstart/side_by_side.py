"""The same requests put to two encoders, by meaning alone: what each finds of what is wanted."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rag_embedder.encoder import Embedder
from rag_embedder.quickstart.run import Answer, run_quickstart
from rag_embedder.types import Hit

K = 5
"""Hits that are looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SideBySide:
    """One request: of `wanted` items, how many are among the first five hits of each encoder."""

    scenario: str
    request: str
    wanted: int
    base: int
    ours: int


def side_by_side(ours: Embedder, base: Embedder, folder: Path) -> list[SideBySide]:
    """Every request of the quickstart that has a known answer; the base's stores lie in `folder`/base."""
    of_ours = run_quickstart(ours, folder, mode="dense", k=K, num_requests=None)
    of_base = run_quickstart(base, folder / "base", mode="dense", k=K, num_requests=None)
    return [
        SideBySide(
            scenario=section.scenario.partition(":")[0],
            request=left.request,
            wanted=_num_wanted(left),
            base=_num_found(right),
            ours=_num_found(left),
        )
        for section, other in zip(of_ours, of_base, strict=True)
        for left, right in zip(section.answers, other.answers, strict=True)
        if left.wanted
    ]


def _num_wanted(answer: Answer) -> int:
    """A task has more demonstrations than are looked at."""
    is_task = any(getattr(hit.item, "task", None) for hit in answer.hits)
    return K if is_task else len(answer.wanted)


def _num_found(answer: Answer) -> int:
    found = [_names(hit) & set(answer.wanted) for hit in answer.hits]
    if any(getattr(hit.item, "task", None) for hit in answer.hits):
        return sum(map(bool, found))
    return len(set().union(*found))


def _names(hit: Hit[Any]) -> set[str]:
    """What a hit is known by: its document without the number of a chunk, its turn without the suffix, its task."""
    document = hit.id.partition("#")[0]
    turn = hit.id.rpartition("-")[0]
    return {document, turn, getattr(hit.item, "task", None) or document}


def by_scenario(rows: Sequence[SideBySide]) -> dict[str, list[SideBySide]]:
    """The requests of each scenario, in their order."""
    found: dict[str, list[SideBySide]] = {}
    for row in rows:
        found.setdefault(row.scenario, []).append(row)
    return found


def totals(rows: Sequence[SideBySide]) -> tuple[int, int, int]:
    """How many are wanted in all, found by the base, and found by ours."""
    return sum(row.wanted for row in rows), sum(row.base for row in rows), sum(row.ours for row in rows)
