"""The objects a component is made of, found without running any of its code."""

import functools
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from inspect import getattr_static
from itertools import islice
from types import BuiltinFunctionType, FunctionType, MemberDescriptorType, MethodType, ModuleType

_MAX_OBJECTS = 5_000
_MAX_MEMBERS = 100
"""Members of one container that are looked at: embedding objects are few, stored texts may be millions."""

_LEAVES = (str, bytes, bytearray, int, float, complex, bool, type(None), type, ModuleType, BuiltinFunctionType)
_OPAQUE = frozenset({"_thread", "asyncio", "concurrent", "logging", "numpy", "sqlite3", "threading", "torch"})
"""Packages whose objects hold no embedding object, but much else."""


def objects_inside(component: object) -> Iterator[object]:
    """The component, what its attributes hold, what those hold and so on; nearest first, each once.

    Properties are not read, so nothing is loaded and nothing is called. An `Embedder` is not looked into.
    """
    seen = {id(component)}
    waiting = deque([component])
    while waiting and len(seen) < _MAX_OBJECTS:
        current = waiting.popleft()
        if is_embedder(current):
            continue
        yield current
        for member in _members(current):
            if id(member) not in seen and not _is_leaf(member):
                seen.add(id(member))
                waiting.append(member)


def is_embedder(candidate: object) -> bool:
    """Whether it is an `Embedder`, of which `watch_encodings` tells everything."""
    encoder = sys.modules.get("rag_embedder.encoder")  # if nobody has imported it, there is none
    return encoder is not None and isinstance(candidate, encoder.Embedder)


def has_method(candidate: object, name: str) -> bool:
    """Whether the class or the object has a callable of this name; a `__getattr__` does not count."""
    found = getattr_static(candidate, name, None)
    return callable(found) or isinstance(found, staticmethod | classmethod)


def _is_leaf(candidate: object) -> bool:
    return isinstance(candidate, _LEAVES) or type(candidate).__module__.partition(".")[0] in _OPAQUE


def _members(current: object) -> list[object]:
    if isinstance(current, Mapping) and type(current).__module__ in ("builtins", "collections"):
        return _first(current.values())
    if isinstance(current, list | tuple | set | frozenset | deque):
        return _first(current)
    if isinstance(current, functools.partial):
        return [current.func, *current.args, *current.keywords.values()]
    if isinstance(current, MethodType):
        return [current.__self__, current.__func__]
    if isinstance(current, FunctionType):
        return [*_cells(current), *(current.__defaults__ or ())]
    return [*_attributes(current), *_slots(current)]


def _first(members: Iterable[object]) -> list[object]:
    try:
        return list(islice(members, _MAX_MEMBERS))
    except RuntimeError:  # another thread has just changed it
        return []


def _attributes(current: object) -> list[object]:
    try:
        return list(dict(vars(current)).values())
    except (TypeError, RuntimeError):  # it has none, or another thread has just given it one
        return []


def _slots(current: object) -> list[object]:
    found = []
    for base in type(current).__mro__:
        for slot in vars(base).values():
            if isinstance(slot, MemberDescriptorType):
                try:
                    found.append(slot.__get__(current))
                except AttributeError:  # never filled
                    continue
    return found


def _cells(function: FunctionType) -> list[object]:
    found = []
    for cell in function.__closure__ or ():
        try:
            found.append(cell.cell_contents)
        except ValueError:  # not filled yet
            continue
    return found
