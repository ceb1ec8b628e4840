"""One optimiser step: draw, encode, loss, gradients averaged over processes, clip, update."""

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from rag_embedder.errors import ConfigError, InputError
from trainer.checkpoint import rng_state, set_rng_state
from trainer.collate import TrainingBatch, collate
from trainer.distributed import mean_over_ranks, rank, world_size
from trainer.gradient_average import average_gradients
from trainer.gradient_cache import backward
from trainer.losses.weighted_sum import WeightedLoss
from trainer.model_kinds import MODEL_KINDS, ModelKind
from trainer.non_finite import refuse_non_finite
from trainer.optim import SelfPacedRate, WeightAverage, linear_schedule, make_adamw, set_learning_rate
from trainer.sampler import HomogeneousSampler
from trainer.settings import Recipe
from trainer.trainable import TrainableModel
from trainer.training_sets import TrainingSet


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """What one step did. `step` counts finished steps; losses are means over all processes, in nats."""

    step: int
    dataset: str
    loss: float
    parts: Mapping[str, float]
    learning_rate: float
    gradient_norm: float
    seconds: float


class Stepper:
    """Everything that changes during training, and the step that changes it.

    The encoder must give the same vectors for the same texts (no dropout), so that nothing depends on how texts are
    put together, on the number of processes or on interruptions.

    Raises:
        ConfigError: if a data set does not fill one batch of all processes, or a Matryoshka dimension is too large.
    """

    def __init__(self, recipe: Recipe, encoder: TrainableModel, training_sets: Mapping[str, TrainingSet]) -> None:
        self.recipe = recipe
        self.encoder = encoder
        self.kind: ModelKind = MODEL_KINDS[recipe.model.kind](encoder)
        self.training_sets = training_sets
        self.step = 0
        train = recipe.train
        dim = getattr(encoder, "dim", 0)  # a reranker has none, and its recipe no such dimensions
        if train.matryoshka_dims and train.matryoshka_dims[-1] >= dim:
            raise ConfigError(
                f"train.matryoshka_dims is {list(train.matryoshka_dims)}; expected numbers below {dim}, the "
                "encoder's dimension, which is always trained."
            )
        trained = {name: each for name, each in training_sets.items() if each.settings.is_trained}
        self.sampler = HomogeneousSampler(
            {name: len(each.examples) for name, each in trained.items()},
            batch_size=train.batch_size,
            seed=train.seed,
            weights={name: each.settings.weight for name, each in trained.items()},
        )
        self.sampler.check(world_size())
        self.optimizer = make_adamw(encoder, learning_rate=train.learning_rate, weight_decay=train.weight_decay)
        self.rate = SelfPacedRate(refresh_every=train.self_paced_every) if train.self_paced else None
        self.average = WeightAverage(encoder, decay=train.ema) if train.ema else None
        self._weights = [weight for weight in encoder.parameters() if weight.requires_grad]
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="collate")
        self._next: tuple[int, Future[TrainingBatch]] | None = None

    def run(self) -> StepResult:
        """Do the next step.

        Raises:
            NonFiniteError: if loss or gradient is no number; the weights are as before the step.
        """
        started = time.perf_counter()
        train, batch = self.recipe.train, self._take_batch()
        options = self.training_sets[batch.rows.dataset].loss
        values: dict[str, float] = {}

        def loss_of(vectors: Tensor) -> Tensor:
            result = self.kind.loss(vectors, batch, options, dims=train.matryoshka_dims)
            values.update(_means(result))
            self._check("loss", values["loss"], batch)
            return result.loss

        self.optimizer.zero_grad(set_to_none=True)
        backward(self.encoder, batch.token_ids, loss_of, chunk=train.gradient_cache_chunk)
        average_gradients(self._weights)
        norm = self._clip()
        self._check("gradient norm", norm, batch)
        learning_rate = self._learning_rate(batch.rows.dataset)
        set_learning_rate(self.optimizer, learning_rate)
        self.optimizer.step()
        if self.average:
            self.average.update(self.encoder)
        if self.rate:
            self.rate.observe(batch.rows.dataset, values["loss"], step=self.step)
        self.step += 1
        return StepResult(
            step=self.step,
            dataset=batch.rows.dataset,
            loss=values.pop("loss"),
            parts=values,
            learning_rate=learning_rate,
            gradient_norm=norm,
            seconds=time.perf_counter() - started,
        )

    def close(self) -> None:
        """Stop the thread that prepares the next batch."""
        self._worker.shutdown(cancel_futures=True)

    @contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """Inside, the encoder has the moving average of its weights, if the recipe keeps one."""
        if self.average:
            self.average.swap(self.encoder)
        try:
            yield
        finally:
            if self.average:
                self.average.swap(self.encoder)

    def weights_state(self) -> dict[str, Any]:
        """The encoder alone, as it is now: enough to export it, not to go on."""
        return {
            "step": self.step,
            "base_hash": self.encoder.base_hash,
            "weights": self.encoder.trained_weights(),
            "average": None,
        }

    def state_dict(self) -> dict[str, Any]:
        """All that the next step depends on besides recipe and data; frozen weights come from the base."""
        return {
            **self.weights_state(),
            "optimizer": self.optimizer.state_dict(),
            "self_paced": self.rate.state_dict() if self.rate else None,
            "average": self.average.state_dict() if self.average else None,
            "rng": rng_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state_dict` was taken, exactly.

        Raises:
            InputError: if the checkpoint was made from other base weights, or other weights were trained.
        """
        if state["base_hash"] != self.encoder.base_hash:
            raise InputError(
                "the checkpoint was trained from other base weights than those of model.base; expected the same. "
                "Name the base that the run began with."
            )
        self.encoder.load_trained_weights(state["weights"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.rate:
            self.rate.load_state_dict(state["self_paced"])
        if self.average:
            self.average.load_state_dict(state["average"])
        set_rng_state(state["rng"])
        self.step = state["step"]

    def _take_batch(self) -> TrainingBatch:
        """The batch of this step, made while the step before was computed; the next one is begun."""
        step, future = self._next or (self.step, self._worker.submit(self._make_batch, self.step))
        if step != self.step:  # continued from a checkpoint in between
            future = self._worker.submit(self._make_batch, self.step)
        batch = future.result()
        self._next = (self.step + 1, self._worker.submit(self._make_batch, self.step + 1))
        return batch

    def _make_batch(self, step: int) -> TrainingBatch:
        train = self.recipe.train
        rows = self.sampler.batch_at(step, rank=rank(), world_size=world_size())
        chosen = self.training_sets[rows.dataset]
        return collate(self.kind, chosen, rows, group_size=train.group_size, seed=train.seed)

    def _learning_rate(self, dataset: str) -> float:
        train = self.recipe.train
        factor = self.rate.factor(dataset) if self.rate else 1.0
        return train.learning_rate * linear_schedule(self.step, steps=train.steps, warmup=train.warmup) * factor

    def _clip(self) -> float:
        gradients = [weight.grad for weight in self._weights if weight.grad is not None]
        norm = get_total_norm(gradients)
        if self.recipe.train.clip:
            clip_grads_with_norm_(self._weights, self.recipe.train.clip, norm)
        return float(norm)

    def _check(self, name: str, value: float, batch: TrainingBatch) -> None:
        refuse_non_finite(name, value, batch, step=self.step + 1, folder=Path(self.recipe.train.out))


def _means(result: WeightedLoss) -> dict[str, float]:
    """The loss and its parts, averaged over processes in one message."""
    names = ["loss", *result.parts]
    means = mean_over_ranks(torch.stack([result.loss.detach(), *result.parts.values()]))
    return dict(zip(names, means.tolist(), strict=True))
