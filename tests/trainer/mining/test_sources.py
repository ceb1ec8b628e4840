"""Every kind of data set, from files to examples, found by BM25 and by an encoder of words."""

import gzip

import pytest

from evals.datasets.selection import Selection
from evals.errors import DataSetError
from evals.systems.bm25 import BM25System
from evals.systems.dense import DenseSystem
from rag_embedder.errors import ConfigError
from tests.evals.small_sets import CountingEncoder
from tests.trainer.mining import data_sets
from trainer.mining.checksum import checksum_of
from trainer.mining.own_history import CHUNK_TOKENS
from trainer.mining.queries import KINDS
from trainer.mining.search import MiningSettings, mine
from trainer.mining.source import find_source
from trainer.templates import TEMPLATES


def mined(data, name, *, systems=None, settings=None, limit=None, seed=0, **options):
    source = find_source(data, name, options.pop("split", "train"), **options)
    queries = source.read(Selection(limit=limit, seed=seed))
    found = mine(queries, [BM25System()] if systems is None else systems, settings or MiningSettings())
    return {example.id: example for example in found}


def labels(example):
    return {candidate.id: candidate.label for candidate in example.candidates}


def test_every_kind_resolves():
    assert all(callable(KINDS[kind]) for kind in KINDS)


def test_passages(tmp_path):
    data_sets.passages(tmp_path / "knowledge" / "mine")
    found = mined(tmp_path, "knowledge/mine")
    assert list(found) == ["q1", "q2"]
    assert (found["q1"].query, found["q1"].prompt) == ("where falls rain", "where falls rain")
    assert found["q1"].answers == ("oslo",)
    # d3 shares "falls"; d4 is d3 again, d2 shares nothing
    assert labels(found["q1"]) == {"d1": 1, "d3": 0}
    assert found["q1"].candidates[0].text == "Oslo rain falls in oslo"
    assert found["q1"].rewards is None


def test_an_encoder_finds_what_bm25_does_not(tmp_path):
    data_sets.passages(tmp_path)
    encoder = CountingEncoder()
    dense = DenseSystem(encoder, name="words", settings={})
    found = mined(tmp_path, None, systems=[BM25System(), dense], scenario="qa")
    assert labels(found["q1"]) == {"d1": 1, "d3": 0, "d2": 0}
    assert encoder.queries == ["where falls rain", "what is baked from flour"]
    # every text once, although two are the same
    assert sorted(encoder.documents) == sorted(
        ["Oslo rain falls in oslo", "bread is baked from flour", "snow falls in bergen", "Snow falls in  Bergen"]
    )


def test_a_dialogue_is_one_query_without_the_turns_that_do_not_fit(tmp_path):
    data_sets.dialogues_with_documents(tmp_path / "conversational_search" / "mine")
    found = mined(tmp_path, "conversational_search/mine")["q"]
    assert found.query == found.prompt == "tell me of bergen a town and its tram"
    assert found.answers == ("yellow",)
    assert labels(found) == {"b": 1, "a": 0}
    short = MiningSettings(fits=lambda text: len(text.split()) <= 5)
    assert mined(tmp_path, "conversational_search/mine", settings=short)["q"].query == "a town and its tram"


def test_a_question_about_a_meeting_stays_inside_it(tmp_path):
    data_sets.meetings(tmp_path / "memory" / "mine")
    found = mined(tmp_path, "memory/mine", scenario="lrlm")
    assert labels(found["q1"]) == {"m1#1": 1, "m1#0": 0, "m1#2": 0}
    # BM25 finds only the window with "1"; the rest of the meeting follows
    assert list(labels(found["q2"])) == ["m2#0", "m2#1", "m2#2"]
    texts = {each.id: (each.text, each.continuation) for each in found["q1"].candidates}
    assert texts == {
        "m1#0": ("A: budget 0", "\nA: budget 1"),
        "m1#1": ("A: budget 1", "\nA: budget 2"),
        "m1#2": ("A: budget 2", ""),
    }
    read = TEMPLATES["lrlm"].with_candidate(found["q1"], *texts["m1#0"])
    assert (found["q1"].query, read) == ("budget 1", "A: budget 0\nA: budget 1\nbudget 1\n")


