"""What the order of the queue costs: counted in instructions, never in seconds."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from types import FrameType

import pytest

from proxy.engine import fairness
from proxy.engine.fairness import FairQueue


def everything(group: str) -> bool:
    return True


def nothing(group: str) -> bool:
    return False


def name(number: int) -> str:
    return f"video_{number:06}"


class Counted(str):
    """An id that counts how often any is compared with another."""

    __slots__ = ()
    compared = 0
    __hash__ = str.__hash__

    def __lt__(self, other: str) -> bool:
        Counted.compared += 1
        return str.__lt__(self, other)

    def __eq__(self, other: object) -> bool:
        Counted.compared += 1
        return str.__eq__(self, other)


def cost(work: Callable[[], object]) -> int:
    """The instructions that fairness.py runs in `work`, and the comparisons of ids that it has done in C."""
    instructions = 0

    def trace(frame: FrameType, event: str, argument: object) -> object:
        nonlocal instructions
        if frame.f_code.co_filename != fairness.__file__:
            return None
        frame.f_trace_opcodes = True
        instructions += event == "opcode"
        return trace

    compared = Counted.compared
    before = sys.gettrace()
    sys.settrace(trace)  # type: ignore[arg-type]
    try:
        work()
    finally:
        sys.settrace(before)
    return instructions + Counted.compared - compared


def crowd(videos: int, keys: int, groups: int = 3) -> FairQueue[str]:
    queue = FairQueue[str]()
    for number in range(videos):
        queue.add(Counted(name(number)), f"key {number % keys}", f"group {number // 7 % groups}")
    # What becomes due is sorted in when it is first looked for, once for each lane.
    queue.next(everything, 0.0)
    return queue


def turn(queue: FairQueue[str]) -> None:
    video_id = queue.next(everything, 0.0)
    assert video_id is not None
    key = f"key {int(video_id[6:]) % 7}"
    queue.served(key)
    queue.remove(video_id)
    queue.add(video_id, key, "group 1", not_before=1.0)


OPERATIONS: dict[str, Callable[[FairQueue[str], int], object]] = {
    "nothing can go": lambda queue, _: queue.next(nothing, 0.0),
    "one group is open": lambda queue, _: queue.next(lambda group: group == "group 2", 0.0),
    "a turn and a put-back": lambda queue, _: turn(queue),
    "added last": lambda queue, number: queue.add(Counted(name(500_000 + number)), "key 3", "group 1"),
    "added first": lambda queue, number: queue.add(Counted(f"video_-{500 - number:03}"), "key 3", "group 1"),
    "removed anywhere": lambda queue, number: queue.remove(name(number * 7)),
    "served": lambda queue, number: queue.served(f"key {number % 7}"),
    "the oldest": lambda queue, _: queue.oldest(),
    "the soonest": lambda queue, _: queue.soonest(0.0),
    "how many": lambda queue, number: (len(queue), queue.count(f"key {number}"), queue.groups(), queue.waits("group")),
}


@pytest.mark.parametrize("keys", [7, 100_000], ids=["few keys", "a key each"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_cost_does_not_grow_with_the_crowd(operation: str, keys: int) -> None:
    """With twenty times as many waiting no operation takes twice as long: it is no pass over what waits."""

    def of(videos: int) -> int:
        queue = crowd(videos, keys)
        return cost(lambda: [OPERATIONS[operation](queue, number) for number in range(100)])

    small, large = of(500), of(10_000)
    assert small > 0
    assert large < 2 * small


def test_emptying_costs_as_much_as_filling() -> None:
    """Eight times as many videos cost about eight times as much to queue and to take out again, in whatever order."""

    def of(videos: int) -> int:
        def work() -> None:
            queue = crowd(videos, 50)
            for number in reversed(range(videos)):
                queue.remove(name(number))
            assert queue.oldest() is None

        return cost(work)

    assert of(8_000) < 8 * 1.5 * of(1_000)


def test_nothing_is_kept_of_what_has_gone() -> None:
    """However much came and went, was put off or served, the queue keeps what waits and a few turns."""
    queue = FairQueue[str](remembered=10)
    for number in range(10):
        queue.add(name(number), f"key {number:06}", f"group {number:06}")
    few = len(pickle.dumps(queue))
    for number in range(10, 5_000):
        key, group = f"key {number:06}", f"group {number:06}"
        queue.add(name(number), key, group)
        for later in range(3):
            queue.add(name(number), key, group, not_before=number + later)
            queue.add(name(0), "key 000000", "group 000000", not_before=number * 3 + later)
        queue.next(everything, number)
        queue.served(key)
        queue.served("key 000000")
        queue.remove(name(number))
    assert len(queue) == 10
    assert len(pickle.dumps(queue)) < 3 * few
