"""A system as it is written on the command line, and the system it means.

bm25 | random | oracle            systems without a model
default                           the encoder that `Embedder.load()` gives
llm-embedder, bge-base, ...       a preset
FOLDER or OWNER/NAME              any encoder, with the settings of its own files
SPEC?pooling=mean&instructions=none&normalize=false    other settings
SPEC?prompt_form=llara            what a decoder reads around its texts: a name in `rag_embedder.prompt_form`
SPEC?engine=transformers&dtype=float32    computed by the reference, not by what `Embedder.load` chooses
LABEL=SPEC                        another name in the table
hybrid:SPEC                       fused with BM25
rerank:RERANKER:SPEC              the first 100 documents ordered anew by a reranker, a folder or hub id
rerank:RERANKER?depth=50&max_length=256&template=rankllama&dtype=bfloat16:SPEC    with other settings
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl

from evals.systems import WITHOUT_ENCODER, System
from evals.systems.dense import DenseSystem
from evals.systems.hybrid import HybridSystem
from evals.systems.other_engine import OtherEngineEncoder, told_apart
from evals.systems.presets import PRESETS, Preset
from evals.systems.reranked import DEPTH, RerankedSystem
from evals.vector_cache import VectorCache
from rag_embedder import Embedder
from rag_embedder.errors import ConfigError
from rag_embedder.protocols import TextEncoder
from rag_embedder.registry import unknown_name

_LABEL = re.compile(r"([A-Za-z0-9][\w.+-]*)=(.+)", re.DOTALL)
_RERANKER_OPTIONS = ("depth", "dtype", "max_length", "template")
_OPTIONS = ("dtype", "engine", "instructions", "library", "normalize", "pooling", "prompt_form")


def open_systems(specifications: Sequence[str], *, cache: VectorCache | None, device: str = "auto") -> list[System]:
    """The systems that are meant, in order.

    Raises:
        ConfigError: for an unknown option, or two systems of one name.
        ModelLoadError: if a model cannot be loaded.
    """
    systems = [open_system(text, cache=cache, device=device) for text in specifications]
    names = [system.name for system in systems]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(
            f"systems: {', '.join(twice)} is named twice; expected different names, such as a=SPEC b=SPEC."
        )
    return systems


def name_of(text: str) -> str:
    """What the table will call a system, without loading it."""
    label, rest = _labelled(text)
    return rest if label is None else label


def open_system(text: str, *, cache: VectorCache | None = None, device: str = "auto") -> System:
    """The system that one specification means; errors as for `open_systems`."""
    label, text = _labelled(text)
    if text.startswith("hybrid:"):
        system: Any = HybridSystem(open_system(text.removeprefix("hybrid:"), cache=cache, device=device))
    elif text.startswith("rerank:"):
        system = _reranked(text, cache, device)
    elif text in WITHOUT_ENCODER:
        system = WITHOUT_ENCODER[text]()
    else:
        system = _dense(text, cache, device)
    if label is not None:
        system.name = label
    return system


def _labelled(text: str) -> tuple[str | None, str]:
    # A "=" after the "?" belongs to an option.
    match = _LABEL.fullmatch(text) if "=" in text.partition("?")[0] else None
    return (match[1], match[2]) if match else (None, text)


def _reranked(text: str, cache: VectorCache | None, device: str) -> System:
    second, found, first = text.removeprefix("rerank:").partition(":")
    if not (second and found and first):
        raise ConfigError(f"system {text!r}: expected rerank:RERANKER:SPEC, such as rerank:runs/reranker:default.")
    source, _, options = second.partition("?")
    chosen = dict(parse_qsl(options, keep_blank_values=True))
    for name in chosen:
        if name not in _RERANKER_OPTIONS:
            raise unknown_name("option of a reranker", name, list(_RERANKER_OPTIONS))
    from rag_embedder import Reranker  # it imports torch

    reranker = Reranker.load(
        source,
        device=device,
        dtype=chosen.get("dtype", "auto"),
        max_length=_count(chosen, "max_length", None),
        template=chosen.get("template"),
    )
    system = RerankedSystem(
        open_system(first, cache=cache, device=device), reranker, depth=_count(chosen, "depth", DEPTH) or DEPTH
    )
    system.name = text
    return system


def _count(options: Mapping[str, str], name: str, default: int | None) -> int | None:
    if name not in options:
        return default
    if not options[name].isdecimal() or int(options[name]) < 1:
        raise ConfigError(f"{name}: got {options[name]!r}; expected a number, 1 or more.")
    return int(options[name])


def _dense(text: str, cache: VectorCache | None, device: str) -> DenseSystem:
    source, _, options = text.partition("?")
    is_default = source == "default"
    preset = PRESETS.get(source) or Preset(model=source, instructions=None)
    preset = _with_options(preset, options)
    encoder = _load(None if is_default else preset.model, preset, device)
    settings = {
        "source": "rag_embedder's default" if is_default else preset.model,
        "pooling": preset.pooling or "as the model's files say",
        "instructions": _shown(preset.instructions),
        "score": "cosine" if preset.normalize else "inner product",
        "training": getattr(encoder, "training_state", "as published"),
    }
    form = getattr(encoder, "prompt_form", None)
    if form is not None:
        settings["prompt form"] = form.name
    if isinstance(encoder, OtherEngineEncoder):
        settings |= {"engine": encoder.engine, "dtype": encoder.dtype}
    return DenseSystem(encoder, name=text, settings=settings, cache=cache)


def _with_options(preset: Preset, options: str) -> Preset:
    for name, value in parse_qsl(options, keep_blank_values=True):
        if name not in _OPTIONS:
            raise unknown_name("option of a system", name, list(_OPTIONS))
        preset = replace(preset, **{name: _truth(value) if name == "normalize" else value})
    return preset


def _truth(value: str) -> bool:
    if value not in ("true", "false"):
        raise ConfigError(f"normalize: got {value!r}; expected true or false.")
    return value == "true"


def _load(model: str | None, preset: Preset, device: str) -> TextEncoder:
    if preset.library == "sentence-transformers":
        from evals.systems.sentence_transformer import SentenceTransformerEncoder

        if (preset.engine, preset.dtype) != ("auto", "auto"):
            raise ConfigError(
                f"engine={preset.engine}, dtype={preset.dtype}: sentence-transformers has its own; "
                "expected neither with library=sentence-transformers."
            )
        return SentenceTransformerEncoder(model or "", instructions=preset.instructions, device=device)
    if preset.library != "rag_embedder":
        raise unknown_name("library", preset.library, ["rag_embedder", "sentence-transformers"])
    embedder = Embedder.load(
        model,
        device=device,
        dtype=preset.dtype,
        engine=preset.engine,
        instructions=preset.instructions,
        pooling=preset.pooling,
        prompt_form=preset.prompt_form,
        normalize=preset.normalize,
    )
    return told_apart(embedder)


def _shown(instructions: object) -> str:
    if instructions is None:
        return "as the model's files say"
    return instructions if isinstance(instructions, str) else "the preset's own"