def test_all_of_a_meeting_is_ranked(tmp_path):
    said = ["nothing", "rain", "rain and snow", "snow rain hail"]
    turns = [{"role": "A", "content": text} for text in said]
    data_sets.write(
        tmp_path / "memory" / "mine",
        documents__train__jsonl=[{"_id": "m", "turns": turns, "windows": [[n, n + 1] for n in range(4)]}],
        queries__train__jsonl=[{"_id": "q", "doc_id": "m", "text": "snow rain hail"}],
        qrels__train__tsv="query-id\tcorpus-id\tscore\nq\tm#0\t1\n",
    )
    found = mined(tmp_path, "memory/mine", scenario="lrlm", settings=MiningSettings(k=1))
    assert list(labels(found["q"])) == ["m#0", "m#3"]
    found = mined(tmp_path, "memory/mine", scenario="lrlm")
    assert list(labels(found["q"])) == ["m#0", "m#3", "m#2", "m#1"]


def test_a_demonstration_is_not_given_itself_nor_its_copy(tmp_path):
    data_sets.demonstrations(tmp_path / "demos" / "mine")
    found = mined(tmp_path, "demos/mine")
    assert list(found) == ["x1", "x2", "x3", "x4", "x5", "x6"]
    first = found["x1"]
    assert (first.query, first.answers) == ("a good film", ("positive",))
    assert "x1" not in labels(first)
    assert "x6" not in labels(first)
    assert set(labels(first)) == {"x2", "x3", "x5"}
    assert {each.id: each.text for each in first.candidates}["x2"] == "a bad film\nnegative"
    assert all(label == 0 for example in found.values() for label in labels(example).values())


def test_demonstrations_of_the_own_task_can_be_labelled(tmp_path):
    data_sets.demonstrations(tmp_path / "demos" / "mine")
    found = mined(tmp_path, "demos/mine", labels_same_task=True)
    assert labels(found["x1"]) == {"x3": 1, "x2": 1, "x5": 0}


def test_a_reply_has_the_exchanges_before_it(tmp_path):
    data_sets.chats(tmp_path / "chat")
    found = mined(tmp_path, "chat")
    # the first has no history, the third no reply
    assert list(found) == ["c#1", "c#3"]
    assert (found["c#3"].query, found["c#3"].answers) == ("what do i like", ("rain",))
    assert labels(found["c#3"]) == {"c#0": 0, "c#1": 0, "c#2": 0}
    assert labels(found["c#1"]) == {"c#0": 0}
    assert found["c#1"].candidates[0].text == "Speaker 1: i like rain\nSpeaker 2: why"


def test_a_chunk_has_the_chunks_before_it_and_their_continuations(tmp_path, minilm):
    data_sets.novels(tmp_path / "novels")
    found = mined(tmp_path, "novels", settings=MiningSettings(k=1000))
    assert {example.id.split("#")[0] for example in found.values()} == {"a", "b"}
    numbers = [int(id_.split("#")[1]) for id_ in found if id_.startswith("a#")]
    assert numbers == list(range(2, len(numbers) + 2))
    for number in numbers:
        example = found[f"a#{number}"]
        assert len(minilm.token_offsets(example.query)) <= CHUNK_TOKENS
        # every pair of candidate and continuation ends before the query
        assert {each.id for each in example.candidates} == {f"a#{earlier}" for earlier in range(number - 1)}
        by_id = {each.id: each for each in example.candidates}
        for earlier in range(number - 2):
            assert by_id[f"a#{earlier}"].continuation == " " + by_id[f"a#{earlier + 1}"].text
    second = found["a#2"]
    whole = f"{second.candidates[0].text}{second.candidates[0].continuation}{second.prompt}{second.answers[0]}"
    assert whole == " ".join(f"a{n}" for n in range(len(whole.split())))
    assert second.prompt == f" {second.query}"


