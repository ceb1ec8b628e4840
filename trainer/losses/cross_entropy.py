"""Softmax cross-entropy over a query's own candidates: the loss of pointwise rerankers."""

import torch
from torch import Tensor

from trainer.losses import LossSettings
from trainer.losses.batch_scores import LossOutput, check_batch, mean_of


def cross_entropy(
    scores: Tensor, own: Tensor, rewards: Tensor | None, mask: Tensor, *, options: LossSettings | None = None
) -> LossOutput:
    """The logsumexp over the candidates of a query, minus the positive's score (RankLLaMA, arXiv 2310.08319).

    The positive is slot 0 of `own`; a copy of an earlier candidate counts once. Rewards, other queries' documents and
    options are not read. Shapes: see `trainer.losses`.

    Raises:
        InputError: if the tensors do not fit together.
    """
    del options
    check_batch(scores, own, rewards, mask)
    kept = mask.gather(1, own)
    kept[:, 0] = True
    candidates = scores.gather(1, own)
    everything = candidates.masked_fill(~kept, torch.finfo(scores.dtype).min).logsumexp(dim=1)
    return mean_of(everything - candidates[:, 0])
