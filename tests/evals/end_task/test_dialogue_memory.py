"""The dialogue protocol: what is read, what is scored, what is cut, and both perplexities."""

import math

import pytest
import torch

from evals.end_task.dialogue_memory import DialogueExample, DialogueSettings, evaluate, oracle, recent
from evals.language_model.local import LocalLanguageModel
from evals.language_model.vocabulary import TokenizerVocabulary
from rag_embedder.errors import ConfigError, InputError
from tests.evals.end_task.scripted_language_model import ScriptedLanguageModel
from tests.tiny_language_models import make_language_model, make_tokenizer

HISTORY = tuple(f"Speaker 1: t{n}\nSpeaker 2: r{n}" for n in range(5))


def example(id_="e", *, history=HISTORY, query="who?", answers=("the red cat",)):
    return DialogueExample(id=id_, history=history, query=query, answers=answers)


def contexts(lm):
    return [context for context, _ in lm.scored]


CURRENT = "Speaker 1: who?\nSpeaker 2:"


def test_the_input_is_the_retrieved_turn_then_the_current_one_and_the_answer_is_scored():
    lm = ScriptedLanguageModel()
    evaluate(lm, [example()], {"e": [3, 1]}, condition="dense")
    assert lm.scored == [(f"{HISTORY[3]}\n{CURRENT}", " the red cat")]


def test_nothing_retrieved_is_the_current_turn_alone():
    lm = ScriptedLanguageModel()
    evaluate(lm, [example()], {}, condition="none")
    assert contexts(lm) == [CURRENT]


@pytest.mark.parametrize(("order", "places"), [("position", (0, 2, 4)), ("relevance", (0, 4, 2))])
def test_several_turns_stand_by_position_or_the_most_relevant_last(order, places):
    lm = ScriptedLanguageModel()
    settings = DialogueSettings(num_memories=3, order=order)
    evaluate(lm, [example()], {"e": [2, 4, 0, 1]}, condition="dense", settings=settings)
    assert contexts(lm) == ["\n".join([*(HISTORY[place] for place in places), CURRENT])]


def test_recent_is_the_last_turns():
    examples = [example("e"), example("short", history=HISTORY[:1]), example("new", history=())]
    assert recent(examples, 2) == {"e": [4, 3], "short": [0], "new": []}


def test_both_perplexities():
    losses = {" one": 1.0, " one two three": 3.0}
    lm = ScriptedLanguageModel(loss=lambda context, continuation: losses[continuation])
    examples = [example("a", answers=("one",)), example("b", answers=("one two three",))]
    result = evaluate(lm, examples, {}, condition="none")
    assert result.values == {"nll": {"a": 1.0, "b": 3.0}}
    assert result.num_scored_tokens == 4
    assert result.summary == {
        "nll": 2.0,
        "perplexity": pytest.approx(math.exp(2.0)),
        "perplexity_by_token": pytest.approx(math.exp((1.0 * 1 + 3.0 * 3) / 4)),
    }


def test_several_answers_count_by_their_mean():
    losses = {" one": 1.0, " one two three": 4.0}
    lm = ScriptedLanguageModel(loss=lambda context, continuation: losses[continuation])
    result = evaluate(lm, [example(answers=("one", "one two three"))], {}, condition="none")
    assert result.values["nll"] == {"e": 2.5}
    assert result.num_scored_tokens == 4


@pytest.mark.parametrize(("limit", "budget"), [(12, 2048), (10_000, 12)])
def test_history_loses_its_beginning_and_the_answer_nothing(limit, budget):
    lm = ScriptedLanguageModel(max_length=limit)
    evaluate(lm, [example()], {"e": [3]}, condition="dense", settings=DialogueSettings(budget=budget))
    # 12 tokens: 3 of the answer, 6 of the current turn with its newline, and the last 3 before it
    assert lm.scored == [(f" 2: r3\n{CURRENT}", " the red cat")]


def test_an_answer_that_fills_the_budget_is_refused_before_anything_is_scored():
    lm = ScriptedLanguageModel()
    with pytest.raises(ConfigError, match="example b: an answer has 5 tokens; expected less than 5"):
        evaluate(
            lm,
            [example("a"), example("b", answers=("one two three four five",))],
            {},
            condition="none",
            settings=DialogueSettings(budget=5),
        )
    assert lm.scored == []


def test_positions_and_answers_are_checked():
    with pytest.raises(InputError, match="example e: memory 5 is none of its 5"):
        evaluate(ScriptedLanguageModel(), [example()], {"e": [5]}, condition="x")
    for answers in ((), ("",), ("one", " ")):
        with pytest.raises(InputError, match="example e has no answer"):
            evaluate(ScriptedLanguageModel(), [example(answers=answers)], {}, condition="x")


def test_the_oracle_orders_turns_by_the_loss_of_each_alone():
    losses = {"t0": 2.0, "t1": 0.5, "t2": 3.0, "t3": 1.0, "t4": 1.5}
    lm = ScriptedLanguageModel(
        loss=lambda context, continuation: min((v for k, v in losses.items() if k in context), default=9.0)
    )
    found = oracle(lm, [example(), example("new", history=())])
    assert found == {"e": [1, 3, 4, 0, 2], "new": []}
    assert contexts(lm) == [f"{turn}\n{CURRENT}" for turn in HISTORY]
    result = evaluate(lm, [example()], found, condition="oracle")
    assert result.values["nll"] == {"e": 0.5}


def test_progress_counts_the_examples():
    seen = []
    evaluate(ScriptedLanguageModel(), [example(str(n)) for n in range(150)], {}, condition="none", advance=seen.append)
    assert seen == [64, 64, 22]


def test_a_real_models_loss_is_on_the_answers_tokens_alone():
    tokenizer, model = make_tokenizer(), make_language_model()
    lm = LocalLanguageModel(model, TokenizerVocabulary(tokenizer), name="tiny", device="cpu")
    one = example(history=("Speaker 1: the dog\nSpeaker 2: yes",), query="the cat", answers=("red and blue",))
    result = evaluate(lm, [one], {"e": [0]}, condition="dense")
    whole = "Speaker 1: the dog\nSpeaker 2: yes\nSpeaker 1: the cat\nSpeaker 2: red and blue"
    ids = torch.tensor([tokenizer(whole)["input_ids"]])
    with torch.no_grad():
        rows = model(ids).logits[0].double().log_softmax(-1)
    assert tokenizer.convert_ids_to_tokens(ids[0, -3:].tolist()) == ["▁red", "▁and", "▁blue"]
    last = ids.shape[1]
    expected = -sum(rows[place - 1, ids[0, place]].item() for place in range(last - 3, last)) / 3
    assert result.values["nll"]["e"] == pytest.approx(expected, abs=1e-4)
    assert result.num_scored_tokens == 3
