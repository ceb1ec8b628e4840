"""Every condition of every end task: a system's answers, or a condition of the task's own, reach the prompt."""

from pathlib import Path

import pytest

import evals
from evals.datasets.multiple_choice import Question
from evals.datasets.selection import Selection
from evals.datasets.texts import LongText
from evals.end_task.demonstrations import TaskExample
from evals.end_task.dialogue_memory import DialogueSettings
from evals.end_task.long_text_chunks import LongTextSettings
from evals.end_task.open_answers import OpenAnswerSettings
from evals.end_task.retrieval import memory_set
from evals.end_task.sources import end_task_sources
from evals.end_task.tasks import (
    DemonstrationsTask,
    DialogueMemoryTask,
    LongTextTask,
    MultipleChoiceTask,
    OpenAnswersTask,
)
from evals.records import EvaluationSet, Query
from evals.systems.bm25 import BM25System
from rag_embedder.errors import ConfigError
from rag_embedder.types import Document
from tests.evals.end_task.scripted_language_model import ScriptedLanguageModel

DATA = Path(evals.__file__).parents[2] / "shared" / "data"


def knowledge(**fields):
    options = {
        "name": "k",
        "split": "test",
        "scenario": "qa",
        "suite": "knowledge",
        "documents": [Document("the river is cold", id="a"), Document("paris is big", id="b")],
        "queries": [Query(id="q", text="how cold is the river?", answers=("very cold",))],
        "qrels": {"q": {"b": 1}},
    }
    return EvaluationSet(**{**options, **fields})


def test_multiple_choice_reads_what_a_system_found():
    question = Question(id="q", subject="x", text="how cold is the river?", options=("1", "2"), answer_index=0)
    task = MultipleChoiceTask(questions=knowledge(), examples=[question])
    lm = ScriptedLanguageModel()
    assert task.run(lm, BM25System()).condition == "bm25"
    assert lm.scored[0][0].startswith("Knowledge:\nthe river is cold\n\nThe following")
    result = task.run(lm, "none")
    assert lm.scored[-1][0].startswith("The following")
    assert (result.condition, result.key, task.num_examples) == ("none", "k.test", 1)


def test_open_answers_have_an_oracle_of_judged_passages_alone():
    task = OpenAnswersTask(questions=knowledge(), settings=OpenAnswerSettings())
    lm = ScriptedLanguageModel(answer=lambda prompt: " very cold")
    names = [task.run(lm, condition).condition for condition in ("none", "oracle", BM25System())]
    asked = "Q: how cold is the river? A:"
    assert names == ["none", "oracle", "bm25"]
    assert lm.prompts == [asked, f"Knowledge: paris is big\n\n{asked}", f"Knowledge: the river is cold\n\n{asked}"]


def test_dialogue_memory_has_recency_and_an_oracle():
    windows = {"d": ["the river is cold", "paris is big", "a green car"]}
    questions = memory_set(windows, knowledge(queries=[]).queries, name="m", scenario="chat")
    query = Query(id="q", text="how cold?", within="d", answers=("very cold",))
    task = DialogueMemoryTask(
        questions=EvaluationSet(
            name="m",
            split="test",
            scenario="chat",
            suite="memory",
            documents=questions.documents,
            queries=[query],
            qrels={},
        ),
        settings=DialogueSettings(current="{query}"),
    )
    lm = ScriptedLanguageModel(loss=lambda context, continuation: float("paris" not in context))
    expected = {"none": [], "recency": windows["d"][2:], "oracle": windows["d"][1:2]}
    for condition, memories in expected.items():
        task.run(lm, condition)
        assert lm.scored[-1] == ("\n".join([*memories, "how cold?"]), " very cold")
    task.run(lm, BM25System())
    assert lm.scored[-1][0] == "the river is cold\nhow cold?"


