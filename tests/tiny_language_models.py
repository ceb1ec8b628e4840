"""Tiny causal language models, made in a moment from a seed: 2 layers over a vocabulary of words."""

from pathlib import Path

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging as transformers_logging

POSITIONS = 256
_SPECIALS = ["<unk>", "<s>", "</s>"]
_WORDS = """
Knowledge : Question Answer Q A B C D . , ? ! The the following are multiple choice questions with answers about Speaker
1 2 3 4 5 6 7 8 9 0 a an and is was in of to what who where paris berlin oslo france germany norway capital city river
big small red blue green dog cat bird yes no positive negative film good bad one two three four five six seven eight
""".split()  # noqa: SIM905  (a list of quoted words is not easier to read)


def make_tokenizer(*, start: bool = True, marks_beginnings: bool = False) -> PreTrainedTokenizerFast:
    """Words, each with the space before it ("▁word"), and single characters; a newline is a token of its own.

    With `start`, a sequence begins with <s>. With `marks_beginnings`, a text that starts with a word is read as if a
    space stood before it, as SentencePiece does.
    """
    characters = [chr(number) for number in range(33, 127)]
    entries = dict.fromkeys([*_SPECIALS, "\n", "▁", *characters, *_WORDS, *(f"▁{word}" for word in _WORDS)])
    tokenizer = Tokenizer(models.WordLevel({entry: n for n, entry in enumerate(entries)}, unk_token="<unk>"))
    prepend = [normalizers.Prepend("▁")] if marks_beginnings else []
    tokenizer.normalizer = normalizers.Sequence([*prepend, normalizers.Replace(" ", "▁")])
    # A mark joins the word after it; newlines and punctuation stand alone.
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"\n|▁?[A-Za-z0-9]+|▁?[^\sA-Za-z0-9▁]|▁"), behavior="isolated")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse()])
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in _SPECIALS])
    if start:
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>", model_max_length=POSITIONS
    )


def make_language_model(architecture: str = "gpt2", *, seed: int = 0) -> torch.nn.Module:
    """Random weights, large enough that scores differ clearly from token to token.

    "gpt2" has learned positions, "llama" rotary ones and grouped heads, "mistral" a sliding window of 7 tokens.
    """
    named = {"vocab_size": len(make_tokenizer()), "bos_token_id": 1, "eos_token_id": 2}
    rotary = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": POSITIONS,
    }
    model = {
        "gpt2": lambda: GPT2LMHeadModel(GPT2Config(**named, n_positions=POSITIONS, n_embd=32, n_layer=2, n_head=2)),
        "llama": lambda: LlamaForCausalLM(LlamaConfig(**named, **rotary)),
        "mistral": lambda: MistralForCausalLM(MistralConfig(**named, **rotary, sliding_window=7)),
    }[architecture]()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() == 2:
                weight.normal_(0.0, 0.3, generator=generator)
    return model.eval()


def write_language_model(folder: Path, architecture: str = "gpt2", *, seed: int = 0, start: bool = True) -> Path:
    """The same as a folder."""
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    make_language_model(architecture, seed=seed).save_pretrained(folder)
    make_tokenizer(start=start).save_pretrained(folder)
    if bars:
        transformers_logging.enable_progress_bar()
    return folder
