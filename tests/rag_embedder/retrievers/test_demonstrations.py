"""Demonstrations: which are chosen, in which order they are shown, and that they fit."""

import pytest

from rag_embedder import Demonstration, DemonstrationRetriever
from rag_embedder.errors import ConfigError, InputError, InvalidTextError
from tests.retriever_cases import Watched, WordEncoder

POOL = [
    Demonstration("the cat sat", "animal", task="nli", id="cat", metadata={"level": 1}),
    Demonstration("the cat ran", "animal", task="nli", id="cat2"),
    Demonstration("the red train", "machine", task="qa", id="train"),
    Demonstration("snow and rain", "weather", id="snow"),
]


@pytest.fixture
def watched():
    return Watched(WordEncoder())


@pytest.fixture
def demos(watched):
    with DemonstrationRetriever(watched) as opened:
        yield opened


def ids(hits):
    return [hit.id for hit in hits]


def test_a_demonstration_comes_back_as_it_was_added(demos, watched):
    assert demos.add(POOL) == ["cat", "cat2", "train", "snow"]
    assert watched.documents[0] == "the cat sat\nanimal"
    for demonstration in POOL:
        hit = demos.retrieve(demonstration.input, 1)[0]
        assert hit.item == demonstration
        assert hit.item.text == f"{demonstration.input}\n{demonstration.output}"


def test_best_last_turns_the_order_and_keeps_the_ranks(demos):
    demos.add(POOL)
    first = demos.retrieve("the cat sat", 3)
    last = demos.retrieve("the cat sat", 3, order="best_last")
    assert last == first[::-1]
    assert [hit.rank for hit in last] == [3, 2, 1]
    assert ids(last)[-1] == "cat"


def test_repetitions_count_once_however_many_there_are(demos):
    demos.add(Demonstration("same  cat", "yes", id=f"copy{n}") for n in range(300))
    demos.add([Demonstration("same cat ", " yes", id="spaces"), Demonstration("same cat", "no", id="other")])
    demos.add(POOL)
    for mode in ("dense", "hybrid"):
        hits = demos.retrieve("same cat", 4, mode=mode)
        assert len(hits) == 4
        assert len({tuple(hit.item.text.split()) for hit in hits}) == 4
    assert [hits_of_query[0].id for hits_of_query in demos.retrieve_batch(["same cat", "snow and rain"], 3)] == [
        "copy0",
        "snow",
    ]


def test_the_query_itself_can_be_left_out(demos):
    demos.add([*POOL, Demonstration("the  cat sat ", "other answer", id="spaces")])
    assert ids(demos.retrieve("the cat sat", 1, exclude_self=False)) == ["cat"]
    assert set(ids(demos.retrieve("the cat\nsat", 9, exclude_self=True))) == {"cat2", "train", "snow"}


def test_a_token_budget_drops_the_worst_first(demos, watched):
    demos.add(POOL)
    everything = demos.retrieve("the cat sat", 4)
    tokens = watched.count_tokens([hit.item.text for hit in everything])
    for budget in range(1, sum(tokens) + 2):
        hits = demos.retrieve("the cat sat", 4, max_tokens=budget)
        assert hits == everything[: len(hits)]
        assert sum(tokens[: len(hits)]) <= budget
        assert len(hits) == 4 or sum(tokens[: len(hits) + 1]) > budget


def test_labels_take_turns(demos):
    demos.add(POOL)
    hits = demos.retrieve("the cat", 3, diversity="label")
    assert [hit.item.output for hit in hits] == ["animal", "machine", "weather"]
    assert len(demos.retrieve("the cat", 9, diversity="label")) == 4


def test_marginal_relevance_prefers_what_is_not_yet_shown(demos):
    pool = [Demonstration("red cat", "a", id="a"), Demonstration("red cat too", "a", id="b")]
    demos.add([*pool, Demonstration("green snow", "c", id="c")])
    assert ids(demos.retrieve("red cat too snow", 2)) == ["b", "a"]
    assert ids(demos.retrieve("red cat too snow", 2, diversity="mmr")) == ["b", "c"]
    assert sorted(ids(demos.retrieve("red cat snow", 9, diversity="mmr"))) == ["a", "b", "c"]


