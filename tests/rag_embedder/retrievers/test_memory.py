"""Memories: exchanges and texts of one user, complete for that user and invisible to all others."""

import random
import re

import pytest

from rag_embedder import MemoryRetriever, Turn
from rag_embedder.errors import ConfigError, InputError, InvalidTextError, ModelMismatchError, UserRequiredError
from rag_embedder.index.faiss import FaissIndex
from rag_embedder.types import Chunk, Exchange
from tests.retriever_cases import Watched, WordEncoder

MODES = ("dense", "lexical", "hybrid")
HOSTILE_USERS = [
    "%",
    "_",
    "' OR '1'='1",
    '{"$ne": ""}',
    "$ne",
    "*",
    "ann%",
    "ann\\",
    "Ann",
    "ann ",
    "äñn",
    "猫",
    '"',
    "u" * 512,
]
LONG = " ".join(f"word{n}" for n in range(60))


@pytest.fixture
def watched():
    return Watched(WordEncoder())


@pytest.fixture
def memory(watched):
    with MemoryRetriever(watched, chunk_tokens=16) as opened:
        yield opened


def say(memory, user, question, answer="fine", session="default"):
    return memory.add_turns([Turn("user", question), Turn("assistant", answer)], user=user, session=session)


def test_a_memory_is_a_user_turn_with_the_reply_that_followed(memory, watched):
    turns = [
        {"role": "system", "content": "be kind"},
        {"role": "user", "content": "my cat is blue"},
        {"role": "assistant", "content": None},
        {"role": "tool", "content": "42"},
        {"role": "assistant", "content": "nice cat"},
        {"role": "user", "content": "and my dog is red"},
    ]
    before = [dict(turn) for turn in turns]
    first, second = memory.add_turns(turns, user="ann", session="s1")
    assert turns == before
    assert memory.count("ann") == len(memory) == 2
    assert watched.documents == [
        "Speaker 1: my cat is blue\nSpeaker 2: nice cat",
        "Speaker 1: and my dog is red",
    ]
    hit = memory.retrieve("blue cat", 1, user="ann")[0]
    said = (Turn("user", "my cat is blue"), Turn("assistant", "nice cat"))
    assert hit.item == Exchange(first, said, "ann", "s1", 0)
    assert hit.item.text == "user: my cat is blue\nassistant: nice cat"
    assert memory.retrieve("red dog", 1, user="ann")[0].id == second


def test_turns_may_come_one_by_one(memory):
    ids = [
        memory.add_turns([Turn(role, text)], user="ann")
        for role, text in [("user", "my cat"), ("assistant", "a nice"), ("assistant", "cat indeed"), ("user", "my dog")]
    ]
    assert ids[0] == ids[1] == ids[2] != ids[3]
    assert memory.count("ann") == 2
    exchange = memory.retrieve("cat", 1, user="ann")[0].item
    assert [turn.content for turn in exchange.turns] == ["my cat", "a nice", "cat indeed"]
    assert memory.retrieve("dog", 1, user="ann")[0].item.position == 1


def test_a_reply_completes_only_the_memory_of_its_own_user_and_session(memory):
    memory.add_turns([Turn("user", "ann asks")], user="ann", session="s1")
    memory.add_turns([Turn("user", "bob asks")], user="bob", session="s1")
    memory.add_turns([Turn("assistant", "a reply")], user="ann", session="s2")
    memory.add_turns([Turn("assistant", "to bob")], user="bob", session="s1")
    texts = {user: sorted(h.item.text for h in memory.retrieve("asks", 9, user=user)) for user in ("ann", "bob")}
    assert texts == {"ann": ["assistant: a reply", "user: ann asks"], "bob": ["user: bob asks\nassistant: to bob"]}


def test_turns_without_words_are_no_memories(memory):
    assert memory.add_turns([Turn("user", " "), Turn("system", "x"), Turn("assistant", "\u200b")], user="ann") == []
    assert memory.add_turns([], user="ann") == []
    assert len(memory) == 0


