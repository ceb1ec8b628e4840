"""A saved folder is complete, never replaces anything, and survives a kill."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import rag_embedder
from rag_embedder import Embedder, Scenario
from rag_embedder.errors import ConfigError
from tests.tiny_models import make_sentence_transformer, write_plain


@pytest.fixture
def fresh(tiny_folder):
    return Embedder.load(tiny_folder, device="cpu")


def content_of(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_saved_encoder_is_the_same_encoder(fresh, tmp_path):
    fresh.register_scenario(Scenario("law", "q: ", "d: "))
    fresh.save(tmp_path / "a" / "b")
    again = Embedder.load(tmp_path / "a" / "b")
    assert again.fingerprint == fresh.fingerprint
    assert dict(again.scenarios) == dict(fresh.scenarios)
    assert (again.name, again.training_state) == (fresh.name, fresh.training_state)
    np.testing.assert_array_equal(again.encode_queries(["rain"], "law"), fresh.encode_queries(["rain"], "law"))


def test_what_is_saved_again_is_the_same_bytes(fresh, tmp_path):
    fresh.save(tmp_path / "one")
    Embedder.load(tmp_path / "one").save(tmp_path / "two")
    assert content_of(tmp_path / "one") == content_of(tmp_path / "two")


def test_the_default_keeps_its_name_and_state(minilm, tmp_path):
    minilm.save(tmp_path / "saved")
    again = Embedder.load(tmp_path / "saved")
    assert (again.name, again.training_state) == (minilm.name, minilm.training_state)
    assert again.fingerprint == minilm.fingerprint


def test_pickled_weights_are_saved_as_safetensors(tiny_folder, tmp_path):
    import shutil

    import torch
    from safetensors.torch import load_file

    folder = shutil.copytree(tiny_folder, tmp_path / "pickled")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    embedder = Embedder.load(folder, allow_pickle=True)
    embedder.save(tmp_path / "saved")
    assert not list((tmp_path / "saved").glob("*.bin"))
    assert Embedder.load(tmp_path / "saved").fingerprint == embedder.fingerprint


def test_an_existing_folder_is_never_overwritten(fresh, tmp_path):
    fresh.save(tmp_path / "saved")
    before = content_of(tmp_path / "saved")
    with pytest.raises(ConfigError, match=r"saved already exists and is not an empty folder.*Nothing was written"):
        fresh.save(tmp_path / "saved")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ConfigError, match=r"file already exists"):
        fresh.save(tmp_path / "file")
    assert content_of(tmp_path / "saved") == before
    assert (tmp_path / "file").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "saved"]


def test_an_empty_folder_is_filled(fresh, tmp_path):
    (tmp_path / "empty").mkdir()
    fresh.save(tmp_path / "empty")
    assert Embedder.load(tmp_path / "empty").fingerprint == fresh.fingerprint


def test_of_two_saves_to_one_place_exactly_one_wins(fresh, tmp_path):
    outcomes = []
    barrier = threading.Barrier(4)

    def save():
        barrier.wait()
        try:
            fresh.save(tmp_path / "saved")
            outcomes.append("saved")
        except ConfigError:
            outcomes.append("refused")

    threads = [threading.Thread(target=save) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["refused", "refused", "refused", "saved"]
    assert Embedder.load(tmp_path / "saved").fingerprint == fresh.fingerprint
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]


def test_a_failure_leaves_nothing_behind(fresh, tmp_path, monkeypatch):
    def full(path):
        path.write_bytes(b"half of it")
        raise OSError("no space left on device")

    monkeypatch.setattr(fresh._engine, "write_weights", full)
    with pytest.raises(OSError, match=r"no space left"):
        fresh.save(tmp_path / "saved")
    assert list(tmp_path.iterdir()) == []


def test_a_kill_while_saving_leaves_no_folder_of_that_name(tiny_folder, tmp_path):
    program = f"""
import os, signal
from rag_embedder import Embedder
embedder = Embedder.load({str(tiny_folder)!r}, device="cpu")
write = embedder._engine.write_weights
def write_and_die(path):
    write(path)
    os.kill(os.getpid(), signal.SIGKILL)
embedder._engine.write_weights = write_and_die
embedder.save({str(tmp_path / "saved")!r})
"""
    root = Path(rag_embedder.__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "saved").exists()
    Embedder.load(tiny_folder).save(tmp_path / "saved")
    assert Embedder.load(tmp_path / "saved").dim == 32


def test_half_precision_is_not_saved_because_digits_are_lost(tiny_folder, tmp_path):
    with pytest.raises(ConfigError, match=r"held as torch.bfloat16.*Nothing was written"):
        Embedder.load(tiny_folder, engine="transformers", dtype="bfloat16").save(tmp_path / "saved")
    assert list(tmp_path.iterdir()) == []


def test_others_may_read_what_was_saved(fresh, tmp_path):
    fresh.save(tmp_path / "saved")
    assert os.stat(tmp_path / "saved").st_mode & 0o777 == 0o755


def test_a_folder_without_a_qa_scenario_can_be_saved(tmp_path):
    folder = make_sentence_transformer(write_plain(tmp_path / "m"))
    only = {"format": 1, "scenarios": {"law": {"query": "lq: ", "document": "ld: "}}}
    (folder / "rag_embedder.json").write_text(json.dumps(only))
    Embedder.load(folder).save(tmp_path / "saved")
    prompts = json.loads((tmp_path / "saved" / "config_sentence_transformers.json").read_text())["prompts"]
    assert prompts == {"query": "lq: ", "document": "ld: ", "law_query": "lq: ", "law_document": "ld: "}
    assert list(Embedder.load(tmp_path / "saved").scenarios) == ["law"]