def test_the_pieces_of_a_text_join_without_a_character_less(tmp_path):
    text = "\n\n".join(f"w{n}  x{n}." + "\n" * (n % 3) for n in range(900))
    data_sets.write(tmp_path / "novels", documents__train__jsonl=[{"_id": "a", "text": text}])
    found = mined(tmp_path, "novels", settings=MiningSettings(k=1000))
    assert len(found) > 10
    for example in found.values():
        assert example.prompt + example.answers[0] in text
        assert example.prompt.lstrip() == example.query
        before = {each.id: each for each in example.candidates}
        for candidate in before.values():
            assert candidate.text + candidate.continuation in text
        last = before[f"a#{len(before) - 1}"]
        # the last candidate's continuation is the chunk before the query
        assert last.text + last.continuation + example.prompt + example.answers[0] in text


def test_a_question_about_a_story_has_its_chunks_unlabelled(tmp_path):
    data_sets.stories(tmp_path / "memory" / "stories")
    found = mined(tmp_path, "memory/stories")
    assert find_source(tmp_path, "memory/stories", "train").scenario == "lrlm"
    assert [(each.id, each.label, each.continuation) for each in found["q1"].candidates] == [
        ("s1#1", 0, "\nthe ship sinks"),
        ("s1#0", 0, "\na storm comes"),
        ("s1#2", 0, ""),
    ]
    assert (found["q1"].query, found["q1"].prompt) == ("why a storm", "\nwhy a storm\n")
    assert found["q1"].answers == ("to sink it", "for the plot")
    assert labels(found["q2"]) == {"s2#0": 0}
    (tmp_path / "memory" / "stories" / "queries.train.jsonl").write_text('{"_id": "q", "doc_id": "s9", "text": "x"}\n')
    with pytest.raises(DataSetError, match=r"queries\.train\.jsonl:1: there is no text 's9'"):
        mined(tmp_path, "memory/stories")


def test_a_limit_draws_a_part_with_the_seed(tmp_path):
    for make, name, scenario in (
        (data_sets.passages, "passages", "qa"),
        (data_sets.demonstrations, "demos", None),
        (data_sets.chats, "chats", None),
        (data_sets.stories, "stories", None),
    ):
        make(tmp_path / name)
        whole = mined(tmp_path, name, scenario=scenario)
        drawn = [mined(tmp_path, name, scenario=scenario, limit=1, seed=seed) for seed in range(8)]
        assert all(len(each) == 1 and each.items() <= whole.items() for each in drawn)
        assert len({next(iter(each)) for each in drawn}) > 1
        assert mined(tmp_path, name, scenario=scenario, limit=1, seed=0) == drawn[0]


def test_the_scenario_is_that_of_the_known_sets_beside_it(tmp_path):
    for name, scenario in (("knowledge/new", "qa"), ("tool_retrieval/new", "tool")):
        data_sets.passages(tmp_path / name)
        assert find_source(tmp_path, name, "train").scenario == scenario
    data_sets.meetings(tmp_path / "memory" / "qmsum")
    assert find_source(tmp_path, "memory/qmsum", "train").scenario == "lrlm"
    data_sets.meetings(tmp_path / "memory" / "new")
    with pytest.raises(ConfigError, match=r"--scenario: memory/new is no known data set; name one of: qa, convsearch"):
        find_source(tmp_path, "memory/new", "train")
    with pytest.raises(ConfigError, match=r"unknown scenario 'tools'.*Did you mean 'tool'"):
        find_source(tmp_path, "memory/new", "train", scenario="tools")


