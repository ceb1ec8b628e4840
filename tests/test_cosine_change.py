"""The change of cosines between two models, on vectors small enough to do by hand."""

import numpy as np
import pytest

from rag_embedder.errors import InputError
from tests.cosine_change import cosine_change


def test_a_change_of_cosines_is_over_pairs():
    exact = np.array([[1, 0], [0, 1], [1, 0]], dtype=np.float32)
    turned = np.array([[0, 1], [1, 0], [0, 1]], dtype=np.float32)
    other = np.array([[1, 0], [0.6, 0.8], [1, 0]], dtype=np.float32)
    assert cosine_change(exact, turned).largest == 0
    change = cosine_change(exact, other)
    assert change.largest == pytest.approx(0.6)
    assert change.mean == pytest.approx(0.4)
    with pytest.raises(InputError, match="3 and 2 rows came"):
        cosine_change(exact, other[:2])
