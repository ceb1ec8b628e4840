"""Examples for few-shot prompts: any dict, searched by its input, the best one last."""

import datetime
import math
import threading

import pytest
from langchain_core.embeddings import Embeddings
from langchain_core.example_selectors import SemanticSimilarityExampleSelector
from langchain_core.prompts import ChatPromptTemplate, FewShotChatMessagePromptTemplate
from langchain_core.vectorstores import InMemoryVectorStore

from integrations.conformance.langchain_example_selector import EXAMPLES, ExampleSelectorConformance
from integrations.conformance.loop_ticks import count_ticks
from integrations.langchain import RagExampleSelector
from rag_embedder import Demonstration, DemonstrationRetriever
from rag_embedder.errors import InputError
from tests.retriever_cases import Watched, WordEncoder

SENTIMENTS = [
    {"text": "the film was long and dull", "label": "bad", "id": 1},
    {"text": "the film was slow and dull", "label": "bad", "id": 2},
    {"text": "the film was grey and dull", "label": "bad", "id": 3},
    {"text": "music and colours, a joy", "label": "good", "id": 4},
    {"text": "a joy from start to end", "label": "good", "id": 5},
]


@pytest.fixture
def watched():
    return Watched(WordEncoder())


class WordEmbeddings(Embeddings):
    """The same encoder behind LangChain's own interface, noting what it is asked to encode."""

    def __init__(self):
        self.encoder = WordEncoder()
        self.queries = []
        self.documents = []

    def embed_documents(self, texts):
        self.documents += texts
        return self.encoder.encode_documents(texts, "icl").tolist()

    def embed_query(self, text):
        self.queries.append(text)
        return self.encoder.encode_queries([text], "icl")[0].tolist()


def select(examples, embedder, text, **options):
    keys = {"input_keys": ["text"]} | {key: options.pop(key) for key in ("input_keys",) if key in options}
    selector = RagExampleSelector.from_examples(examples, embedder, **keys, **options)
    return selector.select_examples({"text": text})


class TestConformance(ExampleSelectorConformance):
    def make_selector(self, examples):
        return RagExampleSelector.from_examples(examples, WordEncoder(), input_keys=["question"], k=self.k)

    def make_slow_selector(self, seconds):
        watched = Watched(WordEncoder())
        selector = RagExampleSelector.from_examples(EXAMPLES, watched, input_keys=["question"], k=self.k)
        watched.seconds = seconds
        return selector


class NaiveConformance(ExampleSelectorConformance):
    """LangChain's own selector, as its documentation sets it up."""

    best_last = False

    def make_selector(self, examples):
        return SemanticSimilarityExampleSelector.from_examples(
            examples, WordEmbeddings(), InMemoryVectorStore, k=self.k, input_keys=["question"]
        )


@pytest.mark.parametrize(
    "test",
    ["test_the_same_example_twice_counts_once", "test_changing_what_was_given_or_selected_changes_nothing"],
)
def test_the_conformance_suite_fails_langchains_own_selector(test):
    with pytest.raises(AssertionError):
        getattr(NaiveConformance(), test)()


def test_langchains_selector_embeds_the_answers_of_a_query_and_ours_only_its_input(watched):
    naive_embeddings = WordEmbeddings()
    naive = SemanticSimilarityExampleSelector.from_examples(
        [{"question": "two and two", "answer": "4"}], naive_embeddings, InMemoryVectorStore
    )
    ours = RagExampleSelector.from_examples(
        [{"question": "two and two", "answer": "4"}], watched, input_keys=["question"]
    )
    for selector in (naive, ours):
        selector.select_examples({"question": "three and three", "answer": "6"})
    assert naive_embeddings.queries == ["6 three and three"]
    assert watched.queries == ["three and three"]
    assert watched.documents == ["two and two\n4"]


