"""One background thread with one asyncio loop: the synchronous face of :mod:`harness.guest.ssh` stands on it."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import functools
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

# How long a cancelled coroutine gets to close its channel before its caller goes on without it.
GRACE = 5.0


class Loop:
    """An asyncio loop that runs in a daemon thread for the life of the process."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="interop-ssh", daemon=True)
        self._thread.start()
        atexit.register(self._close)

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Start ``coroutine`` on the loop; the future may be waited for in any other thread."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def run(self, coroutine: Coroutine[Any, Any, T], seconds: float) -> T:
        """Run ``coroutine`` to its end from another thread.

        The coroutine itself must end within ``seconds``; this call only makes sure that a blocked loop cannot block
        the caller for ever, and that Ctrl-C cancels the work it interrupts.

        Raises:
            TimeoutError: the coroutine did not end in time.
        """
        future = self.submit(coroutine)
        try:
            return future.result(seconds + GRACE)
        finally:
            if not future.done():
                future.cancel()

    def _close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(GRACE)
        if not self._thread.is_alive():
            self._loop.close()


@functools.cache
def shared() -> Loop:
    """The process's one loop, started when first asked for."""
    return Loop()
