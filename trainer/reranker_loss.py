"""The loss of one step of a reranker: every query compares its own candidates, and nobody else's."""

import torch
from torch import Tensor

from trainer.collate import TrainingBatch
from trainer.losses import LossSettings
from trainer.losses.weighted_sum import WeightedLoss, weighted_loss


def reranker_loss(rows: Tensor, batch: TrainingBatch, options: LossSettings) -> WeightedLoss:
    """The data set's weighted loss over this process's B queries.

    `rows` (B * G, 1) are the scores of the pairs in the order of `batch.token_ids`, in float32. No process needs
    another's documents. Of candidates with the same text, as too few negatives are repeated, the first counts.

    Raises:
        InputError: if the tensors do not fit together.
    """
    shape = batch.num_queries, batch.group_size
    scores = rows.reshape(shape) / options.student_temperature
    own = torch.arange(shape[1], device=rows.device).expand(shape)
    texts = batch.documents[:, 1].reshape(shape)
    is_copy = (texts.unsqueeze(2) == texts.unsqueeze(1)).tril(diagonal=-1).any(dim=2)
    rewards = None if batch.rewards is None else batch.rewards.to(rows.device)
    return weighted_loss(scores, own, rewards, ~is_copy.to(rows.device), options=options)
