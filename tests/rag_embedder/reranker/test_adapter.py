"""An adapter over a decoder gives the scores that PEFT gives, and one that is none says why."""

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from rag_embedder import Reranker
from rag_embedder.errors import ConfigError, ModelLoadError, UntrustedModelError
from rag_embedder.reranker.folder import KNOWN_RERANKERS
from tests.tiny_language_models import write_language_model
from tests.tiny_models import change_json

TEXTS = ["paris is in france", "a dog", "the weather in oslo is rain and snow"]


# PEFT asks transformers by an old name.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")


@pytest.fixture
def adapter(tmp_path):
    """Laid out as the published ones: the base is a language model, the score head lies in the adapter."""
    base = write_language_model(tmp_path / "base", "llama")
    torch.manual_seed(3)
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
    config = LoraConfig(
        r=4, lora_alpha=12, target_modules=["q_proj", "v_proj", "down_proj"], task_type=TaskType.SEQ_CLS
    )
    adapted = get_peft_model(model, config)
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name or "score" in name:
                weight.normal_(0.0, 0.3)
    adapted.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


def test_a_merged_adapter_scores_as_pefts(adapter):
    base = adapter.parent / "base"
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = PeftModel.from_pretrained(
        AutoModelForSequenceClassification.from_pretrained(base, num_labels=1), adapter
    ).eval()
    rows = [[*tokenizer("query: dog")["input_ids"], *tokenizer(f"document: {text}")["input_ids"]] for text in TEXTS]
    with torch.no_grad():
        expected = [model(input_ids=torch.tensor([row])).logits.item() for row in rows]
    found = Reranker.load(adapter, template="rankllama")
    np.testing.assert_allclose(found.score("dog", TEXTS), expected, atol=1e-5)
    assert found.name == "adapter"


def test_a_published_adapter_knows_its_template_and_length(adapter, monkeypatch):
    hub_id = "castorini/rankllama-v1-7b-lora-passage"
    monkeypatch.setattr("rag_embedder.model_source._from_hub", lambda *_, **__: adapter)
    reranker = Reranker.load(hub_id)
    assert (reranker.name, reranker.template, reranker.max_length) == (hub_id, "rankllama", 256)  # of 512, the base's
    np.testing.assert_allclose(
        reranker.score("dog", TEXTS), Reranker.load(adapter, template="rankllama").score("dog", TEXTS)
    )
    assert {known.template for known in KNOWN_RERANKERS.values()} == {"rankllama"}


def test_an_adapter_alone_needs_its_template_named(adapter):
    with pytest.raises(ConfigError, match="adapter is a decoder whose files do not say"):
        Reranker.load(adapter)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"peft_type": "IA3"}, "peft_type is 'IA3'; expected 'LORA'"),
        ({"use_dora": True}, "use_dora is True"),
        ({"base_model_name_or_path": None}, "base_model_name_or_path is None"),
        ({"lora_alpha": None}, "lora_alpha is None; expected a number"),
        ({"base_model_name_or_path": "no/such-model"}, "'no/such-model' was not found"),
    ],
)
def test_what_is_not_plain_lora_is_refused(adapter, changes, message):
    change_json(adapter / "adapter_config.json", **changes)
    with pytest.raises(ModelLoadError, match=message):
        Reranker.load(adapter, template="rankllama")


def test_rank_stabilised_adapters_are_scaled_by_the_root_of_the_rank(adapter):
    plain = Reranker.load(adapter, template="rankllama").score("dog", TEXTS)
    change_json(adapter / "adapter_config.json", use_rslora=True, lora_alpha=6)  # 12 / 4 = 6 / sqrt(4)
    np.testing.assert_allclose(Reranker.load(adapter, template="rankllama").score("dog", TEXTS), plain, atol=1e-5)


def test_an_adapter_without_head_or_for_another_base_is_refused(adapter):
    path = adapter / "adapter_model.safetensors"
    tensors = load_file(path)
    save_file({name: tensor for name, tensor in tensors.items() if "score" not in name}, path)
    with pytest.raises(ModelLoadError, match=r"have no score\.weight of the right shape; expected the score head"):
        Reranker.load(adapter, template="rankllama")
    save_file({**tensors, "base_model.model.model.layers.7.mlp.up_proj.weight": torch.ones(2, 2)}, path)
    with pytest.raises(ModelLoadError, match=r"adapts model\.layers\.7\.mlp\.up_proj\.weight, which the base"):
        Reranker.load(adapter, template="rankllama")
    save_file({name: tensor for name, tensor in tensors.items() if "lora_B" not in name}, path)
    with pytest.raises(ModelLoadError, match="has no lora_B beside it"):
        Reranker.load(adapter, template="rankllama")


def test_pickled_adapters_are_never_read(adapter):
    path = adapter / "adapter_model.safetensors"
    torch.save(load_file(path), adapter / "adapter_model.bin")
    path.unlink()
    for allowed in (False, True):
        with pytest.raises(UntrustedModelError, match="pickled adapters are never read"):
            Reranker.load(adapter, template="rankllama", allow_pickle=allowed)


def test_in_bfloat16_the_merged_weights_are_rounded_once(adapter):
    exact = Reranker.load(adapter, template="rankllama")
    rounded = Reranker.load(adapter, template="rankllama", dtype="bfloat16")
    assert rounded.dtype == "bfloat16"
    weights = dict(rounded._model.named_parameters())
    for name, weight in exact._model.named_parameters():
        assert torch.equal(weight.bfloat16(), weights[name]), name
