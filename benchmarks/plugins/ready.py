"""A channel without a network: it answers at the next turn of the loop that the job goes on, and counts."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from proxy import Channel, UpstreamJob, VideoRequest, hookimpl


class Ready(Channel):
    type = "ready"
    fetched: ClassVar[int] = 0

    async def create(self, request: VideoRequest) -> UpstreamJob:
        return UpstreamJob(id=request.attempt_id, status="in_progress")

    async def fetch(self, job: UpstreamJob) -> UpstreamJob:
        await asyncio.sleep(0)
        Ready.fetched += 1
        return UpstreamJob(id=job.id, status="in_progress", progress=40)


@hookimpl
def register_channel() -> type[Channel]:
    return Ready
