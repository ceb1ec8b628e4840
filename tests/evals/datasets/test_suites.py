import subprocess
import sys
from pathlib import Path

import pytest

from evals.datasets.conversations import read_conversations
from evals.datasets.demonstrations import read_demonstrations, read_tasks
from evals.datasets.known_sets import KNOWN_SETS
from evals.datasets.multiple_choice import read_multiple_choice
from evals.datasets.selection import Selection
from evals.datasets.suites import READERS, SUITES, find_sets, load_suite, suite_sets
from evals.datasets.texts import read_texts
from evals.errors import DataSetError
from rag_embedder.errors import ConfigError
from rag_embedder.scenario import SCENARIO_NAMES
from tests.evals.datasets.set_files import write_set

DATA = Path(__file__).parents[4] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the data sets are not beside the repository")


def test_each_suite_lists_its_sets():
    assert SUITES == ("tools", "convsearch", "knowledge", "memory", "demonstrations")


def test_every_known_set_has_a_reader_a_scenario_and_a_split():
    for spec in KNOWN_SETS:
        assert callable(READERS[spec.reader])
        assert spec.scenario in SCENARIO_NAMES
        assert spec.test


def test_listing_sets_reads_nothing_and_names_each_once(tmp_path):
    sources = suite_sets(tmp_path)
    assert len({source.key for source in sources}) == len(sources)
    assert [source.key for source in suite_sets(tmp_path, "tools", split="dev")] == [
        "tool_retrieval/toole.dev",
        "tool_retrieval/sgd_intents.dev",
        "tool_retrieval/tldr.dev",
        "tool_retrieval/sealtools.dev",
    ]
    assert find_sets(tmp_path) == []


def test_a_set_that_is_missing_says_where_it_was_looked_for(tmp_path):
    with pytest.raises(DataSetError, match=f"there is no folder {tmp_path}/tool_retrieval/toole"):
        next(load_suite(tmp_path, "tools"))


def test_a_folder_with_a_corpus_is_one_set_of_the_users_own(tmp_path):
    folder = write_set(tmp_path / "mine")
    (found,) = load_suite(folder, scenario="tool", limit=2, seed=1)
    assert (found.key, found.suite, found.scenario, len(found.queries)) == ("mine.test", "custom", "tool", 2)
    assert [source.key for source in find_sets(folder)] == ["mine.test"]
    with pytest.raises(DataSetError, match=r"no judgements of split 'dev' \(there are judgements for: test\)"):
        list(load_suite(folder, split="dev"))


def test_a_folder_without_a_corpus_is_no_set_of_the_users_own(tmp_path):
    with pytest.raises(DataSetError, match=r"no corpus\.jsonl or corpus\.jsonl\.gz in"):
        suite_sets(tmp_path, "custom")


def test_one_broken_set_does_not_hinder_the_next(tmp_path):
    write_set(tmp_path / "knowledge" / "tydiqa_en")
    sources = suite_sets(tmp_path, "knowledge")
    with pytest.raises(DataSetError):
        sources[0].load()
    assert len(sources[1].load(Selection(limit=1)).queries) == 1


@pytest.mark.parametrize(
    ("suite", "split", "message"),
    [("tool", "test", "unknown suite 'tool'.*Did you mean 'tools'"), ("tools", "val", "unknown split 'val'")],
)
def test_an_unknown_name_lists_the_choices(tmp_path, suite, split, message):
    with pytest.raises(ConfigError, match=message):
        suite_sets(tmp_path, suite, split=split)


def test_a_missing_data_folder_is_named(tmp_path):
    with pytest.raises(DataSetError, match=f"there is no folder {tmp_path}/none; name the folder of data sets"):
        find_sets(tmp_path / "none")


def test_listing_sets_imports_no_model_library():
    code = "import sys; from pathlib import Path; from evals.datasets.suites import suite_sets; "
    code += "suite_sets(Path('.'), 'tools'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


@needs_data
def test_every_shared_set_reads_clean_at_the_size_of_its_card():
    found = {key: (len(queries), len(documents)) for key, queries, documents in _sizes(load_suite(DATA))}
    assert len(found) == 26
    assert found["tool_retrieval/sealtools.test_out_domain"] == (654, 4_076)
    assert found["conversational_search/dstc11_t5.test"] == (2_798, 10_881)
    assert found["knowledge/scifact.test"] == (300, 5_183)
    assert found["memory/memorybank_chat.test"] == (99, 566)  # of 100, one asks about what never happened
    assert found["memory/qmsum.test"] == (243, 2_822)
    assert found["demos/multitask.new_category"][0] == 5 * 60 + 40
    assert {source.key for source in find_sets(DATA)} >= found.keys()


@needs_data
def test_every_shared_tuning_split_reads_clean():
    found = {key: len(queries) for key, queries, _ in _sizes(load_suite(DATA, split="dev"))}
    assert found["knowledge/squad.dev"] == 1_067
    assert found["memory/crd3.val"] == 171


@needs_data
def test_the_shared_end_task_data_reads_clean():
    questions = read_multiple_choice(DATA / "knowledge" / "mmlu", "test")
    assert (len(questions), len({question.subject for question in questions})) == (2_835, 57)
    assert len(read_texts(DATA / "memory" / "novels", "test")) == 21
    assert sum(len(each.windows) for each in read_conversations(DATA / "memory" / "memorybank_chat", "test")) == 566
    tasks = read_tasks(DATA / "demos" / "multitask")
    examples = read_demonstrations(DATA / "demos" / "multitask" / "test.seen.jsonl.gz")
    assert len(tasks) == 54
    assert {example.task for example in examples} == {name for name, task in tasks.items() if task.group == "seen"}


def _sizes(sets):
    return ((found.key, found.queries, found.documents) for found in sets)