def test_a_long_text_is_remembered_in_chunks_with_their_continuation(memory):
    ids = memory.add_text(LONG, user="ann", source="report.txt")
    assert ids == [f"report.txt#{n}" for n in range(4)]
    assert memory.count("ann") == 1
    hits = {hit.id: hit.item for hit in memory.retrieve("word", 10, user="ann")}
    assert sorted(hits) == ids
    for number, id_ in enumerate(ids):
        chunk = hits[id_]
        assert isinstance(chunk, Chunk)
        assert chunk.text == LONG[chunk.start : chunk.end]
        assert chunk.document_id == "report.txt"
        assert chunk.continuation == (hits[ids[number + 1]].text if number < 3 else "")


def test_a_text_without_source_is_known_by_its_content(memory):
    first = memory.add_text(LONG, user="ann")
    assert memory.add_text(LONG, user="ann") == first
    assert memory.add_text(f"{LONG}!", user="ann") != first
    assert memory.count("ann") == 2


def test_the_same_source_again_replaces_its_text(memory):
    memory.add_text(LONG, user="ann", source="a")
    memory.add_text("only word3 left", user="ann", source="a")
    memory.add_text("bob's word3", user="bob", source="a")
    assert [hit.item.text for hit in memory.retrieve("word3", 9, user="ann")] == ["only word3 left"]
    assert memory.delete(["a"], user="ann") == 1
    assert memory.retrieve("word3", 9, user="ann") == []
    assert memory.count("bob") == 1


@pytest.mark.parametrize("user", [None, "", 5, b"ann", ["ann"], {"ne": "x"}])
def test_every_call_needs_its_user(memory, user):
    say(memory, "ann", "my cat")
    calls = [
        lambda: say(memory, user, "x"),
        lambda: memory.add_text("x", user=user),
        lambda: memory.retrieve("cat", user=user),
        lambda: memory.retrieve("", user=user),
        lambda: memory.retrieve_batch([], user=user),
        lambda: memory.context("cat", user=user),
        lambda: memory.delete(["x"], user=user),
        lambda: memory.forget(user),
        lambda: memory.count(user),
    ]
    for call in calls:
        with pytest.raises(UserRequiredError, match="expected a non-empty str"):
            call()
    with pytest.raises(TypeError, match="user"):
        memory.retrieve("cat")
    assert len(memory) == 1


@pytest.mark.parametrize("user", ["u" * 513, "ann\n", "a\x00b", "\ud83d"])
def test_a_user_that_cannot_be_a_name_is_refused_everywhere(memory, user):
    for call in (
        lambda: say(memory, user, "x"),
        lambda: memory.retrieve("cat", user=user),
        lambda: memory.count(user),
        lambda: memory.forget(user),
    ):
        with pytest.raises(InputError, match=r"^user: got"):
            call()


@pytest.mark.parametrize("session", ["", 5, "s" * 401, "a\nb", {"ne": "x"}, {"nin": []}, ["s1"]])
def test_a_session_is_a_name_and_never_a_filter(memory, session):
    say(memory, "ann", "my cat", session="s1")
    for call in (
        lambda: say(memory, "ann", "x", session=session),
        lambda: memory.retrieve("cat", user="ann", session=session),
        lambda: memory.context("cat", user="ann", session=session),
    ):
        with pytest.raises(InputError, match=r"^session: got"):
            call()
    with pytest.raises(InputError, match=r"^source: got"):
        memory.add_text("x", user="ann", source=session)
    assert len(memory) == 1


def test_a_session_restricts_to_its_own_dialogue(memory):
    say(memory, "ann", "cat one", session="s1")
    say(memory, "ann", "cat two", session="s2")
    memory.add_text("cat text", user="ann")
    for mode in MODES:
        hits = memory.retrieve("cat", 9, user="ann", session="s2", mode=mode)
        assert [hit.item.session for hit in hits] == ["s2"]
    assert len(memory.retrieve("cat", 9, user="ann")) == 3
    assert memory.retrieve("cat", 9, user="ann", session="s") == []


