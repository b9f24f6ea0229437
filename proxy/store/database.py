"""The `Store`: all that Reelgate must not forget, in one SQLite file."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from proxy.errors import StoreError
from proxy.records import Attempt, Character, Idempotent, Key, Video
from proxy.store import attempts, characters, idempotency, keys, ledger, outbox, schema, videos
from proxy.store.connection import Connection, connect, create_file, find_file, unusable
from proxy.store.errors import StaleVideo
from proxy.store.recent import Recent
from proxy.store.room import Allowance, Bounds, Cap
from proxy.store.writer import MAX_BATCH, Fence, Writer

T = TypeVar("T")

Also = Callable[[sqlite3.Connection], None]
"""What is written together with a change, in the same transaction."""

CACHED_VIDEOS: Final = 50_000
CACHED_BYTES: Final = 128 * 2**20
IDEMPOTENCY_LIFE: Final = 24 * 3600.0
"""Seconds for which an Idempotency-Key stands for its video."""


class Store:
    """Made by `open`. What it promises: when a method that writes has returned, its change survives a kill and a loss
    of power; when it raised, nothing of it was kept.

    Every method may raise `StoreBusy` (the disk is full, another process holds the lock), after which the store goes
    on, and `Stopping` after `close`. Times are unix seconds and always the caller's.
    """

    def __init__(self, path: Path, writing: Connection, reading: Connection) -> None:
        self.path: Final = path
        self._writing = writing
        self._reading = reading
        self._recent = Recent(CACHED_VIDEOS, CACHED_BYTES)
        self._writer = Writer(writing, foreign=self._recent.clear)
        self._shared = False
        self._current: Callable[[], bool] = lambda: True

    @classmethod
    async def open(cls, path: Path, *, create: bool = True) -> Store:
        """The store in the file `path`, with its schema brought up to date.

        `StoreError`, in one sentence, when it cannot be written, is no SQLite file, is damaged, is another program's
        or a newer Reelgate's, or with `create=False` is not there.
        """
        await asyncio.to_thread(create_file if create else find_file, path)
        writing = await connect(path)
        try:
            await writing.run(partial(schema.migrate, path=path))
            # Of its own, so that reads do not wait behind commits.
            reading = await connect(path, query_only=True)
        except BaseException as error:
            await writing.close()
            if isinstance(error, Exception) and not isinstance(error, StoreError):
                if isinstance(error.__cause__, sqlite3.Error):
                    raise unusable(path, error.__cause__) from error
                raise StoreError(f"{path}: cannot use the store ({error})") from error
            raise
        return cls(path, writing, reading)

    async def close(self) -> None:
        """Write what waits and let go of the file. Closing twice is fine."""
        try:
            await self._writer.close()
        finally:
            await self._reading.close()
            await self._writing.close()

    async def read(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """What `function` reads, for the SQL of the other modules of this room."""
        return await self._reading.run(function)

    async def write(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """What `function` answers once its change is durable; it is atomic, and neither begins nor commits."""
        return await self._writer.do(function)

    def later(self, function: Callable[[sqlite3.Connection], None]) -> None:
        """Write what can be lost in a crash, such as when something was last used: with the next commit, or soon."""
        self._writer.later(function)

    # ---------------------------------------------------------------- videos

    async def accept(
        self,
        video: Video,
        attempt: Attempt | None = None,
        idempotent: Idempotent | None = None,
        *,
        cap: Cap | None = None,
        bounds: Bounds | None = None,
        allowance: Allowance | None = None,
        also: Also | None = None,
    ) -> None:
        """Store a new video with its first attempt and its Idempotency-Key, and whatever `also` writes, in one commit.

        `DuplicateKey` when the API key has used the Idempotency-Key already; `ChannelFull` where `cap` leaves no place,
        `QueueFull` where it would wait beyond `bounds`; `RateLimited` or `InsufficientQuota` where it would go beyond
        the key's `allowance`; `LeaseLost`.
        """

        def operation(db: sqlite3.Connection) -> None:
            if allowance is not None:
                allowance.check(db, video.price)
            if bounds is not None:
                bounds.check(db, video.key_id)
            if cap is not None:
                cap.check(db)
            videos.insert(db, video)
            ledger.note(db, None, video)
            if attempt is not None:
                attempts.save(db, attempt)
            if idempotent is not None:
                idempotency.insert(db, idempotent)
            if also is not None:
                also(db)

        await self._writer.do(operation, lambda _: self._recent.put(video), fenced=True)

    async def change(
        self,
        video: Video,
        *,
        before: Video | None = None,
        attempt: Attempt | None = None,
        forget_idempotency: bool = False,
        cap: Cap | None = None,
        also: Also | None = None,
    ) -> Video:
        """Store `video` over the row of its id and version, and record or update `attempt` with it.

        Answers the video as it is stored, its version one higher; `StaleVideo` when the row is of another version or
        not there; `ChannelFull` where `cap` leaves no place; `LeaseLost`. `tenant`, `key_id`, `kind`, `created_at`,
        `fingerprint`, `holder`, `replaces_id` and `answered` stay what they are. `before` is what `video` was made
        from: a change of its public status goes into the outbox, one of its money into the ledger. `forget_idempotency`
        frees the Idempotency-Keys that stand for the video.
        """
        known = self._recent.get(video.id)

        def operation(db: sqlite3.Connection) -> Video:
            if cap is not None:
                cap.check(db)
            changed = videos.update(db, video, known)
            if before is not None:
                outbox.note(db, before, video)
                ledger.note(db, before, video)
            if attempt is not None:
                attempts.save(db, attempt)
            if forget_idempotency:
                idempotency.forget(db, video.id)
            if also is not None:
                also(db)
            return changed

        try:
            return await self._writer.do(operation, self._recent.put, fenced=True)
        except StaleVideo:
            self._forget_older(video)
            raise

    async def video(self, video_id: str) -> Video | None:
        """The video, whatever its stage, as the file has it now."""
        video = await self.read(partial(videos.find, video_id=video_id))
        if video is not None:
            self._recent.put(video)
        return video

    def cached(self, video_id: str) -> Video | None:
        """The newest committed state of a video that was used lately; None says nothing about whether it exists.

        It is always None while another process may have written since: the store is shared, or the lease ran out.
        """
        return None if self._shared or not self._current() else self._recent.get(video_id)

    async def videos(self, tenant: str, *, after: str | None, limit: int, newest_first: bool) -> list[Video]:
        """The next `limit` videos that `tenant` can see, behind the id `after`, which may be gone meanwhile."""
        page = partial(videos.page, tenant=tenant, after=after, limit=limit, newest_first=newest_first)
        found = await self.read(page)
        for video in found:
            # A commit is in the file a moment before it is known here: who saw it there must not see less in memory.
            self._recent.renew(video)
        return found

    async def unfinished(self, holders: Collection[int] | None = None) -> list[Video]:
        """All that are waiting, submitting, unknown or running, oldest first; only those that the workers `holders`
        hold, where they are given."""
        return await self.read(partial(videos.unfinished, holders=holders))

    async def resent(self, key_id: str, fingerprint: bytes, since: float) -> Video | None:
        """The newest video of this API key with this fingerprint, made at or after `since`, whose answer was not fully
        written. One that its owner has deleted meanwhile counts: it may have been paid for."""
        # In the queue, behind the marks that are not written yet.
        return await self._writer.do(partial(videos.resent, key_id=key_id, fingerprint=fingerprint, since=since))

    def mark_answered(self, video_id: str) -> None:
        """Note that the answer to the create was fully written: written with the next commit, or soon. The video's
        version stays."""
        self._writer.later(partial(videos.mark_answered, video_id=video_id))
        known = self._recent.get(video_id)
        if known is not None and not known.answered:
            self._recent.put(msgspec.structs.replace(known, answered=True))

    async def pins(self) -> dict[str, int]:
        """Channel name -> number of listed videos that are pinned to it."""
        return await self.read(videos.pins)

    async def attempts(self, video_id: str) -> list[Attempt]:
        """The attempts of a video, oldest first."""
        return await self.read(partial(attempts.of_video, video_id=video_id))

    async def unsettled(self) -> int:
        """How many attempts have an unknown outcome that nobody has settled."""
        return await self.read(attempts.unsettled)

    async def save_attempt(self, attempt: Attempt) -> None:
        """Record how an attempt went, also without a lease: what an upstream said must not get lost."""
        await self._writer.do(partial(attempts.save, attempt=attempt))

    def _forget_older(self, video: Video) -> None:
        known = self._recent.get(video.id)
        if known is not None and known.version <= video.version:
            self._recent.drop(video.id)

    # ---------------------------------------------------------------- other processes on this store

    def share(self, shared: bool) -> None:
        """Say whether another process may write videos too: then nothing that is in memory is believed."""
        self._recent.clear()
        self._shared = shared

    def guard(self, fence: Fence, current: Callable[[], bool]) -> None:
        """Carry out no change of a video any more once `fence` says that this process holds it no longer, and believe
        no memory while `current` says that this may be so."""
        self._writer.fence = fence
        self._current = current

    @property
    def commits(self) -> int:
        """The transactions that this process has committed."""
        return self._writer.commits

    @property
    def operations(self) -> int:
        """The operations in all of them."""
        return self._writer.operations

    async def look(self) -> bool:
        """Whether another process has written since the last look or commit; what is in memory is forgotten then."""
        return await self._writer.look()

    # ---------------------------------------------------------------- Idempotency-Keys

    async def idempotent(self, key_id: str, idempotency_key: str) -> Idempotent | None:
        """What the Idempotency-Key of this API key stands for."""
        return await self.read(partial(idempotency.find, key_id=key_id, idempotency_key=idempotency_key))

    async def save_answer(self, key_id: str, idempotency_key: str, answer: bytes) -> bytes:
        """Keep the body that was first given, for replays, and answer it; a later one changes nothing."""
        return await self._writer.do(
            partial(idempotency.save_answer, key_id=key_id, idempotency_key=idempotency_key, answer=answer)
        )

    async def prune(self, now: float) -> None:
        """Free the Idempotency-Keys that are older than a day."""
        step = partial(idempotency.prune, before=now - IDEMPOTENCY_LIFE, limit=MAX_BATCH)
        while await self._writer.do(step) == MAX_BATCH:
            pass

    # ---------------------------------------------------------------- characters

    async def add_character(self, character: Character) -> None:
        await self._writer.do(partial(characters.insert, character=character))

    async def character(self, character_id: str) -> Character | None:
        return await self.read(partial(characters.find, character_id=character_id))

    # ---------------------------------------------------------------- API keys

    async def add_key(self, key: Key, digest: bytes) -> None:
        """Store a new API key by the SHA-256 of it."""
        await self._writer.do(partial(keys.insert, key=key, digest=digest))

    async def keys(self) -> list[Key]:
        """All API keys, oldest first, the revoked ones too."""
        return await self.read(keys.all_keys)

    async def key_by_digest(self, digest: bytes) -> Key | None:
        """The API key with this SHA-256, also a revoked one."""
        return await self.read(partial(keys.by_digest, digest=digest))

    async def revoke_key(self, name_or_id: str, now: int) -> Key | None:
        """Revoke an API key and answer it as it is now; None when there is none of that name or id.

        `AmbiguousKey` when several live keys have the name.
        """
        return await self._writer.do(partial(keys.revoke, name_or_id=name_or_id, now=now))

    def touch_key(self, key_id: str, now: int) -> None:
        """Note that an API key was used: written with the next commit, or soon."""
        self._writer.later(partial(keys.touch, key_id=key_id, now=now))
