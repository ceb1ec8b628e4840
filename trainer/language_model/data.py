"""The data sets of a recipe: read, checked, split into what is trained on and what is held out."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from transformers import PreTrainedTokenizerFast

from rag_embedder.errors import ConfigError
from trainer.errors import ExamplesError
from trainer.examples import Example
from trainer.language_model.documents import SequenceSource, generator
from trainer.language_model.evaluation import HeldOut, HeldOutExamples, HeldOutTexts
from trainer.language_model.prompted import PromptedSource, trainable
from trainer.language_model.settings import LanguageModelRecipe, TextDataSettings
from trainer.language_model.texts import TextSource, read_texts
from trainer.smoke_data import read_or_make
from trainer.templates import find_template


@dataclass(frozen=True, slots=True)
class RawSet:
    """One data set as its files have it: texts, or examples."""

    settings: TextDataSettings
    texts: Sequence[str] = ()
    examples: Sequence[Example] = ()

    def split(self, seed: int) -> tuple["RawSet", "RawSet"]:
        """What is trained on, and what is held out.

        Raises:
            ConfigError: if nothing is left to train on.
        """
        count = len(self.texts) or len(self.examples)
        chosen = held_out_numbers(self.settings.name, count, held_out=self.settings.held_out, seed=seed)
        return self._part(range(count), chosen, keeps=False), self._part(range(count), chosen, keeps=True)

    def _part(self, numbers: range, chosen: set[int], *, keeps: bool) -> "RawSet":
        taken = [number for number in numbers if (number in chosen) is keeps]
        if self.texts:
            return RawSet(self.settings, texts=[self.texts[number] for number in taken])
        return RawSet(self.settings, examples=[self.examples[number] for number in taken])


@dataclass(frozen=True, slots=True)
class PreparedSet:
    """One data set as ids. `held_out` is None where nothing is; `left_out` counts examples by reason."""

    settings: TextDataSettings
    source: SequenceSource
    held_out: HeldOut | None
    num_documents: int
    left_out: Mapping[str, int] = field(default_factory=dict)


def held_out_numbers(name: str, count: int, *, held_out: int, seed: int) -> set[int]:
    """Which of the `count` documents of a data set are evaluated and never trained on, drawn with the seed.

    Raises:
        ConfigError: if nothing is left to train on.
    """
    if held_out >= count:
        raise ConfigError(f"data.{name}.held_out is {held_out}; expected less than the {count} documents there are.")
    return set(generator(seed, f"{name} held out", 0).permutation(count)[:held_out].tolist())


def read_raw(recipe: LanguageModelRecipe) -> list[RawSet]:
    """All files of the recipe.

    Raises:
        InputError: for a missing file; ExamplesError: with all that is wrong in one data set.
    """
    return [
        RawSet(settings, texts=read_texts(settings.path))
        if settings.kind == "text"
        else RawSet(settings, examples=read_or_make(settings.path))
        for settings in recipe.data
    ]


def texts_of(raw: RawSet) -> Iterable[str]:
    """What a tokenizer is learned from: texts, queries, candidates and outputs, each candidate once."""
    yield from raw.texts
    seen: set[str] = set()
    for example in raw.examples:
        yield example.prompt or example.query
        yield from example.answers
        for candidate in example.candidates:
            if candidate.text not in seen:
                seen.add(candidate.text)
                yield candidate.text


def prepare(
    raw: RawSet, held_out: RawSet, tokenizer: PreTrainedTokenizerFast, *, seed: int, max_length: int
) -> PreparedSet:
    """Ids of both parts.

    Raises:
        ExamplesError: if no example has an output that fits.
    """
    settings = raw.settings
    if settings.kind == "text":
        measured = HeldOutTexts(held_out.texts, tokenizer, max_length=max_length) if held_out.texts else None
        return PreparedSet(
            settings, TextSource(settings.name, raw.texts, tokenizer, seed=seed), measured, len(raw.texts)
        )
    assert settings.scenario is not None
    template = find_template(settings.scenario)
    examples, left_out = trainable(raw.examples, template, tokenizer, max_length=max_length)
    if not examples:
        reasons = [f"{count} examples: {reason}" for reason, count in left_out.items()]
        raise ExamplesError(settings.path, reasons)
    measurable, _ = trainable(held_out.examples, template, tokenizer, max_length=max_length)
    source = PromptedSource(settings, examples, template, tokenizer, seed=seed, max_length=max_length)
    measured = None
    if measurable:
        measured = HeldOutExamples(settings.name, measurable, template, tokenizer, seed=seed, max_length=max_length)
    return PreparedSet(settings, source, measured, len(examples), left_out)
