"""Examples go out and come in again; what is broken is named with its file and line."""

import gzip
import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_embedder.errors import InputError
from trainer.errors import ExamplesError
from trainer.examples import Candidate, Example
from trainer.reading import (
    example_files,
    example_from_json,
    example_to_json,
    read_examples,
    write_examples,
)

RECORD = {"id": "q1", "query": "who?", "candidates": [{"id": "a", "text": "Ann"}, {"id": "b", "text": "Bob"}]}

text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)
candidates = st.lists(
    st.builds(Candidate, id=text, text=text, label=st.integers(0, 3), continuation=st.just("") | text),
    min_size=1,
    max_size=4,
    unique_by=lambda candidate: candidate.id,
).map(tuple)
numbers = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def examples(draw):
    found = draw(candidates)
    rewards = st.none() | st.lists(numbers, min_size=len(found), max_size=len(found)).map(tuple)
    return Example(
        id=draw(text),
        query=draw(text),
        candidates=found,
        answers=tuple(draw(st.lists(text, max_size=2))),
        prompt=draw(st.just("") | text),
        rewards=draw(rewards),
    )


@given(examples())
def test_an_example_survives_json(example):
    assert example_from_json(json.loads(json.dumps(example_to_json(example)))) == example


def test_empty_fields_are_not_written():
    value = example_to_json(Example(id="q", query="who?", candidates=(Candidate(id="a", text="Ann"),)))
    assert value == {"id": "q", "query": "who?", "candidates": [{"id": "a", "text": "Ann"}]}


@pytest.mark.parametrize("name", ["one.jsonl", "one.jsonl.gz"])
def test_a_file_is_read_as_it_was_written(tmp_path, name):
    written = [
        Example(
            id=f"q{number}",
            query="straße?\n",
            prompt="asked",
            answers=("x", "y"),
            candidates=(
                Candidate(id="d", text="é", label=2),
                Candidate(id=f"e{number}", text="f", continuation="\u2028g"),
            ),
            rewards=(0.1 + number, -2.0),
        )
        for number in range(3)
    ]
    assert write_examples(iter(written), tmp_path / name) == 3
    found = read_examples(tmp_path / name)
    assert found == written
    # what many examples share is in memory once
    assert found[0].candidates[0] is found[2].candidates[0]


def test_equal_examples_give_equal_bytes(tmp_path):
    example = example_from_json(RECORD)
    for name in ("a.jsonl.gz", "b.jsonl.gz"):
        write_examples([example], tmp_path / name)
    assert (tmp_path / "a.jsonl.gz").read_bytes() == (tmp_path / "b.jsonl.gz").read_bytes()
    assert (tmp_path / "a.jsonl.gz").read_bytes()[4:8] == bytes(4), "the time is in the header"
    line = gzip.decompress((tmp_path / "a.jsonl.gz").read_bytes())
    assert line == json.dumps(RECORD).encode() + b"\n"


def test_shards_are_read_in_the_order_of_their_names(tmp_path):
    for name in ("part-2.jsonl", "part-0.jsonl.gz", "part-1.jsonl"):
        write_examples([example_from_json({**RECORD, "id": name})], tmp_path / name)
    (tmp_path / "notes.txt").write_text("no shard")
    (tmp_path / ".part-3.jsonl.17-4").write_text("half")
    (tmp_path / ".hidden.jsonl").write_text("half")
    assert [example.id for example in read_examples(tmp_path)] == ["part-0.jsonl.gz", "part-1.jsonl", "part-2.jsonl"]
    assert [file.name for file in example_files(tmp_path)] == ["part-0.jsonl.gz", "part-1.jsonl", "part-2.jsonl"]


