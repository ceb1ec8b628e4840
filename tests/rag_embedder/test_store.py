import json
import pickle
import shutil
import sqlite3
import threading
import time

import numpy as np
import pytest

from rag_embedder.errors import (
    ConfigError,
    DuplicateIdError,
    InputError,
    InvalidTextError,
    ModelMismatchError,
    StoreClosedError,
    StoreCorruptError,
    StoreFormatError,
    StoreLockedError,
    VectorError,
)
from rag_embedder.store import START, NewEntry, NewPart, Store

DIM = 4


def entry(entry_id, *texts, digest="d", scope="", **metadata):
    return NewEntry(entry_id, tuple(NewPart({"text": text}, metadata) for text in texts or ("t",)), digest, scope)


def vectors(count, value=1.0):
    return np.full((count, DIM), value, np.float32)


def open_space(store, scenario="qa", kind="passage", fingerprint="f" * 64, dim=DIM):
    return store.open_space(kind=kind, scenario=scenario, fingerprint=fingerprint, model="toy", dim=dim)


@pytest.fixture(params=["memory", "disk"])
def store(request, tmp_path):
    with Store.open(None if request.param == "memory" else tmp_path / "kb") as opened:
        yield opened


@pytest.fixture
def path(tmp_path):
    """A closed store with two entries of two parts and one part."""
    with Store.open(tmp_path / "kb") as opened:
        space = open_space(opened)
        opened.put("passage", [entry("a", "one", "two"), entry("b", "three")], space=space, vectors=vectors(3))
    return tmp_path / "kb"


class TestItems:
    def test_what_was_put_comes_back_with_growing_numbers(self, store):
        space = open_space(store)
        store.put("passage", [entry("a", "one", "two", year=1), entry("b", "three")], space=space, vectors=vectors(3))
        found = store.items([3, 1, 99])
        assert set(found) == {1, 3}
        assert (found[1].id, found[1].part, found[1].payload, found[1].metadata) == (
            "a",
            0,
            {"text": "one"},
            {"year": 1},
        )
        assert store.part("passage", "", "a", 1).payload == {"text": "two"}
        assert store.part("passage", "", "a", 2) is None
        assert store.count("passage") == 2
        assert store.digests("passage", "", ["a", "b", "c"]) == {"a": "d", "b": "d"}

    def test_replacing_an_entry_gives_new_numbers_and_leaves_no_old_part(self, store):
        space = open_space(store)
        store.put("passage", [entry("a", "one", "two")], space=space, vectors=vectors(2))
        store.put("passage", [entry("a", "new", digest="e")], space=space, vectors=vectors(1, 0.5))
        changes = store.changes(space, START)
        assert changes.numbers.tolist() == [3]
        assert changes.vectors.tolist() == [[0.5] * DIM]
        assert changes.removed.tolist() == [1, 2]
        assert store.digests("passage", "", ["a"]) == {"a": "e"}

    def test_a_number_is_never_used_again(self, store):
        space = open_space(store)
        store.put("passage", [entry("a")], space=space, vectors=vectors(1))
        store.delete("passage", "", ["a"])
        store.put("passage", [entry("a")], space=space, vectors=vectors(1))
        assert store.select("passage").tolist() == [2]

    def test_delete_counts_what_was_there_and_scopes_are_apart(self, store):
        space = open_space(store)
        store.put("passage", [entry("a", scope="ann"), entry("a", scope="bob")], space=space, vectors=vectors(2))
        assert store.delete("passage", "ann", ["a", "zz"]) == 1
        assert store.delete("passage", "ann", ["a"]) == 0
        assert [item.scope for item in store.iter_items("passage")] == ["bob"]
        assert store.delete_scope("passage", "bob") == 1
        assert store.count("passage") == 0
        assert len(store.changes(space, START).numbers) == 0

    def test_select_and_count_and_latest_obey_scope_and_filter(self, store):
        space = open_space(store)
        entries = [entry(str(i), scope="ann" if i % 2 else "bob", year=i) for i in range(6)]
        store.put("passage", entries, space=space, vectors=vectors(6))
        assert store.select("passage", scope="ann").tolist() == [2, 4, 6]
        assert store.select("passage", scope="ann", filter={"year": {"gte": 3}}).tolist() == [4, 6]
        assert store.select("passage", filter={"year": {"in": [0, 5]}}).tolist() == [1, 6]
        assert store.count("passage", scope="bob", metadata_filter={"year": {"gt": 0}}) == 2
        assert [item.id for item in store.latest("passage", "ann", limit=2)] == ["5", "3"]
        assert [item.id for item in store.latest("passage", None, limit=9, metadata_filter={"year": 4})] == ["4"]
        assert store.select("tool").tolist() == []

    def test_iteration_goes_over_pages_in_order(self, store):
        space = open_space(store)
        store.put("passage", [entry(str(i)) for i in range(2500)], space=space, vectors=vectors(2500))
        assert [item.id for item in store.iter_items("passage")] == [str(i) for i in range(2500)]
        assert [item.id for item in store.iter_items("passage", after_n=2498)] == ["2498", "2499"]

    def test_nested_values_come_back_as_they_went_in(self, store):
        metadata = {"å": [1, 2.5, None, True, {"deep": "日本 \u2028 \U0001f600"}], "big": -(2**63), "": "empty key"}
        new = NewEntry("x", (NewPart({"text": "nul \0 inside"}, metadata),), "d")
        store.put("passage", [new], space=open_space(store), vectors=vectors(1))
        item = store.part("passage", "", "x")
        assert item.metadata == metadata
        assert list(item.metadata) == list(metadata)
        assert item.payload == {"text": "nul \0 inside"}


