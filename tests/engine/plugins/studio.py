"""Channels whose models differ in what they do natively, how long an extension may be, and what a second costs."""

from __future__ import annotations

from collections.abc import Mapping

from proxy import Model, Source, UpstreamJob, VideoRequest, hookimpl

from .puppet import Puppet

SIZES = ("1280x720", "1920x1080", "3840x2160")


class Studio(Puppet):
    """It can do all that an upstream may be able to; its videos are the file that a test gives it."""

    type = "studio"
    film = b""
    models: Mapping[str, Model] = {
        "all": Model(
            seconds=(4, 8),
            extend_seconds=(5, 7),
            sizes=SIZES,
            audio=True,
            price=0.4,
            prices={"silent": 0.2, "1080p": 0.6, "1080p silent": 0.3, "3840x2160": 1.5},
        ),
        "editor": Model(native=("edit",), seconds=(4, 8), image=False),
        "remixer": Model(native=("remix",), seconds=(4, 8)),
        "blind-remixer": Model(native=("remix",), seconds=(4, 8), image=False),
        "extender": Model(native=("extend",), seconds=(4, 8)),
        "none": Model(native=(), seconds=(4, 8), price=0.1),
        "blind": Model(native=(), image=False),
    }

    async def edit(self, request: VideoRequest, source: UpstreamJob | None) -> UpstreamJob:
        return await self._answer("edit", request, UpstreamJob(f"up-{request.attempt_id}"))  # type: ignore[return-value]

    async def extend(self, request: VideoRequest, source: UpstreamJob | None) -> UpstreamJob:
        return await self._answer("extend", request, UpstreamJob(f"up-{request.attempt_id}"))  # type: ignore[return-value]

    async def content(self, job: UpstreamJob, variant: str) -> Source:
        return Source(data=self.film)


@hookimpl
def register_channel() -> type[Studio]:
    return Studio
