"""Channels that want pictures in one form or another, and keep what they were asked."""

from __future__ import annotations

from proxy import Channel, Model, UpstreamJob, VideoRequest, hookimpl
from proxy.inputs import PictureForm


class Easel(Channel):
    """Takes one picture for the start."""

    type = "easel"
    poll_every = 0.02
    default_model = Model(max_images=1)

    @property
    def asked(self) -> list[VideoRequest]:
        return self.__dict__.setdefault("requests", [])

    async def create(self, request: VideoRequest) -> UpstreamJob:
        self.asked.append(request)
        return UpstreamJob(id=f"up-{request.attempt_id}")

    async def edit(self, request: VideoRequest, source: UpstreamJob | None) -> UpstreamJob:
        return await self.create(request)

    async def fetch(self, job: UpstreamJob) -> UpstreamJob:
        return UpstreamJob(id=job.id, status=self.__dict__.get("status", "in_progress"))


class Ends(Easel):
    """Takes a few pictures for the start and one for the end, each a small JPEG; the first has the video's size."""

    type = "ends"
    default_model = Model(max_images=3, last_frame=True, exact_image=True)
    picture_form = PictureForm(media_types=("image/jpeg",))


class Gallery(Easel):
    """Fetches its pictures itself."""

    type = "gallery"
    default_model = Model(last_frame=True)
    picture_form = PictureForm(media_types=("image/png",), address=True)

    async def recover(self, request: VideoRequest) -> UpstreamJob | None:
        self.asked.append(request)
        return None


@hookimpl
def register_channel() -> list[type[Channel]]:
    return [Easel, Ends, Gallery]
