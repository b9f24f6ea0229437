"""The clients of the state machine: what they asked for, what they were promised, and what they have seen since."""

from __future__ import annotations

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from proxy.errors import (
    ApiError,
    ChannelUnavailable,
    IdempotencyKeyReused,
    InvalidRequest,
    ModelNotFound,
    RateLimited,
    Stopping,
    VideoNotDeletable,
    VideoNotFound,
)
from proxy.records import Ask, Key, Video
from proxy.store import QueueFull, StoreBusy
from tests.engine.machine_laws import MOST_WAITING, RANK, Laws, Row
from tests.engine.machine_upstream import Submission
from tests.engine.machine_world import World

T = TypeVar("T")

KEYS: Final = (
    Key("key_a1", "a1", "tenant_a"),
    Key("key_a2", "a2", "tenant_a"),
    Key("key_b", "b", "tenant_b", chooses_channel=True),
)
BEFORE_ANYTHING: Final = (InvalidRequest, ModelNotFound, VideoNotFound, ChannelUnavailable, QueueFull, StoreBusy)
"""With these a call may be refused that no upstream has seen."""


@dataclass(eq=False)
class Call:
    """Something that a client wants once, however often it has to ask."""

    prompt: str
    key: Key
    model: str
    idempotency_key: str | None
    source_id: str | None
    named: str | None
    heard: bool
    """Whether the client gets the answers to the end."""
    video_id: str | None = None
    """What it was promised."""
    body: bytes | None = None
    """The answer that is kept for its Idempotency-Key."""
    asking: int = 0
    cut: bool = False
    """Whether a process ended that had not answered it."""
    refused: bool = False

    @property
    def ask(self) -> Ask:
        return Ask(
            kind="create" if self.source_id is None else "remix",
            prompt=self.prompt,
            fingerprint=hashlib.sha256(self.prompt.encode()).digest(),
            model=self.model if self.source_id is None else None,
            source_id=self.source_id,
            metadata=None if self.named is None else {"channel": self.named},
        )


@dataclass(eq=False)
class Deed:
    """Something that a client has asked for and waits for."""

    task: asyncio.Task[Any]
    of: Call | str
    key: Key
    force: bool = False
    floor: tuple[int, int] = (0, 0)
    """Of a look at a video: what was seen of it before."""
    stage: str = ""


