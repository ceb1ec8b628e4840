"""Public names of a package that are imported on first use, so that importing the package itself is cheap."""

from collections.abc import Callable, Mapping
from pkgutil import resolve_name

from rag_embedder.errors import MissingExtraError


def lazy_names(
    package: str, lines: Mapping[str, str], *, extras: Mapping[str, str] | None = None
) -> Callable[[str], object]:
    """A package's `__getattr__` (PEP 562) for names given as "module:attribute".

    `extras` says, for a top-level module that may not be installed, which extra of ours brings it; a name that needs
    such a module then raises MissingExtraError, which is an ImportError, with the pip line.
    """

    def get(name: str) -> object:
        if name not in lines:
            raise AttributeError(f"module {package!r} has no attribute {name!r}; it has: {', '.join(sorted(lines))}.")
        try:
            return resolve_name(lines[name])
        except ModuleNotFoundError as fault:
            missing = (fault.name or "").partition(".")[0]
            extra = (extras or {}).get(missing)
            if extra is None:
                raise
            raise MissingExtraError(f'{package}.{name} needs {missing}; pip install "rag-embedder[{extra}]"') from fault

    return get
