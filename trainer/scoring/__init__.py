"""Scoring: a reward for every candidate, written in shards that a later run continues."""

from trainer.scoring.estimate import Estimate
from trainer.scoring.report import RewardReport
from trainer.scoring.run import ScoreOutcome, ScorePlan, score

__all__ = ["Estimate", "RewardReport", "ScoreOutcome", "ScorePlan", "score"]
