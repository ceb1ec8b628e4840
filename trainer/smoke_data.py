"""Small synthetic data sets for all six scenarios, made from a seed: they try the machine, they teach nothing.

A recipe names them "smoke:SCENARIO.train" and "smoke:SCENARIO.dev". As files:

    python -m trainer.smoke_data FOLDER
"""

import random
import sys
from collections.abc import Callable
from pathlib import Path

from trainer.examples import Candidate, Example
from trainer.reading import read_examples, write_examples

PREFIX = "smoke:"
SIZES = {"train": 80, "dev": 32}

_PEOPLE = "Ada Bruno Clara Dinesh Elif Farid Greta Hana Ivo Jun Kofi Lena Mara Nils Olga Pedro".split()  # noqa: SIM905
_PLACES = "Oslo Lima Porto Dakar Kyoto Turin Quito Riga Cairo Perth Ghent Davos".split()  # noqa: SIM905
_FACTS = [
    ("Where was {p} born?", "{p} came into the world in {c}."),
    ("What does {p} do for a living?", "{p} repairs boats down at the harbour of {c}."),
    ("Which instrument does {p} play?", "At the school of {c}, {p} took up the cello."),
    ("What is {p} afraid of?", "Since a winter in {c}, {p} cannot bear thunder."),
    ("Who taught {p} to swim?", "In {c} it was an old sailor who showed {p} how to float."),
]
_THEMES = {
    "weather": ("Will I need an umbrella in {c}?", "get_forecast: rain, wind and temperature of a city", "the storm"),
    "trains": ("How do I get to {c} by rail?", "find_connection: departures between two stations", "the night train"),
    "money": ("What are my euros worth in {c}?", "convert: an amount from one currency to another", "the unpaid bill"),
    "food": ("Where can we eat tonight in {c}?", "search_restaurants: places with a free table", "the long dinner"),
    "music": ("Who plays in {c} this week?", "list_concerts: events of a venue by date", "the borrowed violin"),
    "health": ("My tooth hurts and I am in {c}.", "book_dentist: the next free appointment", "the broken tooth"),
    "books": ("Is that novel on the shelf in {c}?", "library_lookup: copies of a title", "the missing letters"),
    "sport": ("Did the team of {c} win?", "match_result: the score of a game", "the last minute of the game"),
}
_MOODS = {
    "positive": ("a joy from the first page", "I would go again"),
    "negative": ("dull and far too long", "never again"),
}


def read_or_make(path: str) -> list[Example]:
    """The examples in a file or folder, or the synthetic ones for "smoke:SCENARIO.SPLIT".

    Raises:
        InputError: if there is no such file, folder or synthetic set; ExamplesError: for broken records.
    """
    scenario, _, split = path.removeprefix(PREFIX).partition(".")
    if path.startswith(PREFIX) and scenario in _MAKERS and split in SIZES:
        return make_examples(scenario, split)
    return read_examples(Path(path))


def make_examples(scenario: str, split: str) -> list[Example]:
    """The synthetic examples of one scenario and split, rewards included; always the same."""
    draw = random.Random(f"{scenario}/{split}")
    return [_MAKERS[scenario](f"{split}-{number}", draw) for number in range(SIZES[split])]


def write_all(folder: Path) -> list[Path]:
    """Write SCENARIO.SPLIT.jsonl for all scenarios and splits."""
    paths = []
    for scenario in _MAKERS:
        for split in SIZES:
            paths.append(folder / f"{scenario}.{split}.jsonl")
            write_examples(make_examples(scenario, split), paths[-1])
    return paths


def _example(name: str, query: str, texts: list[tuple[str, float]], answers: tuple[str, ...] = ()) -> Example:
    """The first text is the positive; the numbers are rewards. Equal texts have equal ids."""
    rewards = dict(reversed(texts))
    candidates = [Candidate(id=text, text=text, label=int(text == texts[0][0])) for text in rewards]
    candidates.sort(key=lambda candidate: -rewards[candidate.text])
    return Example(
        id=name,
        query=query,
        candidates=[Candidate(id=f"d{_number(each.text)}", text=each.text, label=each.label) for each in candidates],
        rewards=[rewards[candidate.text] for candidate in candidates],
        answers=answers,
    )


