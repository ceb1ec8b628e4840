"""Documents held out for dev, and negatives that are right for another query."""

import pytest

from evals.datasets.selection import Selection
from evals.systems.bm25 import BM25System
from rag_embedder.errors import ConfigError
from tests.trainer.mining import data_sets
from trainer.mining.part import PartSettings, cut
from trainer.mining.search import MiningSettings, mine
from trainer.mining.source import find_source


@pytest.fixture
def tools(tmp_path):
    """Ten tools of like words; t8 and t9 are right for no query of the split."""
    folder = data_sets.write(
        tmp_path / "tool_retrieval" / "mine",
        corpus__jsonl=[{"_id": f"t{number}", "text": f"tool for job {number}"} for number in range(10)],
        queries__train__jsonl=[
            {"_id": f"q{number}{letter}", "text": f"a tool for job {number}"} for number in range(8) for letter in "ab"
        ],
        qrels__train__tsv="query-id\tcorpus-id\tscore\n"
        + "".join(f"q{number}{letter}\tt{number}\t1\n" for number in range(8) for letter in "ab"),
    )
    return find_source(folder.parent.parent, "tool_retrieval/mine", "train")


def parts(source, *, limit=None, **options):
    whole = source.read(Selection())
    return cut(source.read(Selection(limit=limit)), whole.documents, PartSettings(**options))


def negatives(queries):
    found = mine(queries, [BM25System()], MiningSettings(k=20))
    return {candidate.id for example in found for candidate in example.candidates if not candidate.label}


def test_without_it_documents_that_are_never_right_are_negatives(tools):
    assert {"t8", "t9"} <= negatives(tools.read(Selection()))


def test_only_documents_that_answer_some_query_are_candidates(tools):
    assert negatives(parts(tools, seen_only=True).train) == {f"t{number}" for number in range(8)}


def test_what_answers_a_query_that_was_not_drawn_counts_as_seen(tools):
    cut_off = parts(tools, seen_only=True, limit=3).train
    assert len(cut_off.documents.queries) == 3
    assert cut_off.may_be_given == {f"t{number}" for number in range(8)}


def test_held_out_documents_take_their_queries_along(tools):
    found = parts(tools, seen_only=True, hold_out=3)
    held = {id_ for judged in found.held_out.documents.qrels.values() for id_ in judged}
    assert len(held) == 3
    assert len(found.held_out.documents.queries) == 6
    assert len(found.train.documents.queries) == 10
    assert found.train.documents.qrels.keys() == {query.id for query in found.train.documents.queries}
    assert not held & negatives(found.train)
    # They are looked for among everything, as after training.
    assert found.held_out.may_be_given is None
    assert negatives(found.held_out) == {f"t{number}" for number in range(10)}


def test_without_seen_only_they_are_negatives(tools):
    found = parts(tools, hold_out=3)
    held = {id_ for judged in found.held_out.documents.qrels.values() for id_ in judged}
    assert held <= negatives(found.train)


def test_the_seed_draws_the_documents(tools):
    def held(seed):
        return set(parts(tools, hold_out=3, seed=seed).held_out.documents.qrels)

    assert held(1) == held(1)
    assert len({frozenset(held(seed)) for seed in range(5)}) > 1


def test_what_cannot_be_cut(tools, tmp_path):
    with pytest.raises(ConfigError, match=r"hold_out: got 0; expected 1 or more"):
        PartSettings(hold_out=0)
    with pytest.raises(ConfigError, match=r"every query of tool_retrieval/mine.train has such a document"):
        parts(tools, hold_out=8)
    data_sets.demonstrations(tmp_path / "demos" / "mine")
    pool = find_source(tmp_path, "demos/mine", "train")
    with pytest.raises(ConfigError, match=r"demos/mine.* has no judgements: --hold-out and --seen-only need known"):
        parts(pool, seen_only=True)
