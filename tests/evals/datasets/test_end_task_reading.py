import pytest

from evals.datasets.multiple_choice import Question, read_multiple_choice
from evals.datasets.texts import LongText, read_texts
from evals.errors import DataSetError
from tests.evals.datasets.set_files import write_lines

SUM = {"_id": "q1", "subject": "algebra", "text": "1 + 1?", "options": ["1", "2", "3", "4"], "answer_index": 1}


def test_multiple_choice_questions_are_read(tmp_path):
    write_lines(tmp_path / "queries.test.jsonl.gz", [SUM])
    assert read_multiple_choice(tmp_path, "test") == [
        Question(id="q1", subject="algebra", text="1 + 1?", options=("1", "2", "3", "4"), answer_index=1)
    ]


@pytest.mark.parametrize("answer", [4, -1, True, "1", None, 1.0])
def test_an_answer_that_is_no_position_is_a_problem(tmp_path, answer):
    write_lines(tmp_path / "queries.test.jsonl", [SUM, {**SUM, "_id": "q2", "answer_index": answer}])
    with pytest.raises(DataSetError, match=r"queries\.test\.jsonl:2: 'answer_index' is no position"):
        read_multiple_choice(tmp_path, "test")


@pytest.mark.parametrize("options", [[], ["1"], "1234", ["1", 2]])
def test_a_question_without_options_to_choose_from_is_a_problem(tmp_path, options):
    write_lines(tmp_path / "queries.test.jsonl", [{**SUM, "answer_index": 0, "options": options}])
    with pytest.raises(DataSetError, match="option"):
        read_multiple_choice(tmp_path, "test")


def test_a_missing_or_empty_split_is_a_problem(tmp_path):
    with pytest.raises(DataSetError, match="no questions of split 'dev': looked in"):
        read_multiple_choice(tmp_path, "dev")
    write_lines(tmp_path / "queries.dev.jsonl", [])
    with pytest.raises(DataSetError, match="no question"):
        read_multiple_choice(tmp_path, "dev")
    write_lines(tmp_path / "documents.dev.jsonl", [])
    with pytest.raises(DataSetError, match="no text"):
        read_texts(tmp_path, "dev")


def test_long_texts_are_read_in_order(tmp_path):
    rows = [{"_id": "b", "title": "B", "author": "x", "text": "Once."}, {"_id": "a", "text": "Twice."}]
    write_lines(tmp_path / "documents.test.jsonl.gz", rows)
    assert read_texts(tmp_path, "test") == [LongText(id="b", text="Once.", title="B"), LongText(id="a", text="Twice.")]
    write_lines(tmp_path / "documents.dev.jsonl", [*rows, rows[0]])
    with pytest.raises(DataSetError, match=r"documents\.dev\.jsonl:3: id 'b' was there before"):
        read_texts(tmp_path, "dev")
