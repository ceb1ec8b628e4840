"""The data sets of a recipe as rows of joint sequences: which ones a step reads is a function of seed and step."""

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerFast

from trainer.errors import ExamplesError
from trainer.language_model.documents import generator
from trainer.language_model.mixture import EpochRows
from trainer.language_model.packing import fill_rows
from trainer.pretraining.layout import JointForm, JointSequence
from trainer.pretraining.objective import Task
from trainer.pretraining.passages import Documents, Passage, passages_of, read_documents, split_documents
from trainer.pretraining.settings import PassageDataSettings, PretrainRecipe
from trainer.pretraining.targets import TargetWords


class PassageStream:
    """Joint sequences of one data set, epoch after epoch, in rows of at most `max_length` tokens."""

    def __init__(self, sequences: Sequence[JointSequence], *, name: str, seed: int, max_length: int) -> None:
        self._sequences = sequences
        self._name = name
        self._seed = seed
        self._max_length = max_length
        self._epochs = EpochRows(self._rows, name=name, seed=seed)

    def row(self, number: int) -> list[JointSequence]:
        """The sequences of the row with this number, counted over all epochs."""
        rows, place = self._epochs.find(number)
        return [self._sequences[each] for each in rows[place]]

    def _rows(self, epoch: int) -> list[list[int]]:
        order = generator(self._seed, self._name, epoch).permutation(len(self._sequences)).tolist()
        rows = fill_rows([len(self._sequences[each].ids) for each in order], room=self._max_length)
        return [[order[place] for place in row] for row in rows]


@dataclass(frozen=True, slots=True)
class PassageSet:
    """One data set as joint sequences; `num_left_out` of its passages have nothing to predict."""

    settings: PassageDataSettings
    sequences: Sequence[JointSequence]
    held_out: Sequence[JointSequence]
    num_documents: int
    num_left_out: int

    def count(self, task: Task) -> int:
        """How many sequences have this task."""
        return sum(task in sequence.targets for sequence in self.sequences)


def read_sets(recipe: PretrainRecipe) -> list[tuple[PassageDataSettings, Documents]]:
    """All files of the recipe.

    Raises:
        InputError: for a missing file; ExamplesError: with all that is wrong in one data set.
    """
    return [(settings, read_documents(settings)) for settings in recipe.data]


def prepare_set(
    settings: PassageDataSettings,
    documents: Documents,
    form: JointForm,
    words: TargetWords,
    tokenizer: PreTrainedTokenizerFast,
    *,
    seed: int,
) -> PassageSet:
    """Sequences of both parts of one data set.

    Raises:
        ConfigError: if all documents are held out, or passages are longer than there is room for.
        ExamplesError: if no passage has anything to predict.
    """
    train, held_out = split_documents(documents, settings, seed=seed)
    sequences, num_left_out = _sequences(passages_of(train, settings, tokenizer, room=form.room), form, words)
    if not sequences:
        raise ExamplesError(
            settings.path,
            [f"none of {len(train)} documents has a passage with something to predict for {', '.join(form.prompts)}"],
        )
    measured, _ = _sequences(passages_of(held_out, settings, tokenizer, room=form.room), form, words)
    return PassageSet(settings, sequences, measured, len(train), num_left_out)


def _sequences(passages: Sequence[Passage], form: JointForm, words: TargetWords) -> tuple[list[JointSequence], int]:
    made = [
        form.sequence(passage.text, {"self": words.of(passage.itself), "next": words.of(passage.following)})
        for passage in passages
    ]
    kept = [sequence for sequence in made if sequence.targets]
    return kept, len(made) - len(kept)
