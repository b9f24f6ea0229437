"""The demo channel's workers: renders run in a few threads, the rest waits; what they say is read under a lock."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, NamedTuple

_REMEMBERED: Final = 1000
"""Ended renders that are kept in memory; of an older one, the file says that it is done."""


class Stopped(Exception):
    """The render was told to stop."""


class Failed(Exception):
    """The render fails with `code`; the text is for the client."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Standing(NamedTuple):
    """How a render is: a status of `UpstreamJob`, its progress 0 to 100, and why it failed."""

    status: str
    progress: float = 0.0
    code: str = ""
    message: str = ""

    @property
    def ended(self) -> bool:
        return self.status in ("completed", "failed")


class Render:
    """One render, seen from both sides: the worker tells, the channel reads and stops."""

    def __init__(self, work: Callable[[Render], None]) -> None:
        self._work = work
        self._lock = threading.Lock()
        self._standing = Standing("queued")
        self._stop = threading.Event()
        self.future: Future[None] = Future()

    @property
    def standing(self) -> Standing:
        with self._lock:
            return self._standing

    def tell(self, done: int, of: int) -> None:
        """From the worker: `done` frames of `of` are ready. Raises `Stopped` when it shall go no further."""
        self.pause(0)
        self._set(Standing("in_progress", 100 * done / of))

    def pause(self, seconds: float) -> None:
        """From the worker: wait, unless or until it shall stop, which raises `Stopped`."""
        if self._stop.wait(seconds) if seconds else self._stop.is_set():
            raise Stopped

    def run(self) -> None:
        """The whole render, in a worker thread."""
        try:
            self.pause(0)
            self._set(Standing("in_progress"))
            self._work(self)
        except Stopped:
            self._set(Standing("failed", code="upstream_failed", message="The demo channel stopped this render."))
        except Failed as failure:
            self._set(Standing("failed", code=failure.code, message=failure.message))
        except Exception as error:
            # An OSError's own text names our files; its strerror does not.
            cause = getattr(error, "strerror", None) or type(error).__name__
            self._set(Standing("failed", code="upstream_failed", message=f"The demo channel cannot render: {cause}."))
        else:
            self._set(Standing("completed", 100))

    def stop(self) -> None:
        """End it: at once where it waits, else after the frame that it is at."""
        self._stop.set()
        if self.future.cancel():
            self._set(Standing("failed", code="upstream_failed", message="The demo channel stopped this render."))

    def _set(self, standing: Standing) -> None:
        with self._lock:
            self._standing = standing


class Renders:
    """All renders of a channel by their ids; used from the event loop only."""

    def __init__(self, workers: int) -> None:
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="demo-render")
        self._renders: dict[str, Render] = {}
        self.closed = False

    def get(self, render_id: str) -> Render | None:
        return self._renders.get(render_id)

    def start(self, render_id: str, work: Callable[[Render], None]) -> Render:
        """The render with this id, queued unless it is there already."""
        render = self._renders.get(render_id)
        if render is None:
            self._forget()
            render = self._renders[render_id] = Render(work)
            render.future = self._pool.submit(render.run)
        return render

    def close(self) -> None:
        """Stop everything. The threads end by themselves, each after the frame that it is at."""
        self.closed = True
        for render in self._renders.values():
            render.stop()
        self._pool.shutdown(wait=False)

    def _forget(self) -> None:
        if len(self._renders) >= _REMEMBERED:
            for render_id in [one for one, render in self._renders.items() if render.standing.ended]:
                del self._renders[render_id]
