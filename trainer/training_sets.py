"""The data sets of a recipe, read and checked before anything is trained."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from rag_embedder.errors import ConfigError
from trainer.errors import ExamplesError
from trainer.examples import Example
from trainer.groups import Group, draw_group
from trainer.losses import LossSettings
from trainer.masking import document_hashes
from trainer.sampler import Batch
from trainer.settings import DataSettings, Recipe
from trainer.smoke_data import read_or_make
from trainer.usable_examples import usable_examples


@dataclass(frozen=True)
class TrainingSet:
    """One data set: its examples in the order of its files, and how they are fitted.

    One that is only measured has no examples. `left_out` counts by reason the examples of the files from which no group
    can be drawn, or beyond the limit.
    """

    settings: DataSettings
    examples: Sequence[Example]
    dev: Sequence[Example] = ()
    loss: LossSettings = field(default_factory=LossSettings)
    left_out: Mapping[str, int] = field(default_factory=dict)

    @cached_property
    def has_global_ids(self) -> bool:
        """Whether an id names one text in the whole set; turns of a dialogue, say, are counted in each example."""
        texts: dict[str, str] = {}
        return all(
            texts.setdefault(candidate.id, candidate.text) == candidate.text
            for example in self.examples
            for candidate in example.candidates
        )

    def groups(self, batch: Batch, *, size: int, seed: int) -> list[Group]:
        """One group per row of the batch, the same for the same seed, epoch and row."""
        return [
            draw_group(
                self.examples[row],
                size=size,
                positive=self.settings.positive,
                negatives=self.settings.negatives,
                seed=seed,
                epoch=batch.epoch,
                row=row,
            )
            for row in batch.rows
        ]

    def positives(self, rows: Sequence[int]) -> list[Tensor]:
        """Hashes (p, 2) of all documents known to be relevant, for every row."""
        found = []
        for row in rows:
            known = [candidate for candidate in self.examples[row].candidates if candidate.label > 0]
            found.append(self.hashes([candidate.text for candidate in known], [candidate.id for candidate in known]))
        return found

    def hashes(self, texts: Sequence[str], ids: Sequence[str]) -> Tensor:
        """Hashes (n, 2) of documents, by id too where ids name documents."""
        if not texts:
            return torch.empty((0, 2), dtype=torch.int64)
        return document_hashes(texts, ids if self.has_global_ids else None)


def read_training_sets(recipe: Recipe) -> dict[str, TrainingSet]:
    """Every data set of the recipe by name, with the examples that are usable under its rules.

    Raises:
        InputError: if a file is missing.
        ExamplesError: for broken records, examples without the rewards that a loss needs, or if none is usable.
        ConfigError: if there is nothing to measure in a dev split.
    """
    return {settings.name: _read(settings, recipe) for settings in recipe.data}


def _read(settings: DataSettings, recipe: Recipe) -> TrainingSet:
    loss = settings.loss_settings
    dev = () if settings.dev is None else tuple(read_or_make(settings.dev))
    _check_dev(settings, dev)
    if not settings.is_trained:
        return TrainingSet(settings, (), dev, loss)
    examples = read_or_make(settings.path)
    if loss.needs_rewards:
        reason = f"no rewards, which data.{settings.name}.loss needs; score them first"
        unscored = [f"example {example.id!r}: {reason}" for example in examples if example.rewards is None]
        if unscored:
            raise ExamplesError(settings.path, unscored)
    requirements = settings.requirements(recipe.train.group_size)
    usable, left_out = usable_examples(examples, requirements, seed=recipe.train.seed)
    if not usable:
        raise ExamplesError(settings.path, [*_nothing_usable(settings, left_out)])
    return TrainingSet(settings, usable, dev, loss, left_out)


def _nothing_usable(settings: DataSettings, left_out: Mapping[str, int]) -> Iterator[str]:
    for reason, count in left_out.items():
        is_unlabelled = reason == "no candidate with a label above 0" and settings.loss_settings.needs_rewards
        hint = f'; data.{settings.name}.positive = "teacher" takes the best reward instead' if is_unlabelled else ""
        yield f"{count} examples: {reason}{hint}"


def _check_dev(settings: DataSettings, dev: Sequence[Example]) -> None:
    if settings.dev is not None and not any(relevant(example) for example in dev):
        raise ConfigError(
            f"data.{settings.name}.dev: no example of {settings.dev} has a candidate with a label above 0, or rewards; "
            "expected at least one to measure with."
        )


def relevant(example: Example) -> Mapping[str, int]:
    """Judgements of an example by candidate id: its labels, or 1 for the best reward where nothing has a label."""
    labels = {candidate.id: candidate.label for candidate in example.candidates if candidate.label > 0}
    if labels or not example.rewards or max(example.rewards) == min(example.rewards):
        return labels
    best = max(example.rewards)
    return {
        candidate.id: 1 for candidate, reward in zip(example.candidates, example.rewards, strict=True) if reward == best
    }
