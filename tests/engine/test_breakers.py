"""When a channel is left alone, and how it is tried again without paying for more than one try."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from proxy.engine.breakers import Breaker, Breakers, Trial


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def start(breaker: Breaker) -> Trial:
    trial = breaker.admit()
    assert trial is not None
    return trial


def fail(breaker: Breaker, times: int = 1, why: str = "refused") -> None:
    for _ in range(times):
        start(breaker).failed(why)


def outcomes(breaker: Breaker, words: str) -> None:
    """One submission after the other: `f` fails, `s` succeeds."""
    for word in words:
        trial = start(breaker)
        trial.failed("refused") if word == "f" else trial.succeeded()


def test_opens_after_failures_in_a_row(clock: Clock) -> None:
    """The fifth failure in a row opens; a success in between starts the count anew."""
    breaker = Breaker(clock)
    outcomes(breaker, "ffffsffff")
    assert (breaker.state, breaker.failures, breaker.open_for()) == ("closed", 4, 0.0)
    start(breaker).failed("HTTP 500")
    assert (breaker.state, breaker.failures, breaker.why) == ("open", 5, "HTTP 500")
    assert breaker.open_for() == 30.0
    assert not breaker.allows()
    assert breaker.admit() is None


@pytest.mark.parametrize(
    ("rate", "words", "state"),
    [
        (0.5, "fsfsfsfs" + "f", "closed"),
        (0.5, "fsfsfsfs" + "sf", "open"),
        (0.5, "fsfsfsfss" + "sf", "closed"),
        (0.5, "s" * 30 + "f" * 9, "closed"),
        (0.5, "s" * 30 + "f" * 10, "open"),
        (0.55, "s" * 9 + "f" * 10, "closed"),
        (0.55, "s" * 9 + "f" * 11, "open"),
        (1.0, "fsffffffffff", "closed"),
        (1.0, "f" * 10, "open"),
        (1.0, "s" + "f" * 19, "closed"),
        (1.0, "s" + "f" * 20, "open"),
    ],
)
def test_opens_at_the_error_rate(clock: Clock, rate: float, words: str, state: str) -> None:
    """Half of the last twenty outcomes, of ten or more, opens, or whatever share was configured."""
    breaker = Breaker(clock, failures=100, error_rate=rate)
    for index, word in enumerate(words):
        assert breaker.state == "closed", f"opened by outcome {index} of {len(words)}"
        outcomes(breaker, word)
    assert breaker.state == state


def test_old_outcomes_do_not_count_for_the_rate(clock: Clock) -> None:
    """What is more than sixty seconds old says nothing about now; what is sixty seconds old does."""
    for later, state in ((60.0, "open"), (60.5, "closed")):
        breaker = Breaker(clock, failures=100)
        outcomes(breaker, "fsfsfsfsf")
        clock.now += later
        fail(breaker)
        assert breaker.state == state


def test_a_probe_closes_and_forgets(clock: Clock) -> None:
    """After the pause one submission may start; its success closes the breaker as if nothing had been."""
    breaker = Breaker(clock)
    fail(breaker, 5)
    clock.now += 29.9
    assert breaker.state == "open"
    clock.now += 0.1
    assert (breaker.state, breaker.open_for()) == ("half_open", 0.0)
    probe = start(breaker)
    assert probe.probe
    assert (breaker.state, breaker.allows(), breaker.admit()) == ("half_open", False, None)
    probe.succeeded()
    assert (breaker.state, breaker.failures, breaker.openings, breaker.why) == ("closed", 0, 0, "")
    assert not start(breaker).probe
    fail(breaker, 5)
    assert breaker.open_for() == 30.0


def test_what_failed_before_the_pause_is_forgotten(clock: Clock) -> None:
    """The outcomes that opened a breaker do not open it again after its probe succeeded."""
    breaker = Breaker(clock, failures=100, pause=1.0)
    outcomes(breaker, "fsfsfsfsff")
    clock.now += 1.0
    start(breaker).succeeded()
    outcomes(breaker, "sf")
    assert breaker.state == "closed"


@pytest.mark.parametrize(
    ("pause", "pauses"),
    [
        (30.0, [30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 300, 300]),
        (120.0, [120, 240, 300, 300]),
        (400.0, [400, 400]),
    ],
)
def test_pauses_grow_up_to_the_longest(clock: Clock, pause: float, pauses: list[float]) -> None:
    """Each failed probe makes the next pause longer, up to five minutes or the operator's own longer pause."""
    breaker = Breaker(clock, pause=pause)
    fail(breaker, 5)
    seen = []
    for _ in pauses:
        seen.append(breaker.open_for())
        clock.now += seen[-1]
        fail(breaker, why="still down")
    assert seen == pauses
    assert (breaker.openings, breaker.why) == (len(pauses) + 1, "still down")


