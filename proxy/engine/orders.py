"""Accepting a video: everything that can be refused is refused first, then one durable commit, then the submission."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from msgspec import json

from proxy import hops
from proxy.accounts.limits import allowance, no_price
from proxy.config import Server
from proxy.engine.core import Core
from proxy.engine.decisions import explain
from proxy.engine.limits import check_count, merged_metadata, price_of, settled_by, whole_seconds
from proxy.engine.requests import Placement, Submittable, build, current
from proxy.engine.routing import Route, route
from proxy.engine.submissions import Submission, Submitter, began_on
from proxy.engine.waiting import WaitingQueue
from proxy.errors import ApiError, InsufficientQuota, InvalidRequest
from proxy.ids import created_at, new_id
from proxy.records import Ask, Attempt, Idempotent, Key, Order, StoredInput, Upload, Video
from proxy.store import ChannelFull
from proxy.store.room import Allowance, Bounds

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
        way = _priced(ask, key, await route(core, ask, key))
        video_id = new_id("video")
        try:
            order = await self._order(ask, key, way, video_id)
            way = _priced(ask, key, _measured(ask, way, order), order)
            video = self._video(ask, key, way, video_id, order)
            # Counted where the ledger counts it: the inputs may have taken until the next day.
            left = allowance(key, ordered_at=video.created_at)
            if not self._queue.waits_like(video):
                submission, way = await self._now(video, way, idempotency_key, left)
                if submission is not None:
                    return submission
                video = self._video(ask, key, way, video_id, order)
            if order.images or order.last_frame is not None:
                await self._check_pictures(video, way)
            return await self._wait(video, idempotency_key, left)
        except BaseException:
            if await core.newest(video_id) is None:
                await core.inputs.discard(video_id)
            raise

    async def _now(
        self, video: Video, way: Route, idempotency_key: str | None, left: Allowance | None
    ) -> tuple[Submission | None, Route]:
        """Submit to the best channel that has room and takes it; None, and the route without those that do not take it,
        where none has room. Raises the first refusal where no channel takes it."""
        core = self._core
        refusal: ApiError | None = None
        while (placement := self._reserve(way, video.id)) is not None:
            name = placement.live.name
            try:
                return await self._submit(video, placement, way, idempotency_key, left), way
            except ChannelFull:
                # Another process on this store took the last place.
                core.filled(name, video.id)
            except ApiError as error:
                core.release(name, video.id)
                if not isinstance(error, InvalidRequest | InsufficientQuota):
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

    async def _submit(
        self, video: Video, placement: Placement, way: Route, idempotency_key: str | None, left: Allowance | None
    ) -> Submission:
        core = self._core
        attempt_id = new_id("att")
        now = core.clock()
        began = began_on(video, placement, attempt_id, now)
        decision = explain(core, placement, way.placements, because=way.because, excluded=way.excluded)
        ready: Submittable = await build(core, placement.live, placement.offer.limits, began, attempt_id)
        attempt = Attempt(
            id=attempt_id, video_id=video.id, channel=placement.live.name, started_at=now, decision=decision
        )
        await core.store.accept(
            *(began, attempt, self._idempotent(began, idempotency_key)), cap=core.cap(placement.live), allowance=left
        )
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

    async def _wait(self, video: Video, idempotency_key: str | None, left: Allowance | None) -> Submission:
        await self._core.store.accept(
            *(video, None, self._idempotent(video, idempotency_key)),
            bounds=bounds(self._core.server),
            allowance=left,
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
        source_order = _source_order(way)
        return Order(
            extension_seconds=way.placements[0].settled.seconds if ask.kind == "extend" else None,
            images=tuple(images),
            last_frame=last_frame,
            video=clip,
            characters=way.characters,
            audio=_audio(ask, way),
            seed=source_order.seed if ask.seed is None else ask.seed,
            negative_prompt=source_order.negative_prompt if ask.negative_prompt is None else ask.negative_prompt,
            metadata=merged_metadata(ask),
            adjusted=way.placements[0].settled.adjusted,
            reimagine=way.reimagine,
            channel=way.named,
            channels=key.limits.channels,
            hops=hops.travelled.get(),
        )

    def _video(self, ask: Ask, key: Key, way: Route, video_id: str, order: Order) -> Video:
        first = way.placements[0]
        source = way.source
        seconds, size = order.extension_seconds or first.settled.seconds, first.settled.size
        if ask.kind == "extend":
            # The object shows the stitched whole.
            seconds += _source_seconds(source, order) or 0
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
            price=_price(ask, way, first, order),
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


def _priced(ask: Ask, key: Key, way: Route, order: Order | None = None) -> Route:
    """`way` without the channels whose price nobody knows, for a key with a budget. `Forbidden` where none is left.
    Before there is an `order`, a length that nobody could measure is not held against it."""
    if key.limits.budget is None:
        return way
    known = tuple(one for one in way.placements if _price(ask, way, one, order) is not None)
    if not known:
        raise no_price(way.placements[0].offer.public, unmeasured=_unmeasured(order))
    unknown = {one.live.name: "its price is not known" for one in way.placements if one not in known}
    return replace(way, placements=known, excluded={**way.excluded, **unknown})


def _measured(ask: Ask, way: Route, order: Order) -> Route:
    """`way` for what was really sent in: an edit is as long as its video, also where that is a file."""
    clip = order.video
    if clip is None:
        return way
    measured = tuple(
        replace(one, settled=settled_by(clip, one.settled, one.offer.limits, ask.kind)) for one in way.placements
    )
    return replace(way, placements=measured)


def _price(ask: Ask, way: Route, placement: Placement, order: Order | None) -> int | None:
    """The amount that `ask` costs there, at least that where there is no `order` yet; None: not known."""
    return price_of(
        placement.offer.limits,
        placement.settled,
        audio=_audio(ask, way),
        kind="create" if way.reimagine else ask.kind,
        source_seconds=0 if order is None else _source_seconds(way.source, order),
    )


def _source_seconds(source: Video | None, order: Order) -> int | None:
    """The length of what a video starts from, 0 where it starts from nothing; None: nobody could measure it."""
    if source is not None:
        return source.seconds
    if order.video is None:
        return 0
    return None if order.video.seconds is None else whole_seconds(order.video.seconds)


def _unmeasured(order: Order | None) -> bool:
    return order is not None and order.video is not None and order.video.seconds is None


def _audio(ask: Ask, way: Route) -> bool | None:
    return _source_order(way).audio if ask.audio is None else ask.audio


def _source_order(way: Route) -> Order:
    return Order() if way.source is None else way.source.order


def _check_exact(way: Route, upload: Upload, stored: StoredInput) -> None:
    for placement in way.placements:
        size = f"{stored.width}x{stored.height}"
        exact = placement.offer.limits.exact_image and placement.live.entry.fit == "exact"
        if not exact or size == placement.settled.size:
            return
    raise InvalidRequest("Inpaint image must match the requested width and height", param=upload.param)
