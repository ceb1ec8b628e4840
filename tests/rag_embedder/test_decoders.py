"""Decoders as encoders: what is read around a text, the pooled states against plain transformers, folders, adapters."""

import json

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from rag_embedder import Embedder, Scenario
from rag_embedder.encoder import TruncationWarning
from rag_embedder.errors import ConfigError, ModelLoadError, TextTruncatedError, UntrustedModelError
from rag_embedder.pooling import mean_of_last, pooling_named
from rag_embedder.prompt_form import PROMPT_FORMS
from tests.tiny_decoders import SLOTS, write_adapter, write_decoder
from tests.tiny_models import change_json

TEXTS = ["what is the capital of norway ?", "a dog", "The city of paris is big and red , a big river is in it"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_decoder(tmp_path_factory.mktemp("decoders") / "llama", slots=SLOTS)


def by_hand(folder, form, role, texts, *, instruction="", max_length=256):
    """One text at a time without padding: tokens joined by hand, the states at the slots averaged in a loop."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    prompt = form.of(role)
    slots = ["</s>" if slot == "{eos}" else slot for slot in prompt.slots]

    def plain(text):
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    rows = []
    for text in texts:
        before = [1] if prompt.is_joined else [1, *plain(prompt.before)]
        body = plain((prompt.before if prompt.is_joined else "") + instruction + text)
        after = [*plain(prompt.after), *tokenizer.convert_tokens_to_ids(slots)]
        ids = before + body[: max_length - len(before) - len(after)] + after
        with torch.inference_mode():
            states = model(torch.tensor([ids])).last_hidden_state[0]
        total = torch.zeros(states.shape[1])
        for place in range(len(ids) - len(slots), len(ids)):
            total = total + states[place]
        rows.append((total / total.norm()).numpy())
    return np.stack(rows)


@pytest.mark.parametrize("name", PROMPT_FORMS)
@pytest.mark.parametrize("role", ["query", "document"])
def test_vectors_are_the_mean_of_the_slots_states(folder, name, role):
    embedder = Embedder.load(folder, prompt_form=name, device="cpu")
    encode = embedder.encode_queries if role == "query" else embedder.encode_documents
    np.testing.assert_allclose(encode(TEXTS), by_hand(folder, PROMPT_FORMS[name], role, TEXTS), atol=1e-5)


@pytest.mark.parametrize("architecture", ["llama", "mistral", "gpt2"])
def test_a_plain_decoder_is_read_up_to_its_end_of_text(tmp_path, architecture):
    folder = write_decoder(tmp_path / "model", architecture)
    embedder = Embedder.load(folder, device="cpu")
    assert embedder.prompt_form == PROMPT_FORMS["eos"]
    assert embedder.preview("a dog").text == "a dog{eos}"
    np.testing.assert_allclose(
        embedder.encode_documents(TEXTS), by_hand(folder, PROMPT_FORMS["eos"], "document", TEXTS), atol=1e-5
    )


def test_a_batch_does_not_change_a_vector(folder):
    embedder = Embedder.load(folder, prompt_form="llara", device="cpu")
    alone = np.concatenate([embedder.encode_documents([text]) for text in TEXTS])
    np.testing.assert_allclose(embedder.encode_documents(TEXTS * 20)[:3], alone, atol=1e-5)


def test_padding_on_either_side_gives_the_same(folder):
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    rows, width = [[1, 20, 30, 40, 2], [1, 25, 2]], 7
    for pooling in (pooling_named("last"), mean_of_last(2), pooling_named("mean")):
        found = []
        for left in (True, False):
            ids, mask = torch.zeros(2, width, dtype=torch.long), torch.zeros(2, width, dtype=torch.long)
            for number, row in enumerate(rows):
                place = slice(width - len(row), width) if left else slice(0, len(row))
                ids[number, place], mask[number, place] = torch.tensor(row), 1
            with torch.inference_mode():
                found.append(pooling(model(ids, attention_mask=mask).last_hidden_state, mask))
        torch.testing.assert_close(*found, atol=1e-5, rtol=1e-4)


def test_slots_are_averaged_not_added():
    states = torch.tensor([[[1.0], [2.0], [6.0], [99.0]], [[50.0], [60.0], [3.0], [5.0]]])
    mask = torch.tensor([[1, 1, 1, 0], [0, 0, 1, 1]])
    assert mean_of_last(2)(states, mask).tolist() == [[4.0], [4.0]]
    assert pooling_named("last")(states, mask).tolist() == [[6.0], [5.0]]


def test_instructions_stand_behind_the_forms_beginning(folder):
    scenario = Scenario("qa", "find the city : ", "the city : ")
    embedder = Embedder.load(folder, prompt_form="llara", instructions=[scenario], device="cpu")
    expected = by_hand(folder, PROMPT_FORMS["llara"], "query", TEXTS, instruction=scenario.query_instruction)
    np.testing.assert_allclose(embedder.encode_queries(TEXTS), expected, atol=1e-5)
    text = embedder.preview("a dog", role="query").text
    assert text.startswith('"find the city : a dog", predict the following passage within eight words: <s9><s10>')


def test_the_text_is_cut_and_the_prompt_whole(folder):
    embedder = Embedder.load(folder, prompt_form="llara", device="cpu")
    long = "dog cat " * 400
    preview = embedder.preview(long, role="document")
    assert preview.is_truncated
    assert preview.max_length == 256
    with pytest.warns(TruncationWarning, match="1 of 2 texts have more than 256 tokens"):
        vectors = embedder.encode_documents([long, "a dog"])
    np.testing.assert_allclose(vectors, by_hand(folder, embedder.prompt_form, "document", [long, "a dog"]), atol=1e-5)
    with pytest.raises(TextTruncatedError, match="more than 256 tokens"):
        embedder.encode_documents([long], on_truncate="error")
    room = 256 - embedder.preview("", role="document").num_tokens
    assert not embedder.preview("dog" + " dog" * (room - 1), role="document").is_truncated
    assert embedder.preview("dog" + " dog" * room, role="document").is_truncated


def test_text_that_looks_like_a_slot_is_no_slot(folder):
    embedder = Embedder.load(folder, prompt_form="llara", device="cpu")
    ids = embedder._tokenizer.encode(["<s9> </s>"], "query")[0].ids
    slots = embedder._tokenizer.encode([""], "query")[0].ids[-8:]
    assert [number for number in ids if number in {2, *slots}] == slots


@pytest.mark.parametrize("name", PROMPT_FORMS)
def test_a_saved_folder_has_the_same_vectors_and_fingerprint(folder, tmp_path, name):
    embedder = Embedder.load(folder, prompt_form=name, device="cpu")
    embedder.save(tmp_path / "saved")
    again = Embedder.load(tmp_path / "saved", device="cpu")
    assert again.prompt_form == embedder.prompt_form
    assert again.fingerprint == embedder.fingerprint
    assert again.max_length == embedder.max_length
    np.testing.assert_array_equal(again.encode_queries(TEXTS), embedder.encode_queries(TEXTS))
    assert not (tmp_path / "saved" / "modules.json").exists()


def test_forms_have_fingerprints_of_their_own(folder):
    prints = {Embedder.load(folder, prompt_form=name, device="cpu").fingerprint for name in PROMPT_FORMS}
    assert len(prints) == len(PROMPT_FORMS)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_sentence_transformers_reads_a_form_that_the_tokenizer_adds(folder, tmp_path):
    from sentence_transformers import SentenceTransformer

    base = tmp_path / "base"
    base.mkdir()
    for path in folder.iterdir():
        (base / path.name).write_bytes(path.read_bytes())
    tokenizer = json.loads((base / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer["post_processor"]["single"].append({"SpecialToken": {"id": "</s>", "type_id": 0}})
    tokenizer["post_processor"]["special_tokens"]["</s>"] = {"id": "</s>", "ids": [2], "tokens": ["</s>"]}
    (base / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    embedder = Embedder.load(base, prompt_form="repllama", device="cpu")
    embedder.save(tmp_path / "saved")
    theirs = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    theirs.tokenizer.pad_token = "<unk>"
    np.testing.assert_allclose(theirs.encode(TEXTS, prompt_name="query"), embedder.encode_queries(TEXTS), atol=1e-5)
    assert Embedder.load(tmp_path / "saved", device="cpu").fingerprint == embedder.fingerprint


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")
@pytest.mark.parametrize("with_head", [False, True])
def test_an_adapter_is_the_base_with_merged_weights(folder, tmp_path, with_head):
    from peft import PeftModel

    adapter = write_adapter(tmp_path / "adapter", folder, with_head=with_head)
    ours = Embedder.load(adapter, prompt_form="repllama", device="cpu", engine="transformers")
    plain = Embedder.load(folder, prompt_form="repllama", device="cpu")
    assert np.abs(ours.encode_queries(TEXTS) - plain.encode_queries(TEXTS)).max() > 0.01
    if not with_head:
        merged = PeftModel.from_pretrained(AutoModel.from_pretrained(folder), str(adapter)).merge_and_unload()
        found = ours._engine.model.state_dict()
        for name, weight in merged.state_dict().items():
            torch.testing.assert_close(found[name], weight, atol=1e-6, rtol=1e-6)
    ours.save(tmp_path / "whole")
    whole = Embedder.load(tmp_path / "whole", device="cpu", engine="transformers")
    assert whole.fingerprint == ours.fingerprint
    np.testing.assert_array_equal(whole.encode_queries(TEXTS), ours.encode_queries(TEXTS))


def test_half_precision_is_loaded_at_once_and_has_the_same_fingerprint(folder, tmp_path):
    adapter = write_adapter(tmp_path / "adapter", folder)
    for path in (folder, adapter):
        exact, half = (
            Embedder.load(path, prompt_form="llara", dtype=dtype, device="cpu", engine="transformers")
            for dtype in ("float32", "bfloat16")
        )
        assert half.dtype == "bfloat16"
        assert half.fingerprint == exact.fingerprint
        similarity = (half.encode_queries(TEXTS) * exact.encode_queries(TEXTS)).sum(axis=1)
        assert (similarity > 0.995).all()
        for name, weight in exact._engine.model.state_dict().items():
            torch.testing.assert_close(half._engine.model.state_dict()[name], weight.bfloat16(), atol=0, rtol=0)


def test_an_adapter_brings_new_tokens(folder, tmp_path):
    from safetensors.torch import load_file, save_file

    base = write_decoder(tmp_path / "base")
    adapter = write_adapter(tmp_path / "adapter", base)
    table = AutoModel.from_pretrained(folder).embed_tokens.weight.detach().clone()
    tensors = load_file(adapter / "adapter_model.safetensors")
    tensors["base_model.model.embed_tokens.weight"] = table
    save_file(tensors, adapter / "adapter_model.safetensors", metadata={"format": "pt"})
    AutoTokenizer.from_pretrained(folder).save_pretrained(adapter)
    with pytest.raises(ConfigError, match="slot '<s9>' is not one token"):
        Embedder.load(base, prompt_form="llara", device="cpu")
    for dtype in ("float32", "bfloat16"):
        embedder = Embedder.load(adapter, prompt_form="llara", dtype=dtype, device="cpu", engine="transformers")
        torch.testing.assert_close(
            embedder._engine.model.embed_tokens.weight.detach(), table.to(embedder._engine.model.dtype)
        )
    Embedder.load(adapter, prompt_form="llara", device="cpu").save(tmp_path / "whole")
    assert Embedder.load(tmp_path / "whole", device="cpu").prompt_form == PROMPT_FORMS["llara"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"peft_type": "IA3"}, "peft_type is 'IA3'; expected 'LORA'"),
        ({"use_dora": True}, "use_dora is True; expected False"),
        ({"base_model_name_or_path": ""}, "base_model_name_or_path is ''; expected the folder or hub id"),
        (
            {"base_model_name_or_path": "/no/such/model"},
            "the adapter .* was made for '/no/such/model'.*write its folder",
        ),
        ({"lora_alpha": None}, "lora_alpha is None; expected a number"),
    ],
)
def test_unusable_adapters_are_refused(folder, tmp_path, changes, message):
    adapter = write_adapter(tmp_path / "adapter", folder, **changes)
    with pytest.raises(ModelLoadError, match=message):
        Embedder.load(adapter, device="cpu")


@pytest.mark.parametrize("allow_pickle", [False, True])
def test_pickled_adapters_are_never_read(folder, tmp_path, allow_pickle):
    adapter = write_adapter(tmp_path / "adapter", folder)
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    with pytest.raises(UntrustedModelError, match=r"has no adapter_model.safetensors; .*save_pretrained"):
        Embedder.load(adapter, device="cpu", allow_pickle=allow_pickle)


@pytest.mark.parametrize(("change", "message"), [("half", "has no lora_B"), ("kind", "expected lora_A and lora_B of")])
def test_incomplete_adapters_are_refused(folder, tmp_path, change, message):
    from safetensors.torch import load_file, save_file

    adapter = write_adapter(tmp_path / "adapter", folder)
    tensors = load_file(adapter / "adapter_model.safetensors")
    name = next(name for name in tensors if "lora_B" in name)
    del tensors[name]
    if change == "kind":
        del tensors[name.replace("lora_B", "lora_A")]
        tensors["base_model.model.embed_tokens.lora_embedding_A"] = torch.zeros(2, 2)
    save_file(tensors, adapter / "adapter_model.safetensors")
    with pytest.raises(ModelLoadError, match=message):
        Embedder.load(adapter, device="cpu")


def test_alpha_may_be_divided_by_the_root_of_the_rank(folder, tmp_path):
    plain = write_adapter(tmp_path / "plain", folder, rank=4, alpha=8)
    rooted = write_adapter(tmp_path / "rooted", folder, rank=4, alpha=4, use_rslora=True)
    prints = {Embedder.load(path, device="cpu").fingerprint for path in (plain, rooted)}
    assert len(prints) == 1


def test_an_adapter_of_another_base_is_refused(folder, tmp_path):
    adapter = write_adapter(tmp_path / "adapter", folder)
    other = write_decoder(tmp_path / "other", "gpt2")
    change_json(adapter / "adapter_config.json", base_model_name_or_path=str(other))
    with pytest.raises(ModelLoadError, match=r"adapts layers\.0.* which the base model does not have"):
        Embedder.load(adapter, device="cpu")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompt_form": "lara"}, "unknown prompt form 'lara'.*Did you mean 'llara'"),
        ({"prompt_form": "llara", "pooling": "mean"}, "pooling: got 'mean' with prompt form 'llara'"),
        ({"pooling": "first"}, "unknown pooling 'first'"),
    ],
)
def test_wrong_options_are_refused(folder, options, message):
    with pytest.raises(ConfigError, match=message):
        Embedder.load(folder, device="cpu", **options)


def test_a_prompt_that_leaves_no_room_is_refused(tmp_path):
    folder = write_decoder(tmp_path / "model", slots=SLOTS)
    change_json(folder / "config.json", max_position_embeddings=16)
    with pytest.raises(ConfigError, match=r"max_length is 16, but the prompt of form 'llara' alone has \d+ tokens"):
        Embedder.load(folder, prompt_form="llara", device="cpu")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 3}, "has format 3; this version reads 1 and 2"),
        ({"prompt_form": {"name": "x"}}, "rag_embedder.json: prompt_form: .*expected an object"),
        ({"max_length": "long"}, "max_length is 'long'"),
    ],
)
def test_a_damaged_folder_is_refused(folder, tmp_path, changes, message):
    Embedder.load(folder, prompt_form="llara", device="cpu").save(tmp_path / "saved")
    change_json(tmp_path / "saved" / "rag_embedder.json", **changes)
    with pytest.raises(ModelLoadError, match=message):
        Embedder.load(tmp_path / "saved", device="cpu")


@pytest.mark.parametrize(
    ("hub_id", "form"),
    [
        ("BAAI/LLARA-passage", "llara"),
        ("BAAI/LLARA-document", "llara"),
        ("BAAI/LLARA-beir", "llara"),
        ("castorini/repllama-v1-7b-lora-passage", "repllama"),
    ],
)
def test_published_names_know_their_form(folder, tmp_path, monkeypatch, hub_id, form):
    published = {
        "BAAI": folder,
        "meta-llama": folder,
        "castorini": write_adapter(tmp_path / "a", folder, base_model_name_or_path="meta-llama/Llama-2-7b-hf"),
    }
    monkeypatch.setattr("rag_embedder.model_source._from_hub", lambda name, **_: published[name.split("/")[0]])
    assert Embedder.load(hub_id, device="cpu", pooling="last").prompt_form == PROMPT_FORMS[form]
    assert Embedder.load(hub_id, device="cpu", pooling="mean").prompt_form is None
    assert Embedder.load(hub_id, device="cpu", prompt_form="eos").prompt_form == PROMPT_FORMS["eos"]
    embedder = Embedder.load(hub_id, device="cpu", dtype="bfloat16")
    assert embedder.name == hub_id
    assert embedder.prompt_form == PROMPT_FORMS[form]
    assert embedder.encode_queries(TEXTS).shape == (3, 32)
