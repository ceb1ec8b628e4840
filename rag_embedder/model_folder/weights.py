"""Looks at weight files before any library reads them: are they there, of a kind we trust, and whole?"""

from pathlib import Path

from safetensors import SafetensorError, safe_open

from rag_embedder.errors import ModelLoadError, UntrustedModelError
from rag_embedder.model_folder.adapter_config import ADAPTER_WEIGHTS, is_adapter
from rag_embedder.model_folder.checksums import verify_checksums
from rag_embedder.model_folder.json_files import read_optional_json
from rag_embedder.model_folder.settings import OUR_FILE


def check_weights(folder: Path, *, allow_pickle: bool) -> None:
    """Make sure that there are weights of a kind we read, and that they are whole; pickled ones of PEFT never are.

    Raises:
        ModelLoadError: if there are none, or a file is truncated or damaged; the message names it.
        UntrustedModelError: if there are only pickled ones and `allow_pickle` is off.
    """
    safe = sorted(folder.glob("*.safetensors"))
    if is_adapter(folder) and not (folder / ADAPTER_WEIGHTS).exists():
        raise UntrustedModelError(
            f"the adapter {folder} has no {ADAPTER_WEIGHTS}; expected one: pickled adapters are never read. With "
            "peft: PeftModel.from_pretrained(AutoModel.from_pretrained(BASE), FOLDER).save_pretrained(NEW) writes it."
        )
    if not safe:
        _check_pickled(folder, allow_pickle=allow_pickle)
    for path in safe:
        _check_header(path)
    recorded = read_optional_json(folder / OUR_FILE).get("sha256")
    if isinstance(recorded, dict):
        verify_checksums(folder, recorded, recorded_in=OUR_FILE)


def _check_pickled(folder: Path, *, allow_pickle: bool) -> None:
    pickled = sorted(path.name for path in folder.glob("*.bin"))
    if not pickled:
        raise ModelLoadError(
            f"no weights in {folder}: expected model.safetensors. (Pickled weights of a hub model are fetched only "
            "with allow_pickle=True.)"
        )
    if not allow_pickle:
        raise UntrustedModelError(
            f"{folder} has only pickled weights ({pickled[0]}), which can run code when read; expected "
            "model.safetensors. Convert them, or pass allow_pickle=True if you trust the file (it is then read with "
            "torch's weights-only loader)."
        )


def _check_header(path: Path) -> None:
    # The header states the size of the file, so this finds truncation without reading the tensors.
    try:
        with safe_open(path, framework="numpy"):
            pass
    except (SafetensorError, OSError) as error:
        raise ModelLoadError(
            f"{path} cannot be read as safetensors: {error}. It is truncated or damaged; fetch it again."
        ) from error
