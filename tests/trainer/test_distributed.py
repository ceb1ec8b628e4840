"""Two processes over gloo equal one process on the joined batch, in loss and in gradients."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import trainer
from tests.trainer import gloo_step
from trainer.distributed import gather_with_gradient, mean_over_ranks, own_columns, rank, world_size

ROOT = Path(trainer.__file__).parent.parent


def run_processes(folder, count):
    """The results of `count` processes, rank by rank: for every loss (loss, gradients, number of negatives)."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", "OMP_NUM_THREADS": "1"}
    outs = [folder / f"{number}.pt" for number in range(count)]
    arguments = [[str(number), str(count), str(folder / "store"), str(out)] for number, out in enumerate(outs)]
    running = [
        subprocess.Popen(
            [sys.executable, gloo_step.__file__, *line], env=environment, stderr=subprocess.PIPE, text=True
        )
        for line in arguments
    ]
    try:
        errors = [process.communicate(timeout=120)[1] for process in running]
    finally:
        for process in running:
            process.kill()
    assert [process.returncode for process in running] == [0] * count, "\n".join(errors)
    return [torch.load(out) for out in outs]


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    return run_processes(tmp_path_factory.mktemp("gloo"), 2)


@pytest.mark.parametrize(
    "number", range(len(gloo_step.WEIGHTS)), ids=lambda number: "+".join(gloo_step.WEIGHTS[number])
)
def test_two_processes_equal_one(two_processes, number):
    loss, gradients, negatives = gloo_step.run_step(gloo_step.make_model(), gloo_step.WEIGHTS[number])
    assert gradients.abs().max() > 1e-3
    for results in two_processes:
        torch.testing.assert_close(results[number][0], loss.detach(), atol=1e-12, rtol=1e-12)
        torch.testing.assert_close(results[number][1], gradients, atol=1e-12, rtol=1e-10)
    assert sum(results[number][2] for results in two_processes) == negatives
    # Of 4 x 12: a copy in each direction between the processes, and a candidate drawn twice.
    assert negatives == 48 - 3


def test_one_process_needs_no_process_group():
    tensor = torch.ones(2, 3, requires_grad=True)
    assert gather_with_gradient(tensor) is tensor
    assert (world_size(), rank()) == (1, 0)
    assert own_columns(2, 3).tolist() == [[0, 1, 2], [3, 4, 5]]
    mean = mean_over_ranks(tensor.sum())
    assert mean == 6
    assert not mean.requires_grad
