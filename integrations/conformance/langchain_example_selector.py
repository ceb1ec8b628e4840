"""What an example selector for LangChain must do, in few-shot prompts too.

class TestMySelector(ExampleSelectorConformance):
    def make_selector(self, examples):
        return MySelector.from_examples(examples, my_encoder, input_keys=["question"], k=self.k)
"""

import copy
from abc import ABC, abstractmethod
from typing import Any

import pytest
from langchain_core.example_selectors import BaseExampleSelector
from langchain_core.prompts import (
    ChatPromptTemplate,
    FewShotChatMessagePromptTemplate,
    FewShotPromptTemplate,
    PromptTemplate,
)

from integrations.conformance.loop_ticks import count_ticks

EXAMPLES: list[dict[str, Any]] = [
    {"question": "Which river flows through the city of Paris?", "answer": "The Seine."},
    {"question": "Who painted the ceiling of the chapel?", "answer": "Michelangelo.", "year": 1512},
    {"question": "How many legs does a spider have?", "answer": "Eight.", "steps": [{"think": "arachnid"}, {"n": 8}]},
    {"question": "What is the boiling point of water?", "answer": "100 degrees.", "tags": ["physics", None, 1.5]},
    {"question": "Which planet is nearest to the sun?", "answer": "Mercury."},
    {"question": "Who wrote the play about Hamlet?", "answer": "Shakespeare."},
]
"""Examples with other words each; some hold nested values, as worked examples with steps do."""


class ExampleSelectorConformance(ABC):
    """What a selector must do whose examples are searched with the value of "question".

    Give `make_selector`, and `make_slow_selector` as well to have the event loop watched.
    """

    k = 3
    """How many examples the selectors of these tests select."""

    best_last = True
    """Whether the best example comes last, next to the question in the prompt."""

    @abstractmethod
    def make_selector(self, examples: list[dict[str, Any]]) -> BaseExampleSelector:
        """A new selector over these examples."""

    def make_slow_selector(self, seconds: float) -> BaseExampleSelector | None:
        """A selector over `EXAMPLES` whose encoder takes so long for a query; None leaves the test out."""
        return None

    def best(self, selected: list[dict[str, Any]]) -> dict[str, Any]:
        """The best of the examples selected."""
        return selected[-1 if self.best_last else 0]

    def test_it_is_one_for_langchain(self) -> None:
        """Prompts check the class; whatever only looks like a selector is refused."""
        assert isinstance(self.make_selector(EXAMPLES), BaseExampleSelector)

    @pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example["answer"])
    def test_the_example_most_like_the_question_is_the_best(self, example: dict[str, Any]) -> None:
        """Asked with most of its words, and without its answer."""
        selected = self.make_selector(EXAMPLES).select_examples({"question": _most_of(example["question"])})
        assert len(selected) == self.k
        assert self.best(selected)["question"] == example["question"]

    @pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example["answer"])
    def test_examples_come_back_as_they_were_given(self, example: dict[str, Any]) -> None:
        """Nested values too: lists stay lists, numbers stay numbers."""
        selected = self.make_selector(EXAMPLES).select_examples({"question": _most_of(example["question"])})
        assert self.best(selected) == example

    async def test_asynchronously_the_same_examples_are_selected(self) -> None:
        """Two code paths, one choice."""
        selector = self.make_selector(EXAMPLES)
        for example in EXAMPLES:
            asked = {"question": _most_of(example["question"])}
            assert await selector.aselect_examples(asked) == selector.select_examples(asked)

    async def test_an_example_that_is_added_is_found(self) -> None:
        """Through both doors."""
        selector = self.make_selector(EXAMPLES[:2])
        selector.add_example(EXAMPLES[2])
        await selector.aadd_example(EXAMPLES[3])
        for example in EXAMPLES[2:4]:
            asked = {"question": _most_of(example["question"])}
            assert self.best(selector.select_examples(asked)) == example

    def test_only_the_question_decides(self) -> None:
        """A prompt has other variables; the words of an answer among them must not change the choice."""
        selector = self.make_selector(EXAMPLES)
        asked = {"question": _most_of(EXAMPLES[0]["question"])}
        more = {**asked, "answer": EXAMPLES[5]["answer"], "year": 1512, "a_note": EXAMPLES[5]["question"]}
        assert selector.select_examples(more) == selector.select_examples(asked)

    def test_a_missing_question_is_an_error_that_names_the_key(self) -> None:
        """Not a bare KeyError from within."""
        with pytest.raises(ValueError, match="question"):
            self.make_selector(EXAMPLES).select_examples({"query": "Which river flows through Paris?"})

    def test_the_same_example_twice_counts_once(self) -> None:
        """Repetitions would take the places of others."""
        selector = self.make_selector([*EXAMPLES, *copy.deepcopy(EXAMPLES)])
        questions = [example["question"] for example in selector.select_examples({"question": "Which river flows?"})]
        assert len(set(questions)) == len(questions) == self.k

    def test_changing_what_was_given_or_selected_changes_nothing(self) -> None:
        """Neither side shares its dicts."""
        given = copy.deepcopy(EXAMPLES)
        selector = self.make_selector(given)
        assert given == EXAMPLES, "the examples that were passed in have been changed"
        given[2]["steps"].clear()
        asked = {"question": _most_of(EXAMPLES[2]["question"])}
        self.best(selector.select_examples(asked))["steps"].append("spoiled")
        assert self.best(selector.select_examples(asked)) == EXAMPLES[2]

    def test_without_examples_nothing_is_selected(self) -> None:
        """A new pool is empty."""
        assert self.make_selector([]).select_examples({"question": "Which river?"}) == []

    async def test_it_works_in_a_few_shot_prompt(self) -> None:
        """Sync and async formatting give one text, with the best example next to the question."""
        prompt = FewShotPromptTemplate(
            example_selector=self.make_selector(EXAMPLES),
            example_prompt=PromptTemplate.from_template("Q: {question} A: {answer}"),
            suffix="Q: {question}",
            input_variables=["question"],
        )
        text = prompt.format(question=_most_of(EXAMPLES[4]["question"]))
        assert await prompt.aformat(question=_most_of(EXAMPLES[4]["question"])) == text
        lines = text.split("\n\n")
        assert len(lines) == self.k + 1
        assert lines[-2 if self.best_last else 0] == "Q: Which planet is nearest to the sun? A: Mercury."

    async def test_it_works_in_a_few_shot_chat_prompt(self) -> None:
        """The same, as messages."""
        prompt = FewShotChatMessagePromptTemplate(
            example_selector=self.make_selector(EXAMPLES),
            example_prompt=ChatPromptTemplate.from_messages([("human", "{question}"), ("ai", "{answer}")]),
            input_variables=["question"],
        )
        messages = prompt.format_messages(question=_most_of(EXAMPLES[0]["question"]))
        assert await prompt.aformat_messages(question=_most_of(EXAMPLES[0]["question"])) == messages
        assert len(messages) == 2 * self.k
        assert messages[-1 if self.best_last else 1].content == "The Seine."

    async def test_the_event_loop_goes_on_while_examples_are_selected(self) -> None:
        """An encoder at work must not stop a server."""
        selector = self.make_slow_selector(0.3)
        if selector is None:
            pytest.skip("make_slow_selector is not given")
        _, ticks = await count_ticks(selector.aselect_examples({"question": "Which river flows?"}))
        assert ticks >= 10, f"the loop ran {ticks} times in 0.3 s; expected about 30"


def _most_of(question: str) -> str:
    return " ".join(question.rstrip("?").split()[1:])
