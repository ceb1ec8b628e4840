"""Graded distillation: each candidate, weighted by its reward, against those with a lower reward."""

from torch import Tensor

from trainer.losses import LossSettings
from trainer.losses.batch_scores import LossOutput, check_batch, mean_of
from trainer.losses.ranked_negatives import ranked_cross_entropy
from trainer.losses.reward_weights import required_rewards, reward_weights
from trainer.losses.stabilized_distillation import ranked_after

_DEFAULT = LossSettings()


def graded_distillation(
    scores: Tensor, own: Tensor, rewards: Tensor | None, mask: Tensor, *, options: LossSettings = _DEFAULT
) -> LossOutput:
    """sum_i w_i [ logsumexp over i and its negatives, minus score_i ], w = softmax(rewards / reward_temperature).

    Negatives of i are other queries' documents and own candidates of lower reward ("A Multi-Task Embedder For
    Retrieval Augmented LLMs", ACL 2024, equation 4; the candidate itself is added to the denominator, which the
    printed equation leaves out, so that the loss is never negative). Rank rewards are integers and often equal: with
    `ties="exclude"`, as in the paper, equal candidates are not compared; with `ties="order"` the later one is a
    negative of the earlier. Without ties the loss is stabilized distillation. Shapes: see `trainer.losses`.

    Raises:
        InputError: if the tensors do not fit together, or there are no rewards.
    """
    check_batch(scores, own, rewards, mask)
    rewards = required_rewards(rewards, "graded_distillation")
    kept = mask.gather(1, own)
    weights = reward_weights(rewards, kept, temperature=options.reward_temperature).to(scores.dtype)
    below = ranked_after(rewards) if options.ties == "order" else rewards.unsqueeze(1) < rewards.unsqueeze(2)
    return mean_of(ranked_cross_entropy(scores, own, mask, weights=weights, below=below))
