"""What `doctor` looks at."""

import importlib.util
import platform
import sqlite3
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rag_embedder import __version__
from rag_embedder.errors import RagEmbedderError


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    is_fine: bool
    finding: str


def examine(model: str | None, store: Path | None) -> list[Check]:
    """All checks, in the order a newcomer would ask."""
    checks = [
        Check("rag-embedder", True, f"{__version__}, Python {platform.python_version()}, {platform.system()}"),
        _packages(),
        _device(),
        Check("SQLite", True, sqlite3.sqlite_version),
        _back_ends(),
        _model(model),
    ]
    return checks if store is None else [*checks, _store(store)]


def _packages() -> Check:
    names = ("torch", "transformers", "tokenizers", "faiss-cpu", "bm25s")
    found = {name: _version(name) for name in names}
    return Check("packages", all(found.values()), ", ".join(f"{n} {v or 'MISSING'}" for n, v in found.items()))


def _device() -> Check:
    import torch

    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    where = ", ".join(names) if names else f"CPU, {torch.get_num_threads()} threads (no CUDA device)"
    return Check("device", True, where)


def _back_ends() -> Check:
    has_chroma = importlib.util.find_spec("chromadb") is not None
    chroma = f"chroma {_version('chromadb')}" if has_chroma else 'no chroma (pip install "rag-embedder[chroma]")'
    return Check("index back-ends", True, f"flat, faiss, {chroma}")


def _model(model: str | None) -> Check:
    from rag_embedder.encoder import Embedder

    try:
        embedder = Embedder.load(model)
        question = embedder.encode_queries(["What is the capital of Norway?"])
        right, wrong = embedder.encode_documents(["Oslo is the capital of Norway.", "Bread is baked in an oven."])
    except RagEmbedderError as error:
        return Check("model", False, str(error))
    margin = float(question[0] @ right - question[0] @ wrong)
    finding = (
        f"{embedder.name}, {embedder.dim} dimensions, at most {embedder.max_length} tokens, on {embedder.device}; "
        f"{embedder.training_state}; scenarios {', '.join(embedder.scenarios)}; "
        f"fingerprint {embedder.fingerprint[:12]}"
    )
    if margin <= 0:
        return Check("model", False, f"{finding}: ranks an unrelated sentence over the right one by {-margin:.2f}")
    return Check("model", True, finding)


def _store(path: Path) -> Check:
    from rag_embedder.cli.opened_stores import require_store
    from rag_embedder.store import Store

    try:
        require_store(path)
        with Store.open(path) as store:
            problems = store.verify()
            spaces = ", ".join(f"{s.num_vectors} {s.kind}s for {s.scenario} by {s.model}" for s in store.spaces())
    except RagEmbedderError as error:
        return Check(f"store {path}", False, str(error))
    return Check(f"store {path}", not problems, "; ".join(problems[:10]) or f"sound: {spaces or 'empty'}")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
