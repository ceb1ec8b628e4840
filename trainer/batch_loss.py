"""The loss of one step, from the vectors of this process to a number whose average over processes is minimised."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from trainer.collate import TrainingBatch
from trainer.distributed import gather_with_gradient, own_columns
from trainer.losses import LossSettings
from trainer.losses.batch_scores import student_scores
from trainer.losses.weighted_sum import WeightedLoss, weighted_loss
from trainer.masking import negatives_mask


def batch_loss(
    vectors: Tensor, batch: TrainingBatch, options: LossSettings, *, dims: Sequence[int] = ()
) -> WeightedLoss:
    """The data set's weighted loss over this process's B queries and the documents of all processes.

    `vectors` (B + B * G, D) are unit rows in the order of `batch.token_ids`. With `dims`, the mean of the losses of the
    first d components for each of them and of all components (Matryoshka, Kusupati et al. 2022).

    Raises:
        InputError: if the tensors do not fit together.
    """
    device = vectors.device
    queries, documents = vectors[: batch.num_queries], gather_with_gradient(vectors[batch.num_queries :])
    own = own_columns(batch.num_queries, batch.group_size, device=device)
    hashes = gather_with_gradient(batch.documents.to(device))
    mask = negatives_mask(hashes, own, positives=batch.positives.to(device))
    rewards = None if batch.rewards is None else batch.rewards.to(device)
    losses = []
    for dim in [*dims, None]:
        # Unit rows stay as they are; the beginning of one must become one.
        pair = (queries, documents) if dim is None else (normalize(queries[:, :dim]), normalize(documents[:, :dim]))
        scores = student_scores(*pair, temperature=options.student_temperature)
        losses.append(weighted_loss(scores, own, rewards, mask, options=options))
    return WeightedLoss(
        loss=torch.stack([each.loss for each in losses]).mean(),
        rows=torch.stack([each.rows for each in losses]).mean(dim=0),
        parts={name: torch.stack([each.parts[name] for each in losses]).mean() for name in losses[0].parts},
    )