def test_langchains_selector_puts_the_best_example_first_and_ours_next_to_the_question():
    texts = ["one two three four", "one two three", "one two"]
    examples = [{"text": text, "label": "x"} for text in texts]
    naive = SemanticSimilarityExampleSelector.from_examples(
        examples, WordEmbeddings(), InMemoryVectorStore, k=3, input_keys=["text"]
    )
    query = {"text": "one two three four five"}
    assert [example["text"] for example in naive.select_examples(query)] == texts
    assert [example["text"] for example in select(examples, WordEncoder(), query["text"])] == texts[::-1]
    assert [example["text"] for example in select(examples, WordEncoder(), query["text"], order="best_first")] == texts


def test_langchains_selector_raises_a_bare_key_error_and_ours_says_what_is_missing():
    examples = [{"question": "two and two", "answer": "4"}]
    naive = SemanticSimilarityExampleSelector.from_examples(
        examples, WordEmbeddings(), InMemoryVectorStore, input_keys=["question"]
    )
    ours = RagExampleSelector.from_examples(examples, WordEncoder(), input_keys=["question"])
    with pytest.raises(KeyError):
        naive.select_examples({"query": "three"})
    with pytest.raises(InputError, match=r"input_variables: no value for \['question'\].*got \['query'\]"):
        ours.select_examples({"query": "three"})


def test_building_twice_on_one_path_neither_duplicates_nor_encodes_again(watched, tmp_path):
    def build(examples=EXAMPLES):
        return RagExampleSelector.from_examples(examples, watched, input_keys=["question"], path=tmp_path / "pool", k=6)

    first = build()
    first.retriever.close()
    assert len(watched.documents) == len(EXAMPLES)
    again = build()
    assert len(again.retriever) == len(EXAMPLES)
    assert len(watched.documents) == len(EXAMPLES)
    again.retriever.close()
    reopened = build([])
    assert sorted(reopened.select_examples({"question": "Which river?"}), key=str) == sorted(EXAMPLES, key=str)
    reopened.retriever.close()


def test_in_memory_an_example_may_hold_any_object():
    moment = datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC)
    lock = threading.Lock()
    example = {"text": "one two", "label": "x", "when": moment, "pair": (1, [2, {3: "three"}]), "lock": lock}
    (found,) = select([example], WordEncoder(), "one", output_keys=["label"])
    assert found == example
    assert found["lock"] is lock
    assert found["pair"][1] is not example["pair"][1]


@pytest.mark.parametrize("value", [(1, 2), datetime.date(2026, 11, 1), {1: "one"}, float("nan"), {"deep": [object()]}])
def test_on_disk_a_value_that_would_not_come_back_is_refused_by_its_key(value, tmp_path):
    selector = RagExampleSelector.from_examples([], WordEncoder(), input_keys=["text"], path=tmp_path / "pool")
    with selector.retriever:
        with pytest.raises(InputError, match=r"examples\[1\]: the values under \['extra'\] would not come back"):
            selector.add_examples(
                [{"text": "one", "label": "x"}, {"text": "two", "label": "x", "extra": value}],
            )
        assert len(selector.retriever) == 0


def test_several_input_keys_are_joined_in_the_order_given(watched):
    examples = [{"question": "who", "context": "a castle", "answer": "a king", "grade": 5}]
    selector = RagExampleSelector.from_examples(
        examples, watched, input_keys=["question", "context"], output_keys=["answer"]
    )
    selector.select_examples({"context": "a house", "question": "where", "other": "unused"})
    assert watched.documents == ["who\na castle\na king"]
    assert watched.queries == ["where\na house"]


def test_values_that_are_no_text_are_encoded_as_json(watched):
    selector = RagExampleSelector.from_examples(
        [{"text": "add", "numbers": [1, 2], "sum": 3}], watched, input_keys=["text", "numbers"]
    )
    assert watched.documents == ["add\n[1, 2]\n3"]
    assert selector.select_examples({"text": "add", "numbers": [4, 5]}) == [
        {"text": "add", "numbers": [1, 2], "sum": 3}
    ]


