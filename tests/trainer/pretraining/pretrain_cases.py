"""Tiny decoders with a tokenizer of their own, made-up texts, and recipes over both."""

import json
from pathlib import Path

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM, Qwen2Config, Qwen2ForCausalLM

from rag_embedder.prompt_form import PROMPT_FORMS
from trainer.language_model.model_folder import save_model_folder
from trainer.language_model.tokenizer import learned_tokenizer
from trainer.pretraining.objective import ObjectiveSettings
from trainer.pretraining.settings import (
    PassageDataSettings,
    PretrainModelSettings,
    PretrainRecipe,
    PretrainTrainSettings,
)

WORDS = "dog cat bird oslo paris rain snow sings sees runs river house book red green blue seven nine".split()  # noqa: SIM905
CLASSES = {
    "llama": (LlamaConfig, LlamaForCausalLM),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM),
    "mistral": (MistralConfig, MistralForCausalLM),
}


def make_texts(count=40, *, sentences=10, seed=0):
    """Each text has a theme: the words of one passage say something of those of the next."""
    draw = np.random.default_rng(seed)
    texts = []
    for _ in range(count):
        theme = draw.choice(WORDS, size=4, replace=False)
        texts.append(" ".join(f"the {' and the '.join(draw.permutation(theme)[:3])} ." for _ in range(sentences)))
    return texts


def write_texts(folder: Path, texts=None) -> Path:
    path = folder / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts or make_texts()))
    return path


def make_tokenizer():
    prompts = [prompt.after for form in PROMPT_FORMS.values() for prompt in (form.query, form.document)]
    return learned_tokenizer([*make_texts(), *prompts], vocabulary_size=400, max_length=256)


def write_base(folder: Path, kind="llama", *, is_tied=True, seed=0) -> Path:
    """A folder of a random decoder: 2 layers of 32, two heads for keys of four."""
    tokenizer = make_tokenizer()
    config, model = CLASSES[kind]
    torch.manual_seed(seed)
    made = model(
        config(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=256,
            tie_word_embeddings=is_tied,
            initializer_range=0.1,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=None,
        )
    )
    return save_model_folder(folder, made, tokenizer)


def make_recipe(folder: Path, *, model=None, objective=None, data=None, base=None, **train) -> PretrainRecipe:
    sizes = {"base": str(base or write_base(folder / "base")), "max_length": 128} | (model or {})
    text = {"name": "text", "path": str(write_texts(folder)), "passage_tokens": 24, "held_out": 5} | (data or {})
    settings = {
        "steps": 6,
        "out": str(folder / "out"),
        "tokens_per_step": 512,
        "learning_rate": 1e-2,
        "save_every": 3,
        "log_every": 1,
    } | train
    return PretrainRecipe(
        model=PretrainModelSettings(**sizes),
        train=PretrainTrainSettings(**settings),
        objective=ObjectiveSettings(**(objective or {})),
        data=(PassageDataSettings(**text),),
    )
