"""From the rows of a step to what the encoder and the losses take."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.groups import Group
from trainer.masking import padded_hashes
from trainer.model_kinds import ModelKind
from trainer.sampler import Batch
from trainer.training_sets import TrainingSet


@dataclass(frozen=True, slots=True)
class TrainingBatch:
    """B queries and their G documents each, of one data set.

    token_ids  for an encoder B queries, then B * G documents ordered by query; for a reranker B * G pairs
    rewards    (B, G) float32, or None if the losses need none
    documents  (B * G, 2) int64 hashes of id and text
    positives  (B, P, 2) int64 hashes of all documents known to be relevant, in the group or not
    """

    rows: Batch
    groups: Sequence[Group]
    token_ids: Sequence[Sequence[int]]
    rewards: Tensor | None
    documents: Tensor
    positives: Tensor

    @property
    def num_queries(self) -> int:
        """B."""
        return len(self.groups)

    @property
    def group_size(self) -> int:
        """G."""
        return len(self.groups[0].documents)


def collate(kind: ModelKind, training_set: TrainingSet, rows: Batch, *, group_size: int, seed: int) -> TrainingBatch:
    """Draw the groups of these rows and tokenize them as the kind of model reads them."""
    groups = training_set.groups(rows, size=group_size, seed=seed)
    texts = [text for group in groups for text in group.documents]
    ids = [document_id for group in groups for document_id in group.ids]
    rewards = None
    if training_set.loss.needs_rewards:
        rewards = torch.tensor([group.rewards for group in groups], dtype=torch.float32)
    return TrainingBatch(
        rows=rows,
        groups=groups,
        token_ids=kind.tokenize(groups, training_set.settings.scenario),
        rewards=rewards,
        documents=training_set.hashes(texts, ids),
        positives=padded_hashes(training_set.positives(rows.rows)),
    )
