"""The run of a language model: what one step reads and learns."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from trainer.language_model.data import PreparedSet
from trainer.language_model.decoder import Decoder
from trainer.language_model.documents import start_and_end
from trainer.language_model.learner import Learner
from trainer.language_model.mixture import Mixture, RowStream
from trainer.language_model.run_loop import Metrics, StepResult, run_steps
from trainer.language_model.settings import LanguageModelRecipe

_DRAWN = ("bits_per_byte", "auc")


class LanguageModelRun:
    """One model, its optimiser and its data: a step is a function of the recipe and the number of steps before."""

    def __init__(
        self,
        recipe: LanguageModelRecipe,
        decoder: Decoder,
        tokenizer: PreTrainedTokenizerFast,
        sets: Sequence[PreparedSet],
    ) -> None:
        self.recipe = recipe
        self.decoder = decoder
        self.tokenizer = tokenizer
        self.sets = sets
        self.learner = Learner(decoder, recipe.train)
        train, length = recipe.train, recipe.model.max_length
        self.streams = {
            each.settings.name: RowStream(
                each.source, length=length, pad_id=start_and_end(tokenizer)[1], seed=train.seed
            )
            for each in sets
        }
        self._mixture = Mixture(
            self.streams, {each.settings.name: each.settings.weight for each in sets}, seed=train.seed
        )

    def run(
        self,
        *,
        resume: bool = False,
        on_step: Callable[[StepResult], None] = lambda _: None,
        on_metrics: Callable[[int, Metrics], None] = lambda *_: None,
    ) -> Metrics:
        """Train to the last step, as `run_steps` says; returns the last evaluation."""
        return run_steps(self, self.recipe.train, drawn=_DRAWN, resume=resume, on_step=on_step, on_metrics=on_metrics)

    def train_step(self) -> StepResult:
        """Read the rows of this step, and learn from them."""
        started = time.perf_counter()
        names, ids, weights = self._mixture.rows(self.learner.step, self.recipe.rows_per_step)
        rows, row_weights = torch.from_numpy(ids).long(), torch.from_numpy(weights)
        self.learner.forget_gradients()
        each = self._backward(rows, row_weights)
        losses = _by_name(names, each, row_weights[:, 1:])
        loss = float((each * row_weights[:, 1:]).sum() / row_weights[:, 1:].sum())
        rate, norm = self.learner.update(loss, {"datasets": list(names), "ids": ids.tolist()})
        return StepResult(
            self.learner.step, loss, losses, rate, norm, time.perf_counter() - started, rows[:, 1:].numel()
        )

    def _backward(self, rows: Tensor, weights: Tensor) -> Tensor:
        """Gradients of the step's mean loss, a few rows at a time; returns -log p of every predicted token."""
        total = weights[:, 1:].sum()
        size = max(1, self.decoder.batch_tokens // (rows.shape[1] - 1))
        found = []
        for part, part_weights in zip(rows.split(size), weights.split(size), strict=True):
            loss, each = self.decoder.losses(part, part_weights)
            (loss / total.to(loss.device)).backward()
            found.append(each.cpu())
        return torch.cat(found)

    def measure(self) -> Metrics:
        """The held-out part of every data set that has one."""
        return {each.settings.name: each.held_out.measure(self.decoder) for each in self.sets if each.held_out}

    def save_model(self, folder: Path) -> None:
        """Write the model and its tokenizer."""
        self.decoder.save(folder, self.tokenizer)


def _by_name(names: Sequence[str], each: Tensor, weights: Tensor) -> dict[str, float]:
    sums, counts = (each * weights).sum(1), weights.sum(1)
    found: dict[str, float] = {}
    for name in sorted(set(names)):
        chosen = torch.tensor([other == name for other in names])
        found[name] = float(sums[chosen].sum() / counts[chosen].sum().clamp(min=1e-12))
    return found
