"""Atelier, a made-up provider that can do everything, so that no law of the contract goes unproved.

https://docs.atelier.example/jobs
"""

from proxy import ABSENT, Channel, Clip, Reply, Source, UnsupportedOperation, UpstreamJob, VideoRequest, hookimpl

STATES = {
    "accepted": "queued",
    "painting": "in_progress",
    "varnishing": "in_progress",
    "hung": "completed",
    "torn": "failed",
    "called-off": "failed",
}


class Atelier(Channel):
    type = "atelier"
    base_url = "https://atelier.example"

    async def create(self, request: VideoRequest) -> UpstreamJob:
        body = {**order(request), "model": request.model, "seconds": request.seconds, "size": request.size}
        form = [(name, str(value)) for name, value in {**request.metadata, **body}.items()]
        pictures = [("picture", picture) for picture in request.images]
        return job(await self.upstream.post("/v1/jobs", form=[*form, *pictures]))

    async def fetch(self, job_: UpstreamJob) -> UpstreamJob:
        return job(await self.upstream.get(f"/v1/jobs/{job_.id}"))

    async def remix(self, request: VideoRequest, source: UpstreamJob) -> UpstreamJob:
        return await self.again("remix", request, source)

    async def edit(self, request: VideoRequest, source: UpstreamJob | None) -> UpstreamJob:
        return await self.again("edit", request, source)

    async def extend(self, request: VideoRequest, source: UpstreamJob | None) -> UpstreamJob:
        return await self.again("extend", request, source)

    async def again(self, verb: str, request: VideoRequest, source: UpstreamJob | None) -> UpstreamJob:
        if source is None:
            raise UnsupportedOperation("Atelier starts from its own videos only.", param="video")
        return job(await self.upstream.post(f"/v1/jobs/{source.id}/{verb}", json=order(request)))

    async def content(self, job: UpstreamJob, variant: str) -> Source:
        if variant == "spritesheet":
            raise UnsupportedOperation("Atelier has no spritesheets.", param="variant")
        url = self.upstream.url(f"/v1/jobs/{job.id}/{'film' if variant == 'video' else 'still'}")
        return Source(url=url, headers=self.headers(), media_type="video/mp4" if variant == "video" else "image/png")

    async def cancel(self, job: UpstreamJob) -> None:
        await self.upstream.post(f"/v1/jobs/{job.id}/cancel", paid=False)

    async def delete(self, job: UpstreamJob) -> None:
        await self.upstream.delete(f"/v1/jobs/{job.id}")

    async def character(self, name: str, video: Clip) -> str:
        reply = await self.upstream.post("/v1/characters", form={"name": name, "film": video}, paid=False)
        return str(reply.need("character"))

    async def recover(self, request: VideoRequest):
        reply = await self.upstream.get("/v1/jobs", params={"reference": request.attempt_id})
        return job(Reply(reply.need("jobs")[0])) if reply.get("jobs") else ABSENT


def order(request: VideoRequest) -> dict[str, str]:
    return {"prompt": request.prompt, "reference": request.attempt_id}


def job(reply: Reply) -> UpstreamJob:
    return UpstreamJob(
        id=reply.need("job"),
        status=reply.choose("state", STATES),
        progress=reply.get("done"),
        error=reply.get("why"),
    )


@hookimpl
def register_channel():
    return Atelier
