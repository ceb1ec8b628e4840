"""MMLU's protocol: the prompt to the letter, the budget, and the means."""

import math

import pytest
import torch

from evals.datasets.multiple_choice import Question
from evals.end_task.mmlu_categories import CATEGORIES
from evals.end_task.multiple_choice import MultipleChoiceSettings, build_prompt, evaluate
from evals.language_model.local import LocalLanguageModel
from evals.language_model.vocabulary import TokenizerVocabulary
from rag_embedder.errors import InputError
from tests.evals.end_task.scripted_language_model import ScriptedLanguageModel
from tests.tiny_language_models import make_language_model, make_tokenizer


def question(number=0, *, subject="college_physics", right=0, text="What is red ?"):
    return Question(
        id=f"q{number}", subject=subject, text=text, options=("one", "two", "three", "four"), answer_index=right
    )


PROMPT = """\
The following are multiple choice questions (with answers) about college physics.

What is red ?
A. one
B. two
C. three
D. four
Answer:"""


def test_the_prompt_is_the_published_one():
    assert build_prompt(question()) == PROMPT
    assert build_prompt(question(), "first passage\nsecond passage") == (
        "Knowledge:\nfirst passage\nsecond passage\n\n" + PROMPT
    )


def test_solved_questions_stand_between_the_heading_and_the_question():
    head, _, block = PROMPT.partition("\n\n")
    shots = [question(1, right=2), question(2, right=0)]
    assert build_prompt(question(), "", shots) == f"{head}\n\n{block} C\n\n{block} A\n\n{block}"


def test_the_option_with_the_lowest_loss_is_chosen_and_three_passages_are_read():
    losses = {" A": 3.0, " B": 0.5, " C": 2.0, " D": 0.75}
    lm = ScriptedLanguageModel(loss=lambda context, continuation: losses[continuation])
    retrieved = {"q0": ["p1", "p2", "p3", "p4"]}
    result = evaluate(lm, [question(0, right=1), question(1, right=2)], retrieved, condition="bm25")
    assert lm.scored[:4] == [(f"Knowledge:\np1\np2\np3\n\n{PROMPT}", f" {letter}") for letter in "ABCD"]
    assert lm.scored[4:] == [(PROMPT, f" {letter}") for letter in "ABCD"]
    assert result.values == {"accuracy": {"q0": 1.0, "q1": 0.0}, "nll": {"q0": 0.5, "q1": 2.0}}
    assert (result.condition, result.language_model, result.num_scored_tokens) == ("bm25", "scripted", 8)
    assert result.summary["accuracy"] == 0.5
    assert result.summary["nll"] == 1.25


def test_subjects_weigh_the_same_in_one_mean_and_questions_in_the_other():
    lm = ScriptedLanguageModel(loss=lambda context, continuation: float(continuation != " A"))
    rows = [("anatomy", 0), ("anatomy", 0), ("anatomy", 1), ("virology", 1), ("sociology", 0), ("my own", 0)]
    questions = [question(number, subject=subject, right=right) for number, (subject, right) in enumerate(rows)]
    result = evaluate(lm, questions, {}, condition="none")
    assert result.summary["accuracy"] == pytest.approx(4 / 6)
    assert result.summary["accuracy_by_subject"] == pytest.approx((2 / 3 + 0 + 1 + 1) / 4)
    assert result.breakdown == {
        "category/other": pytest.approx((2 / 3 + 0) / 2),
        "category/social sciences": 1.0,
        "subject/anatomy": pytest.approx(2 / 3),
        "subject/virology": 0.0,
        "subject/sociology": 1.0,
        "subject/my own": 1.0,
    }


@pytest.mark.parametrize(("limit", "budget"), [(10_000, 40), (40, 10_000)])
def test_knowledge_loses_its_end_and_the_question_nothing(limit, budget):
    lm = ScriptedLanguageModel(max_length=limit)
    passages = [" ".join(f"a{n}" for n in range(20)), " ".join(f"b{n}" for n in range(20))]
    evaluate(lm, [question()], {"q0": passages}, condition="x", settings=MultipleChoiceSettings(budget=budget))
    fixed = lm.count_tokens([f"Knowledge:\n\n\n{PROMPT}"])[0]
    left = 40 - 1 - 1 - fixed  # one place for the letter, one for a start token
    assert 0 < left < 20
    knowledge = " ".join(f"a{n}" for n in range(left))
    assert {context for context, _ in lm.scored} == {f"Knowledge:\n{knowledge}\n\n{PROMPT}"}


def test_a_question_longer_than_the_budget_loses_its_beginning_and_all_knowledge():
    lm = ScriptedLanguageModel()
    settings = MultipleChoiceSettings(budget=10)
    evaluate(lm, [question()], {"q0": ["some passage"]}, condition="x", settings=settings)
    whole = lm.tokenize([PROMPT])[0]
    assert lm.scored[0][0] == lm.decode([whole[-9:]])[0]


def test_shots_are_those_of_the_subject_and_as_many_as_asked():
    lm = ScriptedLanguageModel()
    shots = {"college_physics": [question(8), question(9, right=3), question(10)], "anatomy": [question(11)]}
    evaluate(lm, [question()], {}, condition="x", shots=shots, settings=MultipleChoiceSettings(num_shots=2))
    assert lm.scored[0][0] == build_prompt(question(), "", shots["college_physics"][:2])


def test_the_map_has_57_subjects_in_the_four_categories():
    counts = {name: sum(value == name for value in CATEGORIES.values()) for name in set(CATEGORIES.values())}
    assert counts == {"STEM": 18, "humanities": 13, "social sciences": 12, "other": 14}


@pytest.mark.parametrize("count", [1, 27])
def test_a_question_that_cannot_be_lettered_is_refused(count):
    odd = Question(id="odd", subject="x", text="?", options=["o"] * count, answer_index=0)
    with pytest.raises(InputError, match=f"question odd has {count} options"):
        evaluate(ScriptedLanguageModel(), [odd], {}, condition="none")


def test_a_real_model_scores_the_letters_tokens():
    tokenizer, model = make_tokenizer(), make_language_model()
    lm = LocalLanguageModel(model, TokenizerVocabulary(tokenizer), name="tiny", device="cpu")
    result = evaluate(lm, [question(right=2)], {"q0": ["the capital of france is paris"]}, condition="x")
    prompt = f"Knowledge:\nthe capital of france is paris\n\n{PROMPT}"
    with torch.no_grad():
        logits = model(torch.tensor([tokenizer(prompt)["input_ids"]])).logits[0, -1].double()
    letters = tokenizer.convert_tokens_to_ids(["▁A", "▁B", "▁C", "▁D"])
    expected = -logits.log_softmax(0)[letters]
    assert result.values["nll"]["q0"] == pytest.approx(expected[2].item(), abs=1e-4)
    assert result.values["accuracy"]["q0"] == float(expected.argmin() == 2)
    assert not math.isnan(result.seconds)