class TestRefusals:
    @pytest.mark.parametrize(
        ("metadata", "place"),
        [
            ({"a": {"b": float("nan")}}, "metadata.a.b of entry 'x': got nan"),
            ({"a": [0, float("inf")]}, "metadata.a[1] of entry 'x': got inf"),
            ({"a": 2**63}, "metadata.a of entry 'x': got int"),
            ({1: "a"}, "metadata of entry 'x': got int; expected string keys"),
            ({"a": {1, 2}}, "metadata.a of entry 'x': got set"),
            ({"a": b"x"}, "metadata.a of entry 'x': got bytes"),
            ({"a": "n\0l"}, "metadata.a of entry 'x' holds a NUL"),
        ],
    )
    def test_what_json_cannot_hold_is_refused_with_its_place(self, store, metadata, place):
        space = open_space(store)
        bad = NewEntry("x", (NewPart({}, metadata),), "d")
        with pytest.raises(InputError) as error:
            store.put("passage", [entry("fine"), bad], space=space, vectors=vectors(2))
        assert place in str(error.value)
        assert store.count("passage") == 0

    def test_a_cycle_is_refused(self, store):
        loop: dict = {}
        loop["self"] = loop
        with pytest.raises(InputError, match="at most 64 levels"):
            store.put("passage", [NewEntry("x", (NewPart(loop),), "d")], space=open_space(store), vectors=vectors(1))

    @pytest.mark.parametrize("bad", ["", "x" * 513, "a\nb", "a\0b", "\x85", 3, None])
    def test_ids_that_cannot_be_stored_are_refused(self, store, bad):
        with pytest.raises(InputError):
            store.put("passage", [entry(bad)], space=open_space(store), vectors=vectors(1))

    def test_half_a_surrogate_pair_is_no_raw_unicode_error(self, store):
        space = open_space(store)
        for new in (
            entry("x", "secret\ud800"),
            entry("\ud800"),
            entry("x", digest="\ud800"),
            entry("x", year="\udfff"),
        ):
            with pytest.raises(InvalidTextError) as error:
                store.put("passage", [new], space=space, vectors=vectors(1))
            assert "secret" not in str(error.value)
        with pytest.raises(InvalidTextError):
            store.count("passage", scope="\ud800")
        assert store.clock() == 1

    def test_one_id_twice_is_refused(self, store):
        with pytest.raises(DuplicateIdError, match="'a'"):
            store.put("passage", [entry("a"), entry("a")], space=open_space(store), vectors=vectors(2))

    def test_vectors_that_do_not_fit_are_refused(self, store):
        space = open_space(store)
        for bad in (vectors(2), np.ones((1, 5), np.float32), vectors(1, np.nan), vectors(1, np.inf), np.ones(4)):
            with pytest.raises(VectorError):
                store.put("passage", [entry("a")], space=space, vectors=bad)
        assert store.count("passage") == 0

    def test_a_space_of_another_kind_or_none_is_refused(self, store):
        space = open_space(store)
        with pytest.raises(InputError, match="'tool'"):
            store.put("tool", [entry("a")], space=space, vectors=vectors(1))
        with pytest.raises(ConfigError):
            store.changes(99, START)


