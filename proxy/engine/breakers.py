"""Circuit breakers: a channel whose submissions keep failing is left alone for a while, then tried with one real job.

    closed ──too many failures──▶ open ──its pause is over──▶ half_open ──the probe succeeded──▶ closed
                                   ▲                              │
                                   └──────the probe failed────────┘

A probe costs money, so it is the next real job and there is one at a time. A submission that was under way when the
breaker changed says how the upstream was before that: its outcome is not counted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator
from types import TracebackType
from typing import Final, Literal

State = Literal["closed", "open", "half_open"]

LAST: Final = 20
WITHIN: Final = 60.0
ENOUGH: Final = 10
"""The error rate is that of the last so many outcomes, none older than so many seconds, and only of so many or more."""
LONGEST: Final = 300.0
"""Seconds that a pause grows to at most; a single one that is configured longer stays as it is."""


class Trial:
    """One submission that a breaker admitted. Its first outcome is its only one; the others are ignored.

    As a context manager it gives itself back where no outcome was told, so that a task that is cancelled or breaks
    never holds the place of the probe.
    """

    __slots__ = ("_breaker", "_period", "_told", "probe")

    def __init__(self, breaker: Breaker, period: int, *, probe: bool) -> None:
        self._breaker = breaker
        self._period = period
        self._told = False
        self.probe: Final = probe
        """Whether this is the one submission that a half-open breaker lets through."""

    def __enter__(self) -> Trial:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abandoned()

    def succeeded(self) -> None:
        """The upstream took the job."""
        if self._ends():
            self._breaker._succeeded()

    def failed(self, why: str) -> None:
        """The upstream did not answer as a healthy one does. `why`: one sentence for the operator, already redacted."""
        if self._ends():
            self._breaker._failed(why)

    def abandoned(self) -> None:
        """The outcome says nothing about the upstream, or never comes: cancelled, deleted, or the client's fault."""
        if self._ends():
            self._breaker._abandoned()

    def _ends(self) -> bool:
        """Whether this is the first outcome, and the breaker is still in the period in which the submission began."""
        told, self._told = self._told, True
        return not told and self._breaker._period == self._period


class Breaker:
    """The breaker of one channel.

    It opens after `failures` failures in a row (1 or more), or when a failure brings the share of failures among the
    last outcomes to `error_rate` (above 0, up to 1). The first pause is `pause` seconds, the n-th in a row n times as
    long. `clock` gives seconds that never go back (`time.monotonic`).
    """

    def __init__(
        self, clock: Callable[[], float], *, failures: int = 5, error_rate: float = 0.5, pause: float = 30.0
    ) -> None:
        self._clock = clock
        self._failures_most = failures
        self._error_rate = error_rate
        self._pause = pause
        self._until: float | None = None
        self._probing = False
        self._outcomes: deque[tuple[float, bool]] = deque(maxlen=LAST)
        self._period = 0
        """Counts the openings: submissions from before one say nothing about the time after it."""
        self.failures = 0
        """Failures in a row, the probes' among them."""
        self.openings = 0
        """Openings in a row, without a success since."""
        self.why = ""
        """The last failure in words; empty after a success."""

    @property
    def state(self) -> State:
        if self._until is None:
            return "closed"
        return "open" if self._clock() < self._until else "half_open"

    def open_for(self) -> float:
        """Seconds until a probe may start; 0.0 unless the breaker is open."""
        return 0.0 if self._until is None else max(self._until - self._clock(), 0.0)

    def allows(self) -> bool:
        """Whether `admit` would admit a submission now. Changes nothing."""
        state = self.state
        return state == "closed" or (state == "half_open" and not self._probing)

    def admit(self) -> Trial | None:
        """Let a submission start, as the probe where the breaker is half-open; None where none may start now.

        Ask before anything is awaited that leads to the submission, and tell the trial its outcome.
        """
        if not self.allows():
            return None
        self._probing = self._until is not None
        return Trial(self, self._period, probe=self._probing)

    def _succeeded(self) -> None:
        self.failures = 0
        self.why = ""
        if self._until is None:
            self._outcomes.append((self._clock(), True))
            return
        self._until = None
        self._probing = False
        self.openings = 0

    def _failed(self, why: str) -> None:
        self.failures += 1
        self.why = why
        if self._until is not None:
            self._open()
            return
        self._outcomes.append((self._clock(), False))
        if self.failures >= self._failures_most or self._fails_often():
            self._open()

    def _abandoned(self) -> None:
        self._probing = False

    def _fails_often(self) -> bool:
        recent = self._clock() - WITHIN
        lately = [succeeded for at, succeeded in self._outcomes if at >= recent]
        return len(lately) >= ENOUGH and lately.count(False) / len(lately) >= self._error_rate

    def _open(self) -> None:
        self.openings += 1
        self._period += 1
        self._probing = False
        self._outcomes.clear()
        self._until = self._clock() + min(self._pause * self.openings, max(self._pause, LONGEST))


class Breakers:
    """The breakers of all channels by name, each made by `make(name)` when it is first asked for."""

    def __init__(self, make: Callable[[str], Breaker]) -> None:
        self._make = make
        self._breakers: dict[str, Breaker] = {}

    def __iter__(self) -> Iterator[tuple[str, Breaker]]:
        """The channels that were asked for, with their breakers."""
        return iter(tuple(self._breakers.items()))

    def of(self, name: str) -> Breaker:
        """The breaker of the channel `name`."""
        breaker = self._breakers.get(name)
        if breaker is None:
            breaker = self._breakers[name] = self._make(name)
        return breaker

    def keep(self, names: Collection[str]) -> None:
        """Forget all breakers but these: the other channels are gone or their entries changed.

        Submissions under way go on with the breaker that admitted them, and touch the new one no more.
        """
        self._breakers = {name: breaker for name, breaker in self._breakers.items() if name in names}
