"""In-context learning: order, budget, options, answers and means."""

from dataclasses import replace

import pytest
import torch

from evals.datasets.demonstrations import Example, TaskInfo
from evals.end_task.demonstrations import DemonstrationSettings, TaskExample, build_prompt, evaluate, from_rows
from evals.language_model.local import LocalLanguageModel
from evals.language_model.vocabulary import TokenizerVocabulary
from rag_embedder.errors import InputError
from tests.evals.end_task.scripted_language_model import ScriptedLanguageModel
from tests.tiny_language_models import make_language_model, make_tokenizer


def chosen(id_="c", *, task="sentiment", category="feeling", outputs=("good",), options=("good", "bad"), **fields):
    return TaskExample(id=id_, task=task, category=category, input="a film", outputs=outputs, options=options, **fields)


def written(id_="w", *, task="facts", category="knowledge", outputs=("Paris",), metric="em"):
    return TaskExample(id=id_, task=task, category=category, input="capital ?", outputs=outputs, metric=metric)


def test_the_best_demonstration_is_next_to_the_input():
    assert build_prompt(chosen(), ["best", "second", "third"]) == "third\nsecond\nbest\na film\n"
    assert build_prompt(chosen(), []) == "a film\n"


def test_options_follow_a_newline_and_a_space_and_the_likeliest_is_chosen():
    losses = {" good": 2.0, " bad": 1.0}
    lm = ScriptedLanguageModel(loss=lambda context, continuation: losses[continuation])
    examples = [chosen("c"), chosen("d", outputs=("bad",))]
    result = evaluate(lm, examples, {"c": ["in one\nout one", "in two\nout two"]}, condition="dense")
    assert lm.scored == [
        ("in two\nout two\nin one\nout one\na film\n", " good"),
        ("in two\nout two\nin one\nout one\na film\n", " bad"),
        ("a film\n", " good"),
        ("a film\n", " bad"),
    ]
    assert result.values == {"score": {"c": 0.0, "d": 1.0}, "nll": {"c": 2.0, "d": 1.0}}
    assert result.summary == {"score": 0.5}
    assert result.num_scored_tokens == 4


def test_eight_demonstrations_are_shown_and_runs_of_spaces_are_one():
    lm = ScriptedLanguageModel()
    spaced = replace(chosen(), input="a   film", options=("good  one", "bad"), outputs=("bad",))
    evaluate(lm, [spaced], {"c": [f"shot   {n}" for n in range(12)]}, condition="dense")
    shots = "".join(f"shot {n}\n" for n in range(7, -1, -1))
    assert lm.scored == [(f"{shots}a film\n", " good one"), (f"{shots}a film\n", " bad")]


def test_over_the_budget_the_worst_demonstrations_go_whole():
    lm = ScriptedLanguageModel()
    demonstrations = ["one two three", "four five six", "seven eight nine"]  # 4 tokens each, with the newline
    # 12 places: one for a start token, 3 for the input, 8 for two demonstrations
    for budget, count in ((12, 2), (11, 1), (15, 2), (16, 3), (7, 0)):
        settings = DemonstrationSettings(budget=budget)
        evaluate(lm, [chosen()], {"c": demonstrations}, condition="dense", settings=settings)
        assert lm.scored[-1][0] == "".join(f"{text}\n" for text in demonstrations[:count][::-1]) + "a film\n"


def test_a_long_row_takes_nothing_from_the_next():
    lm = ScriptedLanguageModel()
    long = replace(chosen("long"), input="word " * 20)
    settings = DemonstrationSettings(budget=20)
    evaluate(lm, [long, chosen()], {"long": ["x y", "z"], "c": ["x y", "z"]}, condition="x", settings=settings)
    assert lm.scored[-1][0] == "z\nx y\na film\n"


def test_the_longest_option_and_the_new_tokens_count_where_the_model_reads_little():
    lm = ScriptedLanguageModel(max_length=12)
    long_option = chosen(options=("good", "very very very bad"))
    evaluate(lm, [long_option], {"c": ["one two three", "four"]}, condition="x")
    # 12 places: 4 of the option, 1, 3 of the input: 4 are left for one demonstration
    assert lm.scored[0][0] == "one two three\na film\n"
    evaluate(lm, [written()], {"w": ["x", "y", "z"]}, condition="x", settings=DemonstrationSettings(max_new_tokens=4))
    # 12 places: 4 new, 1, 3 of the input: 4 are left for two demonstrations
    assert lm.prompts == ["y\nx\ncapital ?\n"]