class TestSpaces:
    def test_a_space_is_found_again_and_another_model_is_refused(self, store):
        space = open_space(store)
        assert open_space(store) == space
        assert open_space(store, scenario="convsearch", fingerprint="other") != space
        with pytest.raises(ModelMismatchError, match=r"ffffffffffff.*eeeeeeeeeeee"):
            open_space(store, fingerprint="e" * 64)
        with pytest.raises(ModelMismatchError, match="5 dimensions"):
            open_space(store, dim=5)

    def test_a_second_space_learns_what_it_lacks_and_every_reader_hears_of_it(self, store):
        first, second = open_space(store), open_space(store, scenario="convsearch")
        store.put("passage", [entry("a"), entry("b")], space=first, vectors=vectors(2))
        late = store.changes(second, START).position
        store.put("passage", [entry("c")], space=second, vectors=vectors(1))
        later = store.changes(second, late).position
        assert [item.id for item in store.missing("passage", second)] == ["a", "b"]
        assert [item.id for item in store.missing("passage", second, 1, limit=1)] == ["b"]
        store.delete("passage", "", ["b"])
        store.put_vectors(second, [1, 2], vectors(2, 0.25))
        heard = store.changes(second, later)
        assert heard.numbers.tolist() == [1]
        assert heard.vectors.tolist() == [[0.25] * DIM]
        assert store.missing("passage", second) == []
        assert [space.num_vectors for space in store.spaces()] == [1, 2]

    def test_vectors_that_are_there_stay(self, store):
        space = open_space(store)
        store.put("passage", [entry("a")], space=space, vectors=vectors(1))
        store.put_vectors(space, [1], vectors(1, 0.5))
        assert store.changes(space, START).vectors.tolist() == [[1.0] * DIM]


class TestChanges:
    def test_only_what_is_new_is_reported(self, store):
        space = open_space(store)
        store.put("passage", [entry("a"), entry("b")], space=space, vectors=vectors(2))
        position = store.changes(space, START).position
        nothing = store.changes(space, position)
        assert (len(nothing.numbers), len(nothing.removed), nothing.position) == (0, 0, position)
        store.put("passage", [entry("b"), entry("c")], space=space, vectors=vectors(2, 0.5))
        changes = store.changes(space, position)
        assert (changes.numbers.tolist(), changes.removed.tolist()) == ([3, 4], [2])

    def test_the_clock_moves_with_changes_only(self, store):
        space = open_space(store)
        before = store.clock()
        store.delete("passage", "", ["nothing"])
        store.put("passage", [], space=space, vectors=vectors(0))
        assert store.clock() == before
        store.put("passage", [entry("a")], space=space, vectors=vectors(1))
        assert store.clock() == before + 1

    def test_numbers_and_vectors_of_a_space_can_be_asked_for(self, store):
        space = open_space(store)
        store.put("passage", [entry("a"), entry("b")], space=space, vectors=np.eye(DIM, dtype=np.float32)[:2])
        numbers, position = store.vector_numbers(space)
        assert numbers.tolist() == [1, 2]
        assert position == store.changes(space, START).position
        found, rows = store.vectors(space, np.array([2, 77]))
        assert found.tolist() == [2]
        assert rows.tolist() == [[0, 1, 0, 0]]


