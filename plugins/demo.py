"""The demo channel: renders small films on this machine, without account, network or cost.

It answers as sora-2, sora-2-pro and demo, so that a client can be built against the API for nothing. Scenery, colours
and motion come from the prompt; `[slow]`, `[fail]`, `[moderate]` and `[429]` anywhere in it ask for that trouble.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import io
from collections.abc import Callable, Collection, Mapping
from typing import Any, ClassVar

from PIL import Image

from proxy import (
    ABSENT,
    Channel,
    Clip,
    InvalidRequest,
    JobError,
    Model,
    Options,
    Picture,
    RateLimited,
    Source,
    UpstreamError,
    UpstreamJob,
    UpstreamRefused,
    VideoRequest,
    hookimpl,
)

from ._demo_files import Files
from ._demo_film import encode, first_frame
from ._demo_renders import Failed, Render, Renders
from ._demo_words import clean, seed, traits, trouble

LEAST_SIDE, MOST_SIDE = 64, 1920
MOST_SECONDS = 20
MOST_TOTAL = 120
"""Seconds that a film may have after extensions, as at OpenAI."""
SLOW = 5.0
"""Seconds that `[slow]` takes for each second of film, beside the rendering."""

FILM = Model(
    seconds=tuple(range(1, MOST_SECONDS + 1)),
    default_seconds=4,
    default_size="720x1280",
    exact_image=True,
    max_images=1,
    last_frame=True,
    audio=False,
    price=0.0,
)


class DemoOptions(Options, frozen=True, kw_only=True):
    """What an entry of type `demo` may set."""

    rendering: int = 2
    """Films that are rendered at once, 1 to 64; more wait."""
    fps: int = 24
    """Frames per second, 1 to 60."""

    def __post_init__(self) -> None:
        if not 1 <= self.rendering <= 64:
            raise ValueError("rendering must be 1 to 64")
        if not 1 <= self.fps <= 60:
            raise ValueError("fps must be 1 to 60")


class Demo(Channel):
    type = "demo"
    models: ClassVar[Mapping[str, Model]] = {"sora-2": FILM, "sora-2-pro": FILM, "demo": FILM}
    options_class = DemoOptions
    requires: ClassVar[Mapping[str, str]] = {"av": "run pip install 'reelgate[media]'"}
    poll_every = 0.5
    options: DemoOptions

    _renders: Renders | None = None

    async def start(self) -> None:
        # It takes a while, and the first film would wait for it.
        await asyncio.to_thread(importlib.import_module, "av")
        await asyncio.to_thread(self._files.tidy)
        self._renders = Renders(self.options.rendering)

    async def close(self) -> None:
        if self._renders is not None:
            self._renders.close()

    # -- orders --------------------------------------------------------------------------------------------------------

    def check(self, request: VideoRequest) -> None:
        width, height = _size(request)
        if width % 2 or height % 2 or min(width, height) < LEAST_SIDE or max(width, height) > MOST_SIDE:
            raise InvalidRequest(
                f"size {request.size}: the demo channel makes even sizes of {LEAST_SIDE} to {MOST_SIDE} pixels a side, "
                "such as 720x1280.",
                param="size",
            )
        if request.kind in ("remix", "edit") and request.seconds > MOST_TOTAL:
            raise InvalidRequest(
                f"The demo channel changes videos of up to {MOST_TOTAL} seconds, and this one has {request.seconds}.",
                param="video",
            )
        if request.kind in ("create", "extend") and not 1 <= request.seconds <= MOST_SECONDS:
            raise InvalidRequest(f"seconds must be 1 to {MOST_SECONDS}.", param="seconds")
        if len(request.images) > 1:
            raise InvalidRequest("The demo channel takes one picture, which becomes the first frame.", param="image")

    async def create(self, request: VideoRequest) -> UpstreamJob:
        layout = clean(request.prompt) if request.seed is None else f"seed {request.seed}"
        facts = self._facts(request, seed(layout), [_part(request)])
        return await self._begin(request, facts, _opened(request.image), _opened(request.last_frame))

    async def remix(self, request: VideoRequest, source: UpstreamJob) -> UpstreamJob:
        facts = self._facts(request, source.facts["seed"], [_part(request, source)], source)
        return await self._begin(request, facts, self._backdrop_of(source))

    async def edit(self, request: VideoRequest, source: UpstreamJob | None) -> UpstreamJob:
        return await (self._from_clip(request) if source is None else self.remix(request, source))

    async def extend(self, request: VideoRequest, source: UpstreamJob | None) -> UpstreamJob:
        if source is None:
            return await self._from_clip(request)
        before: int = source.facts["seconds"]
        if before + request.seconds > MOST_TOTAL:
            raise InvalidRequest(
                f"The video has {before} seconds already; with extensions it may have {MOST_TOTAL}.", param="seconds"
            )
        parts = [*source.facts["parts"], _part(request, source, at=before)]
        facts = self._facts(request, source.facts["seed"], parts, source)
        facts |= {"seconds": before + request.seconds, "size": source.facts["size"], "fps": source.facts["fps"]}
        return await self._begin(request, facts, self._backdrop_of(source))

    async def character(self, name: str, video: Clip) -> str:
        return await asyncio.to_thread(lambda: self._files.keep_character(name, _first_frame(video)))

    async def recover(self, request: VideoRequest) -> Any:
        job_id = _job_id(request)
        facts = await asyncio.to_thread(self._files.facts, job_id)
        if facts is not None:
            return await self.fetch(UpstreamJob(id=job_id, facts=facts))
        # Nothing was kept, so nothing was begun. Of a create all is here, and beginning it now costs nothing.
        if request.kind != "create":
            return ABSENT
        try:
            return await self.create(request)
        except (InvalidRequest, RateLimited):
            return ABSENT

    # -- jobs ----------------------------------------------------------------------------------------------------------

    async def fetch(self, job: UpstreamJob) -> UpstreamJob:
        render = self._working().get(job.id)
        if render is None:
            if await asyncio.to_thread(self._files.film(job.id).is_file):
                return UpstreamJob(id=job.id, status="completed", facts=job.facts)
            render = self._working().start(job.id, self._work(job.id, job.facts))
        standing = render.standing
        return UpstreamJob(
            id=job.id,
            status=standing.status,
            progress=standing.progress,
            error=JobError(standing.code, standing.message) if standing.code else None,
            facts=job.facts,
        )

    async def probe(self) -> Collection[str]:
        # There is nobody to ask, and a job that is asked for is begun.
        return self.models

    async def content(self, job: UpstreamJob, variant: str) -> Source:
        if variant == "thumbnail":
            return Source(path=await asyncio.to_thread(self._files.thumbnail, job.id), media_type="image/webp")
        if variant == "spritesheet":
            return Source(path=await asyncio.to_thread(self._files.spritesheet, job.id), media_type="image/jpeg")
        return Source(path=await asyncio.to_thread(self._files.finished, job.id))

    async def cancel(self, job: UpstreamJob) -> None:
        render = self._working().get(job.id)
        if render is not None:
            render.stop()
            # Its files may go only when its thread has let go of them, which is after one frame.
            await asyncio.wait([asyncio.wrap_future(render.future)])
        await asyncio.to_thread(self._files.remove, job.id)

    async def delete(self, job: UpstreamJob) -> None:
        await self.cancel(job)

    # -- how they are made ---------------------------------------------------------------------------------------------

    @property
    def _files(self) -> Files:
        return Files(self.folder)

    def _working(self) -> Renders:
        # A render that stops because the channel closes has not failed: the next process or channel begins it again.
        if self._renders is None or self._renders.closed:
            raise UpstreamError("The demo channel is stopping.")
        return self._renders

    def _facts(
        self, request: VideoRequest, layout: int, parts: list[dict[str, Any]], source: UpstreamJob | None = None
    ) -> dict[str, Any]:
        earlier = source.facts["characters"] if source is not None else []
        return {
            "seed": layout,
            "fps": self.options.fps,
            "size": list(_size(request)),
            "seconds": request.seconds,
            "parts": parts,
            "trouble": sorted(trouble(request.prompt)),
            "picture": False,
            "characters": list(dict.fromkeys([*earlier, *request.characters])),
        }

    async def _from_clip(self, request: VideoRequest) -> UpstreamJob:
        clip = request.video
        if clip is None:
            raise InvalidRequest("There is no video to start from.", param="video")
        facts = self._facts(request, seed(clean(request.prompt)), [_part(request)])
        return await self._begin(request, facts, lambda: _first_frame(clip))

    def _backdrop_of(self, source: UpstreamJob) -> Callable[[], Image.Image] | None:
        return (lambda: self._files.backdrop(source.id)) if source.facts["picture"] else None

    async def _begin(
        self,
        request: VideoRequest,
        facts: dict[str, Any],
        backdrop: Callable[[], Image.Image] | None,
        ending: Callable[[], Image.Image] | None = None,
    ) -> UpstreamJob:
        self.check(request)
        if "429" in facts["trouble"]:
            raise RateLimited("[429] in the prompt: the demo channel refuses this video as asked.", retry_after=1)
        if self._renders is None or self._renders.closed:
            raise UpstreamRefused("The demo channel is stopping.")
        facts |= {"picture": backdrop is not None, "ending": ending is not None}
        job = UpstreamJob(id=_job_id(request), facts=facts)
        await asyncio.to_thread(self._files.keep, job.id, job.facts, backdrop, ending)
        return await self.fetch(job)

    def _work(self, job_id: str, facts: Mapping[str, Any]) -> Callable[[Render], None]:
        files = self._files

        def work(render: Render) -> None:
            film = files.described(job_id, facts)
            wanted = facts["trouble"]

            def after(done: int) -> None:
                if "slow" in wanted:
                    render.pause(SLOW / film.fps)
                if "moderate" in wanted and done * 4 >= film.frames:
                    raise Failed("moderation_blocked", "[moderate] in the prompt: the demo channel blocked this video.")
                if "fail" in wanted and done * 2 >= film.frames:
                    raise Failed(
                        "upstream_failed", "[fail] in the prompt: the demo channel failed this video half way."
                    )
                render.tell(done, film.frames)

            files.remove_unfinished(job_id)
            with files.written(files.film(job_id)) as file:
                encode(film, file, after)

        return work


def _job_id(request: VideoRequest) -> str:
    return f"demo_{hashlib.sha256(request.attempt_id.encode()).hexdigest()[:24]}"


def _size(request: VideoRequest) -> tuple[int, int]:
    """Width and height of what is made: a clip that is sent in may be larger than all that is made here."""
    width, height = request.dimensions
    if request.video is None or max(width, height) <= MOST_SIDE:
        return width, height
    shrink = MOST_SIDE / max(width, height)
    return round(width * shrink / 2) * 2, round(height * shrink / 2) * 2


def _part(request: VideoRequest, source: UpstreamJob | None = None, at: int = 0) -> dict[str, Any]:
    """What the prompt says; what it leaves open is as in the last part of `source`."""
    text = clean(request.prompt)
    earlier = source.facts["parts"][-1]["traits"] if source is not None else {}
    return {"at": at, "text": text, "accent": seed(text), "traits": {**earlier, **traits(request.prompt)}}


def _opened(picture: Picture | None) -> Callable[[], Image.Image] | None:
    return None if picture is None else lambda: _decoded(picture.data)


def _decoded(data: bytes) -> Image.Image:
    try:
        picture = Image.open(io.BytesIO(data))
        picture.load()
    except (OSError, ValueError) as error:
        raise InvalidRequest("The picture cannot be decoded.", param="image") from error
    return picture


def _first_frame(clip: Clip) -> Image.Image:
    try:
        return first_frame(clip.path)
    except ValueError as error:
        raise InvalidRequest("The video cannot be decoded.", param="video") from error


@hookimpl
def register_channel() -> type[Demo]:
    return Demo
