"""Rewards: what training learns from, one file each."""

from rag_embedder.registry import Registry
from trainer.rewards.protocol import Reward, RewardOptions

REWARDS = Registry(
    "reward",
    {
        "likelihood": "trainer.rewards.likelihood:LikelihoodReward",
        "rank_aware": "trainer.rewards.rank_aware:RankAwareReward",
        "labels": "trainer.rewards.labels:LabelReward",
        "reranker": "trainer.rewards.reranker:RerankerReward",
    },
)

__all__ = ["REWARDS", "Reward", "RewardOptions"]