class TestOpening:
    def test_a_store_is_durable_and_private(self, path):
        with Store.open(path) as store:
            assert store.count("passage") == 2
            assert store.cache_folder == path / "cache"
            assert store.verify() == []
        assert (path / "truth.db").stat().st_mode & 0o077 == 0
        assert path.stat().st_mode & 0o077 == 0

    def test_the_promised_durability_is_switched_on(self, path):
        with Store.open(path) as store, store._connections.write() as connection:
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
            assert connection.execute("PRAGMA synchronous").fetchone() == (2,)

    def test_other_content_is_not_taken_for_a_store(self, tmp_path):
        file = tmp_path / "file"
        file.write_text("x")
        full = tmp_path / "full"
        full.mkdir()
        (full / "notes.txt").write_text("x")
        foreign = tmp_path / "foreign"
        foreign.mkdir()
        other = sqlite3.connect(foreign / "truth.db")
        other.execute("CREATE TABLE meta(key, value)")
        other.close()
        for bad in (file, full, foreign):
            with pytest.raises(StoreFormatError):
                Store.open(bad)
        assert [each.name for each in full.iterdir()] == ["notes.txt"]

    def test_a_deleted_or_emptied_truth_is_not_a_new_store(self, path):
        (path / "truth.db").write_bytes(b"")
        with pytest.raises(StoreCorruptError, match="empty"):
            Store.open(path)
        (path / "truth.db").unlink()
        with pytest.raises(StoreCorruptError, match=r"truth\.db is missing"):
            Store.open(path)
        assert not (path / "truth.db").exists()

    def test_a_truth_of_another_store_is_noticed(self, path, tmp_path):
        Store.open(tmp_path / "other").close()
        shutil.copy(tmp_path / "other" / "truth.db", path / "truth.db")
        with pytest.raises(StoreCorruptError, match="different stores"):
            Store.open(path)

    def test_a_newer_format_is_refused_and_left_alone(self, path):
        marker = json.loads((path / "STORE").read_text())
        (path / "STORE").write_text(json.dumps({**marker, "format": 7}))
        before = {each: each.read_bytes() for each in path.iterdir() if each.is_file()}
        with pytest.raises(StoreFormatError, match="format 7; this version reads format 1"):
            Store.open(path)
        assert {each: each.read_bytes() for each in path.iterdir() if each.is_file()} == before

    @pytest.mark.parametrize(
        "content", [b"", b"{", b"[]", b'{"format": 1}', b"\xff\xfe", b'{"format": 1, "store_id": 3}']
    )
    def test_a_damaged_marker_is_an_error(self, path, content):
        (path / "STORE").write_bytes(content)
        with pytest.raises(StoreCorruptError, match="STORE"):
            Store.open(path)

    def test_a_marker_that_was_never_written_is_written_at_the_next_opening(self, path):
        content = json.loads((path / "STORE").read_text())
        (path / "STORE").unlink()
        with Store.open(path) as store:
            assert store.count("passage") == 2
        assert json.loads((path / "STORE").read_text()) == content

    def test_eight_openings_at_once_make_one_store(self, tmp_path):
        ids, barrier = [], threading.Barrier(8)

        def run():
            barrier.wait()
            with Store.open(tmp_path / "kb") as store:
                ids.append(store.store_id)

        threads = [threading.Thread(target=run) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(ids) == 8
        assert len(set(ids)) == 1


class TestHandles:
    def test_a_closed_store_says_so(self, store):
        store.close()
        store.close()
        for call in (store.clock, store.spaces, lambda: store.delete("passage", "", ["a"]), store.verify):
            with pytest.raises(StoreClosedError):
                call()

    def test_a_store_is_not_pickled(self, store):
        with pytest.raises(TypeError, match=r"Store\.open\(path\)"):
            pickle.dumps(store)

    def test_two_handles_see_each_other(self, path):
        with Store.open(path) as one, Store.open(path) as two:
            space = open_space(one)
            clock = two.clock()
            one.put("passage", [entry("c")], space=space, vectors=vectors(1))
            assert two.clock() > clock
            assert two.count("passage") == 3

    def test_a_second_writer_waits_no_longer_than_its_timeout(self, path):
        with Store.open(path) as one, Store.open(path, lock_timeout=0.1) as two:
            space = open_space(two)
            with one._connections.write(), pytest.raises(StoreLockedError, match="lock_timeout"):
                two.put("passage", [entry("c")], space=space, vectors=vectors(1))
            assert two.count("passage") == 2
            two.put("passage", [entry("c")], space=space, vectors=vectors(1))
            assert one.count("passage") == 3

    def test_contested_ids_end_as_one_entry_with_its_own_vector(self, store):
        space = open_space(store)

        def run(worker):
            for i in range(20):
                new = entry(str(i % 5), str(worker))
                store.put("passage", [new], space=space, vectors=vectors(1, float(worker)))

        threads = [threading.Thread(target=run, args=(worker,)) for worker in range(1, 6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        changes = store.changes(space, START)
        items = store.items(changes.numbers)
        assert sorted(item.id for item in items.values()) == ["0", "1", "2", "3", "4"]
        for n, vector in zip(changes.numbers.tolist(), changes.vectors, strict=True):
            assert items[n].payload == {"text": str(int(vector[0]))}
        assert store.verify() == []

    def test_opening_and_closing_leaks_no_files(self, path):
        import os

        def count():
            return len(os.listdir("/proc/self/fd"))

        if not os.path.isdir("/proc/self/fd"):
            pytest.skip("no /proc")
        Store.open(path).close()
        before = count()
        for _ in range(50):
            with Store.open(path) as store:
                store.count("passage")
        assert count() == before


class TestDamage:
    def damage(self, path, sql, *values):
        connection = sqlite3.connect(path / "truth.db")
        connection.execute(sql, values)
        connection.commit()
        connection.close()

    def test_a_changed_vector_is_named(self, path):
        self.damage(path, "UPDATE vector SET vec = zeroblob(16) WHERE n = 2")
        with Store.open(path) as store:
            with pytest.raises(StoreCorruptError, match="table vector, space 1, row 2"):
                store.changes(1, START)
            assert store.verify() == ["truth.db, table vector, space 1, row 2: checksum differs"]

    @pytest.mark.parametrize("column", ["payload", "metadata", "digest", "scope"])
    def test_a_changed_item_is_named_without_its_text(self, path, column):
        self.damage(path, f"UPDATE item SET {column} = '{{\"x\": 1}}' WHERE n = 3")
        with Store.open(path) as store:
            with pytest.raises(StoreCorruptError, match="table item, row 3"):
                store.items([3])
            assert store.verify() == ["truth.db, table item, row 3: checksum differs"]

    def test_text_that_is_not_utf8_is_damage(self, path):
        self.damage(path, "UPDATE item SET payload = CAST(x'ff' AS TEXT) WHERE n = 3")
        with Store.open(path) as store, pytest.raises(StoreCorruptError, match="not UTF-8"):
            store.items([3])

    def test_a_missing_row_is_noticed(self, path):
        self.damage(path, "DROP TRIGGER vector_gone")
        self.damage(path, "DELETE FROM vector WHERE n = 1")
        with Store.open(path) as store:
            with pytest.raises(StoreCorruptError, match="2 rows instead of 3"):
                store.changes(1, START)
            assert "truth.db, table vector, space 1: 2 rows instead of 3" in store.verify()

    def test_a_truncated_truth_is_an_error_and_never_an_empty_answer(self, path):
        whole = (path / "truth.db").read_bytes()
        for pages in range(1, len(whole) // 4096):
            (path / "truth.db").write_bytes(whole[: 4096 * pages - 1000])
            with pytest.raises(StoreCorruptError):
                self.read_all(path)

    def read_all(self, path):
        with Store.open(path) as store:
            return store.changes(1, START), store.items([1, 2, 3])

    def test_flipped_bits_are_never_silent(self, path):
        whole = (path / "truth.db").read_bytes()
        with Store.open(path) as store:
            truth = (
                store.changes(1, START).vectors.tolist(),
                store.items([1, 2, 3]),
                store.part("passage", "", "a", 1),
            )
        generator = np.random.default_rng(7)
        noticed = 0
        for _ in range(60):
            broken = bytearray(whole)
            for place in generator.integers(0, len(whole), 8):
                broken[place] ^= 1 << generator.integers(8)
            (path / "truth.db").write_bytes(broken)
            try:
                with Store.open(path) as store:
                    if store.verify():
                        noticed += 1
                        continue
                    found = (store.changes(1, START).vectors.tolist(), store.items([1, 2, 3]))
                    assert (*found, store.part("passage", "", "a", 1)) == truth
            except (StoreCorruptError, StoreFormatError, ModelMismatchError):
                noticed += 1
        assert noticed > 0


class TestBackup:
    def test_a_backup_is_a_store_with_what_was_there(self, path, tmp_path):
        with Store.open(path) as store:
            store.backup(tmp_path / "copy")
            store.delete("passage", "", ["a"])
            with Store.open(tmp_path / "copy") as copy:
                assert copy.count("passage") == 2
                assert copy.store_id == store.store_id
                assert copy.verify() == []
            with pytest.raises(StoreFormatError, match="not an empty folder"):
                store.backup(tmp_path / "copy")

    def test_a_store_in_memory_can_be_backed_up(self, tmp_path):
        with Store.open() as store:
            store.put("passage", [entry("a")], space=open_space(store), vectors=vectors(1))
            store.backup(tmp_path / "copy")
        with Store.open(tmp_path / "copy") as copy:
            assert [item.id for item in copy.iter_items("passage")] == ["a"]


def test_a_relative_path_still_works_after_a_change_of_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Store.open("kb") as store:
        monkeypatch.chdir("/")
        open_space(store)
        assert store.path == tmp_path / "kb"
        assert store.cache_folder == tmp_path / "kb" / "cache"
        assert len(store.spaces()) == 1


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    with Store.open("~/kb") as store:
        assert store.path == tmp_path / "kb"


def test_the_newest_item_of_a_kind_is_found_without_reading_all(tmp_path):
    with Store.open(tmp_path / "kb") as store, store._connections.read() as connection:
        plan = connection.execute(
            "EXPLAIN QUERY PLAN SELECT n FROM item WHERE kind = ? ORDER BY n DESC LIMIT 1", ["p"]
        ).fetchall()
    assert "item_by_kind" in str(plan)
    assert "TEMP B-TREE" not in str(plan)


def test_many_can_open_a_new_store_at_the_same_moment(tmp_path):
    """Switching a new file to the write-ahead log answers "busy" at once when two do it together."""
    faults, ids = [], []

    def open_together(folder, barrier):
        barrier.wait()
        try:
            with Store.open(folder) as store:
                ids.append((folder, store.store_id))
        except StoreLockedError as fault:
            faults.append(fault)

    for turn in range(120):
        barrier = threading.Barrier(6)
        threads = [threading.Thread(target=open_together, args=(tmp_path / str(turn), barrier)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert faults == []
    assert len(ids) == 720
    assert len(set(ids)) == 120


def test_a_switch_to_the_log_that_stays_busy_ends_after_the_timeout(tmp_path):
    with Store.open(tmp_path / "kb"):
        pass
    blocker = sqlite3.connect(tmp_path / "kb" / "truth.db", isolation_level=None)
    blocker.execute("PRAGMA journal_mode=DELETE")
    blocker.execute("BEGIN EXCLUSIVE")
    started = time.monotonic()
    with pytest.raises(StoreLockedError, match="longer than the lock timeout"):
        Store.open(tmp_path / "kb", lock_timeout=0.3)
    assert 0.2 < time.monotonic() - started < 10
    blocker.execute("ROLLBACK")
    blocker.close()
