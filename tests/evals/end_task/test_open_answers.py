"""PopQA's and NQ's protocols: prompt, shots, budget and matches."""

from dataclasses import replace

import pytest

from evals.end_task.open_answers import (
    NATURAL_QUESTIONS,
    POPQA,
    OpenAnswerSettings,
    OpenQuestion,
    build_prompt,
    draw_shots,
    evaluate,
)
from rag_embedder.errors import InputError
from tests.evals.end_task.scripted_language_model import ScriptedLanguageModel


def asked(number, *, group="", answers=("Paris",)):
    return OpenQuestion(id=f"q{number}", text=f"Where is {number}?", answers=answers, group=group)


def pool(groups=("a", "b", "c"), each=4):
    return [
        replace(asked(f"{group}{number}", group=group), id=f"{group}{number}", answers=(f"answer {group}{number}",))
        for group in groups
        for number in range(each)
    ]


def test_popqas_prompt():
    shots = [asked(7, answers=("Rome", "Roma")), asked(8)]
    assert build_prompt(asked(1), "p1\np2", shots, POPQA) == (
        "Knowledge: p1\np2\n\nQ: Where is 7? A: Rome\n\nQ: Where is 8? A: Paris\n\nQ: Where is 1? A:"
    )
    assert build_prompt(asked(1), "", [], POPQA) == "Q: Where is 1? A:"


def test_nqs_prompt():
    assert build_prompt(asked(1), "p1", [asked(7)], NATURAL_QUESTIONS) == (
        "Knowledge: p1\n\nQuestion: Where is 7?\nAnswer: Paris\n\nQuestion: Where is 1?\nAnswer:"
    )


def test_braces_in_a_text_are_text():
    odd = replace(asked(1), text="What is {question} or {0}?")
    assert build_prompt(odd, "{x}", [], POPQA) == "Knowledge: {x}\n\nQ: What is {question} or {0}? A:"


def test_shots_are_one_of_each_other_group_and_the_same_every_time():
    question = asked(1, group="b")
    shots = draw_shots(question, pool(), POPQA)
    assert sorted(shot.group for shot in shots) == ["a", "c"]
    assert draw_shots(question, pool(), POPQA) == shots
    drawn = {tuple(shot.id for shot in draw_shots(asked(n, group="b"), pool(), POPQA)) for n in range(20)}
    assert len(drawn) > 5
    seeds = {tuple(s.id for s in draw_shots(question, pool(), replace(POPQA, seed=seed))) for seed in range(20)}
    assert len(seeds) > 5


def test_without_groups_as_many_shots_as_asked_are_drawn():
    settings = OpenAnswerSettings(num_shots=5)
    shots = draw_shots(asked(1), [replace(shot, group="") for shot in pool()], settings)
    assert len({shot.id for shot in shots}) == 5
    assert len(draw_shots(asked(1), pool()[:2], settings)) == 2


def test_a_test_question_among_the_shots_is_refused():
    with pytest.raises(InputError, match="question q1 is also a solved example"):
        evaluate(ScriptedLanguageModel(), [asked(1)], {}, condition="none", shots=[asked(0), asked(1)])
    same_words = replace(asked(1), id="other", text="WHERE  is 1?")
    with pytest.raises(InputError, match="question q1 is also a solved example"):
        evaluate(ScriptedLanguageModel(), [asked(1)], {}, condition="none", shots=[same_words])
    with pytest.raises(InputError, match="question q1 has no answer"):
        evaluate(ScriptedLanguageModel(), [asked(1, answers=())], {}, condition="none")


def test_three_passages_are_read_and_the_answer_is_matched_in_three_ways():
    texts = {"q1": " Paris, of course", "q2": " the PARIS", "q3": " paris!", "q4": " Rome"}

    def answer(prompt):
        return next(text for id_, text in texts.items() if prompt.endswith(f"Where is {id_[1:]}? A:"))

    lm = ScriptedLanguageModel(answer=answer)
    questions = [asked(number, group="g" if number < 3 else "h") for number in (1, 2, 3, 4)]
    retrieved = {"q1": ["p1", "p2", "p3", "p4"], "q2": ["p5"]}
    result = evaluate(lm, questions, retrieved, condition="dense")
    assert lm.prompts == [
        "Knowledge: p1\np2\np3\n\nQ: Where is 1? A:",
        "Knowledge: p5\n\nQ: Where is 2? A:",
        "Q: Where is 3? A:",
        "Q: Where is 4? A:",
    ]
    assert lm.stops == [("\n",)]
    assert result.values == {
        "substring_match": {"q1": 1.0, "q2": 0.0, "q3": 1.0, "q4": 0.0},
        "caseless_match": {"q1": 1.0, "q2": 1.0, "q3": 1.0, "q4": 0.0},
        "exact_match": {"q1": 0.0, "q2": 0.0, "q3": 1.0, "q4": 0.0},
    }
    assert result.summary == {"substring_match": 0.5, "caseless_match": 0.75, "exact_match": 0.25}
    assert result.breakdown == {"group/g": 0.5, "group/h": 0.5}
    assert result.num_scored_tokens == 3 + 2 + 1 + 1


def test_knowledge_is_cut_before_shots_go_and_the_question_stays_whole():
    shots = [replace(shot, group="") for shot in pool()][:3]  # each "Q: Where is a0? A: answer a0\n\n": 9 tokens
    question = asked(1)  # 5 tokens
    settings = OpenAnswerSettings(num_shots=3, budget=40, max_new_tokens=4)
    lm = ScriptedLanguageModel()
    passage = " ".join(f"k{n}" for n in range(30))
    drawn = draw_shots(question, shots, settings)
    evaluate(lm, [question], {"q1": [passage]}, condition="x", shots=shots, settings=settings)
    assert lm.count_tokens([build_prompt(question, "", drawn, settings)]) == [32]
    # 40 places: 32, one for a start token, "Knowledge:" and two newlines leave 4
    assert lm.prompts == [build_prompt(question, "k0 k1 k2 k3", drawn, settings)]

    lm = ScriptedLanguageModel()
    settings = replace(settings, budget=32)  # one place too few for all shots: the first goes
    evaluate(lm, [question], {"q1": [passage]}, condition="x", shots=shots, settings=settings)
    kept = build_prompt(question, "", drawn[1:], settings)
    assert lm.prompts[0].endswith(kept)
    assert lm.prompts[0].startswith("Knowledge: k0")
    assert lm.count_tokens(lm.prompts) == [31]


def test_the_models_own_limit_counts_with_the_new_tokens():
    lm = ScriptedLanguageModel(max_length=20)
    passage = " ".join(f"k{n}" for n in range(30))
    settings = OpenAnswerSettings(max_new_tokens=6)
    evaluate(lm, [asked(1)], {"q1": [passage]}, condition="x", settings=settings)
    # 20 places: 6 new, one for a start token, 5 of the question, 3 around the knowledge
    assert lm.prompts == ["Knowledge: k0 k1 k2 k3 k4\n\nQ: Where is 1? A:"]