BROKEN = {
    "no candidates": ({"candidates": []}, r"'candidates' is empty"),
    "candidates missing": ({"candidates": None}, r"'candidates' is missing; expected a list"),
    "candidate of text": ({"candidates": ["Ann"]}, r"candidates\[0\]: a str; expected an object"),
    "candidate without text": ({"candidates": [{"id": "a"}]}, r"candidates\[0\]: no field 'text'"),
    "blank candidate": ({"candidates": [{"id": "a", "text": " "}]}, r"candidates\[0\]: 'text' is blank"),
    "two of one id": ({"candidates": [{"id": "a", "text": "x"}, {"id": "a", "text": "y"}]}, r"1 of 2 candidates"),
    "label of text": ({"candidates": [{"id": "a", "text": "x", "label": "yes"}]}, r"'label' is str"),
    "label below 0": ({"candidates": [{"id": "a", "text": "x", "label": -1}]}, r"'label' is -1"),
    "label of truth": ({"candidates": [{"id": "a", "text": "x", "label": True}]}, r"'label' is True"),
    "too few rewards": ({"rewards": [0.5]}, r"1 rewards for 2 candidates; expected one each"),
    "reward not a number": ({"rewards": [0.5, math.nan]}, r"rewards\[1\] is nan; expected a finite number"),
    "reward infinite": ({"rewards": [math.inf, 0.5]}, r"rewards\[0\] is inf"),
    "reward huge": ({"rewards": [10**400, 0.5]}, r"rewards\[0\] is an integer beyond 10\^20"),
    "reward of truth": ({"rewards": [True, 0.5]}, r"rewards\[0\] is True"),
    "reward null": ({"rewards": [None, 0.5]}, r"rewards\[0\] is NoneType"),
    "blank query": ({"query": "  "}, r"'query' is blank"),
    "answers a string": ({"answers": "Ann"}, r"'answers' is str; expected a list"),
    "misspelt": ({"reward": [1, 2]}, r"unknown field 'reward'.*Did you mean 'rewards'"),
    "misspelt in candidate": (
        {"candidates": [{"id": "a", "text": "x", "labels": 1}]},
        r"candidates\[0\]: unknown field 'labels'.*Did you mean 'label'",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_named_with_file_and_line(tmp_path, name):
    change, message = BROKEN[name]
    file = tmp_path / "train.jsonl"
    file.write_text(json.dumps(RECORD) + "\n\n" + json.dumps({**RECORD, "id": "q2", **change}) + "\n")
    with pytest.raises(ExamplesError, match=rf"train\.jsonl:3: .*{message}") as caught:
        read_examples(file)
    assert caught.value.num_problems == 1
    assert "Ann" not in str(caught.value)


def test_all_problems_of_all_shards_are_told_at_once(tmp_path):
    (tmp_path / "a.jsonl").write_text("{}\n[1]\nno json\n")
    (tmp_path / "b.jsonl").write_text(json.dumps({**RECORD, "rewards": [1]}) + "\n")
    with pytest.raises(ExamplesError) as caught:
        read_examples(tmp_path)
    places = [problem.split(": ")[0].rsplit("/", 1)[1] for problem in caught.value.problems]
    assert sorted(set(places)) == ["a.jsonl:1", "a.jsonl:2", "a.jsonl:3", "b.jsonl:1"]


def test_an_id_is_there_once_in_all_shards(tmp_path):
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_text(json.dumps(RECORD) + "\n")
    with pytest.raises(ExamplesError, match=r"b\.jsonl:1: id 'q1' was there before"):
        read_examples(tmp_path)


def test_nothing_to_read_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"no file or folder .*gone"):
        read_examples(tmp_path / "gone")
    with pytest.raises(InputError, match=r"no \*\.jsonl or \*\.jsonl\.gz in"):
        read_examples(tmp_path)
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(ExamplesError, match=r"empty\.jsonl: no example"):
        read_examples(tmp_path / "empty.jsonl")


def test_what_could_not_be_read_again_is_not_written(tmp_path):
    file = tmp_path / "train.jsonl"
    good = example_from_json(RECORD)
    bad = Example(id="q2", query="who?", candidates=good.candidates, rewards=(1.0, math.nan))
    with pytest.raises(ExamplesError, match=r"train\.jsonl:2: rewards\[1\] is nan"):
        write_examples([good, bad], file)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match=r"'train\.json'; expected one that ends in \.jsonl"):
        write_examples([good], tmp_path / "train.json")


def test_half_a_surrogate_pair_is_refused(tmp_path):
    bad = Example(id="q", query="who?", candidates=(Candidate(id="a", text="\ud800"),))
    with pytest.raises(ExamplesError, match=r"candidates\[0\]: 'text': lone surrogate"):
        write_examples([bad], tmp_path / "train.jsonl")


def test_a_value_that_is_no_object_is_refused():
    with pytest.raises(ExamplesError, match=r"shard\.jsonl:7: a list; expected an object"):
        example_from_json([], file=Path("shard.jsonl"), line=7)
