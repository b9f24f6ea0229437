"""The order of the queue: first come, first served within a key, and fair between keys."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from proxy.engine.fairness import FairQueue

GROUPS: tuple[Hashable, ...] = (None, "x", ("y", 1))
"""Groups that cannot be compared with each other."""


def everything(group: Hashable) -> bool:
    return True


def nothing(group: Hashable) -> bool:
    return False


def name(number: int) -> str:
    return f"video_{number:06}"


def serve(queue: FairQueue[str], key_of: dict[str, str], *, now: float = 0.0) -> str | None:
    """Let the next video go; answers its key."""
    video_id = queue.next(everything, now)
    if video_id is None:
        return None
    queue.remove(video_id)
    queue.served(key_of[video_id])
    return key_of[video_id]


def fill(queue: FairQueue[str], keys: str, group: str = "g") -> dict[str, str]:
    """Queue one video for each letter, in this order; answers the key of each id."""
    key_of = {name(number): key for number, key in enumerate(keys)}
    for video_id, key in key_of.items():
        queue.add(video_id, key, group)
    return key_of


def test_a_thousand_do_not_starve_one() -> None:
    """A key with one video waits for one turn of a key with a thousand, wherever its video stands."""
    queue = FairQueue[str]()
    key_of = fill(queue, "a" * 1000 + "b")
    assert [serve(queue, key_of) for _ in range(4)] == ["a", "b", "a", "a"]


def test_keys_take_turns() -> None:
    """The key that was served longest ago goes first; keys that never were go by their oldest video."""
    queue = FairQueue[str]()
    key_of = fill(queue, "aaacbbcc")
    assert [serve(queue, key_of) for _ in range(9)] == [*"acbacbac", None]


def test_turns_hold_across_groups() -> None:
    """A key that was served in one group stands behind others in every group."""
    queue = FairQueue[str]()
    queue.add("video_1", "a", "x")
    queue.add("video_2", "a", "y")
    queue.add("video_3", "b", "y")
    assert queue.next(lambda group: group == "y", 0.0) == "video_2"
    queue.remove("video_1")
    queue.served("a")
    assert queue.next(lambda group: group == "y", 0.0) == "video_3"


def test_a_turn_outlasts_an_empty_lane() -> None:
    """A key that queues again as soon as it was served takes no second turn before the others."""
    queue = FairQueue[str]()
    queue.add("video_1", "a", "g")
    queue.add("video_2", "b", "g")
    queue.remove("video_1")
    queue.served("a")
    queue.add("video_0", "a", "g")
    assert queue.next(everything, 0.0) == "video_2"


def test_turns_taken_past_the_queue_count() -> None:
    """A key that was served without waiting stands behind one that was not."""
    queue = FairQueue[str]()
    queue.served("a")
    fill(queue, "ab")
    assert queue.next(everything, 0.0) == name(1)


def test_within_a_key_across_groups() -> None:
    """Of one key's videos in several open groups the oldest goes first; one that cannot go delays no other."""
    queue = FairQueue[str]()
    for number, group in enumerate("xyxy"):
        queue.add(name(number), "a", group)
    assert queue.next(everything, 0.0) == name(0)
    assert queue.next(lambda group: group == "y", 0.0) == name(1)
    queue.remove(name(0))
    assert queue.next(everything, 0.0) == name(1)


def test_what_is_put_back_returns_to_its_place() -> None:
    """A refused video goes again before the younger ones of its lane, once its time has come, and holds them till then.

    It holds neither its key's other lanes nor other keys.
    """
    queue = FairQueue[str]()
    for number in range(3):
        queue.add(name(number), "a", "x")
    queue.add(name(3), "a", "y")
    queue.add(name(4), "b", "x")
    assert queue.next(everything, 10.0) == name(0)
    queue.remove(name(0))
    queue.served("a")
    queue.add(name(0), "a", "x", not_before=15.0)
    assert (queue.next(everything, 10.0), queue.soonest(10.0)) == (name(4), 15.0)
    queue.remove(name(4))
    assert queue.next(everything, 10.0) == name(3)
    queue.remove(name(3))
    assert queue.next(everything, 14.9) is None
    assert queue.next(everything, 15.0) == name(0)
    assert queue.soonest(15.0) is None


def test_adding_again_moves() -> None:
    """A video that waits already is there once, as it was added last, and keeps its key's turn."""
    queue = FairQueue[str]()
    queue.served("a")
    queue.add("video_1", "a", "x")
    queue.add("video_2", "b", "x")
    for _ in range(2):
        queue.add("video_1", "a", "y", not_before=5.0)
    assert (len(queue), queue.groups(), queue.count("a")) == (2, ("x", "y"), 1)
    assert queue.next(lambda group: group == "y", 4.0) is None
    assert queue.next(everything, 5.0) == "video_2"
    queue.add("video_2", "a", "x")
    assert (queue.count("a"), queue.count("b")) == (2, 0)
    queue.remove("video_1")
    queue.remove("video_1")
    assert (len(queue), "video_1" in queue, queue.groups(), queue.oldest()) == (1, False, ("x",), "video_2")


