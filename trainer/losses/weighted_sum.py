"""The loss of a batch of one data set: its losses times their weights."""

from typing import NamedTuple

import torch
from torch import Tensor

from trainer.losses import LOSSES, LossSettings


class WeightedLoss(NamedTuple):
    """`loss` () is minimised and is the mean of `rows` (B,); `parts` has each loss () without weight or gradient."""

    loss: Tensor
    rows: Tensor
    parts: dict[str, Tensor]


def weighted_loss(
    scores: Tensor, own: Tensor, rewards: Tensor | None, mask: Tensor, *, options: LossSettings
) -> WeightedLoss:
    """The sum of the data set's losses, each times its weight; a loss of weight 0 is not computed.

    Every loss is a mean over this process's queries, so losses with and without other queries' documents keep their
    relative weight however many processes there are. Shapes: see `trainer.losses`.

    Raises:
        InputError: if the tensors do not fit together, or a loss needs rewards and there are none.
    """
    if not options.in_batch_negatives:
        mask = torch.zeros_like(mask).scatter(1, own, mask.gather(1, own))
    rows = scores.new_zeros(scores.shape[0])
    parts = {}
    for name, weight in options.weights.items():
        if weight > 0:
            part = LOSSES[name](scores, own, rewards, mask, options=options)
            rows = rows + weight * part.rows
            parts[name] = part.loss.detach()
    return WeightedLoss(rows.mean(), rows, parts)
