"""A model folder is data: nothing in it is ever run."""

import os
import shutil

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file

from rag_embedder import Embedder
from rag_embedder.errors import ModelLoadError, UntrustedModelError
from tests.tiny_models import change_json, make_sentence_transformer


@pytest.fixture
def folder(tmp_path, tiny_folder):
    return shutil.copytree(tiny_folder, tmp_path / "model")


@pytest.fixture
def marker(tmp_path):
    """A file that code from the model would make; every test ends by looking for it."""
    path = tmp_path / "code-has-run"
    yield path
    assert not path.exists()


def write_code(folder, marker):
    """A module whose import leaves the marker."""
    (folder / "evil.py").write_text(
        f"open({str(marker)!r}, 'w').close()\n"
        "from transformers import BertConfig as Config, BertModel as Model, BertTokenizerFast as Tok\n"
    )


def only_pickle(folder, content):
    (folder / "model.safetensors").unlink()
    torch.save(content, folder / "pytorch_model.bin")


class Explosive:
    def __init__(self, marker):
        self._marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self._marker}",)


def test_the_marker_would_be_seen(tmp_path):
    marker = tmp_path / "mark"
    torch.save({"x": Explosive(marker)}, tmp_path / "x.bin")
    torch.load(tmp_path / "x.bin", weights_only=False)
    assert marker.exists()


def test_pickled_weights_need_consent_and_then_give_the_same_vectors(folder, tiny_folder):
    only_pickle(folder, load_file(folder / "model.safetensors"))
    with pytest.raises(UntrustedModelError, match=r"only pickled weights \(pytorch_model.bin\).*allow_pickle=True"):
        Embedder.load(folder)
    trusted, safe = Embedder.load(folder, allow_pickle=True), Embedder.load(tiny_folder)
    np.testing.assert_array_equal(trusted.encode_queries(["rain"]), safe.encode_queries(["rain"]))
    assert trusted.fingerprint == safe.fingerprint


def test_consent_does_not_get_in_the_way_of_safetensors(folder, marker):
    torch.save({"x": Explosive(marker)}, folder / "pytorch_model.bin")
    assert Embedder.load(folder, allow_pickle=True).dim == 32


def test_a_pickle_that_holds_code_is_refused_even_with_consent(folder, marker):
    only_pickle(folder, {"x": Explosive(marker)})
    with pytest.raises(UntrustedModelError, match=r"hold more than tensors and were not read"):
        Embedder.load(folder, allow_pickle=True)


def test_a_pickle_under_the_name_of_safetensors_is_refused(folder, marker):
    torch.save({"x": Explosive(marker)}, folder / "model.safetensors")
    with pytest.raises(ModelLoadError, match=r"model.safetensors cannot be read as safetensors"):
        Embedder.load(folder)


def test_a_config_cannot_point_at_pickled_weights(folder, marker, tiny_folder):
    torch.save({"x": Explosive(marker)}, folder / "adapter_model.bin")
    change_json(folder / "config.json", transformers_weights="adapter_model.bin")
    assert Embedder.load(folder).fingerprint == Embedder.load(tiny_folder).fingerprint


def test_code_for_a_known_architecture_is_ignored(folder, marker, tiny_folder):
    write_code(folder, marker)
    change_json(folder / "config.json", auto_map={"AutoConfig": "evil.Config", "AutoModel": "evil.Model"})
    assert Embedder.load(folder).fingerprint == Embedder.load(tiny_folder).fingerprint


def test_code_for_an_unknown_architecture_is_refused(folder, marker):
    write_code(folder, marker)
    auto_map = {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}
    change_json(folder / "config.json", auto_map=auto_map, model_type="evilbert")
    with pytest.raises(UntrustedModelError, match=r"needs code shipped with the model, which is never run"):
        Embedder.load(folder)


def test_code_for_the_tokenizer_is_not_run(folder, marker):
    write_code(folder, marker)
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("[PAD]\n[CLS]\n[SEP]\n[UNK]\n[MASK]\na\nb\n")
    change_json(
        folder / "tokenizer_config.json", auto_map={"AutoTokenizer": [None, "evil.Tok"]}, tokenizer_class="EvilTok"
    )
    try:
        Embedder.load(folder)
    except ModelLoadError as error:
        assert "tokenizer" in str(error)  # noqa: PT017  (to load without the code is as good)


@pytest.mark.parametrize("key", ["_attn_implementation_internal", "_attn_implementation", "attn_implementation"])
def test_a_kernel_named_by_the_config_is_neither_fetched_nor_run(folder, marker, key, monkeypatch):
    def fetch(*args, **kwargs):
        marker.touch()

    monkeypatch.setattr(transformers.modeling_utils, "lazy_import_flash_attention", fetch)
    change_json(folder / "config.json", **{key: "evil/kernel"})
    embedder = Embedder.load(folder, engine="transformers")
    assert embedder._engine.model.config._attn_implementation == "sdpa"


def test_what_is_saved_carries_no_pointer_to_code(folder, marker, tmp_path):
    write_code(folder, marker)
    make_sentence_transformer(folder)
    keys = {"auto_map": {"AutoModel": "evil.Model"}, "_attn_implementation_internal": "evil/kernel"}
    change_json(folder / "config.json", **keys)
    Embedder.load(folder).save(tmp_path / "saved")
    config = (tmp_path / "saved" / "config.json").read_text()
    assert "evil" not in config
    assert not (tmp_path / "saved" / "evil.py").exists()
