"""The program `python -m trainer.pretrain RECIPE [key=value ...] [--resume]`: makes a decoder a better encoder to be.

EBAE and EBAR (LLaRA, Llama2Vec): after one prompt its state must predict the words of the text it read, after another
those of the passage that follows. One process. Exit codes: 0 done, 1 training stopped at a loss that is no number, 2
bad input or configuration, 130 interrupted.
"""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import torch
import typer
from tqdm import tqdm
from transformers import PreTrainedTokenizerFast

from evals.whole_file import write_text
from rag_embedder.prompt_form import PROMPT_FORMS
from trainer.command import run_command
from trainer.language_model.run_loop import MODEL, Metrics
from trainer.language_model.settings import MAY_CHANGE
from trainer.language_model.shown_run import show_run
from trainer.language_model.tokenizer import open_tokenizer
from trainer.pretraining.data import PassageSet, prepare_set, read_sets
from trainer.pretraining.evaluation import table
from trainer.pretraining.layout import JointForm
from trainer.pretraining.loading import base_folder, load_decoder
from trainer.pretraining.passages import Documents
from trainer.pretraining.recipe import load_recipe, recipe_to_toml
from trainer.pretraining.settings import PassageDataSettings, PretrainRecipe
from trainer.pretraining.slots import add_slots
from trainer.pretraining.targets import TargetWords
from trainer.pretraining.training import PretrainRun
from trainer.recipe_file import recipe_path
from trainer.run_folder import RECIPE, check_out
from trainer.runlog import write_run

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def pretrain(
    recipe: Annotated[str, typer.Argument(help="A TOML file, or the name of a shipped recipe: pretrain_llara.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="model.base=FOLDER, objective.tasks=self ...")] = None,
    resume: Annotated[bool, typer.Option(help="Continue the run in train.out from its last checkpoint.")] = False,
) -> None:
    """Train; write checkpoints, log, curves and the model folder into the recipe's train.out."""
    pretrain_decoder(load_recipe(recipe_path(recipe), overrides or ()), resume=resume)


def pretrain_decoder(recipe: PretrainRecipe, *, resume: bool = False, show_progress: bool = True) -> Metrics:
    """Check everything, then train; returns the last evaluation.

    Raises:
        ConfigError: for settings that do not fit model or data, or an output folder that is not free.
        InputError: for missing or broken data; ModelLoadError: for a base that cannot be loaded.
        NonFiniteError: if a loss or a gradient is no number.
    """
    out = Path(recipe.train.out)
    check_out(
        out,
        _fixed_part(recipe),
        resume=resume,
        fixed_part=lambda path: _fixed_part(load_recipe(path)),
        may_change=MAY_CHANGE,
    )
    run = prepare_run(recipe)
    write_text(recipe_to_toml(recipe), out / RECIPE)
    write_run(out, seed=recipe.train.seed, command=["python -m trainer.pretrain", *sys.argv[1:]])
    metrics = show_run(run, recipe.train, begin=_describe(run), table=table, resume=resume, is_shown=show_progress)
    if show_progress:
        tqdm.write(f"model in {out / MODEL}; Embedder.load and model.base take it")
    return metrics


def prepare_run(recipe: PretrainRecipe) -> PretrainRun:
    """Data, tokenizer and decoder of a recipe before training."""
    documents = read_sets(recipe)
    tokenizer = open_tokenizer(base_folder(recipe.model))
    form = PROMPT_FORMS[recipe.model.form]
    new_ids = add_slots(tokenizer, form)
    sets = _prepare_sets(recipe, documents, tokenizer)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    decoder = load_decoder(recipe.model, tokenizer, form, new_ids=new_ids, seed=recipe.train.seed, device=device)
    return PretrainRun(recipe, decoder, tokenizer, sets)


def _prepare_sets(
    recipe: PretrainRecipe,
    documents: Sequence[tuple[PassageDataSettings, Documents]],
    tokenizer: PreTrainedTokenizerFast,
) -> list[PassageSet]:
    objective, name = recipe.objective.resolved(), recipe.model.form
    ids = PROMPT_FORMS[name].tokenised(tokenizer)
    form = JointForm(name, ids, tasks=objective.tasks, max_length=recipe.model.max_length)
    words = TargetWords(tokenizer, remove_stop_words=objective.stop_words == "remove")
    return [
        prepare_set(settings, texts, form, words, tokenizer, seed=recipe.train.seed) for settings, texts in documents
    ]


def _fixed_part(recipe: PretrainRecipe) -> str:
    return recipe_to_toml(dataclasses.replace(recipe, train=recipe.train.fixed_part()))


def _describe(run: PretrainRun) -> str:
    counts = [sum(weight.numel() for weight in part) for part in (run.decoder.parameters(), run.trained_parameters())]
    first = f"{counts[0] / 1e6:.1f} million weights, {counts[1] / 1e6:.1f} trained; {len(run.tokenizer)} entries"
    return "\n".join([first, *(_describe_set(each) for each in run.sets)])


def _describe_set(each: PassageSet) -> str:
    left_out = f"; left out {each.num_left_out}: nothing to predict" if each.num_left_out else ""
    return (
        f"{each.settings.name}: {each.num_documents} documents, {len(each.sequences)} passages, "
        f"{each.count('next')} with a next one{left_out}"
    )


def main() -> None:
    """Entry point of `python -m trainer.pretrain`."""
    run_command(app, "pretrain", interrupted="the last checkpoint is kept; add --resume to go on.")


if __name__ == "__main__":
    main()