def test_the_task_is_metadata_for_filters(demos):
    demos.add([*POOL, Demonstration("a cat", "yes", task="qa", id="own", metadata={"task": "mine"})])
    demos.add([Demonstration("b cat", "yes", id="fallback", metadata={"task": "qa"})])
    assert sorted(ids(demos.retrieve("cat", 9, filter={"task": "qa"}))) == ["fallback", "own", "train"]
    assert ids(demos.retrieve("cat", 9, filter={"task": ""})) == ["snow"]
    assert ids(demos.retrieve("cat", 9, filter={"level": 1})) == ["cat"]
    own = next(hit.item for hit in demos.retrieve("a cat", 9) if hit.id == "own")
    assert (own.task, own.metadata) == ("qa", {"task": "mine"})


def test_ids_made_of_content_depend_on_the_task(demos):
    first, second, third = demos.add(
        [Demonstration("a", "b"), Demonstration("a", "b"), Demonstration("a", "b", task="t")]
    )
    assert first == second != third
    assert len(demos) == 2


def test_a_prompt_shows_the_best_next_to_the_query(demos):
    demos.add(POOL)
    prompt = demos.prompt("the cat sat", 2)
    assert prompt == "the cat ran\nanimal\nthe cat sat\nanimal\nthe cat sat\n"
    assert demos.prompt("the cat sat", 2, exclude_self=True).startswith("the red train\nmachine\nthe cat ran\nanimal\n")


def test_a_prompt_fits_its_budget_and_keeps_the_query(demos, watched):
    demos.add(POOL)
    for budget in range(1, 30):
        prompt = demos.prompt("the cat sat", max_tokens=budget)
        assert prompt.endswith("the cat sat\n")
        assert watched.count_tokens([prompt])[0] <= max(budget, 3)
    assert demos.prompt("the cat sat", max_tokens=None).count("\n") == 9


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"order": "best"}, ConfigError, "unknown order 'best'; expected one of: best_first, best_last"),
        ({"diversity": "label_"}, ConfigError, "Did you mean 'label'"),
        ({"diversity": "mmr", "mode": "lexical"}, ConfigError, "expected mode='dense'"),
        ({"max_tokens": 0}, InputError, "max_tokens: got 0; expected None or an int of at least 1"),
        ({"max_tokens": "9"}, InputError, "max_tokens: got '9'"),
        ({"max_tokens": True}, InputError, "max_tokens: got True"),
    ],
)
def test_unknown_options_are_refused_whatever_the_query(demos, wrong, error, message):
    for query in ("cat", ""):
        with pytest.raises(error, match=message):
            demos.retrieve(query, **wrong)


@pytest.mark.parametrize("max_tokens", [0, "1024", True, 1.5])
def test_a_prompt_refuses_a_budget_that_is_none(demos, max_tokens):
    with pytest.raises(InputError, match=r"max_tokens: got .*; expected None or an int of at least 1"):
        demos.prompt("cat", max_tokens=max_tokens)


@pytest.mark.parametrize(
    ("demonstration", "message"),
    [
        (Demonstration("", "x"), r"demonstrations\[1\]\.input: the text is empty"),
        (Demonstration("x", " "), r"demonstrations\[1\]\.output: the text is empty"),
        (Demonstration("x", None), r"demonstrations\[1\]\.output: got NoneType; expected str"),
        (Demonstration("x", "y", task=None), r"demonstrations\[1\]\.task: got NoneType"),
        (Demonstration("x", "y", id=5), r"demonstrations\[1\]\.id: got int"),
        (Demonstration("x", "y", metadata=None), r"demonstrations\[1\]\.metadata .*got NoneType; expected a mapping"),
        (Demonstration("x", "y", metadata={"a": {1}}), r"demonstrations\[1\]\.metadata\.a .*got set"),
        (("x", "y"), r"demonstrations\[1\]: got tuple; expected Demonstration"),
        ({"input": "x", "output": "y"}, r"demonstrations\[1\]: got dict; expected Demonstration"),
    ],
)
def test_a_bad_demonstration_is_named_and_nothing_is_added(demos, watched, demonstration, message):
    with pytest.raises(InputError, match=message):
        demos.add([POOL[0], demonstration])
    assert len(demos) == 0
    assert watched.documents == []


def test_one_bare_demonstration_is_refused_with_the_remedy(demos):
    with pytest.raises(InvalidTextError, match=r"expected a list of Demonstration\. Wrap a single one in a list"):
        demos.add(POOL[0])