class Clients:
    """Asks the engine what clients ask it, and holds the answers against what was promised."""

    def __init__(self, world: World, laws: Laws) -> None:
        self.world = world
        self.laws = laws
        self.calls: list[Call] = []
        self.posts: list[Deed] = []
        self.deletions: list[Deed] = []
        self.looks: list[Deed] = []
        self.seen: defaultdict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
        """How far each video was, by its rank and progress, when somebody saw it last."""
        self.told: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
        """What the listener has heard of each video."""
        self.deaf = 0
        """How many times the listener cannot write down what it hears."""

    # -- what they do --------------------------------------------------------------------------------------------------

    def post(self, call: Call, *, resent: bool = False) -> None:
        """Ask for a video."""
        call.asking += 1
        self.posts.append(Deed(self._do(self._post(call, resent)), call, call.key))

    async def _post(self, call: Call, resent: bool) -> tuple[Video, bytes | None]:
        # As `api.videos.order`.
        engine = self.world.life.engine
        answer = await engine.order(call.ask, call.key, idempotency_key=call.idempotency_key, resent=resent)
        video, body = answer
        call.video_id = call.video_id or video.id
        assert call.video_id == video.id, f"{call.prompt!r} was {call.video_id} and is now {video.id}"
        if body is None and call.idempotency_key is not None:
            body = f"{video.id} is {video.status} at {self.world.now}".encode()
            body = await engine.answered(video, body, call.idempotency_key, call.key)
        if call.heard:
            engine.delivered(video)
        return video, body

    def delete(self, video_id: str, *, force: bool) -> None:
        row = self.laws.videos[video_id]
        key = next(key for key in KEYS if key.id == row.key_id)
        task = self._do(self.world.life.engine.delete(video_id, key, force=force))
        self.deletions.append(Deed(task, video_id, key, force=force, stage=row.stage))

    def look(self, video_id: str, key: Key) -> None:
        task = self._do(self.world.life.engine.video(video_id, key))
        self.looks.append(Deed(task, video_id, key, floor=self.seen[video_id]))

    def _do(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        return self.world.do(work)

    async def hear(self, video: Video, before: str) -> None:
        """The listener of the engine."""
        if self.deaf:
            self.deaf -= 1
            self.world.troubled = self.world.now
            raise StoreBusy("the listener's disk is full")
        # Of one that was deleted since, an earlier change is told too.
        self.told[video.id].append((before, "deleted" if video.status == before else video.status))

    def killed(self) -> None:
        """The process is gone, and with it every connection."""
        for deed in self.posts:
            assert isinstance(deed.of, Call)
            deed.of.asking -= 1
            deed.of.cut = True
        self.posts, self.deletions, self.looks = [], [], []

    # -- what they are told --------------------------------------------------------------------------------------------

    def turned(self) -> None:
        """Hear the answers that have come."""
        for deeds, heard in (
            (self.posts, self._posted),
            (self.deletions, self._deleted),
            (self.looks, self._looked),
        ):
            for deed in [one for one in deeds if one.task.done()]:
                deeds.remove(deed)
                if not deed.task.cancelled():
                    heard(deed, deed.task.exception())

    def _posted(self, deed: Deed, error: BaseException | None) -> None:
        call = deed.of
        assert isinstance(call, Call)
        call.asking -= 1
        if error is not None:
            self._refused(call, error)
            return
        video, body = deed.task.result()
        row = self.laws.videos.get(video.id)
        assert row is not None, f"{video.id} was promised and is not in the file"
        assert row.stage != "refused", f"{video.id} was promised and refused"
        assert row.listed or row.id in self.laws.deleted or any(one.of == row.id for one in self.deletions), row
        wanted = (call.prompt, call.key.id, call.key.tenant, call.source_id)
        assert (row.prompt, row.key_id, row.tenant, row.source_id) == wanted, f"{call} got {row}"
        self._see(row.id, (0, 0), (RANK[video.status], video.progress))
        if call.idempotency_key is not None:
            assert call.body in (None, body), f"{call.prompt!r} was answered {call.body!r} and is now {body!r}"
            # An answer that a full disk could not keep is given all the same.
            call.body = None if self.world.troubled == self.world.now else body

    def _refused(self, call: Call, error: BaseException) -> None:
        what = f"{call} was answered {error!r}"
        if not isinstance(error, ApiError):
            raise AssertionError(what) from error
        if isinstance(error, Stopping):
            return
        if isinstance(error, IdempotencyKeyReused):
            assert self._stands_for_another(call), what
        if call.video_id is not None:
            # It has its video, by another try or but for the answer that could not be kept.
            assert isinstance(error, StoreBusy), what
            return
        if call.asking or (call.cut and isinstance(error, StoreBusy)):
            return
        call.refused = True
        tries = self.laws.by_prompt(call.prompt)
        assert all(one.outcome in ("client", "refused") for one in tries), f"{what}, but may have to pay"
        rows = [row for row in self.laws.videos.values() if row.prompt == call.prompt and row.listed]
        assert not rows, f"{what}, but has {rows}"
        assert tries or isinstance(error, BEFORE_ANYTHING), what
        if isinstance(error, StoreBusy):
            assert self.world.troubled == self.world.now, what
        if isinstance(error, RateLimited):
            waiting = sum(row.stage == "waiting" for row in self.laws.videos.values())
            assert waiting + len(self.posts) >= MOST_WAITING // 2, what

    def _stands_for_another(self, call: Call) -> bool:
        others = [other for other in self.calls if other is not call and not other.refused]
        return (call.key, call.idempotency_key) in [(other.key, other.idempotency_key) for other in others]

    def _deleted(self, deed: Deed, error: BaseException | None) -> None:
        assert isinstance(deed.of, str)
        row = self.laws.videos[deed.of]
        what = f"the deletion of {row} (force: {deed.force}, then {deed.stage}) was answered {error!r}"
        if error is None:
            assert row.stage == "deleted", what
            self.laws.deleted.add(row.id)
        elif isinstance(error, VideoNotFound):
            assert not row.listed, what
        elif isinstance(error, VideoNotDeletable):
            assert not deed.force, what
        elif isinstance(error, StoreBusy):
            assert self.world.troubled == self.world.now, what
        elif not isinstance(error, Stopping):
            assert isinstance(error, ApiError) and not deed.force, what

    def _looked(self, deed: Deed, error: BaseException | None) -> None:
        assert isinstance(deed.of, str)
        row = self.laws.videos[deed.of]
        what = f"{deed.key.tenant} looked at {row} and got"
        if error is not None:
            assert isinstance(error, VideoNotFound), f"{what} {error!r}"
            assert str(error) == f"Video with id '{row.id}' not found.", f"{what} {error!r}"
            assert row.tenant != deed.key.tenant or not row.listed, f"{what} {error!r}"
            return
        video = deed.task.result()
        assert video.tenant == deed.key.tenant, f"{what} it"
        self._see(row.id, deed.floor, (RANK[video.status], video.progress))

    def _see(self, video_id: str, floor: tuple[int, int], now: tuple[int, int]) -> None:
        # A failed one keeps its progress, whatever it was.
        assert now >= floor or (now[0] == floor[0] == 2), f"{video_id} was seen at {floor} and is at {now}"
        self.seen[video_id] = max(self.seen[video_id], now)

    # -- at rest -------------------------------------------------------------------------------------------------------

    def calm(self) -> bool:
        """Whether nothing is put off because a disk was full."""
        return self.world.now - self.world.troubled > 2.0 and not self.world.life.loop.disk.full and not self.deaf

    def rested(self) -> None:
        """Everybody has heard, sees and holds what is in the file."""
        engine, core, laws = self.world.life.engine, self.world.life.core, self.laws
        for tenant in {key.tenant: key for key in KEYS}.values():
            page = self.world.run(engine.videos(tenant, after=None, limit=1000, order="asc"))
            wanted = [row for row in laws.videos.values() if row.tenant == tenant.tenant and row.listed]
            assert [_shown(video) for video in page.videos] == [_shown(row) for row in wanted]
            for video in page.videos:
                self._see(video.id, self.seen[video.id], (RANK[video.status], video.progress))
        for row in laws.videos.values():
            known = core.store.cached(row.id)
            assert known is None or (_shown(known), known.version) == (_shown(row), row.version), (known, row)
            told = list(dict.fromkeys(self.told[row.id]))
            happened = laws.changes[row.id]
            assert told == (happened if self.calm() else happened[: len(told)]), f"{row.id}: {told}, not {happened}"
        for call in self.calls:
            if call.video_id is not None:
                row = laws.videos[call.video_id]
                assert row.listed or row.stage == "deleted", f"{row} was promised"
        if self.calm():
            self._in_step()

    def _in_step(self) -> None:
        """What the process has in memory is what the file and the upstreams say."""
        engine, core, laws = self.world.life.engine, self.world.life.core, self.laws
        rows = list(laws.videos.values())
        for name, account in laws.accounts.items():
            places = {
                row.id for row in rows if row.channel == name and row.stage in ("submitting", "unknown", "running")
            }
            assert core.places[name] == places, f"{name}: {core.places[name]} have places, {places} should"
            submitting = {row.attempt_id for row in rows if row.channel == name and row.stage == "submitting"}
            on_the_wire = {one.attempt_id for one in account.open}
            assert submitting <= on_the_wire, f"{name}: {submitting} are not at the upstream: {on_the_wire}"
            for submission in account.submissions:
                self._booked(submission)
        waiting = {row.id for row in rows if row.stage == "waiting"}
        assert engine._queue._waiting.keys() == waiting, f"{waiting} wait, the queue has {list(engine._queue._waiting)}"
        running = {row.id for row in rows if row.stage == "running"}
        assert engine._poller._clocks.keys() == running, f"{running} run, {list(engine._poller._clocks)} are polled"

    def _booked(self, submission: Submission) -> None:
        attempt = self.laws.attempts[submission.attempt_id]
        state = attempt.state
        match submission.outcome:
            case None:
                # Whose video its owner forgot is in doubt at once: nobody may be there any more to hear how it went.
                forgotten = self.laws.videos[attempt.video_id].stage == "deleted"
                wanted = {"unknown" if forgotten else "recorded"}
            case "unknown":
                wanted = {"unknown", "taken", "absent"}
            case "client":
                wanted = {"refused"}
            case "taken" | "refused":
                wanted = {submission.outcome}
        if submission.interrupted:
            wanted |= {"recorded", "unknown"} if submission.job else {"recorded", "unknown", "absent"}
        assert state in wanted, f"{submission} is recorded as {state}"


def _shown(video: Video | Row) -> tuple[object, ...]:
    return video.id, video.stage, video.status, video.progress, video.error_code, video.completed_at
