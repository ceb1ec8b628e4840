"""The sum that stabilized and graded distillation have in common; they differ in who is below whom."""

import torch
from torch import Tensor


def ranked_cross_entropy(scores: Tensor, own: Tensor, mask: Tensor, *, weights: Tensor, below: Tensor) -> Tensor:
    """sum_i w_i [ logsumexp over {i}, own candidates below i and other queries' documents, minus score_i ], (B,).

    `weights` is (B, G). `below` (B, G, G) bool says at [b, i, j] that candidate j of query b is a negative of
    candidate i. Other queries' documents are summed once for all G candidates, so the large tensor stays (B, N).
    """
    # The lowest finite number and not -inf: a row of which everything is masked then has gradient 0, not NaN.
    lowest = torch.finfo(scores.dtype).min
    others = mask.scatter(1, own, False)
    in_batch = scores.masked_fill(~others, lowest).logsumexp(dim=1, keepdim=True)  # (B, 1)

    candidates = scores.gather(1, own)  # (B, G)
    kept = mask.gather(1, own)
    itself = torch.eye(own.shape[1], dtype=torch.bool, device=own.device)
    compared = (below & kept.unsqueeze(1)) | itself
    among_own = candidates.unsqueeze(1).masked_fill(~compared, lowest).logsumexp(dim=2)  # (B, G)
    return (weights * (torch.logaddexp(in_batch, among_own) - candidates)).sum(dim=1)
