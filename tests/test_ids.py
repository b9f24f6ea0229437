"""Our ids: time-ordered, unique, unguessable."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.ids import ID_PATTERN, Sequence, created_at, new_id


@settings(deadline=None, max_examples=200)
@given(st.lists(st.integers(-(10**10), 10**10), max_size=200))
def test_ids_increase_whatever_the_clock_does(steps):
    """Each id is greater than the one before, also when the clock stands still or steps back, and dates stay near."""
    now = 1_800_000_000 * 10**9

    def clock():
        return now

    sequence = Sequence(clock)
    latest = now
    before = ""
    for step in steps:
        now += step
        latest = max(latest, now)
        id_ = sequence.next("video")
        assert id_ > before
        assert ID_PATTERN.fullmatch(id_)
        assert created_at(id_) <= latest // 10**9
        before = id_


def test_a_burst_in_one_millisecond_stays_in_order():
    """More ids than the counter holds, all in one millisecond, still increase."""
    sequence = Sequence(lambda: 1_800_000_000 * 10**9)
    ids = [sequence.next("video") for _ in range(150_000)]
    assert ids == sorted(set(ids))
    assert created_at(ids[-1]) == 1_800_000_000


def test_ids_of_many_threads_are_unique():
    """Four threads that make ids at once never make one twice, and each sees its own increase."""
    made = [[] for _ in range(4)]
    threads = [
        threading.Thread(target=lambda ids: ids.extend(new_id("att") for _ in range(5000)), args=(m,)) for m in made
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(ids == sorted(ids) for ids in made)
    assert len({id_ for ids in made for id_ in ids}) == 20_000


def test_an_id_says_when_it_was_made():
    """`created_at` is the second of the clock that made the id."""
    before = int(time.time())
    assert before <= created_at(new_id("video")) <= int(time.time())
    assert created_at(Sequence(lambda: 1_234_567_890_999_000_000).next("char")) == 1_234_567_890


ZEROS = "0" * 32


@pytest.mark.parametrize(
    "text",
    [
        *("", "video_", f"video_g{ZEROS[1:]}", f"video_{ZEROS[1:]}", f"video_0{ZEROS}", f"video_A{ZEROS[1:]}"),
        *(f"../{ZEROS}", f"video_{ZEROS}\n", ZEROS, "x" * 10_000),
    ],
)
def test_what_is_no_id_is_refused(text):
    """`created_at` refuses whatever has not the form of an id, in a short sentence."""
    with pytest.raises(ValueError, match="no id of ours") as refused:
        created_at(text)
    assert len(str(refused.value)) < 200
