import pytest
import torch

from rag_embedder.errors import InputError
from trainer.losses.batch_scores import check_unit_rows, student_scores


def test_scores_are_cosines_over_the_temperature():
    queries, documents = torch.tensor([[0.6, 0.8]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert student_scores(queries, documents, temperature=0.01).tolist() == [pytest.approx([60.0, 80.0])]


def test_scores_are_float32_under_autocast():
    rows = torch.nn.functional.normalize(torch.randn(4, 64, generator=torch.Generator().manual_seed(0)), dim=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (rows @ rows.T).dtype == torch.bfloat16
        scores = student_scores(rows, rows, temperature=0.01)
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores, rows @ rows.T / 0.01)
    assert student_scores(rows.bfloat16(), rows.bfloat16(), temperature=0.01).dtype == torch.float32


@pytest.mark.parametrize(("scale", "length"), [(2.0, r"2"), (0.5, r"0\.5"), (float("nan"), "nan"), (0.0, "0")])
def test_vectors_that_are_not_normalised_are_refused(scale, length):
    with pytest.raises(InputError, match=rf"a vector of length {length} came .* expected length 1: normalise"):
        check_unit_rows(torch.tensor([[1.0, 0.0], [0.0, scale]]))


def test_unit_vectors_pass_also_in_half_precision():
    rows = torch.nn.functional.normalize(torch.randn(50, 64, generator=torch.Generator().manual_seed(0)), dim=1)
    check_unit_rows(rows)
    check_unit_rows(rows.bfloat16())