def test_new_keys_do_not_starve_an_old_one() -> None:
    """Also where every turn brings a key that was never seen before, a waiting key has its turn."""
    queue = FairQueue[str](remembered=4)
    key_of = fill(queue, "a" * 50)
    turns = []
    for number in range(100, 160):
        key_of[name(number)] = f"new {number}"
        queue.add(name(number), f"new {number}", "g")
        turns.append(serve(queue, key_of))
    assert turns.count("a") >= 60 // 8


def test_forgetting_brings_nobody_forward() -> None:
    """A forgotten key comes back behind one that waits since before its last turn."""
    queue = FairQueue[str](remembered=0)
    queue.add(name(0), "old", "g")
    queue.served("other")
    queue.add(name(2), "patient", "g")
    queue.served("eager")
    queue.remove(name(0))
    queue.add(name(1), "eager", "g")
    assert queue.next(everything, 0.0) == name(2)


def test_the_latest_turns_are_remembered() -> None:
    """It is the key that was served longest ago that is forgotten, and none that waits takes the place of another."""
    queue = FairQueue[str](remembered=2)
    for key in "abac":
        queue.served(key)
    fill(queue, "ad")
    assert queue.next(everything, 0.0) == name(1)
    queue.served("b")
    queue.add(name(2), "new", "g")
    queue.remove(name(1))
    assert queue.next(everything, 0.0) == name(2)


def test_closed_groups_are_not_asked_in_vain() -> None:
    """A group is asked for at most once in a look, and only where something of it is due."""
    queue = FairQueue[str]()
    queue.add(name(0), "a", "x")
    queue.add(name(1), "b", "x")
    queue.add(name(2), "b", "y", not_before=9.0)
    asked: list[str] = []

    def closed(group: str) -> bool:
        asked.append(group)
        return False

    assert queue.next(closed, 1.0) is None
    assert asked == ["x"]


@settings(deadline=None)
@given(st.permutations(range(60)), st.permutations(range(60)))
def test_order_does_not_hang_on_the_order_of_adding(added: list[int], removed: list[int]) -> None:
    """Whatever order videos were queued in and most of them taken out again, the others go by their ids."""
    queue = FairQueue[str]()
    for number in added:
        queue.add(name(number), "a", "g")
    for number in removed[10:]:
        queue.remove(name(number))
    left = sorted(map(name, removed[:10]))
    assert queue.oldest() == left[0]
    for video_id in left:
        assert queue.next(everything, 0.0) == video_id
        queue.remove(video_id)


