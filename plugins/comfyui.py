"""ComfyUI: a server of one's own, which runs a workflow of the operator's.

https://docs.comfy.org/development/comfyui-server/comms_routes

`POST /prompt` takes a graph of nodes, here a template whose placeholders are filled in, and an id that is ours; before
it, pictures go to `POST /upload/image`. `GET /history/{id}` is empty until the job has ended; `GET /queue` says whether
it waits or runs. Results are files of `GET /view`. How far a running job is, the websocket `/ws` alone tells.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Mapping
from typing import Any, ClassVar, Final
from urllib.parse import quote, urlencode

from proxy import (
    ApiError,
    Channel,
    InvalidRequest,
    JobError,
    Model,
    Options,
    Picture,
    PluginError,
    Reply,
    Source,
    UnsupportedOperation,
    UpstreamJob,
    Variant,
    VideoRequest,
    hookimpl,
)

from ._comfyui_graph import Template, ended, frames, queued, template, templates, unfit
from ._comfyui_progress import Progress

LOOKS: Final = 5
"""How often in a row a job may be nowhere, or done without a video, before that is believed: between queue and history
there is a gap."""
NAMESPACE: Final = uuid.UUID("6f0a8d3e-52c1-4e0b-9d0e-7d1f0f6f2b5a")
PICTURES: Final = {"image": "input_reference", "last_frame": "last_frame"}


class ComfyuiOptions(Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an entry of type `comfyui` may set."""

    paths: ClassVar[frozenset[str]] = frozenset(("workflow", "image_workflow"))

    workflow: str
    """The workflow in API format: its path (a relative one is relative to channels.yaml), or the JSON itself. It may
    have the placeholders `{{prompt}}`, `{{negative_prompt}}`, `{{model}}`, `{{width}}`, `{{height}}`, `{{frames}}`,
    `{{seconds}}`, `{{fps}}`, `{{seed}}`, `{{image}}` and `{{last_frame}}`; the last two are names for LoadImage. A
    value that is nothing but a placeholder becomes a number where that is one. One with a picture's placeholder takes
    no request without that picture. Without `{{seed}}` a server does nothing for what it has just made. A file is read
    when the channel starts."""
    image_workflow: str = ""
    """The workflow of requests with a picture; empty means `workflow`. Remixes begin with a picture too."""
    fps: float = 16
    """Frames per second that the workflow makes: `frames` are reckoned with it."""
    frames: str = "4k+1"
    """Which numbers of frames the model can make: `4k+1` (Wan, Hunyuan), `8k+1` (LTX), `1k` (any)."""
    key_header: str = "Authorization"
    """The header for `api_key`, where a proxy before the server wants one: as `Bearer` in `Authorization`, else alone,
    as in `X-API-Key`."""

    def __post_init__(self) -> None:
        if not self.workflow:
            raise ValueError("workflow is empty; give the path of a workflow in API format")
        for text in (self.workflow, self.image_workflow):
            if text.lstrip().startswith("{"):
                template(text)
        frames(self.frames, 1)
        if not 1 <= self.fps <= 240:
            raise ValueError("fps must be 1 to 240")
        if not re.fullmatch(r"[A-Za-z0-9-]+", self.key_header):
            raise ValueError("key_header must be the name of a header")


