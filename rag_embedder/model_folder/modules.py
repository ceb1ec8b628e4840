"""What `modules.json` of a Sentence-Transformers folder asks for; only Transformer, Pooling, Normalize are known."""

from pathlib import Path

from rag_embedder.errors import ModelLoadError
from rag_embedder.model_folder.json_files import read_json

POOLING_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_lasttoken": "last",
}
"""Keys of version 2 to our names of poolings."""

POOLING_NAMES = tuple(POOLING_FLAGS.values())
"""The poolings there are, without importing torch."""


def read_pooling(folder: Path) -> str:
    """The name of the pooling in `POOLINGS`.

    Raises:
        ModelLoadError: for any other module, or anything but one pooling of a supported kind.
    """
    path = folder / "modules.json"
    poolings = []
    for module in read_json(path, expected=list):
        if not isinstance(module, dict) or not isinstance(module.get("path"), str):
            raise ModelLoadError(f"{path}: each module must be an object with a type and a path.")
        kind = str(module.get("type", "")).rpartition(".")[2]
        if kind not in ("Transformer", "Pooling", "Normalize"):
            raise ModelLoadError(
                f"{path} has a module of type {module.get('type')!r}; expected only Transformer, Pooling and Normalize."
            )
        if kind == "Transformer" and module["path"]:
            raise ModelLoadError(
                f"{path} keeps its Transformer in {module['path']!r}; expected the folder itself. Load and save it "
                "once with a current sentence-transformers."
            )
        if kind == "Pooling":
            poolings.append(_pooling_name(folder / module["path"] / "config.json"))
    if len(poolings) != 1:
        raise ModelLoadError(f"{path} has {len(poolings)} Pooling modules; expected exactly one.")
    return poolings[0]


def _pooling_name(path: Path) -> str:
    config = read_json(path)
    if config.get("include_prompt", True) is False:
        raise ModelLoadError(f"{path} leaves the prompt out of pooling (include_prompt false), which is not supported.")
    modes = config.get("pooling_mode")
    if isinstance(modes, str):
        modes = [modes]
    elif not isinstance(modes, list):
        modes = [flag for flag, on in config.items() if on is True and flag.startswith("pooling_mode_")]
    names = [{"lasttoken": "last"}.get(str(mode), POOLING_FLAGS.get(str(mode), str(mode))) for mode in modes]
    if len(names) != 1 or names[0] not in POOLING_FLAGS.values():
        raise ModelLoadError(
            f"{path} asks for pooling {' + '.join(map(str, modes)) or 'nothing'}; expected one of cls, mean, lasttoken."
        )
    return names[0]
