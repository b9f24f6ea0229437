"""Accepting a video: everything that can be refused is refused first, then one durable commit, then the submission."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from msgspec import json

from proxy import hops
from proxy.config import Server
from proxy.engine.core import Core
from proxy.engine.decisions import explain
from proxy.engine.limits import check_count, merged_metadata
from proxy.engine.requests import Placement, Submittable, build, current
from proxy.engine.routing import Route, route
from proxy.engine.submissions import Submission, Submitter, began_on
from proxy.engine.waiting import WaitingQueue
from proxy.errors import ApiError, InvalidRequest
from proxy.ids import created_at, new_id
from proxy.records import Ask, Attempt, Idempotent, Key, Order, StoredInput, Upload, Video
from proxy.store import ChannelFull
from proxy.store.room import Bounds

LEAST_PER_KEY = 20
"""Places in the queue that one key has in any case, where the operator does not say."""


class OrderDesk:
    """Turns asks into accepted videos."""

    def __init__(self, core: Core, submitter: Submitter, queue: WaitingQueue) -> None:
        self._core = core
        self._submitter = submitter
        self._queue = queue

    async def place(self, ask: Ask, key: Key, idempotency_key: str | None) -> Submission:
        """Accept `ask`, durably, and start its submission where a channel has room and nobody waits for it already.

        Raises an `ApiError` with nothing stored and nothing sent when it cannot be carried out.
        """
        core = self._core
        check_count(ask, core.server.inputs.max_count)
        way = await route(core, ask, key)
        video_id = new_id("video")
        try:
            order = await self._order(ask, key, way, video_id)
            video = self._video(ask, key, way, video_id, order)
            if not self._queue.waits_like(video):
                submission, way = await self._now(video, way, idempotency_key)
                if submission is not None:
                    return submission
            if order.images or order.last_frame is not None:
                await self._check_pictures(video, way)
            return await self._wait(video, idempotency_key)
        except BaseException:
            if await core.newest(video_id) is None:
                await core.inputs.discard(video_id)
            raise

    async def _now(self, video: Video, way: Route, idempotency_key: str | None) -> tuple[Submission | None, Route]:
        """Submit to the best channel that has room and takes it; None, and the route without those that do not take it,
        where none has room. Raises the first refusal where no channel takes it."""
        core = self._core
        refusal: ApiError | None = None
        while (placement := self._reserve(way, video.id)) is not None:
            name = placement.live.name
            try:
                return await self._submit(video, placement, way, idempotency_key), way
            except ChannelFull:
                # Another process on this store took the last place.
                core.filled(name, video.id)
            except ApiError as error:
                core.release(name, video.id)
                if not isinstance(error, InvalidRequest):
                    raise
                # What this channel cannot take, another one may: now, or when it has room.
                refusal = refusal or error
                rest = tuple(one for one in way.placements if one.live.name != name)
                if not rest:
                    raise refusal from None
                way = replace(way, placements=rest, excluded={**way.excluded, name: error.message})
            except BaseException:
                core.release(name, video.id)
                raise
        return None, way

    async def _submit(self, video: Video, placement: Placement, way: Route, idempotency_key: str | None) -> Submission:
        core = self._core
        attempt_id = new_id("att")
        now = core.clock()
        began = began_on(video, placement, attempt_id, now)
        decision = explain(core, placement, way.placements, because=way.because, excluded=way.excluded)
        ready: Submittable = await build(core, placement.live, placement.offer.limits, began, attempt_id)
        attempt = Attempt(
            id=attempt_id, video_id=video.id, channel=placement.live.name, started_at=now, decision=decision
        )
        await core.store.accept(began, attempt, self._idempotent(began, idempotency_key), cap=core.cap(placement.live))
        core.track(began)
        self._queue.served(began.key_id)
        submission = Submission(began)
        others = [other for other in way.placements if other.live.name != placement.live.name]
        self._submitter.start(submission, ready, [placement, *others])
        return submission

    async def _check_pictures(self, video: Video, way: Route) -> None:
        """Refuse now what no channel could take when its turn comes."""
        core = self._core
        refusal: InvalidRequest | None = None
        for found in way.placements:
            placement = current(core, found)
            if placement is None:
                continue
            attempt_id = new_id("att")
            try:
                began = began_on(video, placement, attempt_id, core.clock())
                await build(core, placement.live, placement.offer.limits, began, attempt_id)
                return
            except InvalidRequest as error:
                refusal = refusal or error
        if refusal is not None:
            raise refusal

    async def _wait(self, video: Video, idempotency_key: str | None) -> Submission:
        await self._core.store.accept(
            video, None, self._idempotent(video, idempotency_key), bounds=bounds(self._core.server)
        )
        self._queue.add(video)
        return Submission(video, detached=True)

    def _reserve(self, way: Route, video_id: str) -> Placement | None:
        # As they are now: the inputs may have taken their time, and a reload may have come meanwhile.
        for found in way.placements:
            placement = current(self._core, found)
            if placement is not None and self._core.reserve(placement.live, video_id):
                return placement
        return None

    async def _order(self, ask: Ask, key: Key, way: Route, video_id: str) -> Order:
        inputs = self._core.inputs
        keep = partial(inputs.picture, owner=video_id, tenant=key.tenant)
        images = [await keep(upload) for upload in ask.images]
        for upload, stored in zip(ask.images[:1], images, strict=False):
            _check_exact(way, upload, stored)
        last_frame = await keep(ask.last_frame) if ask.last_frame is not None else None
        clip = None
        if ask.video is not None:
            clip = await inputs.clip(ask.video, owner=video_id, tenant=key.tenant)
        if way.reimagine and way.source is not None:
            images = [await inputs.frame(await self._core.contents.frame(way.source, "first"), owner=video_id)]
        source_order = way.source.order if way.source is not None else Order()
        return Order(
            extension_seconds=way.placements[0].settled.seconds if ask.kind == "extend" else None,
            images=tuple(images),
            last_frame=last_frame,
            video=clip,
            characters=way.characters,
            audio=source_order.audio if ask.audio is None else ask.audio,
            seed=source_order.seed if ask.seed is None else ask.seed,
            negative_prompt=source_order.negative_prompt if ask.negative_prompt is None else ask.negative_prompt,
            metadata=merged_metadata(ask),
            adjusted=way.placements[0].settled.adjusted,
            reimagine=way.reimagine,
            channel=way.named,
            hops=hops.travelled.get(),
        )

    def _video(self, ask: Ask, key: Key, way: Route, video_id: str, order: Order) -> Video:
        first = way.placements[0]
        source = way.source
        seconds, size = first.settled.seconds, first.settled.size
        if ask.kind == "extend" and source is not None:
            # The object shows the stitched whole.
            seconds += source.seconds
        return Video(
            id=video_id,
            tenant=key.tenant,
            key_id=key.id,
            kind=ask.kind,
            model=first.offer.public,
            upstream_model=first.offer.upstream,
            channel=first.live.name,
            prompt=ask.prompt,
            seconds=seconds,
            size=size,
            created_at=created_at(video_id),
            source_id=ask.source_id,
            metadata=None if ask.metadata is None else json.encode(ask.metadata),
            order=order,
            fingerprint=ask.fingerprint,
            changed_at=self._core.clock(),
            holder=self._core.leases.primary,
        )

    def _idempotent(self, video: Video, idempotency_key: str | None) -> Idempotent | None:
        if idempotency_key is None:
            return None
        return Idempotent(
            key_id=video.key_id,
            idempotency_key=idempotency_key,
            fingerprint=video.fingerprint,
            video_id=video.id,
            created_at=self._core.clock(),
        )


def bounds(server: Server) -> Bounds:
    """How many videos may wait. One key gets half of a queue that is not very short: there must be room for others."""
    return Bounds(server.max_queued, server.max_queued_per_key or max(server.max_queued // 2, LEAST_PER_KEY))


def _check_exact(way: Route, upload: Upload, stored: StoredInput) -> None:
    for placement in way.placements:
        size = f"{stored.width}x{stored.height}"
        exact = placement.offer.limits.exact_image and placement.live.entry.fit == "exact"
        if not exact or size == placement.settled.size:
            return
    raise InvalidRequest("Inpaint image must match the requested width and height", param=upload.param)
