"""A channel whose videos are finished at once and all the same file on this machine's disk."""

from __future__ import annotations

from pathlib import Path

from proxy import Channel, Options, Source, UpstreamJob, VideoRequest, hookimpl


class ShelfOptions(Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    file: str


class Shelf(Channel):
    type = "shelf"
    options_class = ShelfOptions
    options: ShelfOptions

    async def create(self, request: VideoRequest) -> UpstreamJob:
        return UpstreamJob(id=request.attempt_id, status="completed")

    async def fetch(self, job: UpstreamJob) -> UpstreamJob:
        return UpstreamJob(id=job.id, status="completed")

    async def content(self, job: UpstreamJob, variant: str) -> Source:
        return Source(path=Path(self.options.file))


@hookimpl
def register_channel() -> type[Channel]:
    return Shelf
