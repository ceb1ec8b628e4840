"""Results that look like a run's, made from a seed: for looking at the page, and for tests of its size and edges."""

import random
from dataclasses import replace
from pathlib import Path

from evals.records import Cost, EvaluationSet, Query, SetResult
from evals.results import Results
from evals.runner import run_file
from evals.trec import write_run
from rag_embedder.types import Document, Turn

SETS = (
    ("tools", "tool", "tool_retrieval/toole.test_unseen", False),
    ("tools", "tool", "tool_retrieval/sealtools.test_out_domain", True),
    ("tools", "tool", "tool_retrieval/stabletoolbench.test", True),
    ("convsearch", "convsearch", "conversational_search/canard.dev", False),
    ("convsearch", "convsearch", "conversational_search/orsharc.test", True),
    ("knowledge", "qa", "knowledge/squad.test", False),
    ("knowledge", "qa", "knowledge/hotpotqa.test", True),
    ("knowledge", "qa", "knowledge/scifact.test", False),
    ("memory", "chat", "memory/memorybank_chat.test", True),
    ("memory", "lrlm", "memory/qmsum.test", False),
    ("demonstrations", "icl", "demos/multitask.new_task", True),
)
SYSTEMS = ("bm25", "default", "e5-base")
_WORDS = [
    "the",
    "harbour",
    "opens",
    "at",
    "dawn",
    "and",
    "trams",
    "leave",
    "from",
    "platform",
    "nine",
    "while",
    "the",
    "museum",
    "keeps",
    "letters",
    "of",
    "the",
    "old",
    "surveyors",
    "who",
    "mapped",
    "rivers",
    "bridges",
    "and",
    "mountain",
    "roads",
    "before",
    "winter",
    "closed",
    "every",
    "pass",
    "between",
    "the",
    "northern",
    "valleys",
]


def fake_results(systems=SYSTEMS, sets=SETS, *, num_queries=120, seed=0, skipped=None, has_costs=True):
    """Values of nDCG@10 and RR@10 that differ by system, many of them 0 or 1, as they do."""
    draw = random.Random(seed)
    skills = {system: 0.42 + 0.09 * place - (0.16 if place == 3 else 0) for place, system in enumerate(systems)}
    results = []
    for suite, scenario, key, is_zero_shot in sets:
        ease = draw.uniform(-0.15, 0.2)
        count = num_queries + draw.randrange(num_queries)
        hardness = [draw.gauss(0, 0.3) for _ in range(count)]
        for system in systems:
            shift = skills[system] + ease + draw.uniform(-0.12, 0.12)
            values = {f"q{row:04d}": _value(shift + hard + draw.gauss(0, 0.25)) for row, hard in enumerate(hardness)}
            results.append(
                SetResult(
                    system=system,
                    key=key,
                    scenario=scenario,
                    suite=suite,
                    num_queries=count,
                    num_documents=1000 + draw.randrange(30_000),
                    is_zero_shot=is_zero_shot,
                    checksum="c0ffee",
                    values={"nDCG@10": values, "RR@10": {id_: value**2 for id_, value in values.items()}},
                )
            )
    return Results(
        provenance=PROVENANCE,
        arguments={"selection": {"limit": None, "seed": 0, "max_documents": None}},
        systems={name: {"kind": "dense", "model": f"models/{name}", "pooling": "mean"} for name in systems},
        results=results,
        costs={name: _cost(place) for place, name in enumerate(systems)} if has_costs else {},
        skipped=skipped or {},
        wall={"encoding": 812.4, "indexing": 3.2, "searching": 9.8, "evaluating": 2.1, "writing": 4.4},
    )


def fake_sets(results, *, num_documents=60, seed=0):
    """Sets with texts for the results' queries: each has one relevant document, and one judged not relevant."""
    draw = random.Random(seed)
    sets = {}
    for key in results.keys():  # noqa: SIM118
        result = next(each for each in results.results if each.key == key)
        documents = [
            Document(_sentence(draw, 30), id=f"d{row:03d}", title=_sentence(draw, 3)) for row in range(num_documents)
        ]
        ids = list(next(iter(result.values.values())))
        history = [Turn("user", _sentence(draw, 8)), Turn("assistant", _sentence(draw, 12))]
        name, _, split = key.rpartition(".")
        sets[key] = EvaluationSet(
            name=name,
            split=split,
            scenario=result.scenario,
            suite=result.suite,
            documents=documents,
            queries=[
                Query(
                    id=id_,
                    text=f"{_sentence(draw, 9)}?",
                    history=history if result.scenario == "convsearch" else (),
                )
                for id_ in ids
            ],
            qrels={id_: {f"d{draw.randrange(1, num_documents):03d}": 1, "d000": 0} for id_ in ids},
        )
    return sets


def write_fake_runs(results, sets, folder: Path, *, depth=20, seed=0):
    """Rankings in the folder, the relevant document near the top where the value is high."""
    draw = random.Random(seed)
    for result in results.results:
        evaluation_set = sets[result.key]
        ids = [document.id for document in evaluation_set.documents]
        run = {}
        for query, value in result.values["nDCG@10"].items():
            relevant = next((id_ for id_, relevance in evaluation_set.qrels[query].items() if relevance), None)
            ranking = [id_ for id_ in draw.sample(ids, min(depth, len(ids))) if id_ != relevant]
            if value:
                ranking.insert(round(6 * (1 - value)), relevant)
            run[query] = [(id_, float(depth - row)) for row, id_ in enumerate(ranking)]
        write_run(run, run_file(folder, result.system, result.key), system="fake")


def without(results, system, key):
    """The results, less one system on one set."""
    return replace(results, results=[each for each in results.results if (each.system, each.key) != (system, key)])


PROVENANCE = {
    "commit": "1234567890abcdef1234567890abcdef12345678",
    "is_clean": True,
    "date": "2026-02-03T10:20:30+00:00",
    "command": "python -m evals run --systems bm25,default,e5-base --suite all",
    "seed": 0,
    "versions": {"python": "3.12.1", "torch": "2.10.0", "numpy": "2.1.0"},
    "machine": {"system": "Linux x86_64", "processor": "A processor", "cores": 8, "accelerator": "none"},
}


def _value(score):
    """One of the values that a single relevant document can have: 1 / log2(rank + 1), or 0."""
    steps = (1.0, 0.6309, 0.5, 0.4307, 0.3869, 0.3562, 0.3333, 0.3155, 0.3010, 0.2891)
    if score > 0.6:
        return 1.0
    if score < 0.25:
        return 0.0
    return steps[round((0.6 - score) / 0.35 * 9)]


def _cost(place):
    return Cost(
        documents_per_second=12_000 / 9**place if place else None,
        query_p50_ms=0.4 * 6**place,
        query_p99_ms=0.9 * 6**place,
        index_bytes_per_document=0.0 if place == 5 else 700.0 * (1 + place),
        peak_memory_bytes=None if place == 2 else 300_000_000 * (1 + place),
    )


def _sentence(draw, length):
    return " ".join(draw.choice(_WORDS) for _ in range(length))