def test_labels_are_taken_in_turn_by_the_key_that_holds_them():
    query = "the film was dull"
    alike = select(SENTIMENTS, WordEncoder(), query, k=2)
    varied = select(SENTIMENTS, WordEncoder(), query, k=2, diversity="label", label_key="label")
    assert {example["label"] for example in alike} == {"bad"}
    assert [example["label"] for example in varied] == ["good", "bad"]
    # Without the key, the id is part of the output, so that no two outputs are one label.
    assert {example["label"] for example in select(SENTIMENTS, WordEncoder(), query, k=2, diversity="label")} == {"bad"}


def test_examples_that_say_the_same_make_room_for_others_with_mmr():
    examples = [{"text": f"red green {end}", "label": "bad"} for end in ("a", "b", "c")]
    examples.append({"text": "black snow", "label": "good"})
    alike = select(examples, WordEncoder(), "red green black", k=3)
    varied = select(examples, WordEncoder(), "red green black", k=3, diversity="mmr")
    assert examples[3] not in alike
    assert examples[3] in varied


def test_no_more_tokens_than_allowed_and_the_worst_are_left_out_first():
    examples = [{"text": "one two three four", "label": "x"}, {"text": "one two", "label": "x"}]
    assert select(examples, WordEncoder(), "one two three four five", max_tokens=5) == [examples[0]]
    assert select(examples, WordEncoder(), "one two three four five", max_tokens=8) == examples[::-1]


def test_the_example_of_the_very_input_is_left_out_unless_wanted():
    asked = SENTIMENTS[0]["text"]
    assert SENTIMENTS[0] not in select(SENTIMENTS, WordEncoder(), asked)
    assert select(SENTIMENTS, WordEncoder(), asked, exclude_self=False)[-1] == SENTIMENTS[0]


def test_scores_come_with_the_examples_and_a_threshold_leaves_out_the_low():
    selector = RagExampleSelector.from_examples(SENTIMENTS, WordEncoder(), input_keys=["text"], k=5)
    scored = selector.select_with_scores({"text": "a film, dull"})
    scores = [score for _, score in scored]
    assert scores == sorted(scores)
    assert [example for example, _ in scored] == selector.select_examples({"text": "a film, dull"})
    middle = scores[2]
    kept = selector.model_copy(update={"score_threshold": middle}).select_with_scores({"text": "a film, dull"})
    assert [score for _, score in kept] == scores[2:]


def test_examples_are_filtered_by_their_own_values():
    assert [example["id"] for example in select(SENTIMENTS, WordEncoder(), "film", filter={"id": {"gte": 4}}, k=5)] in (
        [4, 5],
        [5, 4],
    )


def test_tasks_share_a_pool_without_mixing(tmp_path):
    with DemonstrationRetriever(WordEncoder()) as pool:
        one = RagExampleSelector(retriever=pool, input_keys=["text"], task="one")
        two = RagExampleSelector(retriever=pool, input_keys=["text"], task="two", filter={"label": {"ne": "y"}})
        one.add_example({"text": "one two", "label": "x"})
        two.add_examples([{"text": "one two", "label": "z"}, {"text": "one three", "label": "y"}])
        assert one.select_examples({"text": "one"}) == [{"text": "one two", "label": "x"}]
        assert two.select_examples({"text": "one"}) == [{"text": "one two", "label": "z"}]


def test_demonstrations_added_directly_are_found_as_dicts_of_the_two_keys():
    with DemonstrationRetriever(WordEncoder()) as pool:
        pool.add([Demonstration("the film was dull", "bad", metadata={"source": "web"})])
        selector = RagExampleSelector(retriever=pool, input_keys=["review"], output_keys=["verdict"])
        assert selector.select_examples({"review": "a film"}) == [{"review": "the film was dull", "verdict": "bad"}]


