"""The usual time of a channel and model, and when a client is told to ask again."""

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from proxy.engine import usual
from proxy.engine.usual import Usual
from tests.engine.poll_world import World

seconds = st.floats(0, 10**6)
paces = st.floats(0.001, 10**4)
VIDEO = replace(World().video("a"), changed_at=1000.0)


@given(st.lists(seconds, min_size=1, max_size=100))
def test_the_usual_time_is_the_median_of_the_last(taken: list[float]) -> None:
    """What was long ago, and one that took for ever, do not matter; other channels and models have their own."""
    known = Usual()
    for one in taken:
        known.note("a", "m", one)
    assert known.of("a", "m") == statistics.median(taken[-usual.REMEMBERED :])
    assert known.of("a", "n") is known.of("b", "m") is None


def test_only_so_many_are_remembered() -> None:
    """Those that completed last: names that clients make up take no memory."""
    known = Usual()
    known.note("a", "m", 1.0)
    for number in range(2 * usual.MOST_MODELS):
        if number == usual.MOST_MODELS // 2:
            known.note("a", "m", 3.0)
        known.note("a", f"made up {number}", 1.0)
        wanted = 1.0 if number < usual.MOST_MODELS // 2 else 2.0 if number < usual.MOST_MODELS * 1.5 - 1 else None
        assert known.of("a", "m") == wanted
    assert len(known._seconds) == len(known._median) == usual.MOST_MODELS
    assert known.of("a", "made up 0") is None


def of(taken: float | None) -> Usual:
    known = Usual()
    if taken is not None:
        known.note("a", "m", taken)
    return known


@given(st.one_of(st.none(), seconds), paces, st.floats(-100, 10**6))
def test_a_client_is_told_something_sensible(taken: float | None, pace: float, elapsed: float) -> None:
    """Never less than 50 ms or more than 15 s, and not sooner than the engine itself asks."""
    wait = of(taken).poll_after(VIDEO, 1000.0 + elapsed, pace)
    assert 0.05 <= wait <= 15.0
    assert wait >= min(pace, 15.0)


@given(seconds, seconds, paces, st.floats(0, 10**6))
def test_what_takes_longer_is_asked_for_less_often(one: float, other: float, pace: float, elapsed: float) -> None:
    """At any moment, a longer usual time is no shorter wait."""
    waits = [of(taken).poll_after(VIDEO, 1000.0 + elapsed, pace) for taken in sorted((one, other))]
    assert waits == sorted(waits)


@given(st.floats(1, 140), st.floats(0, 1), st.floats(0, 1))
def test_the_first_answer_holds_until_the_end_is_near(taken: float, early: float, overdue: float) -> None:
    """It is a tenth of the usual time from the beginning until the last tenth, and shorter from then on; one that has
    not begun is at the beginning."""
    known = of(taken)
    first = known.poll_after(VIDEO, 1000.0, 0.01)
    assert first == pytest.approx(taken / 10)
    assert known.poll_after(VIDEO, 1000.0 + early * taken * 0.89, 0.01) == first
    assert known.poll_after(VIDEO, 1000.0 + taken * (0.91 + overdue), 0.01) == pytest.approx(max(taken / 20, 0.05))
    waiting = replace(VIDEO, stage="waiting", status="queued", changed_at=0.0)
    assert known.poll_after(waiting, 1000.0 + taken * 2, 0.01) == first


def test_without_a_usual_time_it_is_the_pace() -> None:
    """Before anything has completed, a client is told how often the engine asks."""
    assert of(None).poll_after(VIDEO, 1000.0, 5.0) == 5.0
