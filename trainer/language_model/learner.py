"""A model and its optimiser: gradients to weights, and what a checkpoint keeps of both."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from evals.whole_file import write_json
from trainer.errors import NonFiniteError
from trainer.language_model.settings import LanguageModelTrainSettings
from trainer.optim import linear_schedule, make_adamw, set_learning_rate
from trainer.trained_weights import load_trained_weights, trained_weights


class Learner:
    """`step` counts finished updates of `model` by AdamW, at the rate that `train` has for each."""

    def __init__(self, model: nn.Module, train: LanguageModelTrainSettings) -> None:
        self.step = 0
        self._model = model
        self._train = train
        self._optimizer = make_adamw(model, learning_rate=train.learning_rate, weight_decay=train.weight_decay)

    def forget_gradients(self) -> None:
        """Before the first backward pass of a step."""
        self._optimizer.zero_grad(set_to_none=True)

    def update(self, loss: float, rows: Mapping[str, Any]) -> tuple[float, float]:
        """One step with the gradients there are; returns the learning rate and the gradients' norm before clipping.

        `rows` says what was read, for the file that is written if `loss` or the norm is no number.

        Raises:
            NonFiniteError: with the path of that file; the weights are as before.
        """
        norm = float(torch.nn.utils.clip_grad_norm_(self._model.parameters(), self._train.clip or math.inf))
        self._refuse_non_finite({"loss": loss, "gradient's norm": norm}, rows)
        rate = self._train.learning_rate * rate_factor(self._train, self.step)
        set_learning_rate(self._optimizer, rate)
        self._optimizer.step()
        self.step += 1
        return rate, norm

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {
            "step": self.step,
            "weights": trained_weights(self._model),
            "optimizer": self._optimizer.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state_dict` was taken.

        Raises:
            InputError: if it is of another model.
        """
        load_trained_weights(self._model, state["weights"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]

    def _refuse_non_finite(self, values: Mapping[str, float], rows: Mapping[str, Any]) -> None:
        for what, value in values.items():
            if math.isfinite(value):
                continue
            path = Path(self._train.out) / f"non-finite-step-{self.step}.json"
            write_json({"step": self.step, what: repr(value), **rows}, path)
            raise NonFiniteError(
                f"the {what} of step {self.step} is {value}; expected a finite number. Training stopped before the "
                f"weights changed; the rows are in {path}. Lower train.learning_rate, or set train.clip.",
                path=path,
            )


def rate_factor(train: LanguageModelTrainSettings, step: int) -> float:
    """Of the learning rate: linear up, then linear down or half a cosine down to a tenth."""
    warmup_steps = min(round(train.warmup * train.steps), train.steps - 1)
    if train.schedule == "linear" or step < warmup_steps:
        return linear_schedule(step, steps=train.steps, warmup=train.warmup)
    share = (step - warmup_steps) / max(1, train.steps - warmup_steps)
    return 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * share))
