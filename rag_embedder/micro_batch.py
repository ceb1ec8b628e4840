"""Concurrent small requests share one pass through the model."""

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from rag_embedder.types import Vectors

TokenIds = list[int]


@dataclass(slots=True)
class _Request:
    token_ids: Sequence[TokenIds]
    result: Future[Vectors] = field(default_factory=Future)


class MicroBatcher:
    """Leader and followers: whoever gets the model first encodes everything that is waiting.

    No thread of its own and no waiting time: a lone caller runs at once, and callers that arrive while the model is
    busy are encoded together by the next leader. `encode` maps n lists of token ids to (n, dim) unit rows.
    """

    def __init__(self, encode: Callable[[Sequence[TokenIds]], Vectors]) -> None:
        self._encode = encode
        self._restart()

    def _restart(self) -> None:
        self._pid = os.getpid()
        self._waiting: list[_Request] = []
        self._waiting_lock = threading.Lock()
        self._model_lock = threading.Lock()

    def run(self, token_ids: Sequence[TokenIds]) -> Vectors:
        """Vectors of the caller's texts, (n, dim); errors of the model surface in every caller they concern."""
        if self._pid != os.getpid():
            self._restart()  # forked: the parent's threads may have held the locks, and are not here to let go
        request = _Request(token_ids)
        with self._waiting_lock:
            self._waiting.append(request)
        with self._model_lock:
            if not request.result.done():
                self._lead()
        return request.result.result()

    def _lead(self) -> None:
        with self._waiting_lock:
            requests, self._waiting = self._waiting, []
        try:
            vectors = self._encode([ids for request in requests for ids in request.token_ids])
        except BaseException as error:  # noqa: BLE001  (every waiting caller must hear of it)
            for request in requests:
                request.result.set_exception(error)
            return
        start = 0
        for request in requests:
            stop = start + len(request.token_ids)
            request.result.set_result(vectors[start:stop])
            start = stop
