import gzip
import hashlib

import pytest

from evals.datasets.beir import is_set, read_beir, splits_of
from evals.errors import DataSetError
from rag_embedder import Document, RagEmbedderError, Turn
from tests.evals.datasets.set_files import CORPUS, LABELS, QUERIES, write_lines, write_set


def read(folder, split="test", **options):
    return read_beir(folder, split, scenario="qa", suite="custom", **options)


def problems_of(folder, split="test"):
    with pytest.raises(DataSetError) as caught:
        read(folder, split)
    assert caught.value.num_problems == len(caught.value.problems)
    return list(caught.value.problems)


def test_three_files_become_documents_queries_and_judgements(tmp_path):
    found = read(write_set(tmp_path / "trivia"))
    assert found.key == "trivia.test"
    assert (found.scenario, found.suite, found.is_zero_shot) == ("qa", "custom", None)
    assert list(found.documents) == [
        Document("The capital of Norway.", id="oslo", title="Oslo"),
        Document("Flour, water and yeast.", id="bread"),
        Document("The capital of Italy.", id="rome"),
    ]
    assert [query.id for query in found.queries] == ["q1", "q2", "q3"]
    assert found.queries[2].history == (Turn("user", "Norway's capital?"),)
    assert found.qrels == {"q1": {"oslo": 2, "rome": 1}, "q2": {"bread": 1}, "q3": {"rome": 1}}
    assert found.num_unlabelled == 0


def test_answers_are_alternatives_and_an_answer_of_any_form_is_one(tmp_path):
    queries = [
        {"_id": "q1", "text": "?", "answers": ["Oslo", "the city"]},
        {"_id": "q2", "text": "?", "answer": [{"name": "smør"}, "b"]},
        {"_id": "q3", "text": "?"},
    ]
    found = read(write_set(tmp_path, queries=queries))
    assert [query.answers for query in found.queries] == [("Oslo", "the city"), ('[{"name": "smør"}, "b"]',), ()]


def test_plain_files_in_the_layout_of_beir_itself_are_read(tmp_path):
    write_lines(tmp_path / "corpus.jsonl", CORPUS)
    write_lines(tmp_path / "queries.jsonl", [*QUERIES, {"_id": "of-train", "text": "Not of this split."}])
    write_lines(tmp_path / "qrels" / "test.tsv", LABELS)
    write_lines(tmp_path / "qrels" / "train.tsv", ["query-id\tcorpus-id\tscore", "of-train\trome\t1"])
    found = read(tmp_path)
    assert [query.id for query in found.queries] == ["q1", "q2", "q3"]
    assert found.num_unlabelled == 0
    assert splits_of(tmp_path) == ["test", "train"]
    assert is_set(tmp_path)
    assert not is_set(tmp_path / "qrels")


def test_judgements_in_trec_columns_need_no_header(tmp_path):
    write_set(tmp_path, labels=["q1 0 oslo 1", "q2 0 bread 1", "q3 0 rome 0", "q3 0 oslo 1"])
    assert read(tmp_path).qrels == {"q1": {"oslo": 1}, "q2": {"bread": 1}, "q3": {"rome": 0, "oslo": 1}}


def test_ids_may_be_numbers_or_hold_blanks(tmp_path):
    found = read(
        write_set(
            tmp_path,
            corpus=[{"_id": 7, "text": "seven"}, {"_id": "the eight", "text": "eight"}],
            queries=[{"_id": 1, "text": "one"}, {"_id": 2, "text": "two"}],
            labels=["1\t7\t1", "2\tthe eight\t1"],
        )
    )
    assert found.qrels == {"1": {"7": 1}, "2": {"the eight": 1}}
    assert [document.id for document in found.documents] == ["7", "the eight"]


def test_queries_without_a_relevant_document_are_left_out_and_counted(tmp_path):
    found = read(write_set(tmp_path, labels=["q1\toslo\t1", "q2\tbread\t0"]))
    assert [query.id for query in found.queries] == ["q1"]
    assert dict(found.qrels) == {"q1": {"oslo": 1}}
    assert found.num_unlabelled == 2


