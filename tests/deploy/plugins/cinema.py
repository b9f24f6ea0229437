"""A channel with one large film, whose jobs move on when a test says so."""

from __future__ import annotations

import os
from pathlib import Path

from proxy import Channel, Source, UpstreamJob, VideoRequest, hookimpl


class Cinema(Channel):
    type = "cinema"
    poll_every = 0.05

    async def create(self, request: VideoRequest) -> UpstreamJob:
        return UpstreamJob(id=f"up-{request.attempt_id}")

    async def fetch(self, job: UpstreamJob) -> UpstreamJob:
        progress = int(Path(os.environ["CINEMA_PROGRESS"]).read_text())
        return UpstreamJob(id=job.id, status="completed" if progress == 100 else "in_progress", progress=progress)

    async def content(self, job: UpstreamJob, variant: str) -> Source:
        return Source(path=Path(os.environ["CINEMA_FILM"]))


@hookimpl
def register_channel() -> type[Channel]:
    return Cinema
