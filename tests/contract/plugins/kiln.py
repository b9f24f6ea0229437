"""Kiln, a made-up provider whose films come within its answers, and whose pictures have a form of their own.

https://docs.kiln.example/firings
"""

import asyncio
from typing import Any

from proxy import Channel, Model, PictureForm, Reply, Source, UpstreamJob, VideoRequest, hookimpl

STATES = {"drying": "queued", "firing": "in_progress", "glazed": "completed", "cracked": "failed"}


class Kiln(Channel):
    type = "kiln"
    base_url = "https://kiln.example"
    requires = {"av": "pip install 'reelgate[media]'"}  # noqa: RUF012
    default_model = Model(max_images=3, last_frame=True)
    picture_form = PictureForm(media_types=("image/jpeg", "image/webp"), max_side=512)

    async def start(self) -> None:
        await asyncio.to_thread(ticks, 1)

    async def create(self, request: VideoRequest) -> UpstreamJob:
        body: dict[str, Any] = {"words": request.prompt, "time": ticks(request.seconds)}
        body["pictures"] = [{"kind": picture.media_type, "data": picture.base64} for picture in request.images]
        if request.last_frame:
            body["last"] = request.last_frame.data_uri
        return firing(await self.upstream.post("/v1/firings", json={**request.metadata, **body}))

    async def extend(self, request: VideoRequest, source: UpstreamJob | None) -> UpstreamJob:
        frame = await request.source_frame("last")
        body = {"words": request.prompt, "time": ticks(request.seconds), "from": frame.data_uri}
        return firing(await self.upstream.post("/v1/firings", json=body))

    async def fetch(self, job: UpstreamJob) -> UpstreamJob:
        return firing(await self.upstream.get(f"/v1/firings/{job.id}", params={"within": "1"}, spool=True))

    async def content(self, job: UpstreamJob, variant: str) -> Source:
        if variant != "video":
            return await super().content(job, variant)
        reply = await self.upstream.get(f"/v1/firings/{job.id}/film", spool=True)
        return Source(spooled=reply.need("film.data"))


def ticks(seconds: int) -> int:
    import av

    return seconds * int(av.time_base)


def firing(reply: Reply) -> UpstreamJob:
    return UpstreamJob(
        id=reply.need("firing"),
        status=reply.choose("state", STATES),
        error=reply.get("why"),
        film=reply.get("film.data"),
    )


@hookimpl
def register_channel():
    return Kiln