def test_no_user_ever_meets_anything_of_another(memory, watched):
    chooser = random.Random(3)
    users = ["ann", *HOSTILE_USERS, *(f"user{n}" for n in range(20))]
    owned: dict[str, dict[str, str]] = {user: {} for user in users}
    secret = {user: f"secret{position}x" for position, user in enumerate(users)}

    def check(user):
        mode = chooser.choice(MODES)
        recency = chooser.choice([0.0, 0.5, 1.0]) if mode == "dense" else 0.0
        other = secret[chooser.choice(users)]
        hits = memory.retrieve(f"{other} cat", 200, user=user, mode=mode, recency=recency)
        assert {getattr(hit.item, "document_id", hit.id) for hit in hits} <= owned[user].keys()
        assert all(secret[user] in hit.item.text for hit in hits)
        if mode != "lexical" and hits:
            assert {getattr(hit.item, "document_id", hit.id) for hit in hits} == owned[user].keys()
        assert memory.count(user) == len(owned[user])
        assert set(re.findall(r"secret\d+x", memory.context(f"{other} cat", user=user))) <= {secret[user]}

    for step in range(400):
        user = chooser.choice(users)
        action = chooser.random()
        if action < 0.45:
            (id_,) = say(memory, user, f"{secret[user]} cat{step}", session=chooser.choice(["s", "t"]))
            owned[user][id_] = "exchange"
        elif action < 0.6:
            memory.add_text(f"{secret[user]} text {step % 3}", user=user, source=f"source{step % 3}")
            owned[user][f"source{step % 3}"] = "text"
        elif action < 0.7:
            victims = list(owned[chooser.choice(users)])[:2]
            assert memory.delete(victims, user=user) == len(owned[user].keys() & set(victims))
            for victim in victims:
                owned[user].pop(victim, None)
        elif action < 0.72:
            assert memory.forget(user) == len(owned[user])
            owned[user] = {}
        else:
            check(user)
    for user in users:
        check(user)
    assert len(memory) == sum(map(len, owned.values()))


@pytest.mark.parametrize("index", ["flat", "faiss"])
def test_a_small_user_among_many_gets_all_memories(watched, index):
    with MemoryRetriever(watched, index=index) as memory:
        for n in range(3):
            say(memory, "small", f"cat {n}")
        turns = [turn for n in range(1000) for turn in (Turn("user", f"cat {n}"), Turn("assistant", "cat"))]
        memory.add_turns(turns, user="large")
        for mode in MODES:
            hits = memory.retrieve("cat 500", 10, user="small", mode=mode)
            assert sorted(hit.item.turns[0].content for hit in hits) == ["cat 0", "cat 1", "cat 2"]
        assert len(memory.retrieve("cat 500", 2000, user="large")) == 1000


def test_words_of_other_users_do_not_change_lexical_scores(memory, watched):
    def scores(retriever):
        return [
            (hit.item.text, hit.score)
            for mode in MODES
            for hit in retriever.retrieve("cat tree", 9, user="ann", mode=mode)
        ]

    with MemoryRetriever(watched) as alone:
        for text in ("blue cat", "red dog", "green cat tree"):
            for n in range(7):
                say(memory, f"user{n}", "cat cat cat cat")
            say(memory, "ann", text)
            say(alone, "ann", text)
        assert scores(memory) == scores(alone)
        say(memory, "user1", "tree tree")
        assert scores(memory) == scores(alone)


def test_the_names_of_the_speakers_are_no_words_to_search_for(memory):
    say(memory, "ann", "my cat", "a cat")
    for query in ("speaker", "speaker 1", "2"):
        assert memory.retrieve(query, user="ann", mode="lexical") == []


def test_recency_prefers_new_memories_and_can_decide_alone(memory):
    ids = [say(memory, "ann", f"cat number{n}")[0] for n in range(50)]
    best = memory.retrieve("cat number3", 5, user="ann")
    assert best[0].id == ids[3]
    recent = memory.retrieve("cat number3", 5, user="ann", recency=1.0)
    assert [hit.id for hit in recent] == ids[:-6:-1]
    assert [hit.score for hit in recent] == pytest.approx([0.5 ** (age / 8) for age in range(5)])
    mixed = memory.retrieve("cat number3", 50, user="ann", recency=0.25)
    old = next(hit for hit in mixed if hit.id == ids[3])
    assert old.score == pytest.approx(0.75 * best[0].score, abs=1e-5)
    assert [hit.score for hit in mixed] == sorted((hit.score for hit in mixed), reverse=True)


