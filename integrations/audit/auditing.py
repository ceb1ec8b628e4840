"""`audit_roles` and `aaudit_roles`."""

import asyncio
import contextvars
import secrets
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from integrations.audit.judging import judge
from integrations.audit.kinds import probe_for
from integrations.audit.observing import Observer
from integrations.audit.probe import PREFIX, Probe
from integrations.audit.report import RoleAudit, first_line
from integrations.audit.steps import Course
from rag_embedder.errors import ConfigError
from rag_embedder.scenario import Role


def audit_roles(component: object, *, write: bool | None = None, timeout: float = 60.0) -> RoleAudit:
    """Find out whether queries reach the query side of the encoder and documents the document side.

    For embedding objects, vector stores, indexes, retrievers, rerankers, example selectors and pipelines of LangChain,
    LangGraph and LlamaIndex, with any embedding object, and for ours. Texts that nobody else has are given to the
    component as documents and as queries, by its sync and by its async methods; what really happens to them is seen in
    every `Embedder` of the process (`watch_encodings`), and in the methods of other embedding objects and key-value
    caches inside the component, which are wrapped meanwhile. Other threads may go on using the component.

    Documents of the audit are in a store for milliseconds, under ids that begin with "rag-embedder-audit-", and are
    removed, from caches too. Callbacks and tracers see its calls as they see any.

    Args:
        component: what to audit; it is used as it is, and stays as it was.
        write: None writes documents where they can be removed again, True also where they cannot, False never.
        timeout: seconds for the async half. A sync call cannot be cut short.

    Raises:
        ConfigError: for what cannot be audited, for a timeout that is no positive number, and for a component that
            belongs to the event loop this is called on: `await aaudit_roles(component)` then.
    """
    _check_timeout(timeout)
    audit = _Audit(component, write)
    home = audit.probe.home_loop()
    if home is not None and home is _running_loop():
        raise ConfigError(
            f"component: {type(component).__name__} belongs to the running event loop, which a sync call would block; "
            "expected: await aaudit_roles(component)."
        )
    with audit.observer.watching((component, audit.probe)):
        try:
            audit.sync.run(audit.probe)
            audit.run_async_half(home, timeout)
        finally:
            audit.remove()
    return audit.verdict()


async def aaudit_roles(component: object, *, write: bool | None = None, timeout: float = 60.0) -> RoleAudit:
    """`audit_roles` off the event loop; the async half runs on it. Arguments and errors are the same."""
    _check_timeout(timeout)
    audit = _Audit(component, write)
    home = audit.probe.home_loop()
    with audit.observer.watching((component, audit.probe)):
        try:
            await _to_its_end(audit.sync.run, audit.probe)
            if home is None or home is asyncio.get_running_loop():
                await audit.within(timeout)
            else:
                await _to_its_end(audit.run_async_half, home, timeout)
        finally:
            await _to_its_end(audit.remove)
    return audit.verdict()


class _Audit:
    """One audit from beginning to end."""

    def __init__(self, component: object, write: bool | None) -> None:
        token = secrets.token_hex(6)
        self.probe: Probe = probe_for(component, f"{PREFIX}{token}")
        self.observer = Observer(f"roleaudit{token}")
        self.notes: list[str] = []
        roles = self._roles(write)
        self.sync = Course("sync", self.observer, roles)
        self.asynchronous = Course("async", self.observer, roles)

    def run_async_half(self, home: object | None, timeout: float) -> None:
        """By the async methods, on the component's own event loop or, without one, on a new one in a new thread."""
        if isinstance(home, asyncio.AbstractEventLoop):
            if not home.is_running():
                self.notes.append("async methods were not checked: the event loop they belong to is not running")
                return
            asyncio.run_coroutine_threadsafe(self.within(timeout), home).result()
        else:
            _run_in_new_thread(self.within(timeout))

    async def within(self, timeout: float) -> None:
        """The async half; given up after `timeout` seconds."""
        try:
            await asyncio.wait_for(self.asynchronous.arun(self.probe), timeout)
        except TimeoutError:
            self.notes.append(
                f"async methods were not checked to the end: they took more than {timeout} seconds. What was being "
                f"written then may stay, with an id that begins with {self.probe.tag}"
            )

    def remove(self) -> None:
        """Leave component and caches as they were; where that fails, say so."""
        if "document" in self.sync.roles:
            reason = self.probe.why_not_remove()
            try:
                if not reason:
                    self.probe.remove()
            except Exception as fault:  # noqa: BLE001  (any component, any fault; it is reported)
                reason = first_line(fault)
            if reason:
                self.notes.append(f"documents of the audit stay, with ids that begin with {self.probe.tag}: {reason}")
        for cache in self.observer.forget_written():
            self.notes.append(f"vectors of texts that begin with {self.observer.mark} stay in a {cache}")

    def verdict(self) -> RoleAudit:
        """What was found."""
        return judge(self.probe, [self.sync, self.asynchronous], self.notes)

    def _roles(self, write: bool | None) -> Sequence[Role]:
        probe, roles = self.probe, list[Role]()
        not_asked = probe.why_not_ask()
        not_written = probe.why_not_write()
        if not not_written and write is False:
            not_written = "write=False"
        elif not not_written and write is None and probe.why_not_remove():
            not_written = (
                f"they could not be removed again: {probe.why_not_remove()}; write=True writes them all the same"
            )
        reasons: dict[Role, str] = {"query": not_asked, "document": not_written}
        for role, reason in reasons.items():
            if reason:
                self.notes.append(f"{'queries' if role == 'query' else 'documents'} were not checked: {reason}")
            else:
                roles.append(role)
        return roles


def _check_timeout(timeout: object) -> None:
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout > 0:
        raise ConfigError(f"timeout: got {timeout!r}; expected a positive number of seconds.")


async def _to_its_end(call: Callable[..., None], *arguments: object) -> None:
    """In a thread, which is waited for even when this is cancelled: what goes on writing would leave traces."""
    work = asyncio.ensure_future(asyncio.to_thread(call, *arguments))
    try:
        await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait([work])
        raise


def _running_loop() -> object | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _run_in_new_thread(work: Coroutine[Any, Any, None]) -> None:
    """Also where an event loop is running: it waits, as for any sync call."""
    faults: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(work)
        except BaseException as fault:  # noqa: BLE001  (raised again by the caller's thread)
            faults.append(fault)

    thread = threading.Thread(
        target=contextvars.copy_context().run, args=(run,), name="rag-embedder-audit", daemon=True
    )
    thread.start()
    thread.join()
    if faults:
        raise faults[0]
