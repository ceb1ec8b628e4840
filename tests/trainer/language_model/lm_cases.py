"""A small run: made-up texts and questions, a model of two layers."""

import json
from pathlib import Path

from trainer.language_model.settings import (
    DecoderSettings,
    LanguageModelRecipe,
    LanguageModelTrainSettings,
    TextDataSettings,
)

TEXTS = [f"the dog number {n} sees a cat in oslo and the bird number {n * 7 % 11} sings of rain" for n in range(60)]


def write_texts(folder: Path) -> Path:
    path = folder / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    return path


def make_recipe(folder: Path, *, model: dict | None = None, **train) -> LanguageModelRecipe:
    text = TextDataSettings(name="text", path=str(write_texts(folder)), kind="text", held_out=5)
    qa = TextDataSettings(name="qa", path="smoke:qa.train", kind="examples", scenario="qa", held_out=6, weight=0.5)
    settings = {"steps": 6, "out": str(folder / "out"), "tokens_per_step": 256, "save_every": 3, "log_every": 1} | train
    sizes = {"layers": 2, "width": 32, "heads": 2, "vocabulary_size": 400, "max_length": 64}
    return LanguageModelRecipe(
        model=DecoderSettings(**(sizes | (model or {}))), train=LanguageModelTrainSettings(**settings), data=(text, qa)
    )
