"""A server of vLLM-Omni: vllm_omni 0.30.0.

Rules: its own entrypoints/openai/{api_server,protocol/videos,video/generation/helpers}.py. With `keys` it was started
with `--api-key`.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import re
import uuid
from collections.abc import Collection
from typing import Any
from urllib.parse import parse_qsl

from proxy.testing import Answer, Call, Job, Part, Refuse, Simulator, operation
from tests.simulators.media import measure

MODEL = "Wan-AI/Wan2.2-T2V-A14B-Diffusers"
FILES = (
    *("input_reference", "input_references", "control_reference", "source_video", "source_audio"),
    *("video_noise_mask", "audio_noise_mask"),
)
WHOLE = ("width", "height", "num_frames", "short_edge", "num_outputs_per_prompt", "num_inference_steps", "seed")
NUMBERS = (
    *("fps", "guidance_scale", "guidance_scale_2", "boundary_ratio", "flow_shift", "true_cfg_scale"),
    *("sound_duration", "start_time_seconds", "frame_interpolation_exp", "frame_interpolation_scale"),
)
SWITCHES = ("generate_sound", "enable_frame_interpolation", "return_stage_metrics")
BOUNDS = {
    "width": (1, None),
    "height": (1, None),
    "num_frames": (1, None),
    "fps": (1, None),
    "num_outputs_per_prompt": (1, 10),
    "num_inference_steps": (1, 200),
    "guidance_scale": (0, 20),
    "guidance_scale_2": (0, 20),
    "true_cfg_scale": (0, 20),
    "boundary_ratio": (0, 1),
}
PATTERNS = {"seconds": r"^[1-9]\d*$", "size": r"^\d+x\d+$"}
REFERENCES = {"image_reference": "image_url", "video_reference": "video_url", "audio_reference": "audio_url"}
TYPES = {400: "BadRequestError", 401: "AuthenticationError", 404: "NotFoundError", 500: "InternalServerError"}


class VllmOmniSimulator(Simulator):
    """One process with one model, whose jobs are in its memory."""

    def __init__(self, *, keys: Collection[str] = ("sk-test",)) -> None:
        super().__init__(keys=keys)
        self.guarded = bool(self.keys)
        self.model = MODEL
        """The name that the server serves; another one in a request is refused."""
        self.details = False
        """Whether errors are FastAPI's `detail` instead of OpenAI's object."""
        self.handles_videos = True
        """False: the model that was loaded makes none."""
        self.has_one_server = True
        """False: `--api-server-count` is above 1, and the routes of videos refuse."""
        self.conflicts = 0
        """How many deletes find a cancellation under way, or a film that is still being written."""

    # -- the server's own words ----------------------------------------------------------------------------------------

    def error(self, status: int, message: str) -> Answer:
        if self.details:
            return Answer(status=status, json={"detail": message})
        kind = TYPES.get(status, "BadRequestError" if status < 500 else "InternalServerError")
        # The code is a number.
        said = {"message": message, "type": kind, "param": None, "code": status}
        return Answer(status=status, json={"error": said})

    def authenticate(self, call: Call) -> str | None:
        if call.elsewhere:
            raise Refuse(self.error(404, "Not Found"))
        return super().authenticate(call) if self.guarded else "anybody"

    def unauthorised(self, call: Call) -> Answer:
        return Answer(status=401, json={"error": "Unauthorized"})

    def not_found(self, job_id: str) -> Answer:
        return self.error(404, "Video not found")

    async def _no_such_route(self, call: Call) -> Answer:
        known = re.fullmatch(r"/v1/videos(/[^/]+(/content)?)?", call.path)
        return self.error(405, "Method Not Allowed") if known else self.error(404, "Not Found")

    def new_id(self) -> str:
        return f"video_gen_{uuid.uuid4().hex}"

    def refuse(self, message: str) -> Refuse:
        return Refuse(self.error(400, message))

    def unprocessable(self, name: str, message: str, value: object = None, *, place: str = "body") -> Refuse:
        line = {"type": "value_error", "loc": [place, name], "msg": message, "input": value}
        return Refuse(Answer(status=422, json={"detail": [line]}))

    def restart(self) -> None:
        """The process begins anew, without its jobs."""
        for job in self.jobs.values():
            job.removed = True

    def video(self, job: Job) -> dict[str, Any]:
        facts, done = job.facts, job.state == "completed"
        return {
            "model": self.model,
            "prompt": facts["prompt"],
            "id": job.id,
            "object": "video",
            "status": job.state,
            "size": facts["size"],
            # From nothing to everything.
            "progress": 100 if done else 0,
            "seconds": facts["seconds"],
            "quality": facts["quality"],
            "completed_at": job.completed_at if done else None,
            "created_at": job.created_at,
            "remixed_from_video_id": None,
            "error": {"code": status_of(job), "message": job.failure[1]} if job.failure else None,
            "media_type": "video/mp4",
            "expires_at": None,
            "file_name": f"{job.id}.mp4" if done else None,
            "inference_time_s": 52.481 if done else None,
            "fps": facts["fps"],
            "num_frames": facts["num_frames"],
            "duration_s": facts["num_frames"] / facts["fps"],
            "metrics": None,
            "stage_durations": {"diffusion": 50.1} if done else {},
            "peak_memory_mb": 61440.5 if done else 0.0,
            "action": None,
        }

    # -- routes --------------------------------------------------------------------------------------------------------

    @operation("create", "POST", "/v1/videos")
    async def create(self, call: Call) -> Answer:
        self.alone()
        return Answer(json=self.video(await self.ordered(call)))

    @operation("sync", "POST", "/v1/videos/sync")
    async def sync(self, call: Call) -> Answer:
        """The same form; the film is the answer."""
        job = await self.ordered(call)
        self.finish(job.id)
        job.removed = True
        told = {"X-Request-Id": f"video_sync-{uuid.uuid4().hex}", "X-Model": self.model, "X-Inference-Time-S": "52.481"}
        told |= {"X-Stage-Durations": '{"diffusion":50.1}', "X-Peak-Memory-MB": "61440.500"}
        return Answer(body=self.content_of(job), headers={"Content-Type": "video/mp4", **told})

    @operation("list", "GET", "/v1/videos")
    async def list(self, call: Call) -> Answer:
        self.alone()
        limit, order = call.query.get("limit"), call.query.get("order", "desc")
        if limit is not None and (not re.fullmatch(r"\d{1,3}", limit, re.ASCII) or int(limit) > 100):
            raise self.unprocessable("limit", "Input should be an integer from 0 to 100", limit, place="query")
        if order not in ("asc", "desc"):
            raise self.unprocessable("order", "Input should be 'asc' or 'desc'", order, place="query")
        own = [job for job in self.jobs.values() if job.account == call.account and not job.removed]
        own.sort(key=lambda job: job.created_at, reverse=order == "desc")
        if (after := call.query.get("after")) is not None:
            ids = [job.id for job in own]
            own = own[ids.index(after) + 1 :] if after in ids else []
        page = own if limit is None else own[: int(limit)]
        ends = {"first_id": page[0].id if page else None, "last_id": page[-1].id if page else None}
        data = [self.video(job) for job in page]
        return Answer(json={**ends, "has_more": len(own) > len(page), "data": data, "object": "list"})

    @operation("fetch", "GET", "/v1/videos/{id}")
    async def fetch(self, call: Call) -> Answer:
        """The job; one that failed comes whole too, but as the error that it was."""
        self.alone()
        job = self.poll(call, call.match["id"])
        return Answer(status=status_of(job) if job.state == "failed" else 200, json=self.video(job))

    @operation("delete", "DELETE", "/v1/videos/{id}")
    async def delete(self, call: Call) -> Answer:
        self.alone()
        job = self.find(call, call.match["id"])
        if self.conflicts and job.state != "failed":
            self.conflicts -= 1
            what = "Video output not yet available." if job.state == "completed" else "Cancellation in progress."
            raise Refuse(self.error(409, f"{what} Please try again later."))
        job.cancelled = job.state in ("queued", "in_progress")
        job.removed = True
        return Answer(json={"id": job.id, "deleted": True, "object": "video.deleted"})

    @operation("content", "GET", "/v1/videos/{id}/content")
    async def content(self, call: Call) -> Answer:
        """The film, whatever `variant` says."""
        self.alone()
        job = self.find(call, call.match["id"])
        if job.state == "failed":
            raise Refuse(self.error(422, "Video generation failed. Check job status for error details."))
        if job.state != "completed":
            raise Refuse(self.error(404, "Generation is still in-progress"))
        return self.serve(call, self.content_of(job))

    # -- the form ------------------------------------------------------------------------------------------------------

    def alone(self) -> None:
        if not self.has_one_server:
            raise Refuse(self.error(503, "Video jobs are kept in one process: use --api-server-count 1."))

    async def ordered(self, call: Call) -> Job:
        """Read the form and take the job; unknown fields are ignored."""
        fields = self.form(call)
        references = {name: self.parsed(fields, name) for name in REFERENCES if fields.get(name)}
        for name, kind in (("lora", dict), ("extra_params", dict)):
            if fields.get(name) and not isinstance(self.parsed(fields, name), kind):
                raise self.refuse("Invalid JSON in form field: expected dict.")
        pictured = "input_reference" in fields
        if "input_references" in fields and (pictured or references.keys() & {"image_reference", "video_reference"}):
            several = "Provide input_references alone, without input_reference, image_reference, or video_reference."
            raise self.refuse(several)
        if pictured and references.keys() & {"image_reference", "video_reference"}:
            raise self.refuse("Provide only one of input_reference, image_reference, or video_reference.")
        if not self.handles_videos:
            raise Refuse(self.error(503, "Video generation handler not initialized."))
        if fields.get("model", self.model) != self.model:
            wrong = f"request specifies '{fields['model']}' but server is running '{self.model}'."
            raise self.refuse(f"Model mismatch: {wrong}")
        await self.look(fields, references)
        fps = fields.get("fps", 24.0)
        return self.take(
            call,
            fields=fields,
            references=references,
            prompt=fields["prompt"],
            size=fields.get("size"),
            seconds=fields.get("seconds", "4"),
            quality=fields.get("quality", "default"),
            fps=fps,
            num_frames=fields.get("num_frames", int(int(fields.get("seconds", "4")) * fps)),
        )

    def form(self, call: Call) -> dict[str, Any]:
        if call.content_type == "application/x-www-form-urlencoded":
            sent: dict[str, str | Part] = dict(parse_qsl(call.body.decode()))
        else:
            # Nothing is read out of JSON: it lacks every field.
            sent = call.form
        if not isinstance(sent.get("prompt"), str):
            raise self.unprocessable("prompt", "Field required")
        fields: dict[str, Any] = {}
        for name, value in sent.items():
            if isinstance(value, Part) != (name in FILES):
                if isinstance(value, str):
                    raise self.unprocessable(name, "Expected UploadFile", value)
                continue
            fields[name] = self.read(name, value) if isinstance(value, str) else value
        return fields

    def read(self, name: str, text: str) -> Any:
        """A field of the form in its own type and bounds."""
        if name in PATTERNS and not re.fullmatch(PATTERNS[name], text, re.ASCII):
            raise self.unprocessable(name, f"String should match pattern '{PATTERNS[name]}'", text)
        if name == "quality" and text not in ("lossless", "high"):
            raise self.refuse(f"quality must be one of ['lossless', 'high'], got {text!r}")
        if name in SWITCHES:
            if text.lower() not in ("true", "false", "1", "0"):
                raise self.unprocessable(name, "Input should be a valid boolean", text)
            return text.lower() in ("true", "1")
        if name not in (*WHOLE, *NUMBERS):
            return text
        try:
            value = int(text) if name in WHOLE else float(text)
        except ValueError:
            raise self.unprocessable(name, "Input should be a valid number", text) from None
        low, high = BOUNDS.get(name, (None, None))
        if (low is not None and value < low) or (high is not None and value > high):
            raise self.unprocessable(name, f"Input should be from {low} to {high}", text)
        return value

    def parsed(self, fields: dict[str, Any], name: str) -> Any:
        """A field that holds JSON."""
        try:
            found = json.loads(fields[name])
        except ValueError:
            raise self.refuse("Invalid JSON in form field.") from None
        for one in found if isinstance(found, list) else [found]:
            if name in REFERENCES and not (isinstance(one, dict) and set(one) in ({REFERENCES[name]}, {"file_id"})):
                raise self.refuse(f"{name} takes {REFERENCES[name]} or file_id.")
        return found

    async def look(self, fields: dict[str, Any], references: dict[str, Any]) -> None:
        """Refuse pictures that are none; an address is not fetched here, and no file has an id."""
        data = []
        upload = fields.get("input_reference")
        if isinstance(upload, Part) and upload.data[4:8] != b"ftyp":
            data.append(upload.data)
        for name, found in references.items():
            for one in found if isinstance(found, list) else [found]:
                if "file_id" in one:
                    raise self.refuse("file_id references are not supported yet.")
                url = one[REFERENCES[name]]
                if not isinstance(url, str) or not url.startswith(("http://", "https://", "data:")):
                    raise self.refuse(f"Invalid {name}.")
                if url.startswith("data:") and name == "image_reference":
                    data.append(decoded(url))
        for picture in data:
            if await asyncio.to_thread(measure, picture) is None:
                raise self.refuse("Invalid uploaded image reference: not a supported image.")


def decoded(url: str) -> bytes:
    try:
        return base64.b64decode(url.partition(";base64,")[2], validate=True)
    except binascii.Error:
        return b""


def status_of(job: Job) -> int:
    """The status of the error that ended a job: its code where that is one, else 500."""
    code = job.failure[0] if job.failure else ""
    return int(code) if re.fullmatch(r"[45]\d\d", code, re.ASCII) else 500
