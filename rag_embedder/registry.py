"""A registry maps a name to "module:attribute", imported on first use, so listing choices imports nothing."""

import difflib
from collections.abc import Iterator, Mapping
from pkgutil import resolve_name
from typing import Any

from rag_embedder.errors import ConfigError


def unknown_name(kind: str, name: object, choices: list[str]) -> ConfigError:
    """The error for a name that is not among `choices`: it lists them, the nearest first."""
    nearest = difflib.get_close_matches(str(name), choices, n=1)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    return ConfigError(f"unknown {kind} {name!r}; expected one of: {', '.join(choices)}.{hint}")


class Registry(Mapping[str, Any]):
    """Read-only mapping from a name to the object its "module:attribute" line points at.

    Raises:
        ConfigError: on look-up of an unknown name; the message lists the known ones.
    """

    def __init__(self, kind: str, lines: dict[str, str]) -> None:
        self._kind = kind
        self._lines = lines

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401  (each line has its own type)
        if name not in self._lines:
            raise unknown_name(self._kind, name, list(self._lines))
        return resolve_name(self._lines[name])

    def __contains__(self, name: object) -> bool:
        # Mapping's own would import what it finds, and raise for what it does not.
        return name in self._lines

    def __iter__(self) -> Iterator[str]:
        return iter(self._lines)

    def __len__(self) -> int:
        return len(self._lines)