def test_all_problems_are_listed_with_file_and_line(tmp_path):
    write_set(
        tmp_path,
        corpus=[*CORPUS, '{"_id": "cut', {"_id": "oslo", "text": "again"}, ["a list"], {"_id": "x"}],
        queries=[*QUERIES, {"_id": "blank", "text": " "}, {"_id": "q4", "text": "?", "history": [{"role": "bot"}]}],
        labels=[*LABELS, "q9\toslo\t1", "q1\tnowhere\t1", "q1\toslo\t1", "q1\toslo", "q1\toslo\t0.5", "q2\toslo\tnan"],
        end="",
    )
    corpus, queries, labels = (tmp_path / name for name in ("corpus.jsonl", "queries.test.jsonl", "qrels.test.tsv"))
    with pytest.raises(DataSetError, match=r"13 problems(?s:.)*and 3 more$") as caught:
        read(tmp_path)
    assert list(caught.value.problems) == [
        f"{corpus}:4: not JSON from character 9 on",
        f"{corpus}:5: id 'oslo' was there before",
        f"{corpus}:6: a JSON list; expected an object",
        f"{corpus}:7: no field 'text'; there are: '_id'",
        f"{queries}:4: 'text' is blank",
        f"{queries}:5: role 'bot'; expected one of: user, assistant, system, tool",
        f"{queries}:5: no field 'content'; there are: 'role'",
        f"{labels}:6: query 'q9' is not among the queries",
        f"{labels}:7: document 'nowhere' is not in the corpus",
        f"{labels}:8: a second score for query 'q1' and document 'oslo'",
    ]


def test_the_text_of_a_document_is_in_no_message(tmp_path):
    write_set(tmp_path, corpus=[{"_id": "a", "text": ["secret"]}, '{"_id": "b", "text": "secret" oops}'])
    with pytest.raises(DataSetError) as caught:
        read(tmp_path)
    assert "secret" not in str(caught.value)


def test_a_second_equal_judgement_is_harmless(tmp_path):
    assert read(write_set(tmp_path, labels=[*LABELS, "q2\tbread\t1"])).qrels["q2"] == {"bread": 1}


def test_irrelevant_documents_need_not_be_in_the_corpus(tmp_path):
    found = read(write_set(tmp_path, labels=[*LABELS, "q2\tgone\t0", "q2\tspam\t-2"]))
    assert found.qrels["q2"] == {"bread": 1}


def test_missing_files_say_where_they_were_looked_for(tmp_path):
    write_set(tmp_path)
    (tmp_path / "corpus.jsonl.gz").unlink()
    corpus, queries, labels = problems_of(tmp_path, "dev")
    assert corpus == f"no corpus: looked in {tmp_path} for corpus.jsonl.gz, corpus.jsonl"
    assert queries.startswith(f"no queries: looked in {tmp_path} for queries.dev.jsonl.gz, queries.dev.jsonl, ")
    assert labels.startswith("no judgements of split 'dev' (there are judgements for: test): looked in ")


def test_a_missing_folder_is_one_problem(tmp_path):
    assert problems_of(tmp_path / "none") == [f"there is no folder {tmp_path / 'none'}"]


def test_a_byte_that_is_not_utf8_is_named(tmp_path):
    write_set(tmp_path, end="")
    (tmp_path / "corpus.jsonl").write_bytes(b'{"_id": "oslo", "text": "a"}\n{"_id": "\xff"}\n')
    assert problems_of(tmp_path)[0] == f"{tmp_path}/corpus.jsonl:2: byte 10 of the line is not UTF-8"


def test_half_of_a_surrogate_pair_is_a_problem_of_its_line(tmp_path):
    write_set(tmp_path, corpus=['{"_id": "oslo", "text": "\\ud83d"}', *CORPUS[1:]], end="")
    (problem,) = problems_of(tmp_path)
    assert problem.startswith(f"{tmp_path}/corpus.jsonl:1: 'text': lone surrogate U+D83D")


@pytest.mark.parametrize("keep", [5, 40, -8])
def test_a_packed_file_that_was_cut_off_is_a_problem(tmp_path, keep):
    write_set(tmp_path)
    file = tmp_path / "corpus.jsonl.gz"
    file.write_bytes(file.read_bytes()[:keep])
    assert any(problem.startswith(f"{file}:") and "cannot be read" in problem for problem in problems_of(tmp_path))