@pytest.mark.parametrize("example", [{"text": "one"}, {"text": " ", "label": "x"}, {"text": "one", "label": ""}])
def test_an_example_without_input_or_output_is_refused_by_position(example):
    with pytest.raises(InputError, match=r"examples\[1\]: the (in|out)put is empty"):
        RagExampleSelector.from_examples([SENTIMENTS[0], example], WordEncoder(), input_keys=["text"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"input_keys": "text"}, "input_keys: got a bare str"),
        ({"input_keys": []}, "at least one of each"),
        ({"input_keys": ["text"], "output_keys": ["text"]}, "none that is both"),
        ({"input_keys": ["text"], "label_key": "label"}, "needs diversity='label'"),
        (
            {"input_keys": ["text"], "label_key": "label", "diversity": "label", "output_keys": ["id"]},
            "label_key='label' is the output, but",
        ),
        ({"input_keys": ["text"], "order": "random"}, "best_last"),
        ({"input_keys": ["text"], "diversity": "labels"}, "'label'"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        RagExampleSelector.from_examples(SENTIMENTS, WordEncoder(), **options)


def test_a_mistyped_option_is_refused():
    with pytest.raises(TypeError, match="top_k"):
        RagExampleSelector.from_examples(SENTIMENTS, WordEncoder(), input_keys=["text"], top_k=2)
    with DemonstrationRetriever(WordEncoder()) as pool, pytest.raises(ValueError, match="Extra inputs"):
        RagExampleSelector(retriever=pool, input_keys=["text"], top_k=2)


def test_an_empty_question_selects_nothing(watched):
    assert select(SENTIMENTS, watched, "") == []
    assert watched.queries == []


async def test_every_async_method_leaves_the_loop_free(watched):
    watched.seconds = 0.25
    building = RagExampleSelector.afrom_examples(SENTIMENTS, watched, input_keys=["text"], k=2)
    selector, ticks = await count_ticks(building)
    assert ticks >= 5
    for awaitable in (
        selector.aselect_examples({"text": "a film"}),
        selector.aselect_with_scores({"text": "a film"}),
        selector.aadd_example({"text": "a new one", "label": "good"}),
        selector.aadd_examples([{"text": "another new one", "label": "good"}]),
    ):
        _, ticks = await count_ticks(awaitable)
        assert ticks >= 5
    assert len(selector.retriever) == len(SENTIMENTS) + 2


def test_sixteen_threads_add_and_select_at_once():
    selector = RagExampleSelector.from_examples([], WordEncoder(), input_keys=["text"], k=1)
    wrong = []

    def work(number):
        for round_ in range(5):
            example = {"text": f"word{number} round{round_}", "label": "x", "value": (number, round_)}
            selector.add_example(example)
            found = selector.model_copy(update={"exclude_self": False}).select_examples({"text": example["text"]})
            if found != [example]:
                wrong.append(found)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(selector.retriever) == 80


async def test_meaning_decides_with_the_real_encoder(minilm):
    examples = [
        {"question": "How tall is the highest mountain?", "answer": "8849 metres."},
        {"question": "What do whales eat?", "answer": "Krill and fish."},
        {"question": "When did the war end?", "answer": "In 1945."},
    ]
    selector = await RagExampleSelector.afrom_examples(examples, minilm, input_keys=["question"], k=2)
    prompt = FewShotChatMessagePromptTemplate(
        example_selector=selector,
        input_variables=["question"],
        example_prompt=ChatPromptTemplate.from_messages([("human", "{question}"), ("ai", "{answer}")]),
    )
    messages = await prompt.aformat_messages(question="What is the food of dolphins?")
    assert [message.content for message in messages[-2:]] == ["What do whales eat?", "Krill and fish."]


async def test_none_is_no_input_and_is_not_searched_as_a_word():
    selector = RagExampleSelector.from_examples(SENTIMENTS, WordEncoder(), input_keys=["text"])
    for select in (selector.select_examples, selector.select_with_scores):
        with pytest.raises(InputError, match=r"^input_variables: got None under \['text'\]; expected words"):
            select({"text": None})
    with pytest.raises(InputError, match="got None under"):
        await selector.aselect_examples({"text": None})
    with pytest.raises(InputError, match=r"^examples\[0\]: got None under \['text'\]"):
        selector.add_example({"text": None, "label": "bad"})
    assert selector.select_examples({"text": ""}) == []
    with pytest.raises(ValueError, match="score_threshold"):
        RagExampleSelector.from_examples(SENTIMENTS, WordEncoder(), input_keys=["text"], score_threshold=math.nan)
