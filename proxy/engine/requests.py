"""A stored video -> the `VideoRequest` that a plugin gets; the same at the first submission and at every recovery."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from proxy import hops
from proxy.channel import Channel
from proxy.channels import LiveChannel
from proxy.engine.core import Core, plugin_fault
from proxy.engine.limits import Settled
from proxy.engine.states import AT_UPSTREAM
from proxy.errors import ApiError, InvalidRequest, Outcome, UpstreamError, UpstreamTimeout
from proxy.ids import created_at
from proxy.inputs import Picture
from proxy.media import forms, pictures
from proxy.models import FrameOf, Model, UpstreamJob, VideoRequest
from proxy.plans import Offer
from proxy.records import StoredInput, Video
from proxy.upstream import submission

SLACK = 10.0
"""Seconds beyond what the channel's timeouts allow after which a plugin is given up."""
CALLS = 4
"""Calls that a plugin may make for one submission, such as uploads, each as long as the channel's total timeout."""


@dataclass(frozen=True, slots=True)
class Placement:
    """A channel that can make a video, the model it would use and the values that would be ordered from it."""

    live: LiveChannel
    offer: Offer
    settled: Settled


@dataclass(frozen=True, slots=True)
class Submittable:
    """A request and, for a native remix, edit or extension, the job that it starts from; and how it came here."""

    request: VideoRequest
    source: UpstreamJob | None
    hops: str = ""


def current(core: Core, placement: Placement) -> Placement | None:
    """`placement` on its channel as it is now; None where that left the file or was switched off meanwhile."""
    live = core.channels.get(placement.live.name)
    if live is None or not live.enabled:
        return None
    return placement if live is placement.live else replace(placement, live=live)


def offer_of(live: LiveChannel, video: Video) -> Offer:
    """The offer that a video was made with, also after its model left the entry."""
    offer = live.offers.get(video.model)
    if offer is not None and offer.upstream == video.upstream_model:
        return offer
    limits = live.channel.limits(live.channel.options, video.upstream_model) or live.channel.default_model
    return Offer(public=video.model, upstream=video.upstream_model, limits=limits)


async def build(core: Core, live: LiveChannel, limits: Model, video: Video, attempt_id: str) -> Submittable:
    """The request for `video` on `live`. Raises an `InvalidRequest` for inputs that this channel cannot take."""
    order = video.order
    shaper = _Shaper(core, live, limits, video, attempt_id)
    images = [await shaper.picture(stored, fits=not place) for place, stored in enumerate(order.images)]
    last_frame = None
    if order.last_frame is not None:
        last_frame = await shaper.picture(order.last_frame, fits=True)
    source: UpstreamJob | None = None
    source_frame: FrameOf | None = None
    if video.source_id is not None and not order.reimagine:
        origin = await core.newest(video.source_id)
        if origin is None or not origin.listed:
            raise InvalidRequest("The video that this one was to start from has been deleted.")
        source = origin.job
        if source is None:
            raise InvalidRequest(f"Video with id '{video.source_id}' has no result to start from.")
        source_frame = partial(shaper.frame, origin)
    request = VideoRequest(
        prompt=video.prompt,
        model=video.upstream_model,
        seconds=video.seconds if order.extension_seconds is None else order.extension_seconds,
        size=video.size,
        attempt_id=attempt_id,
        kind="create" if order.reimagine else video.kind,
        images=tuple(images),
        last_frame=last_frame,
        video=core.inputs.load_clip(order.video, now=created_at(attempt_id)) if order.video else None,
        characters=order.characters,
        audio=order.audio,
        seed=order.seed,
        negative_prompt=order.negative_prompt,
        metadata={} if live.channel.closed_fields else order.metadata,
    )
    if source_frame is not None:
        request = replace(request, source_frame=source_frame)
    live.channel.check(request)
    return Submittable(request, source, order.hops)


