import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import trainer
from rag_embedder.errors import InputError
from trainer.losses import LOSSES
from trainer.masking import document_hashes, negatives_mask, padded_hashes

OWN = torch.arange(6).reshape(2, 3)


def mask_of(texts, ids=None, *, own=OWN, positives=None):
    return negatives_mask(document_hashes(texts, ids), own, positives=positives).int().tolist()


def test_different_documents_are_all_negatives():
    assert mask_of(list("abcdef")) == [[1] * 6] * 2


def test_a_copy_of_the_positive_in_another_query_is_no_negative():
    assert mask_of(["a", "b", "c", "d", "a", "f"]) == [[1, 1, 1, 1, 0, 1], [0, 1, 1, 1, 1, 1]]


def test_a_copy_of_a_hard_negative_is_counted_only_in_its_own_column():
    assert mask_of(["a", "b", "c", "b", "e", "f"]) == [[1, 1, 1, 0, 1, 1], [1, 0, 1, 1, 1, 1]]


def test_a_candidate_drawn_twice_stays_once():
    assert mask_of(["a", "b", "b", "d", "d", "d"]) == [[1, 1, 0, 1, 1, 1], [1, 1, 1, 1, 0, 0]]


def test_copies_are_found_by_id_where_texts_differ_and_by_text_where_ids_differ():
    ids = ["1", "2", "3", "1", "5", "6"]
    assert mask_of(list("abcdeb"), ids) == [[1, 1, 1, 0, 1, 0], [0, 0, 1, 1, 1, 1]]


def test_empty_ids_name_nothing_and_an_id_is_not_a_text():
    assert mask_of(list("abcdef"), [""] * 6) == [[1] * 6] * 2
    assert mask_of(list("abcdef"), ["", "", "", "a", "", ""]) == [[1] * 6] * 2
    assert mask_of(["a", "b", "c", "a", "e", "f"], ["1", "", "", "", "", ""]) == [
        [1, 1, 1, 0, 1, 1],
        [0, 1, 1, 1, 1, 1],
    ]


def test_white_space_makes_no_difference():
    assert mask_of(["a  b", "c", "d", "a\nb ", "e", "f"])[0] == [1, 1, 1, 0, 1, 1]


def test_further_positives_of_a_query_are_no_negatives_of_it():
    positives = padded_hashes([document_hashes(["e", "z"]), document_hashes([])])
    assert positives.shape == (2, 2, 2)
    assert mask_of(list("abcdef"), positives=positives) == [[1, 1, 1, 1, 0, 1], [1] * 6]


def test_an_own_candidate_stays_although_it_is_a_known_positive():
    positives = padded_hashes([document_hashes(["b"]), document_hashes(["d"])])
    assert mask_of(list("abcdef"), positives=positives) == [[1] * 6] * 2


def test_queries_without_further_positives_need_none():
    positives = padded_hashes([document_hashes([]), document_hashes([])])
    assert positives.shape == (2, 0, 2)
    assert mask_of(["a", "b", "c", "a", "e", "f"], positives=positives) == mask_of(["a", "b", "c", "a", "e", "f"])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from(["", "1", "2", "3"])), min_size=6, max_size=6))
def test_the_mask_equals_its_definition(documents):
    def same(left, right):
        return left[0] == right[0] or (left[1] == right[1] != "")

    expected = []
    for own in OWN.tolist():
        row = []
        for column, document in enumerate(documents):
            rivals = own[: own.index(column)] if column in own else own
            row.append(int(not any(same(document, documents[rival]) for rival in rivals)))
        expected.append(row)
    assert mask_of([text for text, _ in documents], [entry_id for _, entry_id in documents]) == expected


def test_own_columns_may_lie_anywhere():
    own = torch.tensor([[4, 1], [0, 5]])
    assert mask_of(["a", "b", "c", "a", "b", "f"], own=own) == [[1, 0, 1, 1, 1, 1], [1, 1, 1, 0, 1, 1]]


def test_the_contrastive_loss_of_a_batch_with_a_copy_is_that_of_the_batch_without_it():
    scores = torch.tensor([[3.0, 1.0, 3.0, 2.0], [0.0, 1.0, 2.0, 0.0]])
    own = torch.tensor([[0, 1], [2, 3]])
    mask = negatives_mask(document_hashes(["a", "b", "a", "d"]), own)
    rows = LOSSES["contrastive"](scores, own, None, mask).rows
    torch.testing.assert_close(rows[0], scores[0, [0, 1, 3]].logsumexp(0) - 3)
    torch.testing.assert_close(rows[1], scores[1, [1, 2, 3]].logsumexp(0) - 2)


def test_hashes_are_the_same_in_every_process():
    code = (
        "from trainer.masking import document_hashes; print(document_hashes(['Oslo', '\\ud800'], ['7', '']).tolist())"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(trainer.__file__).parent.parent,
        env={"PYTHONHASHSEED": "5"},
    ).stdout
    assert printed.strip() == str(document_hashes(["Oslo", "\ud800"], ["7", ""]).tolist())


def test_hashes_have_two_columns_also_for_no_documents():
    assert document_hashes([]).shape == (0, 2)
    assert document_hashes(["a", "b"]).dtype == torch.int64
    assert (
        len(set(document_hashes([str(n) for n in range(5000)], [str(n) for n in range(5000)]).flatten().tolist()))
        == 10000
    )


def test_ids_must_be_as_many_as_texts():
    with pytest.raises(InputError, match="1 ids came for 2 documents"):
        document_hashes(["a", "b"], ["1"])
