"""The program `python -m trainer.export CHECKPOINT --out FOLDER`: a trained encoder as a folder that others load.

CHECKPOINT is a run's folder (its best checkpoint, or else its last) or one step-* folder of it. Exit codes as
`trainer.fit`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from safetensors.torch import save_file
from torch import Tensor

from evals.whole_file import write_text
from rag_embedder.errors import ConfigError, InputError
from rag_embedder.model_folder import write_folder
from trainer.checkpoint import checkpoints, load
from trainer.command import run_command
from trainer.fit import RECIPE, load_encoder
from trainer.loop import BEST, CHECKPOINTS
from trainer.model import TrainableEncoder
from trainer.model_card import Licences, model_card
from trainer.recipe import load_recipe

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def export(
    checkpoint: Annotated[Path, typer.Argument(help="A run's folder, or one checkpoint of it.")],
    out: Annotated[Path, typer.Option(help="The folder to write: new, or empty.")],
    name: Annotated[str | None, typer.Option(help="What the model is called; default: the folder's name.")] = None,
    model_license: Annotated[str, typer.Option("--license", help="Of the exported weights.")] = "not stated",
    data_license: Annotated[list[str] | None, typer.Option(help="NAME=LICENCE of a data set; repeat.")] = None,
) -> None:
    """Write the encoder for Embedder.load and sentence-transformers, with a model card; adapters are merged."""
    licences = Licences(model=model_license, data=_pairs(data_license or ()))
    export_checkpoint(checkpoint, out, name=name, licences=licences)
    typer.echo(f"wrote {out}; load it with Embedder.load({str(out)!r})")


def export_checkpoint(
    checkpoint: Path, out: Path, *, name: str | None = None, licences: Licences | None = None
) -> Path:
    """Write the model folder and its README.md; returns `out`.

    With a moving average of the weights, that is what is exported.

    Raises:
        InputError: if there is no checkpoint, it cannot be read, or it was trained from another base.
        ConfigError: if `out` exists and is not an empty folder, or a licence is for an unknown data set.
    """
    chosen = _choose(checkpoint)
    run = chosen.parent.parent
    recipe = load_recipe(run / RECIPE)
    state = load(chosen)
    encoder = load_encoder(recipe, device="cpu")
    _put_weights(encoder, state, chosen)
    settings = replace(
        encoder.settings,
        name=name or out.name,
        training_state=f"fitted from {encoder.settings.name} for {state['step']} steps on "
        f"{', '.join(settings.name for settings in recipe.data)}",
    )
    card = model_card(
        run, recipe, state, settings=settings, base=encoder.settings.name, licences=licences or Licences()
    )
    merged = encoder.merged_weights()
    write_folder(
        out,
        settings,
        source=encoder.folder,
        dim=encoder.dim,
        write_weights=lambda path: _write_weights(merged, path),
    )
    write_text(card, out / "README.md")
    return out


def _choose(path: Path) -> Path:
    """The checkpoint itself, or the best or else the last one of a run's folder."""
    if path.name.startswith("step-") and path.is_dir():
        return path
    found = checkpoints(path / BEST) or checkpoints(path / CHECKPOINTS) or checkpoints(path)
    if not found:
        raise InputError(
            f"{path.absolute()} holds no checkpoint; expected a run's folder (a recipe's train.out) or a step-* folder."
        )
    return found[-1]


def _put_weights(encoder: TrainableEncoder, state: Mapping[str, Any], path: Path) -> None:
    if state["base_hash"] != encoder.base_hash:
        raise InputError(f"{path} was trained from other base weights than model.base names now; expected the same.")
    average = state["average"]
    encoder.load_trained_weights(state["weights"] if average is None else average["weights"])


def _write_weights(tensors: Mapping[str, Tensor], path: Path) -> None:
    save_file(dict(tensors), path, metadata={"format": "pt"})


def _pairs(texts: Sequence[str]) -> dict[str, str]:
    pairs = {}
    for text in texts:
        key, found, value = text.partition("=")
        if not (found and key and value):
            raise ConfigError(f"--data-license {text!r}: expected NAME=LICENCE, such as qa=CC-BY-4.0.")
        pairs[key] = value
    return pairs


def main() -> None:
    """Entry point of `python -m trainer.export`."""
    run_command(app, "export", interrupted="nothing was written.")


if __name__ == "__main__":
    main()