@dataclass(frozen=True, slots=True)
class _Shaper:
    """Brings the pictures of one attempt into the form that its channel takes."""

    core: Core
    live: LiveChannel
    limits: Model
    video: Video
    attempt_id: str

    async def picture(self, stored: StoredInput, *, fits: bool) -> Picture:
        """What a client sent; `fits`: it may have to have the size of the video."""
        return await self._shaped(await self.core.inputs.load_picture(stored), fits, stored.param)

    async def frame(self, origin: Video, which: Literal["first", "last"]) -> Picture:
        """A frame of the video that this one starts from."""
        data = await self.core.contents.frame(origin, which)
        return await self._shaped(await pictures.inspect(data, param="video"), True, "video")

    async def _shaped(self, picture: Picture, fits: bool, param: str) -> Picture:
        form = self.live.channel.picture_form
        exact = fits and self.limits.exact_image
        if exact:
            width, height = (int(side) for side in self.video.size.split("x"))
            picture = await pictures.fit(picture, width, height, self.live.entry.fit, param=param)
        picture = await forms.formed(picture, form, param=param)
        if exact and self.video.size != (size := f"{picture.width}x{picture.height}"):
            raise InvalidRequest(
                f"The picture in {param} must have the size of the video, {self.video.size}, and is {size} at most in "
                "a file that the channel takes. Send a simpler picture, or choose another size.",
                param=param,
            )
        if not form.address or picture.url is not None:
            return picture
        # Of the time of the attempt, so that a recovery gives its channel the very same request.
        url = await self.core.inputs.publish(picture, owner=self.video.id, now=created_at(self.attempt_id))
        if url is None:
            raise InvalidRequest(
                f"The channel {self.live.name} takes pictures by public address only, and this server has no "
                "public_url. Send the picture as a URL, upright and in a form that the channel takes as it is.",
                param=param,
            )
        video = await self.core.newest(self.video.id)
        if video is not None and video.stage != "waiting" and video.stage not in AT_UPSTREAM:
            # It was deleted meanwhile, and with it all that stood in the folder of its inputs.
            await self.core.inputs.discard(video.id)
            raise InvalidRequest("This video has ended.")
        return replace(picture, url=url)


@contextmanager
def own_cancellation() -> Iterator[None]:
    """A cancellation that comes out of a plugin (its pool was closed) is its mistake; our own passes."""
    try:
        yield
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise RuntimeError("the plugin's work was cancelled") from error


async def submit(live: LiveChannel, ready: Submittable) -> UpstreamJob:
    """Call the plugin once. Raises an `ApiError` whose `outcome` says what is known of the submission."""
    # This task may be another than the one that the order came with.
    hops.travelled.set(ready.hops)
    with submission() as ledger:
        try:
            async with asyncio.timeout(CALLS * live.entry.timeout.total + SLACK) as bound:
                with own_cancellation():
                    job = await _call(live.channel, ready)
        except ApiError as error:
            if ledger.taken:
                # Whatever the plugin made of it: a paid call went through before.
                error.outcome = Outcome.UNKNOWN
            # An upstream may repeat the ids that stood in the body.
            ids = (*ready.request.characters, *((ready.source.id,) if ready.source else ()))
            error.message = live.channel.upstream.redactor.text(error.message, ids)
            raise
        except Exception as error:
            if bound.expired():
                raise UpstreamTimeout("The channel did not answer in time.") from error
            ids = (ready.source.id,) if ready.source else ()
            fault = plugin_fault(live, error, ready.request.kind, ids)
            if error is ledger.before:
                fault.outcome = Outcome.REFUSED
            raise fault from error
    if not isinstance(job, UpstreamJob):
        raise UpstreamError("The channel gave no job for this video.")
    return job


async def _call(channel: Channel, ready: Submittable) -> UpstreamJob:
    request, source = ready.request, ready.source
    if request.kind == "create":
        return await channel.create(request)
    if request.kind == "edit":
        return await channel.edit(request, source)
    if request.kind == "extend":
        return await channel.extend(request, source)
    if source is None:
        raise InvalidRequest("A remix needs a video to start from.")
    return await channel.remix(request, source)


async def fetch(live: LiveChannel, known: UpstreamJob) -> UpstreamJob:
    """Poll once; everything but a job is an `ApiError`."""
    try:
        with own_cancellation():
            job = await live.channel.fetch(known)
    except InvalidRequest as error:
        # Nothing in a poll is of a client, who may be waiting for the content and be blamed for it.
        raise UpstreamError(error.message) from None
    except ApiError:
        raise
    except Exception as error:
        raise plugin_fault(live, error, "poll", (known.id,)) from error
    if not isinstance(job, UpstreamJob):
        raise UpstreamError("The channel gave no job for this video.")
    return job