class Comfyui(Channel):
    type = "comfyui"
    options: ComfyuiOptions
    options_class = ComfyuiOptions
    base_url = "http://127.0.0.1:8188"
    poll_every = 3.0
    # What a client could add is nodes, which may read files and run code.
    closed_fields = True

    @classmethod
    def limits(cls, options: Options, name: str) -> Model | None:
        try:
            wants = frozenset[str]().union(*(one.wants for one in templates(options)))
        except ValueError:
            # The start says what is wrong.
            return cls.default_model
        return Model(image="image" in wants, max_images=1, last_frame="last_frame" in wants)

    async def start(self) -> None:
        self._progress = Progress(self)
        try:
            self._plain, self._pictured = await asyncio.to_thread(templates, self.options)
        except ValueError as error:
            raise PluginError(f"channel {self.name}", str(error)) from None

    async def close(self) -> None:
        await self._progress.close()

    def headers(self) -> Mapping[str, str]:
        usual = super().headers()
        header = self.options.key_header
        return usual if header.lower() == "authorization" or not usual else {header: self.options.api_key}

    def check(self, request: VideoRequest) -> None:
        wants = self._template(request).wants
        for name, param in PICTURES.items():
            if getattr(request, name) is None and name in wants:
                raise InvalidRequest(f"The workflow of this model needs a picture: '{param}'.", param=param)
            if getattr(request, name) is not None and name not in wants:
                raise UnsupportedOperation(f"The workflow of this model has no place for '{param}'.", param=param)

    def _template(self, request: VideoRequest) -> Template:
        return self._pictured if request.image or request.last_frame else self._plain

    async def create(self, request: VideoRequest) -> UpstreamJob:
        chosen, job_id = self._template(request), job_id_of(request)
        values = {**self._values(request), "seed": seed(request)}
        with self.upstream.unpaid():
            for name in PICTURES:
                if name in chosen.wants and (picture := getattr(request, name)):
                    values[name] = await self._uploaded(picture, job_id)
        body = {"prompt": chosen.filled(values), "prompt_id": job_id, "client_id": job_id}
        return UpstreamJob(id=(await self.upstream.post("/prompt", json=body)).need("prompt_id"))

    def _values(self, request: VideoRequest) -> dict[str, Any]:
        fps = self.options.fps
        return {
            "prompt": request.prompt,
            "negative_prompt": request.negative_prompt or "",
            "model": request.model,
            "width": request.width,
            "height": request.height,
            "frames": frames(self.options.frames, request.seconds * fps),
            "seconds": request.seconds,
            "fps": int(fps) if fps == int(fps) else fps,
        }

    async def _uploaded(self, picture: Picture, job_id: str) -> str:
        """The name that LoadImage finds `picture` by: the server may have changed it. Each job has a folder of its own,
        since a server looks through all files of one name."""
        form: dict[str, str | Picture] = {"image": picture, "type": "input", "subfolder": f"reelgate/{job_id}"}
        reply = await self.upstream.post("/upload/image", form=form, paid=False)
        folder, name = reply.get("subfolder", ""), reply.need("name")
        return f"{folder}/{name}" if folder else str(name)

    async def fetch(self, job: UpstreamJob) -> UpstreamJob:
        if (found := await self._seen(job.id)) and (found.status != "completed" or found.facts):
            return found
        if job.status == "completed":
            # A server that was started anew has the file all the same.
            return job
        if (looks := int(job.facts.get("looks", 0)) + 1) < LOOKS:
            return UpstreamJob(id=job.id, status="in_progress", facts={"looks": looks})
        sentence = "The workflow saved no video." if found else "The upstream lost the job; it may have been restarted."
        return UpstreamJob(id=job.id, status="failed", error=JobError("upstream_failed", sentence))

    async def _seen(self, job_id: str) -> UpstreamJob | None:
        """How a job is; None where the server has none of that id."""
        history = await self.upstream.get(f"/history/{quote(job_id, safe='')}")
        if history.data != {}:
            self._progress.end(job_id)
            return ended(job_id, history)
        if (found := queued(job_id, await self.upstream.get("/queue"))) is None:
            return None
        progress = self._progress.of(found) if found.runs else None
        return UpstreamJob(id=found.id, status="in_progress" if found.runs else "queued", progress=progress)

    async def recover(self, request: VideoRequest) -> UpstreamJob | None:
        # That a server has no such job proves nothing: an old one has it under another id when it has ended, and a
        # restart forgets all.
        found = await self._seen(job_id_of(request))
        return found and UpstreamJob(id=found.id)

    async def content(self, job: UpstreamJob, variant: Variant) -> Source:
        file = job.facts.get("file")
        if variant != "video" or not isinstance(file, dict):
            raise UnsupportedOperation(f"The channel of this video has no {variant}.", param="variant")
        return Source(url=f"{self.upstream.url('/view')}?{urlencode(file)}", headers=self.headers())

    async def cancel(self, job: UpstreamJob) -> None:
        await self.upstream.post("/queue", json={"delete": [job.id]}, paid=False)
        # An old server interrupts whatever runs, so that ours must be what runs.
        if (found := await self._seen(job.id)) and found.status == "in_progress":
            await self.upstream.post("/interrupt", json={"prompt_id": job.id}, paid=False)
        self._progress.end(job.id)

    async def delete(self, job: UpstreamJob) -> None:
        # The record, with the prompt in it; ComfyUI has no call that removes a file.
        await self.upstream.post("/history", json={"delete": [job.id]}, paid=False)

    def refusal(self, status: int, reply: Reply) -> ApiError | None:
        return unfit(reply, self._plain, self._pictured) if status == 400 else None


def job_id_of(request: VideoRequest) -> str:
    return str(uuid.uuid5(NAMESPACE, request.attempt_id))


def seed(request: VideoRequest) -> int:
    """The client's, or one of the attempt's own: a server does nothing for a graph that it has just run."""
    return uuid.uuid5(NAMESPACE, request.attempt_id).int % 2**32 if request.seed is None else request.seed


@hookimpl
def register_channel() -> type[Channel]:
    return Comfyui
