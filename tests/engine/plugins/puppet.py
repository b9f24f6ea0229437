"""A channel that a test moves by hand: what it was asked is kept, what it answers is scripted.

It takes no network, so that a test decides to the letter what an upstream said and when.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from proxy import Channel, Model, Source, UpstreamJob, VideoRequest, hookimpl


class Puppet(Channel):
    type = "puppet"
    models: Mapping[str, Model] = {}
    poll_every = 0.02

    def _script(self) -> dict[str, list[object]]:
        return self.__dict__.setdefault("script", {})

    def then(self, operation: str, *answers: object) -> None:
        """Answer the next calls of `operation` with these: a job, an error to raise, or a future of either."""
        self._script().setdefault(operation, []).extend(answers)

    def asked(self, operation: str) -> list[VideoRequest | UpstreamJob]:
        """What `operation` was called with so far."""
        return self.__dict__.setdefault("calls", {}).setdefault(operation, [])

    async def _answer(self, operation: str, asked: object, default: object) -> object:
        self.asked(operation).append(asked)  # type: ignore[arg-type]
        scripted = self._script().get(operation)
        answer = scripted.pop(0) if scripted else default
        if isinstance(answer, asyncio.Future):
            answer = await answer
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def create(self, request: VideoRequest) -> UpstreamJob:
        default = UpstreamJob(id=f"up-{request.attempt_id}", status="in_progress", facts={"prompt": request.prompt})
        return await self._answer("create", request, default)  # type: ignore[return-value]

    async def fetch(self, job: UpstreamJob) -> UpstreamJob:
        return await self._answer("fetch", job, UpstreamJob(id=job.id, status="completed"))  # type: ignore[return-value]

    async def remix(self, request: VideoRequest, source: UpstreamJob) -> UpstreamJob:
        self.asked("remix source").append(source)
        default = UpstreamJob(id=f"up-{request.attempt_id}", status="in_progress")
        return await self._answer("remix", request, default)  # type: ignore[return-value]

    async def content(self, job: UpstreamJob, variant: str) -> Source:
        self.asked("content").append(job)
        return Source(data=b"\x00\x00\x00\x18ftypmp42" + job.id.encode())


class Lookup(Puppet):
    """One that can look a submission up, cancel and delete."""

    type = "lookup"

    async def recover(self, request: VideoRequest) -> UpstreamJob | None:
        return await self._answer("recover", request, None)  # type: ignore[return-value]

    async def cancel(self, job: UpstreamJob) -> None:
        await self._answer("cancel", job, None)

    async def delete(self, job: UpstreamJob) -> None:
        await self._answer("delete", job, None)


class Cutter(Puppet):
    """One that edits and extends, also what a client sends in."""

    type = "cutter"

    async def edit(self, request: VideoRequest, source: UpstreamJob | None) -> UpstreamJob:
        default = UpstreamJob(id=f"up-{request.attempt_id}", status="in_progress")
        return await self._answer("edit", request, default)  # type: ignore[return-value]

    async def extend(self, request: VideoRequest, source: UpstreamJob | None) -> UpstreamJob:
        default = UpstreamJob(id=f"up-{request.attempt_id}", status="in_progress")
        return await self._answer("extend", request, default)  # type: ignore[return-value]


@hookimpl
def register_channel() -> list[type[Channel]]:
    return [Puppet, Lookup, Cutter]
