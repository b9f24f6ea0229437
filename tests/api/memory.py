"""An engine and an authenticator that live in memory, so that the surface can be tested alone."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from proxy.engine.cards import ModelCard
from proxy.engine.contents import Found
from proxy.errors import (
    IdempotencyKeyReused,
    ModelNotFound,
    NotFound,
    Unauthorized,
    UpstreamError,
    VideoNotFound,
    VideoNotReady,
)
from proxy.ids import new_id
from proxy.models import Source, Variant
from proxy.records import Ask, Character, Key, Order, Upload, Video

ANNA = Key(id="key_anna", name="anna", tenant="anna")
BERT = Key(id="key_bert", name="bert", tenant="bert")
KEYS = {"anna-secret": ANNA, "bert-secret": BERT}
MP4 = b"\0\0\0\x18ftypmp42" + bytes(range(256)) * 40


class MemoryKeys:
    """Knows two keys; `waits` counts how often memory was not enough."""

    def __init__(self) -> None:
        self.waits = 0
        self._seen: dict[str, Key] = {}

    def cached(self, header: str | None) -> Key | None:
        return self._seen.get(header or "")

    async def authenticate(self, header: str | None) -> Key:
        self.waits += 1
        await asyncio.sleep(0)
        scheme, _, plain = (header or "").partition(" ")
        if scheme != "Bearer" or plain not in KEYS:
            raise Unauthorized("Incorrect API key provided.")
        return self._seen.setdefault(header or "", KEYS[plain])


class NoOpener:
    """Nothing here has an address."""

    def open(self, source: Source, *, range: str | None = None) -> Any:
        raise UpstreamError("there is no upstream in this test")


class Answer(NamedTuple):
    video: Video
    body: bytes | None


class Page(NamedTuple):
    videos: list[Video]
    has_more: bool


@dataclass
class Received:
    """What of an ask must be looked at while the order runs."""

    ask: Ask
    resent: bool
    files: dict[str, bytes] = field(default_factory=dict)


@dataclass
class MemoryEngine:
    """The facade of the engine over a dict; `fail` makes the next order raise."""

    videos_by_id: dict[str, Video] = field(default_factory=dict)
    received: list[Received] = field(default_factory=list)
    delivered_ids: list[str] = field(default_factory=list)
    answers: dict[tuple[str, str], tuple[bytes, str, bytes | None]] = field(default_factory=dict)
    characters: dict[str, Character] = field(default_factory=dict)
    forced: list[bool] = field(default_factory=list)
    read_files: bool = True
    fail: BaseException | None = None
    gate: asyncio.Event | None = None
    in_memory: bool = True
    source: Source = field(default_factory=lambda: Source(data=MP4))
    adjusted: str | None = None

    def add(self, key: Key = ANNA, **changes: Any) -> Video:
        """Put a video in."""
        values: dict[str, Any] = {
            "id": new_id("video"),
            "tenant": key.tenant,
            "key_id": key.id,
            "model": "sora-2",
            "upstream_model": "upstream-sora",
            "channel": "only",
            "prompt": "a paper plane",
            "seconds": 4,
            "size": "720x1280",
            "created_at": int(time.time()),
        }
        video = Video(**{**values, **changes})
        self.videos_by_id[video.id] = video
        return video

    def finish(self, video_id: str, **changes: Any) -> Video:
        """Complete a video."""
        done: dict[str, Any] = {
            "stage": "ended",
            "status": "completed",
            "progress": 100,
            "completed_at": int(time.time()),
        }
        video = msgspec.structs.replace(self.videos_by_id[video_id], **{**done, **changes})
        self.videos_by_id[video_id] = video
        return video

    async def order(self, ask: Ask, key: Key, *, idempotency_key: str | None = None, resent: bool = False) -> Answer:
        uploads = [upload for upload in (*ask.images, ask.video) if upload is not None and upload.path is not None]
        files = {}
        if self.read_files:
            files = {upload.filename: await asyncio.to_thread(_read, upload.path) for upload in uploads}
        self.received.append(Received(ask, resent, files))
        # Like the real engine's: a client that hangs up changes nothing (TestServer cancels its handler).
        return await asyncio.shield(asyncio.create_task(self._place(ask, key, idempotency_key)))

    async def _place(self, ask: Ask, key: Key, idempotency_key: str | None) -> Answer:
        if self.gate is not None:
            await self.gate.wait()
        if self.fail is not None:
            raise self.fail
        if idempotency_key is not None and (known := self.answers.get((key.id, idempotency_key))):
            fingerprint, video_id, body = known
            if fingerprint != ask.fingerprint:
                raise IdempotencyKeyReused("another body", param="Idempotency-Key")
            return Answer(self.videos_by_id[video_id], body)
        if ask.model == "no-such-model":
            raise ModelNotFound("The model 'no-such-model' does not exist.", param="model")
        if ask.source_id is not None:
            await self.video(ask.source_id, key)
        video = self.add(
            key,
            kind=ask.kind,
            model=ask.model or "sora-2",
            prompt=ask.prompt,
            seconds=ask.seconds or 4,
            size=ask.size or "720x1280",
            source_id=ask.source_id,
            metadata=None if ask.metadata is None else msgspec.json.encode(ask.metadata),
            order=Order(adjusted=self.adjusted),
        )
        if idempotency_key is not None:
            self.answers[key.id, idempotency_key] = (ask.fingerprint, video.id, None)
        return Answer(video, None)

    async def answered(self, video: Video, body: bytes, idempotency_key: str, key: Key) -> bytes:
        fingerprint, video_id, first = self.answers[key.id, idempotency_key]
        self.answers[key.id, idempotency_key] = (fingerprint, video_id, first or body)
        return first or body

    def delivered(self, video: Video) -> None:
        self.delivered_ids.append(video.id)

    def cached(self, video_id: str) -> Video | None:
        return self.videos_by_id.get(video_id) if self.in_memory else None

    async def video(self, video_id: str, key: Key | None) -> Video:
        await asyncio.sleep(0)
        video = self.videos_by_id.get(video_id)
        if video is None or not video.listed or (key is not None and video.tenant != key.tenant):
            raise VideoNotFound(f"Video with id '{video_id}' not found.")
        return video

    async def videos(self, key: Key, *, after: str | None, limit: int, order: Literal["asc", "desc"]) -> Page:
        mine = sorted(
            (video for video in self.videos_by_id.values() if video.tenant == key.tenant and video.listed),
            key=lambda video: video.id,
            reverse=order == "desc",
        )
        if after is not None:
            mine = [video for video in mine if (video.id < after) == (order == "desc") and video.id != after]
        return Page(mine[:limit], len(mine) > limit)

    async def named(self, idempotency_key: str, key: Key) -> Video | None:
        known = self.answers.get((key.id, idempotency_key))
        return None if known is None else await self.video(known[1], key)

    async def delete(self, video_id: str, key: Key, *, force: bool) -> None:
        video = await self.video(video_id, key)
        self.forced.append(force)
        self.videos_by_id[video_id] = msgspec.structs.replace(video, stage="deleted")

    async def content(self, video: Video, variant: Variant) -> Found:
        if video.status != "completed":
            raise VideoNotReady(f"Video is not ready yet, use GET /v1/videos/{video.id} to check status.")
        return Found(self.source, NoOpener())

    async def create_character(self, name: str, video: Upload, key: Key) -> Character:
        assert video.path is not None
        self.received.append(
            Received(
                Ask(kind="edit", prompt=name, fingerprint=b""),
                False,
                {name: await asyncio.to_thread(_read, video.path)},
            )
        )
        character = Character(
            id=new_id("char"), tenant=key.tenant, channel="only", upstream_id="up", name=name, created_at=1
        )
        self.characters[character.id] = character
        return character

    async def character(self, character_id: str, key: Key) -> Character:
        character = self.characters.get(character_id)
        if character is None or character.tenant != key.tenant:
            raise NotFound(f"Character with id '{character_id}' not found.")
        return character

    def models(self, key: Key) -> list[ModelCard]:
        return [_card("sora-2"), _card("vendor/model-1")]

    def poll_after_ms(self, video: Video) -> int:
        return 25


def _card(name: str) -> ModelCard:
    return ModelCard(
        name=name,
        created=1_767_225_600,
        owned_by="reelgate",
        seconds=(4, 8),
        sizes=("720x1280",),
        default_seconds=4,
        default_size="720x1280",
        image=True,
        max_images=1,
        last_frame=False,
        audio=None,
        remix=True,
        edit=False,
        extend=True,
        extend_seconds=(4, 12),
        price_per_second=0.1,
        prices={"1080p": 0.2},
    )


def _read(path: Path | None) -> bytes:
    assert path is not None
    return path.read_bytes()
