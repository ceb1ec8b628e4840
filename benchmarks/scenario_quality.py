"""nDCG@10 and Recall@10 for one evaluation set of every scenario, beside BM25.

    python benchmarks/scenario_quality.py --data DATA [--sets tool qa ...] [--model FOLDER] [--json OUT]

DATA is a folder of BEIR-style sets. Everything goes through the retrievers' own path: the same store, index, BM25 and
fusion that users get. The columns are BM25, the same weights without instructions, the encoder with its instructions,
and its hybrid with BM25. The full evaluation, with significance and more sets, is another program's work.
"""

import argparse
import csv
import gzip
import json
import math
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rag_embedder import Document, Embedder, KnowledgeRetriever, Turn
from rag_embedder.retrievers.conversation import ConversationRetriever
from rag_embedder.retrievers.memory import exchange_text
from rag_embedder.search import Mode

K = 10
Qrels = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One query; `within` names the one conversation or text that may be searched."""

    id: str
    text: str
    turns: Sequence[Turn] = ()
    within: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSet:
    """One scenario's corpus, queries and judgements."""

    scenario: str
    name: str
    documents: Sequence[Document]
    queries: Sequence[Query]
    qrels: Qrels


def main() -> None:
    arguments = _arguments()
    rows = []
    for scenario in arguments.sets:
        evaluation_set = SETS[scenario](arguments.data)
        rows.append(measure(evaluation_set, arguments.model))
        print(markdown([rows[-1]], with_header=len(rows) == 1), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps({**provenance(), "rows": rows}, indent=2) + "\n")
    print("\n" + json.dumps(provenance()))


def measure(evaluation_set: EvaluationSet, model: str | None) -> dict[str, Any]:
    """Scores of every system on one set."""
    print(
        f"{evaluation_set.name}: {len(evaluation_set.documents)} documents, {len(evaluation_set.queries)} queries",
        file=sys.stderr,
        flush=True,
    )
    embedder = Embedder.load(model)
    start = time.perf_counter()
    scores = run_modes(embedder, evaluation_set, ("lexical", "dense", "hybrid"))
    plain = run_modes(Embedder.load(model, instructions="none"), evaluation_set, ("dense",))
    return {
        "scenario": evaluation_set.scenario,
        "set": evaluation_set.name,
        "queries": len(evaluation_set.queries),
        "documents": len(evaluation_set.documents),
        "bm25": scores["lexical"],
        "no_instruction": plain["dense"],
        "default": scores["dense"],
        "hybrid": scores["hybrid"],
        "seconds": round(time.perf_counter() - start, 1),
    }


def run_modes(
    embedder: Embedder, evaluation_set: EvaluationSet, modes: Sequence[Mode]
) -> dict[str, tuple[float, float]]:
    """(nDCG@10, Recall@10) by mode, over all queries; a query without hits counts as zero."""
    query_text: Callable[[Query], str] = lambda query: query.text  # noqa: E731
    if evaluation_set.scenario == "convsearch":
        conversation = ConversationRetriever(embedder)
        query_text = lambda query: conversation.query_text([*query.turns, Turn("user", query.text)])  # noqa: E731
    results = {}
    with KnowledgeRetriever(embedder, scenario=evaluation_set.scenario, index="flat") as retriever:
        retriever.add(evaluation_set.documents, show_progress=None)
        for mode in modes:
            run: dict[str, list[str]] = {}
            for within, queries in _by_scope(evaluation_set.queries).items():
                scope = None if within is None else {"within": within}
                rankings = retriever.retrieve_batch([query_text(q) for q in queries], K, filter=scope, mode=mode)
                run |= {q.id: [hit.id for hit in hits] for q, hits in zip(queries, rankings, strict=True)}
            per_query = [
                judge(run.get(query.id, []), evaluation_set.qrels[query.id]) for query in evaluation_set.queries
            ]
            results[mode] = (_mean([n for n, _ in per_query]), _mean([r for _, r in per_query]))
    return results


def judge(ranking: Sequence[str], relevant: Mapping[str, float]) -> tuple[float, float]:
    """nDCG@10 with linear gain, and the share of relevant documents (at most ten) among the first ten."""
    gains = [relevant.get(id_, 0.0) for id_ in ranking[:K]]
    ideal = sorted(relevant.values(), reverse=True)[:K]
    discounted = [sum(g / math.log2(rank + 2) for rank, g in enumerate(each)) for each in (gains, ideal)]
    found = sum(gain > 0 for gain in gains)
    return discounted[0] / discounted[1], found / min(K, sum(score > 0 for score in relevant.values()))


def knowledge(data: Path) -> EvaluationSet:
    """Questions written without seeing the passage, Wikipedia passages."""
    return _beir(data / "knowledge" / "tydiqa_en", "test", "qa")


def tools(data: Path) -> EvaluationSet:
    """Requests for real web APIs."""
    return _beir(data / "tool_retrieval" / "stabletoolbench", "test", "tool")


def conversations(data: Path) -> EvaluationSet:
    """Dialogues about a section of Wikipedia."""
    return _beir(data / "conversational_search" / "canard", "dev", "convsearch")


def dialogue_memory(data: Path) -> EvaluationSet:
    """Questions about ten days of chat, each inside one user's memory."""
    return _memory(data / "memory" / "memorybank_chat", "test", "chat")


def text_memory(data: Path) -> EvaluationSet:
    """Questions about a long transcript, each inside its own, cut into windows of about 110 words."""
    return _memory(data / "memory" / "qmsum", "test", "lrlm")


