"""The program `python -m trainer.export CHECKPOINT --out FOLDER`: a trained encoder as a folder that others load.

With `--delta` the folder holds only what training changed of the public base, quantised, for rag_embedder alone.
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
from rag_embedder.engine.transformers import TransformersEngine, float32_weights
from rag_embedder.errors import ConfigError, InputError
from rag_embedder.model_folder import ModelSettings, write_delta, write_folder
from rag_embedder.model_folder.quantised import LARGEST
from rag_embedder.model_source import BASE_HUB_ID, BASE_SHA256, base_folder
from trainer.checkpoint import checkpoints, load
from trainer.command import run_command
from trainer.loop import BEST, CHECKPOINTS
from trainer.model import TrainableEncoder
from trainer.model_card import Licences
from trainer.model_kinds import MODEL_KINDS
from trainer.recipe import load_recipe
from trainer.run_folder import RECIPE
from trainer.settings import Recipe
from trainer.trainable import TrainableModel

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def export(
    checkpoint: Annotated[Path, typer.Argument(help="A run's folder, or one checkpoint of it.")],
    out: Annotated[Path, typer.Option(help="The folder to write: new, or empty.")],
    name: Annotated[str | None, typer.Option(help="What the model is called; default: the folder's name.")] = None,
    model_license: Annotated[str, typer.Option("--license", help="Of the exported weights.")] = "not stated",
    data_license: Annotated[list[str] | None, typer.Option(help="NAME=LICENCE of a data set; repeat.")] = None,
    max_length: Annotated[int | None, typer.Option(help="Tokens it reads; default: as in training.")] = None,
    delta: Annotated[bool, typer.Option("--delta", help="Only what changed of the public base, quantised.")] = False,
    bits: Annotated[int | None, typer.Option(help="Of a difference, 8 or 4; default 8. With --delta.")] = None,
    kept: Annotated[float, typer.Option(help="Share of what training changed that is kept, above 0 to 1.")] = 1.0,
) -> None:
    """Write the encoder for Embedder.load and sentence-transformers, with a model card; adapters are merged."""
    licences = Licences(model=model_license, data=_pairs(data_license or ()))
    if bits is not None and not delta:
        raise ConfigError("--bits is for --delta; expected both or none: a whole model is written in float32.")
    export_checkpoint(
        checkpoint,
        out,
        name=name,
        licences=licences,
        max_length=max_length,
        delta_bits=(bits or 8) if delta else None,
        kept=kept,
    )
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    typer.echo(f"wrote {out} ({size / 1e6:.1f} MB); load it with Embedder.load({str(out)!r})")


def export_checkpoint(
    checkpoint: Path,
    out: Path,
    *,
    name: str | None = None,
    licences: Licences | None = None,
    max_length: int | None = None,
    delta_bits: int | None = None,
    kept: float = 1.0,
) -> Path:
    """Write the model folder and its README.md; returns `out`.

    With a moving average of the weights, that is what is exported. `max_length` is how many tokens the model reads
    from now on, if not as many as in training. With `delta_bits`, 8 or 4, a delta folder is
    written, which rag_embedder merges into the base when it loads it.

    Weights between the base's and the trained ones, `kept` of the way, lose little of what was learned and keep more of
    what the base knew of other data (WiSE-FT, arXiv 2109.01903).

    Raises:
        InputError: if there is no checkpoint, it cannot be read, or it was trained from another base.
        ConfigError: if `out` exists and is not an empty folder, a licence is for an unknown data set, a delta is
            asked for of another base than the public one or in other bits, or `kept` is not above 0 to 1, or is less
            than 1 for adapters.
    """
    if not 0 < kept <= 1:
        raise ConfigError(f"--kept {kept:g}: expected a share above 0, at most 1.")
    if delta_bits is not None and delta_bits not in LARGEST:
        raise ConfigError(f"--bits {delta_bits}: expected one of: {', '.join(map(str, LARGEST))}.")
    chosen = _choose(checkpoint)
    run = chosen.parent.parent
    recipe = load_recipe(run / RECIPE)
    state = load(chosen)
    # In float32, so that adapters are added to the weights as they were published.
    model = replace(recipe.model, dtype="float32")
    model = model if max_length is None else replace(model, max_length=max_length)
    kind_class = MODEL_KINDS[recipe.model.kind]
    trained = kind_class.load(replace(recipe, model=model), device="cpu")
    if kept < 1 and recipe.model.lora_rank:
        raise ConfigError(
            f"--kept {kept:g} is for weights that were trained themselves; this run has model.lora_rank = "
            f"{recipe.model.lora_rank}. Export with --kept 1."
        )
    _put_weights(trained, state, chosen, kept=kept)
    steps = f"{state['step']} steps on {_names(recipe)}" + (f", {kept:g} of the change kept" if kept < 1 else "")
    card = kind_class(trained).export(
        out,
        run,
        recipe,
        state,
        name=name or out.name,
        training_state=f"fitted from {trained.settings.name} for {steps}",
        licences=licences or Licences(),
        delta_bits=delta_bits,
    )
    write_text(card, out / "README.md")
    return out


def write_encoder(encoder: TrainableEncoder, settings: ModelSettings, out: Path, *, delta_bits: int | None) -> None:
    """Write the whole model, or with `delta_bits` its difference to the public base; errors as `export_checkpoint`."""
    if delta_bits is None:
        _write_whole(encoder, settings, out)
    else:
        _write_delta(encoder, settings, out, bits=delta_bits)


def _write_whole(encoder: TrainableEncoder, settings: ModelSettings, out: Path) -> None:
    merged = encoder.merged_weights()
    write_folder(
        out,
        settings,
        source=encoder.folder,
        tokenizer=encoder.tokenizer_folder,
        tokenizer_adds_form=encoder.tokenizer.adds_form,
        vocabulary_size=encoder.vocabulary_size,
        dim=encoder.dim,
        write_weights=lambda path: _write_weights(merged, path),
    )


def _write_delta(encoder: TrainableEncoder, settings: ModelSettings, out: Path, *, bits: int) -> None:
    base = base_folder()
    if encoder.folder != base or encoder.settings.prompt_form is not None:
        raise ConfigError(
            f"--delta: the run's model.base lies in {encoder.folder}; expected {BASE_HUB_ID} (or a delta of it), which "
            "everybody has. Export without --delta."
        )
    before = float32_weights(TransformersEngine.load(base, pooling=settings.pooling, device="cpu").model)
    after = encoder.merged_weights()
    write_delta(
        out,
        settings,
        base=BASE_HUB_ID,
        base_sha256=BASE_SHA256,
        base_weights=before,
        trained_weights={name: after[name].numpy() for name in before},
        bits=bits,
    )


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


def _names(recipe: Recipe) -> str:
    """The data sets that it learned from, as long as one can read them in a line."""
    names = [settings.name for settings in recipe.data if settings.is_trained]
    return ", ".join(names) if len(names) <= 4 else f"{len(names)} data sets"


def _put_weights(encoder: TrainableModel, state: Mapping[str, Any], path: Path, *, kept: float) -> None:
    if state["base_hash"] != encoder.base_hash:
        raise InputError(f"{path} was trained from other base weights than model.base names now; expected the same.")
    average = state["average"]
    weights = state["weights"] if average is None else average["weights"]
    if kept < 1:
        before = encoder.trained_weights()
        weights = {name: before[name] + kept * (weight - before[name]) for name, weight in weights.items()}
    encoder.load_trained_weights(weights)


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