def test_long_texts_are_searched_by_the_chunk_before_each_target():
    settings = LongTextSettings(
        document_tokens=32, window_tokens=12, target_tokens=4, chunk_tokens=4, num_retrieved=1, max_characters=1000
    )
    words = [f" w{n}" for n in range(32)]
    words[4] = words[24] = " river"  # in chunk 1, a key, and in chunk 6, before the target
    task = LongTextTask(key="n.test", texts=[LongText(id="n", text="".join(words))], settings=settings)
    lm = ScriptedLanguageModel(loss=lambda context, continuation: float(" w8" not in context))
    task.run(lm, BM25System())
    assert lm.scored == [("".join([*words[4:12], *words[20:28]]), "".join(words[28:]))]
    task.run(lm, "none")
    assert lm.scored[-1][0] == "".join(words[20:28])
    task.run(lm, "recency")
    assert lm.scored[-1][0] == "".join(words[12:28])
    result = task.run(lm, "oracle")
    assert lm.scored[-1][0] == "".join([*words[4:12], *words[20:28]])
    assert (result.values["nll"], result.key) == ({"n": 0.0}, "n.test")


def test_demonstrations_can_be_random_ones_of_the_same_task():
    documents = [Document(f"{task} {n}", id=f"{task}{n}") for task in ("red", "blue") for n in range(9)]
    pool = knowledge(
        documents=documents,
        queries=[Query(id="q", text="red 3?")],
        qrels={"q": {f"red{n}": 1 for n in range(9)}},
    )
    example = TaskExample(id="q", task="red", category="c", input="red 3?", outputs=("x",), options=("x", "y"))
    task = DemonstrationsTask(pool=pool, examples=[example])
    lm = ScriptedLanguageModel()
    task.run(lm, "same-task-random")
    lines = lm.scored[-1][0].splitlines()
    assert len(set(lines)) == 9
    assert lines[-1] == "red 3?"
    assert all(line.startswith("red ") for line in lines)
    task.run(lm, "same-task-random")
    assert lm.scored[-1][0].splitlines() == lines
    task.run(lm, BM25System())
    assert lm.scored[-1][0].splitlines()[-2] == "red 3"
    task.run(lm, "none")
    assert lm.scored[-1][0] == "red 3?\n"


def test_a_name_that_is_no_condition_is_refused():
    with pytest.raises(ConfigError, match="unknown condition without a system 'orcale'"):
        OpenAnswersTask(questions=knowledge()).run(ScriptedLanguageModel(), "orcale")


def test_unknown_suites_are_refused_and_known_ones_list_their_tasks(tmp_path):
    with pytest.raises(ConfigError, match="unknown suite of end tasks 'tools'"):
        end_task_sources(tmp_path, "tools")
    assert [source.key for source in end_task_sources(tmp_path, "demonstrations")] == [
        "demos/multitask.seen",
        "demos/multitask.new_task",
        "demos/multitask.new_category",
    ]
    assert len(end_task_sources(tmp_path)) == 13


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no data at {DATA}")
@pytest.mark.parametrize(
    ("key", "condition"),
    [
        ("knowledge/tydiqa_en.test", "oracle"),
        ("memory/memorybank_chat.test", "recency"),
        ("memory/squality.test", BM25System()),
        ("memory/novels.test", "recency"),
        ("demos/multitask.new_category", "same-task-random"),
    ],
)
def test_the_known_sets_can_be_read_and_run(key, condition):
    source = next(source for source in end_task_sources(DATA) if source.key == key)
    task = source.load(Selection(limit=3, max_documents=400))
    lm = ScriptedLanguageModel(answer=lambda prompt: " some answer")
    result = task.run(lm, condition)
    assert result.key == key
    assert task.num_examples == 3
    assert {len(values) for name, values in result.values.items() if name != "nll"} <= {3}
    assert result.num_scored_tokens > 0
    retrieved = [context for context, _ in lm.scored] + lm.prompts
    before = len(retrieved)
    task.run(lm, "none")
    without = [*(context for context, _ in lm.scored), *lm.prompts][-before:]
    assert sum(map(len, retrieved)) > sum(map(len, without))