def demonstrations(data: Path, per_pool: int = 100, per_test: int = 20) -> EvaluationSet:
    """Inputs of 15 tasks not seen in training; a demonstration counts if it is of the query's task."""
    folder = data / "demos" / "multitask"
    pool = _first_of_each_task(folder / "pool.new_task.jsonl.gz", per_pool)
    tests = _first_of_each_task(folder / "test.new_task.jsonl.gz", per_test)
    of_task: dict[str, dict[str, float]] = {}
    for row in pool:
        of_task.setdefault(row["task"], {})[row["_id"]] = 1.0
    return EvaluationSet(
        scenario="icl",
        name="demos/multitask new_task (same task)",
        documents=[Document(f"{row['input']}\n{row['output']}", id=row["_id"]) for row in pool],
        queries=[Query(id=row["_id"], text=row["input"]) for row in tests],
        qrels={row["_id"]: of_task[row["task"]] for row in tests},
    )


SETS: Mapping[str, Callable[[Path], EvaluationSet]] = {
    "qa": knowledge,
    "convsearch": conversations,
    "chat": dialogue_memory,
    "lrlm": text_memory,
    "icl": demonstrations,
    "tool": tools,
}


def markdown(rows: Sequence[Mapping[str, Any]], *, with_header: bool) -> str:
    """A table: nDCG@10 / Recall@10, in per cent."""
    columns = ("bm25", "no_instruction", "default", "hybrid")
    lines = []
    if with_header:
        lines = [
            "| scenario | set | queries | documents | BM25 | dense, no instruction | dense, default | hybrid |",
            "|---|---|---:|---:|---|---|---|---|",
        ]
    for row in rows:
        figures = " | ".join(f"{100 * row[c][0]:.1f} / {100 * row[c][1]:.1f}" for c in columns)
        lines.append(f"| {row['scenario']} | {row['set']} | {row['queries']} | {row['documents']} | {figures} |")
    return "\n".join(lines)


def provenance() -> dict[str, Any]:
    """Commit, machine and versions: without them a figure is not a result."""
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    packages = ("torch", "transformers", "tokenizers", "bm25s", "numpy")
    return {
        "commit": commit.stdout.strip() or "unknown",
        "machine": f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}",
        "versions": {package: version(package) for package in packages},
    }


def _beir(folder: Path, split: str, scenario: str) -> EvaluationSet:
    qrels = _read_qrels(folder / f"qrels.{split}.tsv.gz")
    return EvaluationSet(
        scenario=scenario,
        name=f"{folder.parent.name}/{folder.name} {split}",
        documents=[
            Document(row["text"], id=row["_id"], title=row["title"]) for row in _rows(folder / "corpus.jsonl.gz")
        ],
        queries=[
            Query(
                id=row["_id"], text=row["text"], turns=[Turn(t["role"], t["content"]) for t in row.get("history", [])]
            )
            for row in _rows(folder / f"queries.{split}.jsonl.gz")
            if row["_id"] in qrels
        ],
        qrels=qrels,
    )


def _memory(folder: Path, split: str, scenario: str) -> EvaluationSet:
    qrels = _read_qrels(folder / f"qrels.{split}.tsv.gz")
    documents = []
    for row in _rows(folder / f"documents.{split}.jsonl.gz"):
        for number, (first, stop) in enumerate(row["windows"]):
            text = _window_text(row["turns"][first:stop], scenario)
            documents.append(Document(text, id=f"{row['_id']}#{number}", metadata={"within": row["_id"]}))
    return EvaluationSet(
        scenario=scenario,
        name=f"memory/{folder.name} {split}",
        documents=documents,
        queries=[
            Query(id=row["_id"], text=row["text"], within=row["doc_id"])
            for row in _rows(folder / f"queries.{split}.jsonl.gz")
            if row["_id"] in qrels
        ],
        qrels=qrels,
    )


def _window_text(turns: Sequence[Mapping[str, str]], scenario: str) -> str:
    if scenario == "chat":
        return exchange_text({"turns": [[turn["role"], turn["content"]] for turn in turns]})
    return "\n".join(f"{turn['role']}: {turn['content']}" for turn in turns)


def _first_of_each_task(path: Path, count: int) -> list[dict[str, Any]]:
    taken: dict[str, int] = {}
    rows = []
    for row in _rows(path):
        taken[row["task"]] = taken.get(row["task"], 0) + 1
        if taken[row["task"]] <= count:
            rows.append(row)
    return rows


def _by_scope(queries: Sequence[Query]) -> dict[str | None, list[Query]]:
    groups: dict[str | None, list[Query]] = {}
    for query in queries:
        groups.setdefault(query.within, []).append(query)
    return groups


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    if not path.exists():
        sys.exit(f"{path} is missing; expected a BEIR-style set. Name its parent's parent with --data.")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def _read_qrels(path: Path) -> dict[str, dict[str, float]]:
    qrels: dict[str, dict[str, float]] = {}
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for row in csv.DictReader(lines, delimiter="\t"):
            qrels.setdefault(row["query-id"], {})[row["corpus-id"]] = float(row["score"])
    return qrels


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with knowledge/, memory/, tool_retrieval/ ...")
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--model", help="model folder or hub id; default: the shipped encoder")
    parser.add_argument("--json", type=Path, help="write all figures here")
    return parser.parse_args()


if __name__ == "__main__":
    main()