def test_recency_orders_by_sequence_and_not_by_the_clock(memory, monkeypatch):
    first = say(memory, "ann", "same cat", session="s1")
    monkeypatch.setattr("time.time", lambda: 0.0)
    second = say(memory, "ann", "same cat", session="s2")
    hits = memory.retrieve("same cat", user="ann", recency=0.5)
    assert [hit.id for hit in hits] == [*second, *first]


def test_recency_works_up_to_the_largest_k(memory):
    ids = [say(memory, "ann", f"cat {n}")[0] for n in range(3)]
    assert sorted(h.id for h in memory.retrieve("cat", 10_000, user="ann", recency=0.5)) == sorted(ids)


@pytest.mark.parametrize("recency", [-0.1, 1.1, float("nan"), "0.5", None, True])
def test_recency_out_of_range_is_refused(memory, recency):
    for query in ("cat", ""):
        with pytest.raises(InputError, match=r"recency: got .*; expected a number from 0 to 1"):
            memory.retrieve(query, user="ann", recency=recency)


def test_recency_needs_cosines(memory):
    with pytest.raises(ConfigError, match="expected mode='dense'"):
        memory.retrieve("cat", user="ann", recency=0.5, mode="hybrid")


def test_context_is_in_time_order_within_the_budget(memory, watched):
    say(memory, "ann", "first about the cat", "yes one", session="s1")
    say(memory, "ann", "nothing of interest", "yes two", session="s1")
    say(memory, "ann", "cat", "yes three", session="s2")
    block = memory.context("cat", user="ann", k=2, max_tokens=100)
    assert block == (
        "[session s1]\nuser: first about the cat\nassistant: yes one\n\n[session s2]\nuser: cat\nassistant: yes three"
    )
    for budget in range(1, 40):
        text = memory.context("cat", user="ann", max_tokens=budget)
        assert watched.count_tokens([text])[0] <= budget
    assert memory.context("cat", user="ann", max_tokens=1) == ""
    assert memory.context("", user="ann") == ""
    assert memory.context("cat", user="nobody") == ""


def test_context_joins_neighbouring_chunks_and_repeats_none(memory):
    memory.add_text(LONG, user="ann", source="report")
    block = memory.context("word20 word40", user="ann", max_tokens=500)
    heading, *lines = block.split("\n")
    assert heading == "[report]"
    assert " ".join(lines) == LONG
    short = memory.context("word20", user="ann", max_tokens=25, k=1)
    assert "word20" in short
    assert len(short.split()) <= 20


def test_context_leaves_out_what_the_prompt_shows_and_fills_its_place(memory):
    for n in range(6):
        say(memory, "ann", f"cat {n}", f"reply {n}", session="s1")
    for n in range(30):
        say(memory, "ann", "cat", "hello", session=f"other{n}")
    before = [Turn("user", "cat"), {"role": "assistant", "content": "hello"}, Turn("user", "cat 5")]
    block = memory.context("hello", user="ann", k=6, visible=before)
    assert block == "[session s1]\n" + "\n".join(f"user: cat {n}\nassistant: reply {n}" for n in range(6))
    assert memory.context("hello", user="ann", k=2).count("hello") == 2
    everything = [
        *before,
        *(Turn(role, f"{text} {n}") for n in range(6) for role, text in (("user", "cat"), ("assistant", "reply"))),
    ]
    assert memory.context("cat", user="ann", visible=everything) == ""
    with pytest.raises(InputError, match=r"^visible\[0\]"):
        memory.context("cat", user="ann", visible=[5])


def test_context_heeds_a_threshold_of_score(memory):
    say(memory, "ann", "the blue cat")
    say(memory, "ann", "a train at night")
    scores = [hit.score for hit in memory.retrieve("blue cat", user="ann")]
    assert scores[0] > scores[1]
    assert "train" in memory.context("blue cat", user="ann", score_threshold=scores[1])
    kept = memory.context("blue cat", user="ann", score_threshold=(scores[0] + scores[1]) / 2)
    assert "blue cat" in kept
    assert "train" not in kept
    assert memory.context("blue cat", user="ann", score_threshold=scores[0] + 0.01) == ""
    assert memory.context("blue cat", user="ann", score_threshold=0.9, recency=1.0).count("user:") == 2