def test_only_demonstrations_have_tasks(tmp_path):
    data_sets.passages(tmp_path / "knowledge" / "new")
    with pytest.raises(ConfigError, match=r"--same-task: knowledge/new has no tasks"):
        find_source(tmp_path, "knowledge/new", "train", labels_same_task=True)


def test_what_evaluation_measures_is_known(tmp_path):
    data_sets.demonstrations(tmp_path / "demos" / "multitask")
    data_sets.passages(tmp_path / "knowledge" / "squad")
    assert not find_source(tmp_path, "demos/multitask", "train").is_held_out
    assert find_source(tmp_path, "demos/multitask", "new_task").is_held_out
    assert not find_source(tmp_path, "knowledge/squad", "train").is_held_out
    assert find_source(tmp_path, "knowledge/squad", "test").is_held_out


def test_nothing_to_mine(tmp_path):
    with pytest.raises(DataSetError, match=r"there is no folder .*gone"):
        find_source(tmp_path, "gone", "train")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataSetError, match=r"nothing to mine for split 'train'.*corpus\.jsonl, pool\.train\.jsonl"):
        find_source(tmp_path, "empty", "train")
    data_sets.write(tmp_path / "short", documents__train__jsonl=[{"_id": "a", "text": "one two"}])
    with pytest.raises(DataSetError, match=r"nothing in it has a history"):
        find_source(tmp_path, "short", "train").read(Selection())


def test_systems_and_k_are_checked(tmp_path):
    data_sets.passages(tmp_path)
    with pytest.raises(ConfigError, match=r"systems: got none"):
        mined(tmp_path, None, systems=[], scenario="qa")
    with pytest.raises(ConfigError, match=r"k: got 0"):
        MiningSettings(k=0)


def test_progress_counts_all_queries(tmp_path):
    data_sets.passages(tmp_path)
    done = []
    queries = find_source(tmp_path, None, "train", scenario="qa").read(Selection())
    assert len(list(mine(queries, [BM25System()], MiningSettings(), advance=done.append))) == 2
    assert sum(done) == 2


@pytest.mark.parametrize(
    ("make", "name", "kind"),
    [
        (data_sets.passages, "knowledge/mine", "beir"),
        (data_sets.meetings, "memory/qmsum", "memory"),
        (data_sets.stories, "memory/squality", "chunked_questions"),
        (data_sets.demonstrations, "demos/mine", "demonstrations"),
        (data_sets.chats, "chat", "next_turn"),
        (data_sets.novels, "novels", "long_text"),
    ],
)
def test_the_checksum_is_over_what_the_files_hold(tmp_path, make, name, kind):
    def checksum(**selected):
        source = find_source(tmp_path, name, "train")
        assert source.kind == kind
        return source.read(Selection(**selected)).documents.checksum

    make(tmp_path / name)
    first = checksum()
    assert len(bytes.fromhex(first)) == 32
    assert checksum(limit=1, seed=3) == first
    # A space before the first colon: other bytes that say the same.
    for file in (tmp_path / name).glob("*.jsonl*"):
        packed = file.suffix == ".gz"
        text = gzip.decompress(file.read_bytes()) if packed else file.read_bytes()
        changed = text.replace(b":", b" :", 1)
        file.write_bytes(gzip.compress(changed) if packed else changed)
    assert checksum() != first


def test_packing_a_file_does_not_change_its_checksum(tmp_path):
    files = [tmp_path / "one.jsonl", tmp_path / "one.jsonl.gz", tmp_path / "other.jsonl"]
    files[0].write_bytes(b'{"_id": "1"}\n')
    files[1].write_bytes(gzip.compress(b'{"_id": "1"}\n'))
    files[2].write_bytes(b'{"_id": "2"}\n')
    sums = [checksum_of(file) for file in files]
    assert sums[0] == sums[1] != sums[2]
    files[1].write_bytes(b"no gzip")
    with pytest.raises(DataSetError, match=r"one\.jsonl\.gz:1: cannot be read further"):
        checksum_of(files[1])
