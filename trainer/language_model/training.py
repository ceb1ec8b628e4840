"""The run of a language model: what one step reads and learns."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from trainer.language_model.data import PreparedSet
from trainer.language_model.decoder import Decoder
from trainer.language_model.documents import start_and_end
from trainer.language_model.mixture import Mixture, RowStream
from trainer.language_model.run_loop import (
    Metrics,
    StepResult,
    load_trained_weights,
    rate_factor,
    refuse_non_finite,
    run_steps,
    trained_weights,
)
from trainer.language_model.settings import LanguageModelRecipe
from trainer.optim import make_adamw, set_learning_rate

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
        self.step = 0
        train, length = recipe.train, recipe.model.max_length
        self._optimizer = make_adamw(decoder, learning_rate=train.learning_rate, weight_decay=train.weight_decay)
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
        train = self.recipe.train
        names, ids, weights = self._mixture.rows(self.step, self.recipe.rows_per_step)
        rows, row_weights = torch.from_numpy(ids).long(), torch.from_numpy(weights)
        self._optimizer.zero_grad(set_to_none=True)
        each = self._backward(rows, row_weights)
        norm = torch.nn.utils.clip_grad_norm_(self.decoder.parameters(), train.clip or math.inf)
        losses = _by_name(names, each, row_weights[:, 1:])
        loss = float((each * row_weights[:, 1:]).sum() / row_weights[:, 1:].sum())
        refuse_non_finite(
            train,
            self.step,
            {"loss": loss, "gradient's norm": float(norm)},
            {"datasets": list(names), "ids": ids.tolist()},
        )
        rate = train.learning_rate * rate_factor(train, self.step)
        set_learning_rate(self._optimizer, rate)
        self._optimizer.step()
        self.step += 1
        return StepResult(
            self.step, loss, losses, rate, float(norm), time.perf_counter() - started, rows[:, 1:].numel()
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

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {
            "step": self.step,
            "weights": trained_weights(self.decoder),
            "optimizer": self._optimizer.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state_dict` was taken.

        Raises:
            InputError: if it is of another model.
        """
        load_trained_weights(self.decoder, state["weights"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]

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
