"""JSON files of a model folder, read with errors that name the file."""

import json
from pathlib import Path
from typing import Any

from rag_embedder.errors import ModelLoadError


def read_json(path: Path, expected: type = dict) -> Any:  # noqa: ANN401  (JSON)
    """The content of a file that must be there.

    Raises:
        ModelLoadError: if it is missing, not JSON, or not of the `expected` type.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelLoadError(
            f"{path.absolute()} is missing; expected a Hugging Face or Sentence-Transformers model folder."
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise ModelLoadError(f"{path} cannot be read as JSON: {error}.") from error
    if not isinstance(content, expected):
        raise ModelLoadError(f"{path} holds {type(content).__name__}; expected {expected.__name__}.")
    return content


def read_optional_json(path: Path) -> dict[str, Any]:
    """The object in a file, or an empty one where there is no file."""
    return read_json(path) if path.exists() else {}


def write_json(path: Path, content: object) -> None:
    """Write indented UTF-8, creating the folder."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
