"""AdamW, its rate over the steps, the self-paced rate per data set, and the moving average of the weights."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from rag_embedder.errors import ConfigError, InputError


def make_adamw(model: nn.Module, *, learning_rate: float, weight_decay: float) -> AdamW:
    """AdamW over what requires a gradient; vectors (biases, normalisation) and scalars are not decayed.

    Raises:
        ConfigError: if nothing requires a gradient.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trained:
        raise ConfigError("the model has no trainable weight; expected at least one with requires_grad.")
    groups = [
        {"params": [parameter for parameter in trained if parameter.ndim >= 2], "weight_decay": weight_decay},
        {"params": [parameter for parameter in trained if parameter.ndim < 2], "weight_decay": 0.0},
    ]
    return AdamW([group for group in groups if group["params"]], lr=learning_rate, weight_decay=0.0, fused=True)


def linear_schedule(step: int, *, steps: int, warmup: float) -> float:
    """The factor of the learning rate at `step`, counted from 0: linear up over the share `warmup`, then linear down.

    It is 1 once, right after the warm-up, and above 0 at every step, so that no step is computed in vain.
    """
    warmup_steps = min(round(warmup * steps), steps - 1)
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    return max(0, steps - step) / (steps - warmup_steps)


def set_learning_rate(optimizer: Optimizer, learning_rate: float) -> None:
    """Give every group of parameters this rate."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


class SelfPacedRate:
    """A factor of the learning rate per data set: above 1 where the loss has fallen less than before, below 1 else.

    factor = sqrt(L / L_0), clipped to `bounds`: L is a moving average of the data set's loss, L_0 is L as it was when
    it was last stored, every `refresh_every` steps of training (ACL 2024, "A Multi-Task Embedder For Retrieval
    Augmented LLMs", section 3.2.3; the exponent 0.5 is that of loss-balanced task weighting). It is 1 until the first
    values are stored. The rate is scaled and not the loss, because Adam divides a factor of the loss out again.
    """

    def __init__(
        self, *, decay: float = 0.9, refresh_every: int = 1000, bounds: tuple[float, float] = (0.5, 2.0)
    ) -> None:
        if not (0 <= decay < 1 and refresh_every >= 1 and 0 < bounds[0] <= 1 <= bounds[1]):
            raise ConfigError(
                f"self-paced rate: decay {decay}, refresh_every {refresh_every}, bounds {bounds}; expected a decay "
                "from 0 to below 1, 1 or more steps, and bounds around 1."
            )
        self._decay = decay
        self._refresh_every = refresh_every
        self._bounds = bounds
        self._average: dict[str, float] = {}
        self._reference: dict[str, float] = {}

    def observe(self, dataset: str, loss: float, *, step: int) -> None:
        """Take the loss of `dataset` at `step`, counted from 0: the mean over all ranks, so that all have one rate.

        Raises:
            InputError: if the loss is infinite or not a number; nothing is changed.
        """
        if not math.isfinite(loss):
            raise InputError(f"loss of data set {dataset!r} at step {step} is {loss}; expected a finite number.")
        # A divergence of 0 can come out as -1e-8.
        loss = max(0.0, loss)
        before = self._average.get(dataset, loss)
        self._average[dataset] = self._decay * before + (1 - self._decay) * loss
        if (step + 1) % self._refresh_every == 0:
            self._reference = dict(self._average)

    def factor(self, dataset: str) -> float:
        """What the learning rate of a step on `dataset` is multiplied by; 1 while there is nothing to compare with."""
        reference = self._reference.get(dataset, 0.0)
        if reference == 0:
            return 1.0
        low, high = self._bounds
        return min(high, max(low, math.sqrt(self._average[dataset] / reference)))

    def state_dict(self) -> dict[str, dict[str, float]]:
        """What a checkpoint keeps."""
        return {"average": dict(self._average), "reference": dict(self._reference)}

    def load_state_dict(self, state: Mapping[str, Mapping[str, float]]) -> None:
        """Continue where `state_dict` was taken."""
        self._average = dict(state["average"])
        self._reference = dict(state["reference"])


class WeightAverage:
    """Exponential moving average of a model's trained weights, in float32: average = d average + (1 - d) weights.

    `decay` is d per step, limited to (1 + n) / (10 + n) after n updates, so that the first weights are soon forgotten.
    """

    def __init__(self, model: nn.Module, *, decay: float) -> None:
        if not 0 < decay < 1:
            raise ConfigError(f"decay of the weight average is {decay}; expected a number between 0 and 1.")
        self._decay = decay
        self._num_updates = 0
        self._weights = {name: weights.detach().float().clone() for name, weights in _trained(model).items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take in the weights after an optimiser step."""
        self._num_updates += 1
        decay = min(self._decay, (1 + self._num_updates) / (10 + self._num_updates))
        for name, weights in _trained(model).items():
            self._weights[name].lerp_(weights.detach().float(), 1 - decay)

    @torch.no_grad()
    def swap(self, model: nn.Module) -> None:
        """Exchange the model's weights and the averages; a second call exchanges them back."""
        for name, weights in _trained(model).items():
            trained = weights.detach().float().clone()
            weights.copy_(self._weights[name])
            self._weights[name] = trained

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"num_updates": self._num_updates, "weights": dict(self._weights)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state_dict` was taken; the averages stay on the device they are on."""
        self._num_updates = state["num_updates"]
        for name, weights in self._weights.items():
            weights.copy_(state["weights"][name])


def _trained(model: nn.Module) -> dict[str, Tensor]:
    return {name: weights for name, weights in model.named_parameters() if weights.requires_grad}
