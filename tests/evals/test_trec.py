import gzip
import stat

import pytest
import pytrec_eval

from evals.errors import DataSetError, RunError
from evals.metrics import evaluate_run, strictly_ordered
from evals.trec import read_qrels, read_run, write_qrels, write_run

RUN = {"q 1": [("oslo", 1.0 / 3), ("new york", 0.25), ("100%", 0.25)], "q\t2": [("ø\u00a0z", -2.5e-7)]}
QRELS = {"q 1": {"new york": 2, "100%": 0}, "q\t2": {"ø\u00a0z": 1}}


@pytest.mark.parametrize("name", ["a.run", "deep/er/a.run.gz"])
def test_a_run_is_read_back_equal(tmp_path, name):
    strict = strictly_ordered(RUN)
    write_run(RUN, tmp_path / name, system="my system")
    assert read_run(tmp_path / name) == strict
    write_run(strict, tmp_path / "again.run", system="other")
    assert read_run(tmp_path / "again.run") == strict
    assert [document for document, _ in strict["q 1"]] == ["oslo", "100%", "new york"]


@pytest.mark.parametrize("name", ["a.qrels", "deep/er/a.qrels.gz"])
def test_judgements_are_read_back_equal(tmp_path, name):
    write_qrels(QRELS, tmp_path / name)
    assert read_qrels(tmp_path / name) == QRELS


def test_lines_have_the_columns_of_trec(tmp_path):
    write_run({"q 1": [("a", 0.5), ("b%", 0.5)]}, tmp_path / "run", system="bm 25")
    write_qrels({"q 1": {"a": 1}}, tmp_path / "qrels")
    assert (tmp_path / "run").read_text() == "q%201 Q0 a 1 0.5 bm%2025\nq%201 Q0 b%25 2 0.49999997 bm%2025\n"
    assert (tmp_path / "qrels").read_text() == "q%201 0 a 1\n"


def test_other_programs_compute_the_same_values_from_the_files(tmp_path):
    qrels = {"q": {f"d{n}": n % 3 for n in range(30)}, "r": {"d1": 1}}
    run = {"q": [(f"d{n}", 1.0) for n in range(25)], "r": [(f"d{n}", 1.0 - n * 1e-9) for n in range(9)]}
    write_run(run, tmp_path / "run", system="x")
    write_qrels(qrels, tmp_path / "qrels")
    with (tmp_path / "qrels").open() as lines:
        evaluator = pytrec_eval.RelevanceEvaluator(pytrec_eval.parse_qrel(lines), {"ndcg_cut_10"})
    with (tmp_path / "run").open() as lines:
        theirs = evaluator.evaluate(pytrec_eval.parse_run(lines))
    ours = evaluate_run(run, qrels, ["nDCG@10"])["nDCG@10"]
    assert ours == {query: values["ndcg_cut_10"] for query, values in theirs.items()}


def test_files_of_others_may_hold_percent_signs(tmp_path):
    (tmp_path / "run").write_text("1 Q0 http://a/%20b 1 2.5 x\n")
    (tmp_path / "qrels").write_text("1\t0\thttp://a/%20b\t1\n")
    assert read_run(tmp_path / "run", is_escaped=False) == {"1": [("http://a/%20b", 2.5)]}
    assert read_qrels(tmp_path / "qrels", is_escaped=False) == {"1": {"http://a/%20b": 1}}
    (tmp_path / "run").write_text("1 Q0 %ff 1 2.5 x\n")
    assert read_run(tmp_path / "run") == {"1": [("%ff", 2.5)]}


def test_the_order_of_a_run_is_that_of_its_scores(tmp_path):
    (tmp_path / "run").write_text("1 Q0 a 1 0.5 x\n2 Q0 c 1 1 x\n1 Q0 b 2 0.75 x\n")
    assert read_run(tmp_path / "run") == {"1": [("b", 0.75), ("a", 0.5)], "2": [("c", 1.0)]}


def test_broken_lines_are_listed_with_their_numbers(tmp_path):
    (tmp_path / "run").write_text("1 Q0 a 1 0.5 x\n1 Q0 a 2\n1 Q0 b 1 nan x\n1 Q0 a 2 0.25 x\n1 Q0 c 2 1e99 x\n")
    (tmp_path / "qrels").write_text("1 0 a 1\n1 a 1\n1 0 a 2\n1 0 b 0.5\n")
    with pytest.raises(DataSetError) as caught:
        read_run(tmp_path / "run")
    file = tmp_path / "run"
    assert list(caught.value.problems) == [
        f"{file}:2: 4 columns; expected 6",
        f"{file}:3: the score is no finite number",
        f"{file}:4: query '1': document 'a' was there before",
        f"{file}:5: the score is no finite number",
    ]
    with pytest.raises(DataSetError) as caught:
        read_qrels(tmp_path / "qrels")
    file = tmp_path / "qrels"
    assert list(caught.value.problems) == [
        f"{file}:2: 3 columns; expected 4",
        f"{file}:3: query '1': document 'a' was there before",
        f"{file}:4: the relevance is no whole number",
    ]
    with pytest.raises(DataSetError, match="no TREC file: looked in"):
        read_run(tmp_path / "none")


def test_a_run_that_cannot_be_written_leaves_the_old_file(tmp_path):
    file = tmp_path / "run.gz"
    write_run({"q": [("a", 1.0)]}, file, system="x")
    with pytest.raises(RunError, match="an id is empty"):
        write_run({"q": [("b", 1.0), ("", 0.5)]}, file, system="x")
    assert read_run(file) == {"q": [("a", 1.0)]}
    assert list(tmp_path.iterdir()) == [file]


def test_the_same_run_makes_the_same_bytes(tmp_path):
    for name in ("a.gz", "b.gz"):
        write_run(RUN, tmp_path / name, system="x")
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()
    assert gzip.decompress((tmp_path / "a.gz").read_bytes()).count(b"\n") == 4
    assert stat.S_IMODE((tmp_path / "a.gz").stat().st_mode) & stat.S_IRUSR
