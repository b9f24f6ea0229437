"""The durable queue: videos that no channel had room for, submitted in their turn when one has."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Hashable

from proxy.engine import states
from proxy.engine.core import Core, log
from proxy.engine.decisions import explain
from proxy.engine.fairness import FairQueue
from proxy.engine.requests import Placement
from proxy.engine.routing import pin_of, waiting_placements
from proxy.engine.states import IllegalMove
from proxy.engine.submissions import Submission, Submitter, record_attempt, refusal_of
from proxy.errors import ApiError, StoreError
from proxy.models import JobError
from proxy.records import Video
from proxy.store import ChannelFull, LeaseLost, StoreBusy

REMEMBERED = 10_000
"""Kinds of demands whose channels are remembered."""
LOOK_AGAIN = 1.0
"""Seconds after which the queue looks again although nothing told it to: a channel may have come back."""


class WaitingQueue:
    """First come, first served within a key, in turns between keys; what cannot go now holds up nobody else.

    Videos that the same channels could make form a group, so that a look at a full queue costs a look at each group.
    """

    def __init__(self, core: Core, submitter: Submitter) -> None:
        self._core = core
        self._submitter = submitter
        self._waiting: dict[str, Video] = {}
        self._order: FairQueue[frozenset[str]] = FairQueue()
        self._groups: dict[Hashable, frozenset[str]] = {}
        self._refused: dict[str, frozenset[str]] = {}
        """Channels that said that they cannot take a video, by its id."""

    def __len__(self) -> int:
        return len(self._waiting)

    def lengths(self) -> dict[tuple[str, ...], float]:
        """How many videos wait, by their model."""
        found: dict[tuple[str, ...], float] = {}
        for video in self._waiting.values():
            found[video.model,] = found.get((video.model,), 0) + 1
        return found

    def oldest(self) -> float:
        """Seconds since the video that waits longest was accepted; 0 where none waits."""
        first = self._order.oldest()
        return 0.0 if first is None else max(self._core.clock() - self._waiting[first].created_at, 0.0)

    def _group(self, video: Video) -> frozenset[str]:
        # By the channels, not by what was asked for: of that, clients could make as many kinds as they like.
        demands = _demands(video)
        group = self._groups.get(demands)
        if group is None:
            if len(self._groups) >= REMEMBERED:
                self._groups.clear()
            pin = pin_of(video)
            could = {pin} if pin is not None else {one.live.name for one in waiting_placements(self._core, video)[0]}
            group = self._groups[demands] = frozenset(could)
        return group

    def waits_like(self, video: Video) -> bool:
        """Whether something waits for the same channels, so that `video` must stand in line."""
        return self._order.waits(self._group(video))

    def served(self, key_id: str) -> None:
        """A video of this key went past the queue, since nobody waited: that was its turn."""
        self._order.served(key_id)

    def reconfigured(self) -> None:
        """The channels have changed, and with them which of them could make what waits."""
        self._groups.clear()
        self._refused.clear()
        for video in list(self._waiting.values()):
            self.add(video)

    def add(self, video: Video) -> None:
        """Queue a video that is durably `waiting`, unless it has changed since."""
        known = self._core.store.cached(video.id)
        if known is not None and known.version > video.version and known.stage != "waiting":
            return
        self._waiting[video.id] = video
        # A clock that was set back must not make a wait longer than it was.
        wait = min(video.submit_after - self._core.clock(), video.submit_after - video.changed_at)
        group = self._group(video) - self._refused.get(video.id, frozenset())
        self._order.add(video.id, video.key_id, group, not_before=time.monotonic() + wait)
        self._core.freed.set()

    def forget(self, video_id: str) -> None:
        """Let a video go that its owner deleted, or that ended."""
        self._drop(video_id)
        self._submitter.forget(video_id)

    def _drop(self, video_id: str) -> None:
        self._waiting.pop(video_id, None)
        self._refused.pop(video_id, None)
        self._order.remove(video_id)

    async def take_back(self) -> None:
        """Queue again what the submitter hands back."""
        while True:
            self.add(await self._submitter.requeued.get())

    async def run(self) -> None:
        """Submit what may go, for as long as the engine lives."""
        while True:
            self._core.freed.clear()
            try:
                wait = await self._pass()
            except Exception:
                # A store that cannot write now (a full disk) must not end the queue.
                log.exception("the queue could not be worked off; it is tried again")
                wait = LOOK_AGAIN
            # Not `wait_for`: that of Python 3.11 loses a cancellation that comes together with the wake-up.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._core.freed.wait()

    async def _pass(self) -> float:
        """Submit all that may go now; answers the seconds until something else may."""
        await self._give_up_the_old()
        passed_over: set[frozenset[str]] = set()
        while not self._core.closing and self._core.leases.current():
            video_id = self._order.next(lambda group: group not in passed_over, time.monotonic())
            if video_id is None:
                break
            video = self._waiting[video_id]
            # Named as what a stop waits for first: from the record to the request is one step.
            placing = self._core.carry(self._place(video), f"place {video_id}")
            if not await asyncio.shield(placing):
                passed_over.add(self._order.group(video_id))
        soonest = self._order.soonest(time.monotonic())
        return LOOK_AGAIN if soonest is None else min(max(soonest - time.monotonic(), 0.01), LOOK_AGAIN)

    async def _give_up_the_old(self) -> None:
        now = self._core.clock()
        while (oldest := self._order.oldest()) is not None:
            video = self._waiting[oldest]
            if now - video.created_at < self._core.server.queue_timeout:
                return
            log.warning(
                "video %s waited too long for a channel that serves %s",
                video.id,
                video.model,
                extra={"video_id": video.id},
            )
            await self.fail(
                video, JobError("queue_timeout", "No channel had room for this video in time. Nothing was paid.")
            )

    async def _place(self, video: Video) -> bool:
        """Submit a video to the best channel that has room and takes it. False where none has room."""
        ranked, excluded = waiting_placements(self._core, video)
        refused = self._refused.get(video.id, frozenset())
        refusal: ApiError | None = None
        ranked = [placement for placement in ranked if placement.live.name not in refused]
        left = len(ranked)
        for placement in ranked:
            if not self._core.reserve(placement.live, video.id):
                continue
            error = await self._submit(video, placement, ranked, excluded)
            if error is None:
                return True
            # What this channel cannot take, another one may: now, or when it has room.
            excluded[placement.live.name] = error.message
            refusal = refusal or error
            refused |= {placement.live.name}
            left -= 1
        if refusal is None:
            return False
        if left:
            # It waits for the others only, and keeps nothing from the channels that it cannot go to.
            self._refused[video.id] = refused
            self.add(video)
        else:
            await self.fail(video, self._core.job_error(refusal, video))
        return True

    async def _submit(
        self, video: Video, placement: Placement, ranked: list[Placement], excluded: dict[str, str]
    ) -> ApiError | None:
        """Record an attempt and start it; answers why the channel cannot take the video, where it says so."""
        core, live = self._core, placement.live
        because = "" if pin_of(video) is None else "the only one that may make it; it waited for its turn"
        decision = explain(core, placement, ranked, because=because, excluded=excluded)
        try:
            current = await core.newest(video.id)
            if current is None or current.stage != "waiting" or core.closing:
                raise IllegalMove(f"video {video.id} waits no more")
            began, ready = await record_attempt(core, current, placement, decision)
        except ChannelFull:
            core.filled(live.name, video.id)
            return None
        except (StoreBusy, StoreError, OSError):
            core.release(live.name, video.id)
            raise
        except (IllegalMove, LeaseLost):
            core.release(live.name, video.id)
            self.forget(video.id)
            return None
        except Exception as error:
            core.release(live.name, video.id)
            return refusal_of(live, error)
        self._drop(video.id)
        self._order.served(video.key_id)
        others = [other for other in ranked if other is not placement and other.live.name not in excluded]
        self._submitter.start(Submission(began, detached=True), ready, [placement, *others])
        return None

    async def fail(self, video: Video, error: JobError) -> None:
        """End a video that waits; nothing of it was ordered."""
        now = self._core.clock()
        with contextlib.suppress(IllegalMove, LeaseLost):
            await self._core.move(video.id, lambda current: states.failed(current, error, now=now))
        self.forget(video.id)


def _demands(video: Video) -> Hashable:
    """All that decides which channels could make a video that waits."""
    order = video.order
    pictures = len(order.images), order.last_frame is not None
    demands = (video.model, video.seconds, video.size, order.audio, pictures, frozenset(order.metadata))
    return pin_of(video) or demands