def test_answers_are_written_to_the_end_of_the_line_and_compared_by_the_tasks_metric():
    lm = ScriptedLanguageModel(answer=lambda prompt: " The paris. ")
    examples = [
        written("em", outputs=("London", "Paris")),
        written("rouge", task="describe", outputs=("paris is the capital",), metric="rouge"),
        written("accuracy", task="label", outputs=("Rome",), metric="accuracy"),
    ]
    result = evaluate(lm, examples, {}, condition="none")
    assert lm.prompts == ["capital ?\n"] * 3
    assert lm.stops == [("\n",)]
    # the paris / paris is the capital: one common word of two and four
    assert result.values == {"score": {"em": 1.0, "rouge": pytest.approx(2 / 6), "accuracy": 0.0}}


def test_tasks_weigh_the_same_in_the_mean_and_in_their_category():
    lm = ScriptedLanguageModel(loss=lambda context, continuation: float(continuation != " good"))
    right, wrong = ("good",), ("bad",)
    rows = [("t1", "x", right), ("t1", "x", right), ("t1", "x", wrong), ("t2", "x", wrong), ("t3", "y", right)]
    examples = [
        chosen(str(n), task=task, category=category, outputs=outputs)
        for n, (task, category, outputs) in enumerate(rows)
    ]
    result = evaluate(lm, examples, {}, condition="none")
    assert result.summary["score"] == pytest.approx((2 / 3 + 0 + 1) / 3)
    assert result.breakdown == {
        "category/x": pytest.approx((2 / 3 + 0) / 2),
        "category/y": 1.0,
        "task/t1": pytest.approx(2 / 3),
        "task/t2": 0.0,
        "task/t3": 1.0,
    }


def test_binary_f1_is_over_the_whole_task():
    choices = iter([0, 1, 1, 1])  # option chosen for each example
    losses = []
    for choice in choices:
        losses += [0.0, 1.0] if choice == 0 else [1.0, 0.0]
    script = iter(losses)
    lm = ScriptedLanguageModel(loss=lambda context, continuation: next(script))
    right = ["No", "Yes", "No", "Yes"]
    examples = [
        chosen(str(n), task="multirc", outputs=(output,), options=("No", "Yes"), metric="f1")
        for n, output in enumerate(right)
    ]
    result = evaluate(lm, examples, {}, condition="none")
    assert result.values["score"] == {"0": 1.0, "1": 1.0, "2": 0.0, "3": 1.0}
    # positive chosen: 1, 2, 3; right: 1, 3: two hits, 2 * 2 / (3 + 2)
    assert result.breakdown["task/multirc"] == pytest.approx(0.8)


def test_rows_from_files_take_their_tasks_labels_where_they_have_no_options():
    tasks = {
        name: TaskInfo(task=name, group="seen", category="c", metric=metric, instruction="", labels=labels)
        for name, metric, labels in (("fixed", "accuracy", ("a", "b")), ("free", "rouge", ()))
    }
    rows = [
        Example(id="1", task="fixed", category="c", input="i", output="b"),
        Example(id="2", task="free", category="c", input="i", output="text"),
        Example(id="3", task="fixed", category="c", input="i", output="x", options=("x", "y")),
    ]
    made = from_rows(rows, tasks)
    assert [example.options for example in made] == [("a", "b"), None, ("x", "y")]
    assert [example.metric for example in made] == ["accuracy", "rouge", "accuracy"]
    assert [example.outputs for example in made] == [("b",), ("text",), ("x",)]


@pytest.mark.parametrize(
    "wrong",
    [
        chosen("odd", outputs=("neither",)),
        written("odd", outputs=()),
        written("odd", metric="bleu"),
        written("odd", metric="f1"),
    ],
)
def test_examples_that_cannot_be_measured_are_refused_first(wrong):
    lm = ScriptedLanguageModel()
    with pytest.raises(InputError, match="example odd: "):
        evaluate(lm, [chosen(), wrong], {}, condition="none")
    assert lm.scored == []


def test_a_real_model_scores_all_tokens_of_an_option_and_only_those():
    tokenizer, model = make_tokenizer(), make_language_model()
    lm = LocalLanguageModel(model, TokenizerVocabulary(tokenizer), name="tiny", device="cpu")
    example = replace(chosen(), input="the cat", options=("red dog", "blue"), outputs=("red dog",))
    result = evaluate(lm, [example], {"c": ["the dog\nblue"]}, condition="dense")
    losses = []
    for option, count in ((" red dog", 2), (" blue", 1)):
        ids = tokenizer("the dog\nblue\nthe cat\n" + option)["input_ids"]
        with torch.no_grad():
            rows = model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
        places = range(len(ids) - count, len(ids))
        losses.append(-sum(rows[place - 1, ids[place]].item() for place in places) / count)
    assert result.values["nll"]["c"] == pytest.approx(losses[0], abs=1e-4)
    assert result.values["score"]["c"] == float(losses[0] < losses[1])
    assert result.num_scored_tokens == 3
