"""The threads that searches run in, and closing what was opened."""

import os
import subprocess
import sys

import pytest

from rag_embedder.errors import StoreClosedError
from rag_embedder.retrievers.base import StoreOwner
from rag_embedder.store import Store

_FORK = """
import asyncio, os, time
from rag_embedder.retrievers.base import in_thread

async def main():
    await asyncio.gather(*(in_thread(lambda: time.sleep(0.02)) for _ in range(40)))

asyncio.run(main())
child = os.fork()
if child == 0:
    asyncio.run(asyncio.wait_for(main(), 10))
    os._exit(0)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_has_threads_of_its_own():
    assert subprocess.run([sys.executable, "-c", _FORK], timeout=30, check=False).returncode == 0


def test_a_search_that_cannot_be_closed_does_not_keep_the_others_open():
    closed = []

    class Search:
        def __init__(self, name, error=None):
            self.name, self.error = name, error

        def close(self):
            closed.append(self.name)
            if self.error:
                raise self.error

    store = Store.open(None)
    owner = StoreOwner(store, [Search("first", OSError("disk full")), Search("second")])
    with pytest.raises(OSError, match="disk full"):
        owner.close()
    assert closed == ["first", "second"]
    with pytest.raises(StoreClosedError, match="closed"):
        store.clock()
    owner.close()
    assert closed == ["first", "second"]
