"""The program `python -m trainer.fit_lm RECIPE [key=value ...] [--resume]`: trains a small causal language model.

It judges, in `python -m trainer.score --lm`, how much a retrieved text helps. One process. Exit codes: 0 done, 1
training stopped at a loss that is no number, 2 bad input or configuration, 130 interrupted.
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
from rag_embedder.model_source import locate
from trainer.command import run_command
from trainer.language_model.data import PreparedSet, RawSet, prepare, read_raw, texts_of
from trainer.language_model.decoder import new_decoder
from trainer.language_model.evaluation import table
from trainer.language_model.recipe import load_recipe, recipe_to_toml
from trainer.language_model.run_loop import MODEL, Metrics
from trainer.language_model.settings import MAY_CHANGE, LanguageModelRecipe
from trainer.language_model.shown_run import show_run
from trainer.language_model.tokenizer import encoder_tokenizer, learned_tokenizer, open_tokenizer
from trainer.language_model.training import LanguageModelRun
from trainer.recipe_file import recipe_path
from trainer.run_folder import RECIPE, check_out
from trainer.runlog import write_run

TOKENIZER = "tokenizer"
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def fit(
    recipe: Annotated[str, typer.Argument(help="A TOML file, or a shipped recipe: pretrain_decoder, reward_lm.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="train.steps=100, data.talk.weight=2 ...")] = None,
    resume: Annotated[bool, typer.Option(help="Continue the run in train.out from its last checkpoint.")] = False,
) -> None:
    """Train; write checkpoints, log, curves and the model folder into the recipe's train.out."""
    fit_language_model(load_recipe(recipe_path(recipe), overrides or ()), resume=resume)


def fit_language_model(recipe: LanguageModelRecipe, *, resume: bool = False, show_progress: bool = True) -> Metrics:
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
    run.tokenizer.save_pretrained(out / TOKENIZER)
    write_run(out, seed=recipe.train.seed, command=["python -m trainer.fit_lm", *sys.argv[1:]])
    metrics = show_run(run, recipe.train, begin=_describe(run), table=table, resume=resume, is_shown=show_progress)
    if show_progress:
        tqdm.write(_summary(run))
    return metrics


def prepare_run(recipe: LanguageModelRecipe) -> LanguageModelRun:
    """Data, tokenizer and model of a recipe before training; a run that is continued keeps its tokenizer."""
    seed, length = recipe.train.seed, recipe.model.max_length
    parts = [raw.split(seed) for raw in read_raw(recipe)]
    tokenizer = _tokenizer(recipe, [train for train, _ in parts])
    sets = [prepare(train, held_out, tokenizer, seed=seed, max_length=length) for train, held_out in parts]
    torch.manual_seed(seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return LanguageModelRun(recipe, new_decoder(recipe.model, tokenizer, device=device), tokenizer, sets)


def _fixed_part(recipe: LanguageModelRecipe) -> str:
    return recipe_to_toml(dataclasses.replace(recipe, train=recipe.train.fixed_part()))


def _tokenizer(recipe: LanguageModelRecipe, sets: Sequence[RawSet]) -> PreTrainedTokenizerFast:
    model, before = recipe.model, Path(recipe.train.out) / TOKENIZER
    if before.exists():
        return open_tokenizer(before)
    if model.init == "encoder":
        return encoder_tokenizer(locate(model.base).files, max_length=model.max_length)
    texts = (text for each in sets for text in texts_of(each))
    return learned_tokenizer(texts, vocabulary_size=model.vocabulary_size, max_length=model.max_length)


def _describe(run: LanguageModelRun) -> str:
    parameters = sum(weight.numel() for weight in run.decoder.parameters())
    lines = [f"{parameters / 1e6:.1f} million weights, {len(run.tokenizer)} entries"]
    return "\n".join([*lines, *(_describe_set(each) for each in run.sets)])


def _describe_set(each: PreparedSet) -> str:
    left_out = "".join(f"; left out {count}: {reason}" for reason, count in each.left_out.items())
    return f"{each.settings.name}: {each.num_documents} documents, {each.settings.kind}{left_out}"


def _summary(run: LanguageModelRun) -> str:
    padding = ", ".join(f"{name} {stream.padding_share:.2%}" for name, stream in run.streams.items())
    return f"padding: {padding}; model in {Path(run.recipe.train.out) / MODEL}"


def main() -> None:
    """Entry point of `python -m trainer.fit_lm`."""
    run_command(app, "fit_lm", interrupted="the last checkpoint is kept; add --resume to go on.")


if __name__ == "__main__":
    main()
