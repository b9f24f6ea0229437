"""Lumen: text or a picture to video.

https://docs.lumen.example/generations
"""

from proxy import Channel, Model, Reply, UpstreamJob, VideoRequest, hookimpl

STATES = {"waiting": "queued", "rendering": "in_progress", "ready": "completed", "rejected": "failed"}


class Lumen(Channel):
    type = "lumen"
    base_url = "https://api.lumen.example"
    default_model = Model(max_images=1)

    async def create(self, request: VideoRequest) -> UpstreamJob:
        body = {"text": request.prompt, "model": request.model, "length": request.seconds, "size": request.size}
        if request.image:
            body["first_frame"] = request.image.data_uri
        return task(await self.upstream.post("/v2/generations", json={**request.metadata, **body}))

    async def fetch(self, job: UpstreamJob) -> UpstreamJob:
        return task(await self.upstream.get(f"/v2/generations/{job.id}"))


def task(reply: Reply) -> UpstreamJob:
    return UpstreamJob(
        id=reply.need("task.id"),
        status=reply.choose("task.state", STATES),
        progress=reply.get("task.percent"),
        url=reply.get("task.output.mp4"),
        url_expires_at=reply.get("task.output.expires"),
        error=reply.get("task.reason"),
    )


@hookimpl
def register_channel() -> type[Channel]:
    return Lumen
