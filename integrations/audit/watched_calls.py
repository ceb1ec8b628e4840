"""Seeing the calls of objects that are not ours.

Methods are wrapped on the class and tell apart whom they are called on: the object itself is not touched, so that a
copy or pickle made meanwhile is as any other, and objects without attributes can be watched too. A method stays
wrapped as long as somebody watches it; watchers may come and go in any order, from any thread.
"""

import functools
import inspect
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

EndOfCall = Callable[[object], None]
"""Given the result of a call, or None if it failed."""


class CallWatcher(Protocol):
    """Told of every call before it is made; what it returns is told of the end."""

    def __call__(self, owner: object, method: str, arguments: tuple[Any, ...], /) -> EndOfCall | None:
        """`arguments` are those by position, then those by name. None if the end does not matter."""
        ...


_LOCK = threading.Lock()
_WRAPPED: "dict[tuple[type, str], _Wrapped]" = {}


class _Wrapped:
    """One method of one class, and who watches it on which objects."""

    def __init__(self, kind: type, method: str, owner: object) -> None:
        self.watchers: dict[
            int, tuple[object, tuple[CallWatcher, ...]]
        ] = {}  # the object is kept: its id stays its own
        self._kind = kind
        self._method = method
        self._is_inherited = method not in vars(kind)
        self._original = inspect.getattr_static(kind, method)
        setattr(kind, method, self._make(getattr(owner, method)))

    def undo(self) -> None:
        if self._is_inherited:
            delattr(self._kind, self._method)
        else:
            setattr(self._kind, self._method, self._original)

    def _make(self, example: Callable[..., Any]) -> Callable[..., Any]:
        if inspect.iscoroutinefunction(example):

            @functools.wraps(example)
            async def acall(owner: object, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  (whatever it is)
                with self._told(owner, (*args, *kwargs.values())) as ended:
                    return ended(await self._bound(owner)(*args, **kwargs))

            return acall

        @functools.wraps(example)
        def call(owner: object, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            with self._told(owner, (*args, *kwargs.values())) as ended:
                return ended(self._bound(owner)(*args, **kwargs))

        return call

    def _bound(self, owner: object) -> Callable[..., Any]:
        return self._original.__get__(owner, type(owner))

    @contextmanager
    def _told(self, owner: object, arguments: tuple[Any, ...]) -> Iterator[Callable[[Any], Any]]:
        results: list[object] = []

        def ended(result: object) -> object:
            results.append(result)
            return result

        _, watchers = self.watchers.get(id(owner), (None, ()))
        with ExitStack() as open_calls:
            for watcher in watchers:
                end = watcher(owner, self._method, arguments)
                if end is not None:
                    open_calls.callback(lambda end=end: end(results[0] if results else None))
            yield ended


@contextmanager
def watch_methods(owner: object, methods: tuple[str, ...], watcher: CallWatcher) -> Iterator[None]:
    """Tell `watcher` of the calls of these methods of `owner`, by whomever, while the block runs.

    Raises:
        TypeError: if a method is not one of its class, or the class takes no other.
    """
    with ExitStack() as watching:
        for method in methods:
            _begin(owner, method, watcher)
            watching.callback(_end, owner, method, watcher)
        yield


def _begin(owner: object, method: str, watcher: CallWatcher) -> None:
    kind = type(owner)
    if method in getattr(owner, "__dict__", ()):
        raise TypeError(f"{method} was set on this {kind.__name__} itself")
    with _LOCK:
        wrapped = _WRAPPED.get((kind, method)) or _Wrapped(kind, method, owner)
        _WRAPPED[kind, method] = wrapped
        _, watchers = wrapped.watchers.get(id(owner), (None, ()))
        wrapped.watchers[id(owner)] = (owner, (*watchers, watcher))


def _end(owner: object, method: str, watcher: CallWatcher) -> None:
    with _LOCK:
        wrapped = _WRAPPED[type(owner), method]
        _, watchers = wrapped.watchers.pop(id(owner))
        left = tuple(other for other in watchers if other is not watcher)
        if left:
            wrapped.watchers[id(owner)] = (owner, left)
        if not wrapped.watchers:
            del _WRAPPED[type(owner), method]
            wrapped.undo()
