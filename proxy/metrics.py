"""What the process counts for `/metrics`, cheap enough for every request.

Nothing here imports prometheus-client, which would slow the start down; `proxy/api/exposition.py` writes the numbers
out in its form, once somebody asks for them.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Final, Literal, NamedTuple

log = logging.getLogger("reelgate.metrics")

Labels = tuple[str, ...]
"""The values of a family's labels, in its order."""
Values = Mapping[Labels, float]
Reader = Callable[[], float | Values | Awaitable[float | Values]]
"""What a family shows now: one number where it has no labels, else one for each set of label values."""

OTHER: Final = "other"
"""The label value of what is none of the known ones."""

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""Every other method is `OTHER`: a client may send any word."""

_REQUEST: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_SUBMISSION: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300)
_LAG: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300)
_COMPLETION: Final = (1, 5, 10, 20, 30, 45, 60, 90, 120, 180, 300, 600, 1200, 1800, 3600, 10_800, 43_200)


class Family(NamedTuple):
    """One metric. `bounds` are a histogram's, in seconds, each the highest value that its bucket takes."""

    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: Labels = ()
    bounds: tuple[float, ...] = ()


FAMILIES: Final[Mapping[str, Family]] = {
    "requests": Family("counter", "HTTP requests answered.", ("method", "route", "status")),
    "request_seconds": Family("histogram", "Seconds from a request to the end of its answer.", ("route",), _REQUEST),
    "submissions": Family("counter", "Attempts to submit a video, by what came of them.", ("channel", "outcome")),
    "submission_seconds": Family(
        "histogram", "Seconds that the upstream took to answer a submission.", ("channel",), _SUBMISSION
    ),
    "queue_length": Family("gauge", "Videos that wait for a channel with room.", ("model",)),
    "queue_oldest_seconds": Family("gauge", "Seconds since the video that waits longest was accepted."),
    "running": Family("gauge", "Videos that a channel's upstream may be working on.", ("channel",)),
    "unknown_outcomes": Family("gauge", "Submissions whose outcome is not known and not settled."),
    "polls": Family("counter", "Polls, by what came of them.", ("channel", "outcome")),
    "poll_lag_seconds": Family("histogram", "Seconds that a poll began after it was due.", ("channel",), _LAG),
    "time_to_complete_seconds": Family(
        "histogram", "Seconds from accepting a video to its completion.", ("channel", "model"), _COMPLETION
    ),
    "videos_ended": Family("counter", "Videos that completed or failed.", ("channel", "status", "code")),
    "breaker_state": Family("gauge", "1 for the state that a channel's breaker is in, else 0.", ("channel", "state")),
    "webhook_deliveries": Family("counter", "Attempts to deliver a webhook, by what came of them.", ("outcome",)),
    "relayed_bytes": Family("counter", "Bytes of videos and pictures that were sent to clients.", ("channel",)),
    "store_commits": Family("counter", "Transactions that the store committed."),
    "store_operations": Family("counter", "Operations in these transactions."),
}
"""By name, without the prefix `reelgate_` and without the ending `_total` that every counter gets."""


class Histogram:
    """How often values fell into each bucket, the last of which has no upper bound; and their sum."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count `value`; one below zero, off a clock that was set back, counts as zero."""
        if value < 0:
            value = 0.0
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def copy(self) -> Histogram:
        other = Histogram(self.bounds)
        other.counts, other.total = self.counts.copy(), self.total
        return other


