"""The OpenAI dialect of an upstream that can be asked what became of a submission."""

from __future__ import annotations

from typing import Any

from proxy import ABSENT, Absent, Channel, JobError, Model, Reply, Source, UpstreamGone, UpstreamJob, hookimpl
from proxy import VideoRequest as Request

STATUS = {word: word for word in ("queued", "in_progress", "completed", "failed")}


class Reference(Channel):
    """Sends the attempt's id along and looks jobs up by it."""

    type = "reference"
    default_model = Model(default_seconds=4, default_size="720x1280")

    async def create(self, request: Request) -> UpstreamJob:
        return await self._submit("/v1/videos", request)

    async def remix(self, request: Request, source: UpstreamJob) -> UpstreamJob:
        return await self._submit(f"/v1/videos/{source.id}/remix", request)

    async def _submit(self, path: str, request: Request) -> UpstreamJob:
        headers = {"X-Reference": request.attempt_id}
        reply = await self.upstream.post(path, json={"prompt": request.prompt}, headers=headers)
        return job_of(reply, reply.need("id"), reply.choose("status", STATUS))

    async def fetch(self, job: UpstreamJob) -> UpstreamJob:
        reply = await self.upstream.get(f"/v1/videos/{job.id}")
        return job_of(reply, job.id, reply.choose("status", STATUS))

    async def recover(self, request: Request) -> UpstreamJob | Absent | None:
        try:
            reply = await self.upstream.get(f"/v1/references/{request.attempt_id}")
        except UpstreamGone:
            return ABSENT
        return job_of(reply, reply.need("id"), reply.choose("status", STATUS))

    async def content(self, job: UpstreamJob, variant: str) -> Source:
        return Source(url=self.upstream.url(f"/v1/videos/{job.id}/content"), headers=self.headers())

    async def delete(self, job: UpstreamJob) -> None:
        await self.upstream.delete(f"/v1/videos/{job.id}")


def job_of(reply: Reply, job_id: str, status: str) -> UpstreamJob:
    progress: Any = reply.get("progress")
    return UpstreamJob(
        id=job_id,
        status=status,
        progress=progress if isinstance(progress, int) and abs(progress) < 2**53 else None,
        error=JobError("upstream_failed", "It could not be made.") if status == "failed" else None,
    )


@hookimpl
def register_channel() -> type[Channel]:
    return Reference
