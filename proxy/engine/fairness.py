"""The order of the durable queue: first come, first served within a key; fair between keys.

Waiting videos stand in lanes, one for each key and group; a group is whatever says which channels may serve a video. A
lane moves in the order of its ids. Of the lanes that may go, that of the key goes that was served longest ago, whatever
it was served with: keys share the channels, not the models. A key with a thousand waiting delays another by one turn.

Nothing here waits, reads a clock or knows a channel. With n videos waiting, an operation takes about log n steps;
`next` also looks once at each group, and `served` once at each lane of its key. So a group should name the channels
that could serve, of which there are few sets, and not what a client asked for, of which there may be as many as videos.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

Group = TypeVar("Group", bound=Hashable)

REMEMBERED = 1024
"""Keys that wait no more whose last turn is kept in mind."""


class _Ranking:
    """Video ids by rank, then by id. What is dropped stays in the heap until it comes up or outnumbers the rest."""

    __slots__ = ("_heap", "_ranks")

    def __init__(self) -> None:
        self._ranks: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._ranks)

    def __contains__(self, video_id: str) -> bool:
        return video_id in self._ranks

    def put(self, video_id: str, rank: float = 0) -> None:
        """Take an id in, or give it another rank."""
        if self._ranks.get(video_id) != rank:
            self._ranks[video_id] = rank
            heapq.heappush(self._heap, (rank, video_id))
            self._tidy()

    def drop(self, video_id: str) -> None:
        """Take an id out that may be here."""
        if self._ranks.pop(video_id, None) is not None:
            self._tidy()

    def first(self) -> tuple[float, str] | None:
        """The lowest rank and its id."""
        while self._heap:
            rank, video_id = self._heap[0]
            if self._ranks.get(video_id) == rank:
                return self._heap[0]
            heapq.heappop(self._heap)
        return None

    def _tidy(self) -> None:
        # As many steps as entries were made useless since the last time: one each.
        if len(self._heap) > 2 * len(self._ranks) + 8:
            self._heap = [(rank, video_id) for video_id, rank in self._ranks.items()]
            heapq.heapify(self._heap)


@dataclass(slots=True)
class _Lane:
    """The videos of one key in one group."""

    videos: _Ranking = field(default_factory=_Ranking)
    head: str | None = None


@dataclass(slots=True)
class _Waiter(Generic[Group]):
    """A key with videos waiting; `turn` is greater the later it was served."""

    turn: int
    count: int = 0
    lanes: dict[Group, _Lane] = field(default_factory=dict)


@dataclass(slots=True)
class _Waiting:
    """A group with videos waiting; `ready` ranks those heads of its lanes that are due by their keys' turns."""

    count: int = 0
    ready: _Ranking = field(default_factory=_Ranking)


class _Place(NamedTuple, Generic[Group]):
    key_id: str
    group: Group
    not_before: float


