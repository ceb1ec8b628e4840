"""From what was seen to a verdict: roles, caches, scenarios, and sentences about what is wrong."""

from collections.abc import Iterable, Sequence

import numpy as np

from integrations.audit.probe import Probe
from integrations.audit.report import Caches, RoleAudit, SeenAs, first_line
from integrations.audit.steps import Course, Step
from rag_embedder.scenario import Role

_NOUNS: dict[Role, str] = {"query": "queries", "document": "documents"}
_ROLES: Sequence[Role] = ("query", "document")
_OTHER: dict[Role, Role] = {"query": "document", "document": "query"}


def judge(probe: Probe, courses: Sequence[Course], notes: Sequence[str]) -> RoleAudit:
    """The audit of a component from its courses, one for each path; `notes` say what was left out beforehand."""
    said = _Said()
    said.notes += notes
    for course in courses:
        for role in course.roles:
            _judge_role(said, probe, course, role, any(other.of(role) for other in courses))
        _judge_caches(said, probe, course)
        _judge_difference(said, course)
    scenarios = {role: sorted(_scenarios(courses, role)) for role in _ROLES}
    _judge_scenarios(said, probe, scenarios["query"], scenarios["document"])
    component = type(probe.component).__name__
    return RoleAudit(
        component=component,
        kind=probe.kind,
        queries=_seen_as(courses, "query"),
        documents=_seen_as(courses, "document"),
        caches=_caches(courses),
        scenarios=tuple(sorted({*scenarios["query"], *scenarios["document"]})),
        findings=said.findings(),
        notes=tuple(dict.fromkeys(said.notes)),
    )


class _Said:
    """Findings, each once however many paths it was seen on."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self._ways: dict[tuple[str, str], list[str]] = {}

    def find(self, what: str, advice: str, way: str = "") -> None:
        self._ways.setdefault((what, advice), []).extend([way] if way else [])

    def findings(self) -> tuple[str, ...]:
        return tuple(
            f"{what}{f' ({_listed(ways)})' if ways else ''}; {advice}" for (what, advice), ways in self._ways.items()
        )


def _judge_role(said: _Said, probe: Probe, course: Course, role: Role, was_checked: bool) -> None:
    error = course.error_of(role)
    if error is not None:
        if was_checked:
            said.notes.append(f"{_NOUNS[role]} could not be checked ({course.path}): {first_line(error)}")
        else:
            what = f"{_NOUNS[role]} could not be checked: {first_line(error)}"
            said.find(what, "expected a component that works; repair it and audit it again.", course.path)
        return
    wrong = [step for step in course.of(role) if any(seen.role != role for seen in course.encoded(step))]
    if wrong:
        asked = course.observer.asked(wrong[0].text, wrong[0].began, wrong[0].ended)
        through = f" through {_listed(call.name for call in asked)}" if asked else ""
        said.find(
            f"{_NOUNS[role]} are encoded as {_NOUNS[_OTHER[role]]}",
            f"expected the {role} side of the encoder. {probe.advice(asked)}",
            f"{course.path}{through}",
        )
    elif not any(course.encoded(step) for step in course.of(role)):
        hidden = f" ({', '.join(course.observer.unwatched)} cannot be watched)" if course.observer.unwatched else ""
        said.find(
            f"{_NOUNS[role]} were not seen to be encoded{hidden}",
            "expected to see it. Where words alone are searched, there are no roles; where an encoder runs in another "
            "process or is not part of the component, audit it there.",
            course.path,
        )


def _judge_caches(said: _Said, probe: Probe, course: Course) -> None:
    for role in _mixed(course):
        said.find(
            f"a cache answers {_NOUNS[role]} with the vector of the same text as a {_OTHER[role]}",
            f"expected an entry for each role. {probe.cache_advice}",
            course.path,
        )


def _judge_difference(said: _Said, course: Course) -> None:
    if _roles_seen([course], "query") != {"query"} or _roles_seen([course], "document") != {"document"}:
        return
    for number in (0, 1):
        rows = [
            [
                seen.vector
                for step in course.of(role, number)
                for seen in course.encoded(step)
                if seen.vector is not None
            ]
            for role in _ROLES
        ]
        if rows[0] and rows[1] and rows[0][0].shape == rows[1][0].shape and np.allclose(rows[0][0], rows[1][0]):
            said.find(
                "a text has the same vector as a query and as a document",
                "expected two. If the model was trained with instructions or prompts, they are lost; if it knows no "
                "roles, there are none to keep apart.",
            )
            return


def _judge_scenarios(said: _Said, probe: Probe, queries: Sequence[str], documents: Sequence[str]) -> None:
    if probe.has_two_scenarios:
        is_mixed = bool(documents) and not set(queries) <= set(documents)
    else:
        is_mixed = len({*queries, *documents}) > 1
    if is_mixed:
        said.find(
            f"queries are encoded for {_listed(map(repr, queries))}, documents for {_listed(map(repr, documents))}",
            "expected one scenario for both: vectors of different scenarios cannot be compared.",
        )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"


def _mixed(course: Course) -> list[Role]:
    """The roles that get the other one's vector out of a cache.

    The first time a text is used in a role, nobody can have its vector: if nothing is encoded then, but is for the text
    that was not used in the other role before, the vector was the other role's.
    """
    mixed: list[Role] = []
    orders: Sequence[tuple[Role, int, int]] = (("query", 0, 1), ("document", 1, 0))
    for role, after_other, fresh in orders:
        steps, control = course.of(role, after_other), course.of(role, fresh)
        others = course.of(_OTHER[role], after_other)
        if steps and control and others and course.encoded(control[0]) and not course.encoded(steps[0]):
            mixed.append(role)
    return mixed


def _repeats(course: Course) -> list[Step]:
    return [step for role in _ROLES for number in (0, 1) for step in course.of(role, number)[1:]]


def _caches(courses: Sequence[Course]) -> Caches:
    if not any(course.of("query") and course.of("document") for course in courses):
        return "not checked"
    if any(_mixed(course) for course in courses):
        return "mix roles"
    seen = {role: _roles_seen(courses, role) for role in _ROLES}
    silent = [step for course in courses for step in _repeats(course) if seen[step.role] and not course.encoded(step)]
    return "keep roles apart" if silent else "none seen"


def _seen_as(courses: Sequence[Course], role: Role) -> SeenAs:
    if not any(course.of(role) for course in courses):
        return "not checked"
    roles = _roles_seen(courses, role)
    if len(roles) == 2:
        return "both"
    if any(role in _mixed(course) for course in courses):
        return "both"  # by itself it is encoded as itself, and else it is the other
    return roles.pop() if roles else "not seen"


def _roles_seen(courses: Sequence[Course], role: Role) -> set[Role]:
    return {seen.role for course in courses for step in course.of(role) for seen in course.encoded(step)}


def _scenarios(courses: Sequence[Course], role: Role) -> set[str]:
    return {
        seen.scenario
        for course in courses
        for step in course.of(role)
        for seen in course.encoded(step)
        if seen.scenario is not None
    }
