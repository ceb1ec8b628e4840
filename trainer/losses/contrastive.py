"""Contrastive loss: the positive against every other document of the batch."""

import torch
from torch import Tensor

from trainer.losses import LossSettings
from trainer.losses.batch_scores import LossOutput, check_batch, mean_of


def contrastive(
    scores: Tensor, own: Tensor, rewards: Tensor | None, mask: Tensor, *, options: LossSettings | None = None
) -> LossOutput:
    """The logsumexp over the positive and all negatives, minus the positive's score (LLM-Embedder, equation 2).

    The positive is slot 0 of `own`. Rewards and options are not read. Shapes: see `trainer.losses`.

    Raises:
        InputError: if the tensors do not fit together.
    """
    del options
    check_batch(scores, own, rewards, mask)
    positive = own[:, :1]
    compared = mask.scatter(1, positive, True)
    everything = scores.masked_fill(~compared, torch.finfo(scores.dtype).min).logsumexp(dim=1)
    return mean_of(everything - scores.gather(1, positive).squeeze(1))
