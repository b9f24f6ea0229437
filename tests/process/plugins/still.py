"""A channel without a remix of its own, whose videos are real files that a test gives it."""

from __future__ import annotations

from proxy import Channel, Source, UpstreamJob, VideoRequest, hookimpl


class Still(Channel):
    type = "still"
    poll_every = 0.02
    film = b""

    @property
    def asked(self) -> list[VideoRequest]:
        return self.__dict__.setdefault("requests", [])

    async def create(self, request: VideoRequest) -> UpstreamJob:
        self.asked.append(request)
        return UpstreamJob(id=f"up-{request.attempt_id}")

    async def fetch(self, job: UpstreamJob) -> UpstreamJob:
        return UpstreamJob(id=job.id, status="completed")

    async def content(self, job: UpstreamJob, variant: str) -> Source:
        return Source(data=self.film)


@hookimpl
def register_channel() -> type[Channel]:
    return Still