@pytest.mark.parametrize("word", ["f", "s"])
def test_late_outcomes_count_for_nothing(clock: Clock, word: str) -> None:
    """Submissions from before an opening neither close nor lengthen it, nor count after it closed."""
    breaker = Breaker(clock)
    late = [start(breaker) for _ in range(20)]

    def end_five() -> None:
        for _ in range(5):
            trial = late.pop()
            trial.failed("too late") if word == "f" else trial.succeeded()

    fail(breaker, 5)
    end_five()
    assert (breaker.state, breaker.open_for(), breaker.failures, breaker.why) == ("open", 30.0, 5, "refused")
    clock.now += 30.0
    end_five()
    probe = start(breaker)
    end_five()
    assert (breaker.state, breaker.allows(), breaker.openings) == ("half_open", False, 1)
    probe.succeeded()
    fail(breaker, 4)
    end_five()
    assert (breaker.state, breaker.failures, breaker.why) == ("closed", 4, "refused")


def test_an_outcome_is_told_once(clock: Clock) -> None:
    """A second outcome of the same submission is ignored, whatever the first one was."""
    breaker = Breaker(clock)
    for first in ("failed", "abandoned"):
        trial = start(breaker)
        trial.failed("refused") if first == "failed" else trial.abandoned()
        for _ in range(10):
            trial.failed("again")
    assert (breaker.failures, breaker.why) == (1, "refused")
    trial.succeeded()
    assert breaker.failures == 1


def test_a_probe_without_outcome_is_given_back(clock: Clock) -> None:
    """An abandoned probe neither opens nor closes; the next job takes its place, and it can do nothing more."""
    breaker = Breaker(clock)
    fail(breaker, 5)
    clock.now += 30.0
    given_back = start(breaker)
    given_back.abandoned()
    assert (breaker.state, breaker.allows(), breaker.openings) == ("half_open", True, 1)
    probe = start(breaker)
    given_back.succeeded()
    given_back.abandoned()
    assert (breaker.state, breaker.allows()) == ("half_open", False)
    probe.failed("still down")
    assert (breaker.state, breaker.open_for()) == ("open", 60.0)


def test_abandoned_submissions_change_nothing_while_closed(clock: Clock) -> None:
    """The client's own mistakes break no row of failures and are none."""
    breaker = Breaker(clock)
    fail(breaker, 4)
    for _ in range(10):
        start(breaker).abandoned()
    assert (breaker.state, breaker.failures) == ("closed", 4)
    fail(breaker)
    assert breaker.state == "open"


@pytest.mark.parametrize("error", [RuntimeError, asyncio.CancelledError])
def test_a_broken_task_gives_its_probe_back(clock: Clock, error: type[BaseException]) -> None:
    """Used as a context manager, a trial without outcome ends with its block, and an outcome that was told stays."""
    breaker = Breaker(clock)
    fail(breaker, 5)
    clock.now += 30.0
    with pytest.raises(error), start(breaker):
        raise error
    assert breaker.allows()
    with start(breaker) as probe:
        probe.failed("still down")
    assert breaker.openings == 2


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.floats(0.01, 20), st.floats(0, 90)), min_size=150, max_size=150),
    st.sampled_from([1.0, 30.0, 90.0]),
)
def test_a_lasting_outage_costs_one_probe_in_each_pause(jobs: list[tuple[float, float]], pause: float) -> None:
    """While every submission fails, at its own time, no more than one starts in each pause, and pauses grow."""
    clock = Clock()
    breaker = Breaker(clock, pause=pause)
    running: list[tuple[float, int, Trial]] = []
    probes: list[float] = []
    for index, (gap, takes) in enumerate(jobs):
        following = clock.now + gap
        while running and running[0][0] <= following:
            clock.now, _, trial = running.pop(0)
            trial.failed("down")
        clock.now = following
        if (started := breaker.admit()) is not None:
            running = sorted([*running, (clock.now + takes, index, started)], key=lambda job: job[:2])
            if breaker.openings:
                probes.append(clock.now)
    gaps = [later - earlier for earlier, later in itertools.pairwise(probes)]
    assert all(gap >= min(pause * number, 300.0) - 1e-6 for number, gap in enumerate(gaps, start=2))


def test_ten_minutes_of_outage(clock: Clock) -> None:
    """A job every second for ten minutes at a dead upstream: five are paid for, then five probes."""
    breaker = Breaker(clock)
    paid = 0
    for _ in range(600):
        if (trial := breaker.admit()) is not None:
            paid += 1
            trial.failed("down")
        clock.now += 1.0
    assert paid == 5 + 5


