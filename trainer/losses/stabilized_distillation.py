"""Stabilized distillation: each candidate, weighted by its reward, against all that are ranked after it."""

from torch import Tensor

from trainer.losses import LossSettings
from trainer.losses.batch_scores import LossOutput, check_batch, mean_of
from trainer.losses.ranked_negatives import ranked_cross_entropy
from trainer.losses.reward_weights import required_rewards, reward_weights

_DEFAULT = LossSettings()


def stabilized_distillation(
    scores: Tensor, own: Tensor, rewards: Tensor | None, mask: Tensor, *, options: LossSettings = _DEFAULT
) -> LossOutput:
    """sum_i w_i [ logsumexp over i, own candidates after i and other queries' documents, minus score_i ].

    w = softmax(rewards / reward_temperature); candidates are ordered by reward, equal ones as they came. From
    LLM-Embedder (arXiv 2310.07554), section on stabilized distillation. With one-hot weights it is the contrastive
    loss; with flat rewards it still pushes every own candidate above other queries' documents. Shapes: see
    `trainer.losses`.

    Raises:
        InputError: if the tensors do not fit together, or there are no rewards.
    """
    check_batch(scores, own, rewards, mask)
    rewards = required_rewards(rewards, "stabilized_distillation")
    kept = mask.gather(1, own)
    weights = reward_weights(rewards, kept, temperature=options.reward_temperature).to(scores.dtype)
    below = ranked_after(rewards, pin_positive=options.pin_positive)
    return mean_of(ranked_cross_entropy(scores, own, mask, weights=weights, below=below))


def ranked_after(rewards: Tensor, *, pin_positive: bool = False) -> Tensor:
    """At [b, i, j], whether candidate j comes after candidate i, (B, G) -> (B, G, G) bool.

    The order is by reward, highest first, and by slot among equals. `pin_positive` puts slot 0 first regardless.
    """
    order = rewards.argsort(dim=1, descending=True, stable=True)
    ranks = order.argsort(dim=1)
    if pin_positive:
        ranks[:, 0] = -1
    return ranks.unsqueeze(1) > ranks.unsqueeze(2)
