"""How far the running jobs of a ComfyUI server are, which its websocket alone tells, and node by node.

Each job is ordered under a client id of its own: what the server tells that client is about this job, whichever process
listens, after a restart too. A connection is opened when a poll finds the job running, and ends with it. Whatever goes
wrong here, a poll is not disturbed; it has no progress then.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping
from typing import Any, Final

from proxy import ApiError, Channel, Reply, UpstreamError

from ._comfyui_graph import Queued

log = logging.getLogger("reelgate.comfyui")

MOST: Final = 16
"""Jobs that are listened to at once. A server runs one; several may stand behind one address."""
IDLE: Final = 120.0
"""Seconds after which a job that no poll asks for any more is not listened to."""
PAUSES: Final = (5.0, 300.0)
"""Seconds before a connection that failed is tried again: the first, and the longest; each is twice the one before."""


class Progress:
    """The listeners of one channel."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._listeners: dict[str, Listener] = {}
        self._pause = 0.0
        self._again = 0.0

    def of(self, job: Queued) -> float | None:
        """How far a job is that runs; None while that is not known."""
        loop = asyncio.get_running_loop()
        listener = self._listeners.get(job.id)
        if listener is None:
            if loop.time() < self._again or len(self._listeners) >= MOST:
                return None
            listener = self._listeners[job.id] = Listener(job)
            listener.task = asyncio.create_task(self._listen(listener))
            listener.task.add_done_callback(lambda _: self._ended(job.id))
        else:
            listener.idle.cancel()
        listener.idle = loop.call_later(IDLE, listener.task.cancel)
        return listener.progress()

    def end(self, job_id: str) -> None:
        """That job does not run any more."""
        if listener := self._listeners.get(job_id):
            listener.task.cancel()

    async def close(self) -> None:
        """End all of it."""
        tasks = [listener.task for listener in self._listeners.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _listen(self, listener: Listener) -> None:
        try:
            async with self._channel.upstream.listen("/ws", params={"clientId": listener.job.client}) as messages:
                async for message in messages:
                    if listener.hear(message):
                        self._pause = 0.0
            raise UpstreamError("The upstream closed the connection.")
        except ApiError as error:
            if not self._pause:
                log.warning("channel %s: its videos have no progress for now: %s", self._channel.name, error)
            # Where several listeners fail at once, that is one failure.
            if (now := asyncio.get_running_loop().time()) >= self._again:
                self._pause = min(max(2 * self._pause, PAUSES[0]), PAUSES[1])
                self._again = now + self._pause

    def _ended(self, job_id: str) -> None:
        # Also where it was cancelled before it began.
        self._listeners.pop(job_id).idle.cancel()


class Listener:
    """What is known of one job, and who is listening."""

    task: asyncio.Task[None]
    idle: asyncio.TimerHandle

    def __init__(self, job: Queued) -> None:
        self.job = job
        self._parts: dict[str, float] = {}

    def hear(self, message: Reply) -> bool:
        """Note what `message` says of the job's nodes; whether it says anything."""
        data = message.get("data")
        # A client that comes late is told once more which node runs, without the job's id.
        if not isinstance(data, dict) or data.get("prompt_id", self.job.id) != self.job.id:
            return False
        told = [(node, part) for node, part in _told(message.get("type"), data) if node in self.job.graph]
        for node, part in told:
            self._parts[node] = max(part, self._parts.get(node, 0.0))
        return bool(told)

    def progress(self) -> float | None:
        """The share of the graph's nodes that are done: those told of, and all that they stand on."""
        if not self._parts:
            return None
        graph = self.job.graph
        behind: set[str] = set()
        ahead = list(self._parts)
        while ahead:
            more = {node for node in _inputs(graph[ahead.pop()]) if node in graph} - behind
            behind |= more
            ahead += more
        return 100 * sum(1.0 if node in behind else self._parts.get(node, 0.0) for node in graph) / len(graph)


def _told(kind: Any, data: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The nodes that a message tells of, each with how much of it is done."""
    one, many = data.get("node"), data.get("nodes")
    if isinstance(one, str) and kind in ("executing", "progress", "executed"):
        yield one, 1.0 if kind == "executed" else _part(data)
    elif kind == "execution_cached" and isinstance(many, list):
        yield from ((node, 1.0) for node in many if isinstance(node, str))
    elif kind == "progress_state" and isinstance(many, dict):
        for node, state in many.items():
            if isinstance(state, dict):
                yield node, 1.0 if state.get("state") == "finished" else _part(state)


def _part(told: Mapping[str, Any]) -> float:
    value, most = told.get("value"), told.get("max")
    if not isinstance(value, int | float) or not isinstance(most, int | float):
        return 0.0
    # A number that no counter of steps has would be no float.
    return min(value, most) / most if value >= 0 and 0 < most < 1e9 else 0.0


def _inputs(node: Any) -> Iterator[str]:
    """The nodes whose outputs `node` takes."""
    inputs = node.get("inputs") if isinstance(node, dict) else None
    for value in inputs.values() if isinstance(inputs, dict) else ():
        if isinstance(value, list) and value and isinstance(value[0], str):
            yield value[0]
