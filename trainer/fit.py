"""The program `python -m trainer.fit RECIPE [key=value ...] [--resume]`: trains the encoder or reranker of a recipe.

Several processes: `accelerate launch --multi_gpu --num_processes 8 -m trainer.fit RECIPE`; without a GPU the same line
starts them on the CPU (accelerate's `--cpu` starts one only). Exit codes: 0 done, 1 training stopped
at a loss that is no number, 2 bad input or configuration, 130 interrupted.
"""

import dataclasses
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import torch
import typer
from tqdm import tqdm

from rag_embedder.errors import ConfigError, InputError, MissingExtraError
from trainer.command import run_command
from trainer.data_report import write_data_report
from trainer.distributed import rank
from trainer.fit_summary import describe_data, summary
from trainer.gradient_average import wait_for_all
from trainer.loop import Progress, run_fit
from trainer.losses.batch_scores import check_unit_rows
from trainer.model import TrainableEncoder
from trainer.model_kinds import MODEL_KINDS
from trainer.recipe import load_recipe, recipe_to_toml, save_recipe
from trainer.recipe_file import recipe_path
from trainer.run_folder import RECIPE, check_out
from trainer.runlog import LOG, draw_curves, write_run
from trainer.settings import Recipe
from trainer.steps import Stepper, StepResult
from trainer.training_sets import TrainingSet, read_training_sets

_MAY_CHANGE = ("log_every", "eval_every", "save_every", "keep", "patience")
"""Train settings with which a run may be continued although they are others than at its start."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def fit(
    recipe: Annotated[str, typer.Argument(help="A TOML file, or the name of a shipped recipe such as smoke.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="train.steps=100, data.qa.path=qa.jsonl ...")] = None,
    resume: Annotated[bool, typer.Option(help="Continue the run in train.out from its last checkpoint.")] = False,
) -> None:
    """Train; write checkpoints, log and curves into the recipe's train.out."""
    fit_recipe(load_recipe(recipe_path(recipe), overrides or ()), resume=resume)


def fit_recipe(recipe: Recipe, *, resume: bool = False, show_progress: bool = True) -> Progress:
    """Check everything, then train; all processes call it together.

    Raises:
        ConfigError: for settings that do not fit model or data, or an output folder that is not free.
        InputError: for missing or broken data; ModelLoadError: for a model that cannot be loaded.
        NonFiniteError: if a loss or a gradient is no number.
    """
    out = Path(recipe.train.out)
    device = _start_processes()
    check_out(
        out,
        _fixed_part(recipe),
        resume=resume,
        fixed_part=lambda path: _fixed_part(load_recipe(path)),
        may_change=_MAY_CHANGE,
    )
    training_sets = read_training_sets(recipe)
    stepper = Stepper(recipe, MODEL_KINDS[recipe.model.kind].load(recipe, device=device), training_sets)
    stepper.kind.check(recipe, training_sets)
    wait_for_all()  # the first process writes only when all have seen a free folder
    is_first = rank() == 0
    if is_first:
        save_recipe(recipe, out / RECIPE)
        write_run(out, seed=recipe.train.seed)
        write_data_report(training_sets, out)
    is_shown = is_first and show_progress
    with tqdm(total=recipe.train.steps, desc="fitting", unit="step", disable=None if is_shown else True) as bar:
        if is_shown:
            bar.write(describe_data(training_sets))

        def on_step(result: StepResult) -> None:
            bar.update(result.step - bar.n)
            bar.set_postfix_str(f"{result.dataset} loss {result.loss:.3f}")

        def on_metrics(step: int, metrics: Mapping[str, float]) -> None:
            if is_shown:
                bar.write(f"step {step}: " + ", ".join(f"{name} {value:.3f}" for name, value in metrics.items()))

        try:
            progress = run_fit(stepper, resume=resume, on_step=on_step, on_metrics=on_metrics)
        finally:
            # Of a run that failed too: that is when one looks at them.
            if is_first and (out / LOG).exists():
                draw_curves(out)
    if is_shown:
        tqdm.write(summary(recipe.train, progress, step=stepper.step, padding=stepper.encoder.padding.share))
    return progress


def load_encoder(recipe: Recipe, *, device: str) -> TrainableEncoder:
    """The encoder of a recipe before training: the same in every process, adapters included."""
    torch.manual_seed(recipe.train.seed)
    model = recipe.model
    return TrainableEncoder.load(
        model.base,
        pooling=model.pooling,
        prompt_form=model.prompt_form,
        scenarios=model.instructions,
        more_scenarios=recipe.scenario,
        max_length=model.max_length,
        trained=model.trained,
        lora_rank=model.lora_rank,
        lora_alpha=model.lora_alpha,
        dtype=model.dtype,
        device=device,
    )


def check_scenarios(recipe: Recipe, encoder: TrainableEncoder) -> None:
    """Refuse data sets of a scenario that the base does not have.

    Raises:
        ConfigError: naming the data set, what the base has and what to do.
    """
    known = list(encoder.settings.scenarios)
    for settings in recipe.data:
        if settings.scenario not in known:
            raise ConfigError(
                f"data.{settings.name}.scenario is {settings.scenario!r}, but {encoder.settings.name} has "
                f"{', '.join(known)}; set model.instructions, or add a [[scenario]] table of that name."
            )


def check_vectors(recipe: Recipe, encoder: TrainableEncoder, training_sets: Mapping[str, TrainingSet]) -> None:
    """Refuse an encoder whose vectors are not of length 1, as those of damaged weights: no temperature fits them.

    Raises:
        InputError: naming the base and the data set whose first query was encoded.
    """
    base = recipe.model.base
    for name, each in training_sets.items():
        first = [*each.examples, *each.dev][0]
        with torch.no_grad():
            vectors = encoder.encode([first.query], each.settings.scenario, "query")
        try:
            check_unit_rows(vectors)
        except InputError as error:
            raise InputError(f"model.base {base or '(the default)'}, first query of data.{name}: {error}") from None


def _fixed_part(recipe: Recipe) -> str:
    train = {name: getattr(recipe.train, name) for name in _MAY_CHANGE}
    defaults = {spec.name: spec.default for spec in dataclasses.fields(recipe.train) if spec.name in train}
    # patience without evaluation would be refused, so they go back to their defaults together
    return recipe_to_toml(dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, **defaults)))


def _start_processes() -> str:
    """Join the processes that accelerate or torchrun started, if any; returns this one's device."""
    if find_spec("accelerate") is None:
        raise MissingExtraError('training needs accelerate; run: pip install "rag-embedder[train]"')
    from accelerate import PartialState

    device = PartialState(cpu=not torch.cuda.is_available()).device
    return "cpu" if str(device).startswith("cpu") else str(device)


def main() -> None:
    """Entry point of `python -m trainer.fit`."""
    run_command(app, "fit", interrupted="the last checkpoint is kept; add --resume to go on.")


if __name__ == "__main__":
    main()
