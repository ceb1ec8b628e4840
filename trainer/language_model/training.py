"""A whole run: steps, log, evaluation, checkpoints and the model folder; continued, it equals an uninterrupted one."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from evals.whole_file import write_json
from rag_embedder.errors import InputError
from trainer.checkpoint import load_latest, save
from trainer.errors import NonFiniteError
from trainer.language_model.data import PreparedSet
from trainer.language_model.decoder import Decoder
from trainer.language_model.documents import start_and_end
from trainer.language_model.mixture import Mixture, RowStream
from trainer.language_model.settings import LanguageModelRecipe
from trainer.optim import linear_schedule, make_adamw, set_learning_rate
from trainer.runlog import RunLog

CHECKPOINTS = "checkpoints"
MODEL = "model"


@dataclass(frozen=True, slots=True)
class StepResult:
    """`step` counts finished steps; `losses` by data set, in nats per token, weighted as the recipe says."""

    step: int
    loss: float
    losses: Mapping[str, float]
    learning_rate: float
    gradient_norm: float
    seconds: float
    tokens: int


Metrics = Mapping[str, Mapping[str, float]]


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
        """Train to the last step; returns the last evaluation.

        Writes into `train.out`: log.jsonl, checkpoints/step-*, and model/, which transformers reads.

        Raises:
            NonFiniteError: if a loss or a gradient is no number.
            InputError: if the checkpoint cannot be read or is of another model.
        """
        train, out = self.recipe.train, Path(self.recipe.train.out)
        state = load_latest(out / CHECKPOINTS) if resume else None
        if state is not None:
            self.load_state_dict(state)
        metrics: Metrics = {}
        with RunLog(out, step=self.step) as log:
            if train.eval_every and self.step == 0:
                metrics = self._evaluate(log, on_metrics)
            while self.step < train.steps:
                result = self.train_step()
                if result.step % train.log_every == 0 or result.step in (1, train.steps):
                    _log_step(log, result)
                on_step(result)
                is_last = self.step == train.steps
                if train.eval_every and (is_last or self.step % train.eval_every == 0):
                    metrics = self._evaluate(log, on_metrics)
                if is_last or (train.save_every and self.step % train.save_every == 0):
                    save(out / CHECKPOINTS, self.state_dict(), keep=train.keep)
                    self.decoder.save(out / MODEL, self.tokenizer)
        return metrics

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
        self._refuse_non_finite("loss", loss, names, ids)
        self._refuse_non_finite("gradient's norm", float(norm), names, ids)
        rate = train.learning_rate * _factor(self.recipe, self.step)
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

    def _evaluate(self, log: RunLog, on_metrics: Callable[[int, Metrics], None]) -> Metrics:
        metrics = {each.settings.name: each.held_out.measure(self.decoder) for each in self.sets if each.held_out}
        for name, values in metrics.items():
            log.write("held_out", self.step, {"dataset": name} | dict(values))
        # In one picture only what is on one scale.
        drawn = {
            f"{name} {key}": values[key]
            for name, values in metrics.items()
            for key in ("bits_per_byte", "auc")
            if key in values
        }
        log.write("eval", self.step, drawn)
        on_metrics(self.step, metrics)
        return metrics

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        weights = dict(self.decoder.named_parameters())
        return {"step": self.step, "weights": weights, "optimizer": self._optimizer.state_dict()}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state_dict` was taken.

        Raises:
            InputError: if it is of another model.
        """
        own, saved = dict(self.decoder.named_parameters()), state["weights"]
        if {name: weight.shape for name, weight in own.items()} != {name: each.shape for name, each in saved.items()}:
            raise InputError("the checkpoint's weights are of another model; expected those of the recipe's.")
        for name, weight in own.items():
            weight.copy_(saved[name])
        self._optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]

    def _refuse_non_finite(self, what: str, value: float, names: Sequence[str], ids: Any) -> None:  # noqa: ANN401
        if math.isfinite(value):
            return
        path = Path(self.recipe.train.out) / f"non-finite-step-{self.step}.json"
        write_json({"step": self.step, what: repr(value), "datasets": list(names), "ids": ids.tolist()}, path)
        raise NonFiniteError(
            f"the {what} of step {self.step} is {value}; expected a finite number. Training stopped before the weights "
            f"changed; the rows are in {path}. Lower train.learning_rate, or set train.clip.",
            path=path,
        )


def _factor(recipe: LanguageModelRecipe, step: int) -> float:
    """Of the learning rate: linear up, then linear down or half a cosine down to a tenth."""
    train = recipe.train
    warmup_steps = min(round(train.warmup * train.steps), train.steps - 1)
    if train.schedule == "linear" or step < warmup_steps:
        return linear_schedule(step, steps=train.steps, warmup=train.warmup)
    share = (step - warmup_steps) / max(1, train.steps - warmup_steps)
    return 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * share))


def _by_name(names: Sequence[str], each: Tensor, weights: Tensor) -> dict[str, float]:
    sums, counts = (each * weights).sum(1), weights.sum(1)
    found: dict[str, float] = {}
    for name in sorted(set(names)):
        chosen = torch.tensor([other == name for other in names])
        found[name] = float(sums[chosen].sum() / counts[chosen].sum().clamp(min=1e-12))
    return found


def _log_step(log: RunLog, result: StepResult) -> None:
    for name, loss in result.losses.items():
        log.write(
            "train",
            result.step,
            {
                "dataset": name,
                "loss": loss,
                "learning_rate": result.learning_rate,
                "gradient_norm": result.gradient_norm,
                "seconds": result.seconds,
            },
        )