def test_breakers_by_name(clock: Clock) -> None:
    """Each channel has its own breaker with its own settings; one whose entry changed starts anew."""
    patience = {"a": 1, "b": 2}
    breakers = Breakers(lambda name: Breaker(clock, failures=patience[name]))
    old = breakers.of("a")
    late = start(old)
    fail(old)
    fail(breakers.of("b"))
    assert [(name, breaker.state) for name, breaker in breakers] == [("a", "open"), ("b", "closed")]
    breakers.keep({"b"})
    assert [name for name, _ in breakers] == ["b"]
    assert (breakers.of("b").failures, breakers.of("a").state) == (1, "closed")
    late.failed("of the old entry")
    assert breakers.of("a").state == "closed"


class BreakerAgainstModel(RuleBasedStateMachine):
    """The model keeps the whole history and reads the state off it each time; the submissions may end in any order."""

    @initialize(failures=st.integers(1, 12), rate=st.sampled_from([0.3, 0.5, 1.0]), pause=st.sampled_from([1.0, 30.0]))
    def make(self, failures: int, rate: float, pause: float) -> None:
        self.clock = Clock()
        self.settings = failures, rate, pause
        self.breaker = Breaker(self.clock, failures=failures, error_rate=rate, pause=pause)
        self.running: list[tuple[Trial, int]] = []
        self.ended: list[Trial] = []
        self.history: list[tuple[float, bool]] = []
        self.era = 0
        self.pauses = 0
        self.closed_until: float | None = None
        self.row = 0

    def probes(self) -> list[Trial]:
        return [trial for trial, era in self.running if trial.probe and era == self.era]

    def trips(self) -> bool:
        failures, rate, _ = self.settings
        row = 0
        for _, succeeded in reversed(self.history):
            if succeeded:
                break
            row += 1
        lately = [ok for at, ok in self.history[-20:] if self.clock.now - at <= 60.0]
        return row >= failures or (len(lately) >= 10 and sum(not ok for ok in lately) / len(lately) >= rate)

    @rule(seconds=st.sampled_from([0.5, 1.0, 7.0, 29.5, 61.0, 300.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.now += seconds

    @precondition(lambda self: self.closed_until is not None)
    @rule()
    def the_pause_ends(self) -> None:
        assert self.closed_until is not None
        self.clock.now = max(self.clock.now, self.closed_until)

    @rule(jobs=st.integers(1, 4))
    def start(self, jobs: int) -> None:
        for _ in range(jobs):
            paused = self.closed_until is not None and self.clock.now < self.closed_until
            allowed = self.closed_until is None or (not paused and not self.probes())
            trial = self.breaker.admit()
            assert (trial is not None) == allowed
            if trial is not None:
                assert trial.probe == (self.closed_until is not None)
                self.running.append((trial, self.era))

    @precondition(lambda self: self.running)
    @rule(data=st.data(), outcome=st.sampled_from(["failed", "failed", "failed", "succeeded", "abandoned"]))
    def end(self, data: st.DataObject, outcome: str) -> None:
        trial, era = self.running.pop(data.draw(st.integers(0, len(self.running) - 1), "which"))
        self.ended.append(trial)
        trial.failed("down") if outcome == "failed" else getattr(trial, outcome)()
        if era != self.era or outcome == "abandoned":
            return
        succeeded = outcome == "succeeded"
        self.row = 0 if succeeded else self.row + 1
        self.history.append((self.clock.now, succeeded))
        if succeeded and self.closed_until is not None:
            self.era += 1
            self.closed_until, self.pauses, self.history = None, 0, []
        elif not succeeded and (self.closed_until is not None or self.trips()):
            self.era += 1
            self.pauses += 1
            self.closed_until = self.clock.now + min(self.settings[2] * self.pauses, 300.0)
            self.history = []

    @precondition(lambda self: self.ended)
    @rule(data=st.data(), outcome=st.sampled_from(["failed", "succeeded", "abandoned"]))
    def end_again(self, data: st.DataObject, outcome: str) -> None:
        trial = data.draw(st.sampled_from(self.ended), "which")
        trial.failed("again") if outcome == "failed" else getattr(trial, outcome)()

    @invariant()
    def agrees(self) -> None:
        left = 0.0 if self.closed_until is None else max(self.closed_until - self.clock.now, 0.0)
        state = "closed" if self.closed_until is None else "open" if left else "half_open"
        assert self.breaker.state == state
        assert self.breaker.open_for() == left
        assert len(self.probes()) <= 1
        assert self.breaker.allows() == (state == "closed" or (state == "half_open" and not self.probes()))
        assert (self.breaker.failures, self.breaker.openings) == (self.row, self.pauses)
        assert self.breaker.why == ("down" if self.row else "")


TestBreakerAgainstModel = BreakerAgainstModel.TestCase
TestBreakerAgainstModel.settings = settings(max_examples=100, stateful_step_count=60, deadline=None)