class _Histograms(dict[Labels, Histogram]):
    """The histograms of one family, made at their first use."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        super().__init__()
        self._bounds = bounds

    def __missing__(self, labels: Labels) -> Histogram:
        made = self[labels] = Histogram(self._bounds)
        return made


class Snapshot(NamedTuple):
    """All numbers of one moment, by the names of their families; nobody changes them any more."""

    values: Mapping[str, Values]
    histograms: Mapping[str, Mapping[Labels, Histogram]]


class Metrics:
    """What happened since the process started.

    Label values are words of ours and of channels.yaml: never an id, a path, or anything that a client or an upstream
    chose. Times are in seconds.
    """

    def __init__(self) -> None:
        self.models: Collection[str] = frozenset()
        """The public models that are configured now; every other one is counted as `OTHER`."""
        self._readers: dict[str, Reader] = {}
        self._requests = defaultdict[tuple[str, str, int], int](int)
        self._counts = {name: defaultdict[Labels, int](int) for name, one in FAMILIES.items() if one.kind == "counter"}
        self._histograms = {name: _Histograms(one.bounds) for name, one in FAMILIES.items() if one.bounds}
        self._request_seconds = self._histograms["request_seconds"]

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request was answered; `route` is the word of its route, never its path."""
        if method not in METHODS:
            method = OTHER
        self._requests[method, route, status] += 1
        self._request_seconds[route,].observe(seconds)

    def submission(self, channel: str, outcome: str, seconds: float) -> None:
        """An attempt on `channel` ended after so long: `taken`, `refused`, `throttled`, `client` or `unknown`."""
        self._counts["submissions"][channel, outcome] += 1
        self._histograms["submission_seconds"][channel,].observe(seconds)

    def polled(self, channel: str, outcome: str, lag: float) -> None:
        """A poll on `channel` began `lag` seconds late; the outcomes are those of `proxy.engine.polling`."""
        self._counts["polls"][channel, outcome] += 1
        self._histograms["poll_lag_seconds"][channel,].observe(lag)

    def ended(self, channel: str, model: str, status: str, code: str | None, seconds: float) -> None:
        """A video is `completed` or `failed` (with `code`), so many seconds after it was accepted."""
        self._counts["videos_ended"][channel, status, code or ""] += 1
        if status == "completed":
            self._histograms["time_to_complete_seconds"][channel, self._known(model)].observe(seconds)

    def webhook(self, outcome: str) -> None:
        """A webhook was tried; the outcomes are those of `proxy.webhooks`."""
        self._counts["webhook_deliveries"][outcome,] += 1

    def relayed(self, channel: str, count: int) -> None:
        """So many bytes of a video of `channel` were sent to a client."""
        self._counts["relayed_bytes"][channel,] += count

    def follow(self, name: str, reader: Reader) -> None:
        """Show in family `name`, a gauge or a counter that only grows, what `reader` says each time somebody asks.

        It is called in the event loop, must not block there, and may be a coroutine function.
        """
        if FAMILIES[name].kind == "histogram":
            raise ValueError(f"the metric {name} is a histogram, which cannot be read: observe its values")
        self._readers[name] = reader

    async def snapshot(self) -> Snapshot:
        """All numbers as they are now. A family that cannot be read is left out, and the log says why."""
        values: dict[str, Values] = {name: counts.copy() for name, counts in self._counts.items()}
        values["requests"] = {
            (method, route, str(status)): count for (method, route, status), count in self._requests.items()
        }
        histograms = {
            name: {labels: one.copy() for labels, one in family.items()} for name, family in self._histograms.items()
        }
        for name, reader in list(self._readers.items()):
            try:
                values[name] = await self._read(name, reader)
            except Exception as error:
                # The store may be busy; that is no reason to show nothing at all.
                log.warning("the metric %s cannot be read: %s: %s", name, type(error).__name__, error)
        return Snapshot(values, histograms)

    async def _read(self, name: str, reader: Reader) -> Values:
        found = reader()
        if isinstance(found, Awaitable):
            found = await found
        if not isinstance(found, Mapping):
            return {(): float(found)}
        labels = FAMILIES[name].labels
        if "model" not in labels:
            return found
        place = labels.index("model")
        folded = defaultdict[Labels, float](float)
        for one, value in found.items():
            folded[(*one[:place], self._known(one[place]), *one[place + 1 :])] += value
        return folded

    def _known(self, model: str) -> str:
        return model if model in self.models else OTHER