def _number(text: str) -> int:
    """A number for a text, for ids that name it in every example."""
    return random.Random(text).getrandbits(40)


def _fact(person: str, place: str, number: int) -> str:
    return _FACTS[number][1].format(p=person, c=place)


def _qa(name: str, draw: random.Random) -> Example:
    person, other = draw.sample(_PEOPLE, 2)
    place, elsewhere = draw.sample(_PLACES, 2)
    wanted, *rest = draw.sample(range(len(_FACTS)), len(_FACTS))
    texts = [(_fact(person, place, wanted), 2.0)]
    texts += [(_fact(person, place, number), -1.0) for number in rest]
    texts += [(_fact(other, elsewhere, wanted), -2.0), (_fact(other, place, rest[0]), -2.0)]
    return _example(name, _FACTS[wanted][0].format(p=person), texts, (place,))


def _convsearch(name: str, draw: random.Random) -> Example:
    example = _qa(name, draw)
    person = next(person for person in _PEOPLE if f"{person}?" in f"{example.query} " or f" {person} " in example.query)
    question = example.query.replace(person, "the same person")
    history = f"We spoke of {person} yesterday. Yes, I remember {person} well."
    return Example(id=name, query=f"{history} {question}", candidates=example.candidates, rewards=example.rewards)


def _chat(name: str, draw: random.Random) -> Example:
    theme, *others = draw.sample(sorted(_THEMES), 6)
    person, place = draw.choice(_PEOPLE), draw.choice(_PLACES)
    turns = [(f"{person}: I keep thinking of {_THEMES[theme][2]} in {place}.", 1.0)]
    turns += [(f"{person}: I keep thinking of {_THEMES[each][2]} in {place}.", -1.5) for each in others]
    return _example(name, f"User: {_THEMES[theme][0].format(c=place)}", turns)


def _lrlm(name: str, draw: random.Random) -> Example:
    theme, *others = draw.sample(sorted(_THEMES), 6)
    person, place = draw.choice(_PEOPLE), draw.choice(_PLACES)
    query = f"{person} went back to {place} and asked again. {_THEMES[theme][0].format(c=place)}"
    texts = [(f"Chapter one. It began in {place} with {_THEMES[theme][2]}.", 0.5)]
    texts += [(f"Chapter one. It began in {place} with {_THEMES[each][2]}.", -0.5) for each in others]
    return _example(name, query, texts)


def _icl(name: str, draw: random.Random) -> Example:
    mood = draw.choice(sorted(_MOODS))
    other = "positive" if mood == "negative" else "negative"
    opinion, echo = _MOODS[mood]
    shown = [(f"The {thing} was {echo}.\n{mood}", 1.0) for thing in draw.sample(["film", "play", "show"], 2)]
    shown += [(f"The {thing} was {_MOODS[other][1]}.\n{other}", -1.0) for thing in ("film", "play", "show")]
    shown += [(f"{draw.choice(_PLACES)} is a city.\ntrue", -3.0), (f"{draw.choice(_PEOPLE)} is a city.\nfalse", -3.0)]
    return _example(name, f"The book by {draw.choice(_PEOPLE)} was {opinion}.", shown, (mood,))


def _tool(name: str, draw: random.Random) -> Example:
    theme, *others = draw.sample(sorted(_THEMES), 6)
    texts = [(_THEMES[theme][1], 1.0), *((_THEMES[each][1], -1.0) for each in others)]
    return _example(name, f"{draw.choice(_PEOPLE)}: {_THEMES[theme][0].format(c=draw.choice(_PLACES))}", texts)


_MAKERS: dict[str, Callable[[str, random.Random], Example]] = {
    "qa": _qa,
    "convsearch": _convsearch,
    "chat": _chat,
    "lrlm": _lrlm,
    "icl": _icl,
    "tool": _tool,
}


if __name__ == "__main__":
    write_all(Path(sys.argv[1]))