@pytest.mark.parametrize("threshold", [True, "0.5", float("nan"), float("inf")])
def test_a_threshold_that_is_none_is_refused(memory, threshold):
    with pytest.raises(InputError, match=r"score_threshold: got .*; expected None or a number"):
        memory.context("", user="ann", score_threshold=threshold)


@pytest.mark.parametrize("max_tokens", [0, -1, "512", None, 1.5, True])
def test_a_budget_that_is_none_is_refused(memory, max_tokens):
    with pytest.raises(InputError, match=r"max_tokens: got .*; expected an int of at least 1"):
        memory.context("cat", user="ann", max_tokens=max_tokens)


@pytest.mark.parametrize("text", ["", "  ", None, 5, b"x", ["x"], "\ud83d"])
def test_a_text_that_is_none_is_refused(memory, text):
    with pytest.raises(InvalidTextError, match=r"^text: "):
        memory.add_text(text, user="ann")
    assert len(memory) == 0


def test_exchanges_and_chunks_compete_and_survive_reopening(watched, tmp_path):
    def found(memory):
        return [(hit.id, hit.score, hit.item) for hit in memory.retrieve("cat of the house", 9, user="ann")]

    with MemoryRetriever(watched, path=tmp_path / "m") as memory:
        say(memory, "ann", "the house is red")
        memory.add_text("the cat of the house", user="ann", source="text")
        before = found(memory)
        assert before[0][0] == "text#0"
        assert {type(item) for _, _, item in before} == {Exchange, Chunk}
    with MemoryRetriever(watched, path=tmp_path / "m") as memory:
        assert found(memory) == before
        say(memory, "ann", "a later one")
        assert memory.count("ann") == 3


def test_a_handle_that_cannot_be_opened_closes_the_index_it_had_opened(watched, tmp_path, monkeypatch):
    with MemoryRetriever(watched, path=tmp_path / "m"):
        pass

    class OtherTextInstructions(WordEncoder):
        def fingerprint_of(self, scenario):
            return "0" * 32 if scenario == "lrlm" else super().fingerprint_of(scenario)

    closed = []
    close = FaissIndex.close
    monkeypatch.setattr(FaissIndex, "close", lambda index: closed.append(index) or close(index))
    with pytest.raises(ModelMismatchError, match="scenario 'lrlm'"):
        MemoryRetriever(OtherTextInstructions(), path=tmp_path / "m")
    assert len(closed) == 1


def test_a_chatbot_may_pass_its_whole_history_every_time(embedder):
    history = []
    with MemoryRetriever(embedder) as memory:
        for number in range(4):
            history.append({"role": "user", "content": f"question {number}"})
            memory.add_turns(history, user="ann")
            history.append({"role": "assistant", "content": f"answer {number}"})
            memory.add_turns(history, user="ann")
        assert memory.add_turns(history, user="ann") == []
        assert memory.count("ann") == 4
        hits = memory.retrieve("question", 10, user="ann")
    assert sorted((hit.item.position, len(hit.item.turns)) for hit in hits) == [(0, 2), (1, 2), (2, 2), (3, 2)]


def test_an_unknown_scenario_leaves_no_store_behind(embedder, tmp_path):
    from rag_embedder import KnowledgeRetriever
    from rag_embedder.errors import ConfigError

    with pytest.raises(ConfigError, match="unknown scenario"):
        KnowledgeRetriever(embedder, path=tmp_path / "kb", scenario="bogus")
    assert not (tmp_path / "kb").exists()


def test_the_exchanges_of_a_session_are_listed_oldest_first_for_their_user_only(memory):
    memory.add_turns([Turn("user", "one"), Turn("assistant", "a"), Turn("user", "two")], user="ann", session="s")
    memory.add_turns([Turn("user", "three")], user="ann", session="other")
    memory.add_turns([Turn("user", "four")], user="bob", session="s")
    assert [exchange.turns[0].content for exchange in memory.exchanges(user="ann", session="s")] == ["one", "two"]
    assert [exchange.turns[0].content for exchange in memory.exchanges(user="ann", session="s", limit=1)] == ["two"]
    assert memory.exchanges(user="eve", session="s") == []
    with pytest.raises(UserRequiredError):
        memory.exchanges(user="", session="s")
    with pytest.raises(InputError):
        memory.exchanges(user="ann", session={"ne": "x"})
