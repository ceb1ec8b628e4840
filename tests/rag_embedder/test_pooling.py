import pytest
import torch

from rag_embedder.pooling import POOLINGS

STATES = torch.tensor([[[1.0, 2.0], [3.0, 6.0], [5.0, 4.0]], [[7.0, 8.0], [1e30, -1e30], [-1e30, 1e30]]])
MASK = torch.tensor([[1, 1, 1], [1, 0, 0]])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cls", [[1.0, 2.0], [7.0, 8.0]]),
        ("mean", [[3.0, 4.0], [7.0, 8.0]]),
        ("last", [[5.0, 4.0], [7.0, 8.0]]),
    ],
)
def test_pooling_reads_only_what_is_not_padding(name, expected):
    assert POOLINGS[name](STATES, MASK).tolist() == expected


@pytest.mark.parametrize("name", POOLINGS)
def test_pooling_keeps_the_precision_of_the_states(name):
    assert POOLINGS[name](STATES[:1].bfloat16(), MASK[:1]).dtype == torch.bfloat16
