"""The published prompts, id by id, on a vocabulary with the ids of the released tokenizer."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from rag_embedder.errors import ConfigError
from rag_embedder.prompt_form import (
    EOS,
    PROMPT_FORMS,
    PromptForm,
    RoleIds,
    RolePrompt,
    form_from_json,
    form_to_json,
)
from rag_embedder.tokenizer import TextTokenizer
from tests.tiny_language_models import make_tokenizer

SUMMARIZE = [9162, 19138, 675, 278, 2038, 13382, 2629, 9475, 3838, 29901, 29871]
SUMMARIZE_SLOTS = [32008, 32011, 32004, 32013, 32007, 32005, 32002, 32014]
PREDICT = [9162, 8500, 278, 1494, 13382, 2629, 9475, 3838, 29901, 29871]
PREDICT_SLOTS = [32000, 32009, 32012, 32001, 32010, 32003, 32006, 32015]


def released_tokenizer():
    """Llama 2's own pieces and ids, as far as the prompts need them, and the shuffled ids of the added slots."""
    pieces = {'▁"': 376, '▁",': 9162, "▁summar": 19138, "ize": 675, "▁the": 278, "▁above": 2038, "▁passage": 13382}
    pieces |= {"▁within": 2629, "▁eight": 9475, "▁words": 3838, ":": 29901, "▁": 29871, "▁predict": 8500}
    pieces |= {"▁following": 1494, "<unk>": 0, "<s>": 1, "</s>": 2, "▁query": 2346, "▁what": 825, "▁The": 450}
    slots = {f"<s{n}>": number for n, number in enumerate(SUMMARIZE_SLOTS + PREDICT_SLOTS, start=1)}
    tokenizer = Tokenizer(models.WordLevel(pieces | slots, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    # The pieces by themselves, the longest first: what SentencePiece's merges come to on these texts.
    by_length = sorted((piece for piece in pieces if piece[0] != "<"), key=len, reverse=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("|".join(by_length)), behavior="isolated")
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in ("<unk>", "<s>", "</s>", *slots)])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer


def test_released_prompts_have_the_ids_of_the_release():
    form = PROMPT_FORMS["llara"].tokenised(released_tokenizer())
    assert form.document.before == form.query.before == (1, 376)
    assert list(form.document.after) == SUMMARIZE + SUMMARIZE_SLOTS
    assert list(form.query.after) == PREDICT + PREDICT_SLOTS
    assert form.document.num_slots == form.query.num_slots == 8
    assert form.of("query") is form.query
    assert form.of("document") is form.document


def test_a_transformers_tokenizer_that_was_used_for_padding_gives_the_same():
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=released_tokenizer(), eos_token="</s>", bos_token="<s>", pad_token="<unk>"
    )
    wrapped(["the", "the above passage"], padding="max_length", max_length=40)
    for name, form in PROMPT_FORMS.items():
        assert form.tokenised(wrapped) == form.tokenised(released_tokenizer(), end="</s>"), name


def test_one_slot_forms_end_in_the_end_of_text():
    form = PROMPT_FORMS["repllama"].tokenised(released_tokenizer(), end="</s>")
    assert form.query == RoleIds(before=(1,), after=(2,), num_slots=1, joined="query: ")
    assert form.document == RoleIds(before=(1,), after=(2,), num_slots=1, joined="passage: ")
    paper = PROMPT_FORMS["llara-paper"]
    assert (paper.document.after, paper.query.after) == ("The input sentence is:", "The next sentence is:")
    assert paper.tokenised(make_tokenizer()).query.after[-1] == 2


def test_the_text_is_cut_and_the_prompt_never():
    ids = RoleIds(before=(1, 5), after=(7, 8, 9), num_slots=2)
    assert ids.ids([20, 21, 22], 8) == [1, 5, 20, 21, 22, 7, 8, 9]
    assert ids.ids([20, 21, 22], 6) == [1, 5, 20, 7, 8, 9]
    assert ids.ids([20, 21, 22], 3) == [1, 5, 7, 8, 9]
    assert ids.num_tokens == 5


def test_no_start_token_where_the_tokenizer_adds_none():
    assert PROMPT_FORMS["repllama"].tokenised(make_tokenizer(start=False)).query.before == ()


def test_a_slot_that_is_no_token_says_what_to_do():
    with pytest.raises(ConfigError, match=r"'llara': slot '<s9>' is not one token.*Add it as a special token"):
        PROMPT_FORMS["llara"].tokenised(make_tokenizer())
    with pytest.raises(ConfigError, match="states none; set eos_token"):
        PROMPT_FORMS["repllama"].tokenised(released_tokenizer())


@pytest.mark.parametrize("name", PROMPT_FORMS)
def test_json_gives_the_form_back(name):
    assert form_from_json(json.loads(json.dumps(form_to_json(PROMPT_FORMS[name])))) == PROMPT_FORMS[name]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "expected an object with name, query and document"),
        ({"name": "x", "query": {}, "document": {}}, "expected an object with after, before, is_joined, slots"),
        (form_to_json(PROMPT_FORMS["llara"]) | {"name": ""}, "name of a prompt form: got ''"),
    ],
)
def test_wrong_json_is_refused(content, message):
    with pytest.raises(ConfigError, match=message):
        form_from_json(content)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"slots": ()}, "slots of a prompt: got ()"),
        ({"slots": ("",)}, "expected a tuple of one token string or more"),
        ({"before": 3}, "before of a prompt: got 3"),
        ({"after": "\ud800"}, "after of a prompt"),
        ({"is_joined": 1}, "is_joined of a prompt: got 1"),
    ],
)
def test_wrong_prompts_are_refused(values, message):
    with pytest.raises(ConfigError, match=message.replace("(", r"\(").replace(")", r"\)")):
        RolePrompt(**values)


def test_roles_have_as_many_slots():
    with pytest.raises(ConfigError, match="2 slots for queries and 1 for documents"):
        PromptForm(name="x", query=RolePrompt(slots=(EOS, EOS)), document=RolePrompt())


@given(st.text(max_size=300), st.sampled_from(sorted(PROMPT_FORMS)), st.sampled_from(["query", "document"]))
def test_every_text_stands_whole_or_cut_between_whole_prompts(text, name, role):
    form = PROMPT_FORMS[name]
    tokenizer = TextTokenizer(released_tokenizer(), max_length=40, form=form, end="</s>")
    around = form.tokenised(released_tokenizer(), end="</s>").of(role)
    (read,) = tokenizer.encode([text], role)
    assert tuple(read.ids[: len(around.before)]) == around.before
    assert tuple(read.ids[-len(around.after) :]) == around.after
    assert len(read.ids) == min(40, read.num_tokens)
    slots = around.after[-around.num_slots :]
    assert [number for number in read.ids if number in {*SUMMARIZE_SLOTS, *PREDICT_SLOTS, 2}] == list(slots)


@pytest.mark.parametrize("file", ["tokenizer_config.json", "special_tokens_map.json"])
@pytest.mark.parametrize("stated", ["</s>", {"content": "</s>", "lstrip": False}])
def test_the_end_of_text_is_what_the_files_state(tmp_path, file, stated):
    released_tokenizer().save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ConfigError, match="states none; set eos_token"):
        TextTokenizer.from_folder(tmp_path, max_length=40, form=PROMPT_FORMS["eos"])
    (tmp_path / file).write_text(json.dumps({"eos_token": stated}), encoding="utf-8")
    (read,) = TextTokenizer.from_folder(tmp_path, max_length=40, form=PROMPT_FORMS["eos"]).encode(["the above"])
    assert read.ids == [1, 278, 2038, 2]
