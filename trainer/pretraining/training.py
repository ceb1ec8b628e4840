"""The run of a pre-training: what one step reads and learns."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerFast

from rag_embedder.prompt_form import PROMPT_FORMS
from trainer.language_model.learner import Learner
from trainer.language_model.mixture import Shares
from trainer.language_model.run_loop import Metrics, StepResult, run_steps
from trainer.pretraining.batches import token_batches
from trainer.pretraining.data import PassageSet, PassageStream
from trainer.pretraining.evaluation import measure
from trainer.pretraining.layout import JointSequence
from trainer.pretraining.model import JointDecoder
from trainer.pretraining.objective import TASKS
from trainer.pretraining.output import save_encoder
from trainer.pretraining.settings import PretrainRecipe

_DRAWN = ("self_recall", "next_recall")


class PretrainRun:
    """One decoder, its optimiser and its data: a step is a function of the recipe and the number of steps before."""

    def __init__(
        self,
        recipe: PretrainRecipe,
        decoder: JointDecoder,
        tokenizer: PreTrainedTokenizerFast,
        sets: Sequence[PassageSet],
    ) -> None:
        self.recipe = recipe
        self.decoder = decoder
        self.tokenizer = tokenizer
        self.sets = sets
        self.learner = Learner(decoder, recipe.train)
        self._form = PROMPT_FORMS[recipe.model.form]
        self._objective = recipe.objective.resolved()
        train = recipe.train
        self._shares = Shares({each.settings.name: each.settings.weight for each in sets}, seed=train.seed)
        self._streams = {
            each.settings.name: PassageStream(
                each.sequences, name=each.settings.name, seed=train.seed, max_length=recipe.model.max_length
            )
            for each in sets
        }

    def run(
        self,
        *,
        resume: bool = False,
        on_step: Callable[[StepResult], None] = lambda _: None,
        on_metrics: Callable[[int, Metrics], None] = lambda *_: None,
    ) -> Metrics:
        """Train to the last step, as `run_steps` says; returns the last evaluation."""
        return run_steps(self, self.recipe.train, drawn=_DRAWN, resume=resume, on_step=on_step, on_metrics=on_metrics)

    def trained_parameters(self) -> list[torch.nn.Parameter]:
        """What the optimiser changes."""
        return [weight for weight in self.decoder.parameters() if weight.requires_grad]

    def train_step(self) -> StepResult:
        """Read the rows of this step, and learn from them; `losses` are by task, and "lm"."""
        started = time.perf_counter()
        train = self.recipe.train
        names, sequences = self._rows(train.rows_per_step(self.recipe.model.max_length))
        self.learner.forget_gradients()
        loss, losses = self._backward(sequences)
        rows = {"datasets": names, "ids": [sequence.ids.tolist() for sequence in sequences]}
        rate, norm = self.learner.update(loss, rows)
        num_tokens = sum(sequence.shape.length for sequence in sequences)
        return StepResult(self.learner.step, loss, losses, rate, norm, time.perf_counter() - started, num_tokens)

    def measure(self) -> Metrics:
        """The held-out part of every data set that has one."""
        slots = self._form.num_slots
        return {
            each.settings.name: measure(self.decoder, each.held_out, self._objective, num_slots=slots)
            for each in self.sets
            if each.held_out
        }

    def save_model(self, folder: Path) -> None:
        """Write what `Embedder.load` and transformers read."""
        save_encoder(folder, self.decoder, self.tokenizer, form=self._form, max_length=self.recipe.model.max_length)

    def _rows(self, count: int) -> tuple[list[str], list[JointSequence]]:
        """Data set and sequence of all that this step reads."""
        read = [
            (name, sequence)
            for name, nth in self._shares.places(self.learner.step, count)
            for sequence in self._streams[name].row(nth)
        ]
        return [name for name, _ in read], [sequence for _, sequence in read]

    def _backward(self, sequences: Sequence[JointSequence]) -> tuple[float, dict[str, float]]:
        """Gradients of the step's loss, a few sequences at a time; returns the loss and its terms before weighting."""
        objective = self._objective
        counts = {task: sum(task in sequence.targets for sequence in sequences) for task in TASKS}
        present = [task for task in TASKS if counts[task]]
        factor = 1 / objective.divisor / (len(present) if objective.combine == "mean" else 1)
        num_text = sum(_num_predicted(sequence) for sequence in sequences)
        sums: dict[str, float] = dict.fromkeys([*present, *(["lm"] if objective.lm_weight else [])], 0.0)
        slots, size = self._form.num_slots, self.decoder.batch_tokens
        for batch in token_batches(sequences, max_tokens=size, num_slots=slots):
            terms = self.decoder.terms(batch, objective)
            loss = terms.lm * (objective.lm_weight / max(1, num_text))
            for task, total in terms.bags.items():
                loss = loss + total * (factor / counts[task])
                sums[task] += float(total.detach()) / counts[task]
            if objective.lm_weight:
                sums["lm"] += float(terms.lm.detach()) / max(1, num_text)
            loss.backward()
        weighted = factor * sum(sums[task] for task in present)
        return weighted + objective.lm_weight * sums.get("lm", 0.0), sums


def _num_predicted(sequence: JointSequence) -> int:
    return sequence.shape.shared - max(sequence.num_before, 1)