class FairQueue(Generic[Group]):
    """Ids of waiting videos in the order in which they may go. Ids are texts that sort by creation.

    `remembered`: of how many keys that wait no more the last turn is kept. A key that was forgotten, or never served,
    counts as served with the latest turn that was forgotten: forgetting brings nobody forward.
    """

    def __init__(self, *, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._places: dict[str, _Place[Group]] = {}
        self._by_age = _Ranking()
        self._waiters: dict[str, _Waiter[Group]] = {}
        self._groups: dict[Group, _Waiting] = {}
        self._later = _Ranking()
        """Heads of lanes that were not seen to be due, by the time from which they are."""
        self._gone: OrderedDict[str, int] = OrderedDict()
        self._forgotten = 0
        self._turns = 0

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, video_id: str) -> bool:
        return video_id in self._places

    def add(self, video_id: str, key_id: str, group: Group, *, not_before: float = 0.0) -> None:
        """Queue a video at the place that its id gives it; one that waits already moves to what is said now.

        Until `not_before` (seconds on the clock of `next`) it does not go, nor does what stands behind it in its lane.
        """
        waiter = self._waiters.get(key_id)
        if waiter is None:
            waiter = self._waiters[key_id] = _Waiter(self._gone.pop(key_id, self._forgotten))
        # Counted before it is taken out where it stood, so that its key is not taken for gone in between.
        waiter.count += 1
        self.remove(video_id)
        self._places[video_id] = _Place(key_id, group, not_before)
        self._by_age.put(video_id)
        lane = waiter.lanes.setdefault(group, _Lane())
        lane.videos.put(video_id)
        self._groups.setdefault(group, _Waiting()).count += 1
        self._look_at_head(lane, group)

    def remove(self, video_id: str) -> None:
        """Let a video go that was submitted, deleted or given up; nothing happens where it does not wait."""
        place = self._places.pop(video_id, None)
        if place is None:
            return
        self._by_age.drop(video_id)
        waiter = self._waiters[place.key_id]
        lane = waiter.lanes[place.group]
        lane.videos.drop(video_id)
        self._look_at_head(lane, place.group)
        if not lane.videos:
            del waiter.lanes[place.group]
        waiting = self._groups[place.group]
        waiting.count -= 1
        if not waiting.count:
            del self._groups[place.group]
        waiter.count -= 1
        if not waiter.count:
            del self._waiters[place.key_id]
            self._remember(place.key_id, waiter.turn)

    def next(self, is_open: Callable[[Group], bool], now: float) -> str | None:
        """The video to go next among those of open groups that are due at `now`; None where there is none.

        It stays in the queue: `remove` it, and tell `served` of its key. `is_open` is asked about groups with something
        due, each at most once, and must not change the queue. `now` never goes back; what was due stays due.
        """
        self._ripen(now)
        best: tuple[float, str] | None = None
        for group, waiting in self._groups.items():
            first = waiting.ready.first()
            if first is not None and (best is None or first < best) and is_open(group):
                best = first
        return None if best is None else best[1]

    def served(self, key_id: str) -> None:
        """A video of this key goes to a channel now, from the queue or past it: all other keys come before it."""
        self._turns += 1
        waiter = self._waiters.get(key_id)
        if waiter is None:
            self._remember(key_id, self._turns)
            return
        waiter.turn = self._turns
        for group, lane in waiter.lanes.items():
            ready = self._groups[group].ready
            if lane.head is not None and lane.head in ready:
                ready.put(lane.head, waiter.turn)

    def groups(self) -> tuple[Group, ...]:
        """The groups with something waiting."""
        return tuple(self._groups)

    def group(self, video_id: str) -> Group:
        """The group that a waiting video was queued in; `KeyError` where it does not wait."""
        return self._places[video_id].group

    def waits(self, group: Group) -> bool:
        """Whether anything waits in `group`: a new order of it must stand in line."""
        return group in self._groups

    def count(self, key_id: str) -> int:
        """How many videos of a key wait."""
        waiter = self._waiters.get(key_id)
        return 0 if waiter is None else waiter.count

    def oldest(self) -> str | None:
        """The least id that waits."""
        first = self._by_age.first()
        return None if first is None else first[1]

    def soonest(self, now: float) -> float | None:
        """The next time after `now` at which a lane may move that only waits for its time; None where there is none."""
        self._ripen(now)
        first = self._later.first()
        return None if first is None else first[0]

    def _look_at_head(self, lane: _Lane, group: Group) -> None:
        """Put the head of a lane that has changed where it can be found, and take the one before out of there."""
        first = lane.videos.first()
        head = None if first is None else first[1]
        if head == lane.head:
            return
        if lane.head is not None:
            self._later.drop(lane.head)
            self._groups[group].ready.drop(lane.head)
        if head is not None:
            self._later.put(head, self._places[head].not_before)
        lane.head = head

    def _ripen(self, now: float) -> None:
        while (first := self._later.first()) is not None and first[0] <= now:
            video_id = first[1]
            self._later.drop(video_id)
            place = self._places[video_id]
            self._groups[place.group].ready.put(video_id, self._waiters[place.key_id].turn)

    def _remember(self, key_id: str, turn: int) -> None:
        self._gone[key_id] = turn
        self._gone.move_to_end(key_id)
        if len(self._gone) > self._remembered:
            self._forgotten = max(self._forgotten, self._gone.popitem(last=False)[1])
