"""KL distillation: the student's distribution over a query's own candidates follows the rewards'."""

import torch
from torch import Tensor

from trainer.losses import LossSettings
from trainer.losses.batch_scores import LossOutput, check_batch, mean_of
from trainer.losses.reward_weights import required_rewards, reward_weights

_DEFAULT = LossSettings()


def kl_distillation(
    scores: Tensor, own: Tensor, rewards: Tensor | None, mask: Tensor, *, options: LossSettings = _DEFAULT
) -> LossOutput:
    """KL(softmax(rewards / reward_temperature) || softmax(scores of the own candidates)).

    LLM-Embedder's equation 3 is the cross entropy, larger by the constant entropy of the rewards; gradients are equal.
    Other queries' documents take no part. Shapes: see `trainer.losses`.

    Raises:
        InputError: if the tensors do not fit together, or there are no rewards.
    """
    check_batch(scores, own, rewards, mask)
    kept = mask.gather(1, own)
    rewards = required_rewards(rewards, "kl_distillation")
    weights = reward_weights(rewards, kept, temperature=options.reward_temperature).to(scores.dtype)
    candidates = scores.gather(1, own).masked_fill(~kept, torch.finfo(scores.dtype).min)
    entropy_terms = torch.special.xlogy(weights, weights)
    return mean_of((entropy_terms - weights * candidates.log_softmax(dim=1)).sum(dim=1))
