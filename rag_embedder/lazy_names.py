"""Public names of a package that are imported on first use, so that importing the package itself is cheap."""

import sys
from collections.abc import Callable, Mapping
from pkgutil import resolve_name

from rag_embedder.errors import MissingExtraError


def lazy_names(
    package: str, lines: Mapping[str, str], *, extras: Mapping[str, str] | None = None
) -> Callable[[str], object]:
    """A package's `__getattr__` (PEP 562) for names given as "module:attribute".

    A name that is not there is refused with those that are and the nearest of them, also by `from package import name`.

    `extras` says, for a top-level module that may not be installed, which extra of ours brings it; a name that needs
    such a module then raises MissingExtraError, which is an ImportError, with the pip line.
    """

    def get(name: str) -> object:
        if name not in lines:
            message = (
                f"module {package!r} has no attribute {name!r}; it has: {', '.join(sorted(lines))}.{_hint(name, lines)}"
            )
            # `from package import name` shows no message but that of an ImportError.
            if sys._getframe(1).f_code.co_name == "_handle_fromlist" and not _is_module(package, name):
                raise ImportError(message, name=package)
            raise AttributeError(message)
        try:
            return resolve_name(lines[name])
        except ModuleNotFoundError as fault:
            missing = (fault.name or "").partition(".")[0]
            extra = (extras or {}).get(missing)
            if extra is None:
                raise
            raise MissingExtraError(f'{package}.{name} needs {missing}; pip install "rag-embedder[{extra}]"') from fault

    return get


def _hint(name: str, known: Mapping[str, str]) -> str:
    import difflib  # only a mistake needs it

    lower = {other.lower(): other for other in known}
    nearest = difflib.get_close_matches(name.lower(), lower, n=1)
    return f" Did you mean {lower[nearest[0]]!r}?" if nearest else ""


def _is_module(package: str, name: str) -> bool:
    from importlib.util import find_spec

    return find_spec(f"{package}.{name}") is not None