def test_a_file_that_is_not_packed_though_its_name_says_so_is_a_problem(tmp_path):
    write_set(tmp_path)
    (tmp_path / "corpus.jsonl.gz").write_text("{}")
    assert "cannot be read" in problems_of(tmp_path)[0]


def test_a_split_without_labels_is_empty(tmp_path):
    (problem,) = problems_of(write_set(tmp_path, labels=LABELS[:1]))
    assert problem == "split 'test' has no query with a relevant document"


def test_deeply_nested_json_is_a_problem_not_a_crash(tmp_path):
    write_set(tmp_path, corpus=["[" * 100_000, *CORPUS], end="")
    (problem,) = problems_of(tmp_path)
    assert problem.startswith(f"{tmp_path}/corpus.jsonl:1: not JSON")


def test_a_byte_order_mark_and_windows_line_ends_are_read_over(tmp_path):
    write_set(tmp_path, end="")
    file = tmp_path / "corpus.jsonl"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n") + b"\r\n")
    assert [document.id for document in read(tmp_path).documents] == ["oslo", "bread", "rome"]


def test_the_checksum_is_over_the_unpacked_contents(tmp_path):
    packed, plain = read(write_set(tmp_path / "a")), read(write_set(tmp_path / "b", end=""))
    files = [tmp_path / "b" / name for name in ("corpus.jsonl", "queries.test.jsonl", "qrels.test.tsv")]
    expected = hashlib.sha256(b"".join(b"\0file\0" + file.read_bytes() for file in files)).hexdigest()
    assert packed.checksum == plain.checksum == expected
    assert gzip.decompress((tmp_path / "a" / "corpus.jsonl.gz").read_bytes()) == files[0].read_bytes()
    write_lines(tmp_path / "b" / "qrels.test.tsv", [*LABELS, "q2\toslo\t1"])
    assert read(tmp_path / "b").checksum != expected


def test_a_limit_draws_queries_and_keeps_the_corpus(tmp_path):
    write_many(tmp_path)
    five, ten = read(tmp_path, limit=5), read(tmp_path, limit=10)
    assert len(five.queries) == 5
    assert {query.id for query in five.queries} < {query.id for query in ten.queries}
    assert [query.id for query in ten.queries] == sorted((query.id for query in ten.queries), key=int)
    assert five.qrels.keys() == {query.id for query in five.queries}
    assert len(five.documents) == 100
    assert five == read(tmp_path, limit=5)
    assert five.queries != read(tmp_path, limit=5, seed=1).queries
    assert read(tmp_path, limit=1000).queries == read(tmp_path).queries


def test_a_smaller_corpus_keeps_what_is_relevant(tmp_path):
    write_many(tmp_path)
    found = read(tmp_path, limit=5, max_documents=12)
    ids = [document.id for document in found.documents]
    assert len(ids) == 12
    assert ids == sorted(ids, key=lambda id_: int(id_[1:]))
    assert {document for scores in found.qrels.values() for document, score in scores.items() if score > 0} <= set(ids)
    assert all(document in ids for scores in found.qrels.values() for document in scores)
    assert len(read(tmp_path, limit=5, max_documents=1).documents) == 5
    assert ids != [document.id for document in read(tmp_path, limit=5, max_documents=12, seed=3).documents]


@pytest.mark.parametrize("options", [{"limit": 0}, {"max_documents": 0}])
def test_a_limit_of_nothing_is_refused(tmp_path, options):
    with pytest.raises(RagEmbedderError, match="expected 1 or more"):
        read(write_set(tmp_path), **options)


def write_many(folder):
    write_set(
        folder,
        corpus=[{"_id": f"d{n}", "text": f"text {n}"} for n in range(100)],
        queries=[{"_id": str(n), "text": f"query {n}"} for n in range(50)],
        labels=[f"{n}\td{n}\t1" for n in range(50)] + [f"{n}\td{n + 1}\t0" for n in range(50)],
    )