class QueueAgainstModel(RuleBasedStateMachine):
    """The model is a plain map of what waits, read through from the beginning each time."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = FairQueue[Hashable]()
        self.waiting: dict[str, tuple[str, Hashable, float]] = {}
        self.taken_out: list[str] = []
        self.turns: dict[str, int] = {}
        self.made = 0
        self.served = 0
        self.now = 0.0

    def heads(self, open_groups: Collection[Hashable] = GROUPS) -> list[str]:
        """The first video of each lane of these groups."""
        heads: dict[tuple[str, Hashable], str] = {}
        for video_id in sorted(self.waiting):
            key, group, _ = self.waiting[video_id]
            heads.setdefault((key, group), video_id)
        return [video_id for (_, group), video_id in heads.items() if group in open_groups]

    def expected(self, open_groups: Collection[Hashable]) -> str | None:
        due = [head for head in self.heads(open_groups) if self.waiting[head][2] <= self.now]
        return min(due, key=lambda head: (self.turns.get(self.waiting[head][0], 0), head), default=None)

    def put(self, video_id: str, key: str, group: Hashable, later: float) -> None:
        not_before = self.now + later if later else 0.0
        self.queue.add(video_id, key, group, not_before=not_before)
        self.waiting[video_id] = key, group, not_before

    keys = st.sampled_from("abcd")
    groups = st.sampled_from(GROUPS)
    laters = st.sampled_from([0.0, 0.0, 0.0, 1.0, 5.0])

    @rule(key=keys, group=groups, later=laters, times=st.integers(1, 5))
    def add(self, key: str, group: Hashable, later: float, times: int) -> None:
        for _ in range(times):
            self.made += 1
            self.put(name(self.made), key, group, later)

    @precondition(lambda self: self.taken_out)
    @rule(data=st.data(), key=keys, group=groups, later=laters)
    def put_back(self, data: st.DataObject, key: str, group: Hashable, later: float) -> None:
        video_id = data.draw(st.sampled_from(self.taken_out))
        self.taken_out.remove(video_id)
        self.put(video_id, key, group, later)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data(), key=keys, group=groups, later=laters)
    def move(self, data: st.DataObject, key: str, group: Hashable, later: float) -> None:
        self.put(data.draw(st.sampled_from(sorted(self.waiting))), key, group, later)

    @precondition(lambda self: self.made)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        video_id = name(data.draw(st.integers(1, self.made + 1)))
        self.queue.remove(video_id)
        if self.waiting.pop(video_id, None) is not None:
            self.taken_out.append(video_id)

    @rule(open_groups=st.sets(groups), times=st.integers(1, 6), marked_first=st.booleans())
    def serve(self, open_groups: set[Hashable], times: int, marked_first: bool) -> None:
        for _ in range(times):
            video_id = self.queue.next(open_groups.__contains__, self.now)
            assert video_id == self.expected(open_groups)
            if video_id is None:
                return
            key = self.waiting.pop(video_id)[0]
            self.taken_out.append(video_id)
            if marked_first:
                self.queue.served(key)
            self.queue.remove(video_id)
            if not marked_first:
                self.queue.served(key)
            self.mark(key)

    @rule(key=keys)
    def serve_past_the_queue(self, key: str) -> None:
        self.queue.served(key)
        self.mark(key)

    def mark(self, key: str) -> None:
        self.served += 1
        self.turns[key] = self.served

    @rule(seconds=st.sampled_from([0.5, 1.0, 10.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def agrees(self) -> None:
        queue, waiting = self.queue, self.waiting
        assert len(queue) == len(waiting)
        assert [name(number) in queue for number in range(self.made + 1)] == [
            name(number) in waiting for number in range(self.made + 1)
        ]
        groups = {group for _, group, _ in waiting.values()}
        assert Counter(queue.groups()) == Counter(groups)
        assert [queue.waits(group) for group in GROUPS] == [group in groups for group in GROUPS]
        assert [queue.count(key) for key in "abcd"] == [[k for k, _, _ in waiting.values()].count(k) for k in "abcd"]
        assert [queue.group(video_id) for video_id in waiting] == [group for _, group, _ in waiting.values()]
        assert queue.oldest() == min(waiting, default=None)
        later = [waiting[head][2] for head in self.heads() if waiting[head][2] > self.now]
        assert queue.soonest(self.now) == min(later, default=None)
        assert queue.next(everything, self.now) == self.expected(GROUPS)
        assert queue.next(nothing, self.now) is None


TestQueueAgainstModel = QueueAgainstModel.TestCase
TestQueueAgainstModel.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


class FairnessBound(RuleBasedStateMachine):
    """However few keys the queue remembers: while a key with an open, due head waits, no other goes twice."""

    @initialize(remembered=st.sampled_from([0, 1, 3]))
    def make(self, remembered: int) -> None:
        self.queue = FairQueue[str](remembered=remembered)
        self.waiting: dict[str, tuple[str, str]] = {}
        self.since: dict[str, set[str]] = {}
        """The keys that were served since a waiting key was, or came."""
        self.made = 0

    @rule(key=st.sampled_from("abcdefgh"), group=st.sampled_from("xy"), times=st.integers(1, 3))
    def add(self, key: str, group: str, times: int) -> None:
        for _ in range(times):
            self.made += 1
            self.waiting[name(self.made)] = key, group
            self.queue.add(name(self.made), key, group)
        self.since.setdefault(key, set())

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        self.take_out(data.draw(st.sampled_from(sorted(self.waiting))))

    @rule(open_groups=st.sampled_from(["x", "y", "xy"]), times=st.integers(1, 8))
    def serve(self, open_groups: str, times: int) -> None:
        for _ in range(times):
            video_id = self.queue.next(open_groups.__contains__, 0.0)
            could = {key for key, group in self.waiting.values() if group in open_groups}
            assert (video_id is None) == (not could)
            if video_id is None:
                return
            key, group = self.waiting[video_id]
            assert group in open_groups
            assert video_id == min(other for other, place in self.waiting.items() if place == (key, group))
            assert not [other for other in could - {key} if key in self.since[other]]
            for served in self.since.values():
                served.add(key)
            self.since[key] = set()
            self.queue.served(key)
            self.take_out(video_id)

    def take_out(self, video_id: str) -> None:
        key, _ = self.waiting.pop(video_id)
        self.queue.remove(video_id)
        if key not in {key for key, _ in self.waiting.values()}:
            del self.since[key]


TestFairnessBound = FairnessBound.TestCase
TestFairnessBound.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


@settings(deadline=None)
@given(st.lists(st.sampled_from("abcde"), min_size=1, max_size=60).map("".join))
def test_each_key_in_its_own_order(keys: str) -> None:
    """All go in the end, and those of one key in the order in which they came."""
    queue = FairQueue[str]()
    key_of = fill(queue, keys)
    gone = []
    while (video_id := queue.next(everything, 0.0)) is not None:
        gone.append(video_id)
        assert serve(queue, key_of) == key_of[video_id]
    assert sorted(gone) == sorted(key_of)
    for key in set(keys):
        own = [video_id for video_id in gone if key_of[video_id] == key]
        assert own == sorted(own)
    assert queue.groups() == ()
