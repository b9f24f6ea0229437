"""A diffusion server of SGLang: sglang 0.5.23, `sglang.multimodal_gen`, and what releases do otherwise as options.

Rules: its own runtime/entrypoints/openai/{video_api,protocol,stores}.py. It has no keys: with `keys` a reverse proxy
stands before it that wants one of them as a bearer.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import re
import uuid
from collections.abc import Collection
from pathlib import PurePosixPath
from typing import Any

from proxy.testing import Answer, Call, Job, Part, Refuse, Simulator, operation
from tests.simulators.media import measure

MODEL = "Wan-AI/Wan2.2-TI2V-5B-Diffusers"
FOLDER = "/srv/sglang/outputs"
SIZE = (1280, 704)
"""What the model renders where nobody says a size."""
FILMS = (".avi", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm")
INTEGERS = (
    "seconds",
    *("fps", "num_frames", "width", "height", "n", "num_outputs_per_prompt", "num_inference_steps"),
    *("max_sequence_length", "frame_interpolation_exp", "upscaling_scale", "output_compression"),
)
NUMBERS = ("guidance_scale", "guidance_scale_2", "true_cfg_scale", "flow_shift", "frame_interpolation_scale")
SWITCHES = ("enhance_prompt", "enable_teacache", "enable_frame_interpolation", "enable_upscaling")
TEXTS = (
    *("prompt", "model", "size", "negative_prompt", "input_reference", "reference_url", "video_url", "video_path"),
    *("task_type", "generator_device", "output_path", "output_quality", "x264_preset", "perf_dump_path"),
    *("frame_interpolation_model_path", "upscaling_model_path"),
)
UNPUBLISHED = (
    "Video output could not be published: no output_path is configured and cloud storage upload is disabled or failed."
)

_INTEGER = re.compile(r"\s*[+-]?\d+(\.0+)?\s*", re.ASCII)
_SIZE = re.compile(r"(\d+)x(\d+)", re.ASCII)


class SGLangSimulator(Simulator):
    """One process with one model; `restart` forgets every job."""

    def __init__(self, *, keys: Collection[str] = ("sk-test",)) -> None:
        super().__init__(keys=keys)
        self.guarded = bool(self.keys)
        self.output_path: str | None = FOLDER
        """Of `--output-path`; without it, without the request's own and without a `cloud`, every job fails."""
        self.cloud = False
        """Whether films go to an object store: then only `url` has them."""
        self.shows_progress = True
        """Older releases stay at 0 until the end."""

    # -- the server's own words ----------------------------------------------------------------------------------------

    def error(self, status: int, message: str) -> Answer:
        return Answer(status=status, json={"detail": message})

    def authenticate(self, call: Call) -> str | None:
        if call.elsewhere:
            raise Refuse(self.error(404, "Not Found"))
        return super().authenticate(call) if self.guarded else "anybody"

    def unauthorised(self, call: Call) -> Answer:
        page = b"<html><head><title>401 Authorization Required</title></head></html>"
        return Answer(status=401, body=page, headers={"Content-Type": "text/html", "WWW-Authenticate": "Bearer"})

    def not_found(self, job_id: str) -> Answer:
        return self.error(404, "Video not found")

    async def _no_such_route(self, call: Call) -> Answer:
        known = re.fullmatch(r"/v1/videos(/[^/]+(/content)?)?", call.path)
        return self.error(405, "Method Not Allowed") if known else self.error(404, "Not Found")

    def new_id(self) -> str:
        return str(uuid.uuid4())

    def refuse(self, message: str) -> Refuse:
        return Refuse(self.error(400, message))

    def unprocessable(self, name: str, kind: str, message: str, value: object) -> Refuse:
        place = ["query", name] if name in ("limit", "order") else ["body", name]
        return Refuse(
            Answer(status=422, json={"detail": [{"type": kind, "loc": place, "msg": message, "input": value}]})
        )

    def restart(self) -> None:
        """The process begins anew, and its jobs were in its memory."""
        for job in self.jobs.values():
            job.removed = True

    def video(self, job: Job) -> dict[str, Any]:
        facts, done = job.facts, job.state == "completed"
        names = [f"{job.id}.mp4", *(f"{job.id}_{number}.mp4" for number in range(1, facts["outputs"]))]
        urls = [f"{self.files_url}/bucket/{name}" for name in names] if self.cloud else [None] * len(names)
        paths = [None if self.cloud else str(PurePosixPath(facts["folder"], name)) for name in names]
        return {
            "id": job.id,
            "object": "video",
            "model": facts["model"],
            "status": job.state,
            "progress": job.progress if done or self.shows_progress else 0,
            "created_at": job.created_at,
            "size": facts["size"],
            "seconds": facts["seconds"],
            "quality": "standard",
            "url": urls[0] if done else None,
            "urls": urls if done else None,
            "remixed_from_video_id": None,
            "completed_at": job.completed_at if done else None,
            "expires_at": None,
            "error": {"message": job.failure[1]} if job.failure else None,
            # There from the start, and gone with a failure.
            "file_path": None if job.failure or (done and self.cloud) else f"{facts['folder']}/{names[0]}",
            "file_paths": paths if done else None,
            "num_outputs": len(names) if done else None,
            "peak_memory_mb": 38214.6 if done else None,
            "inference_time_s": 41.73 if done else None,
            "revised_prompt": facts["revised"],
            "action": None,
            "lidar": None,
        }

    def poll(self, call: Call, job_id: object) -> Job:
        job = super().poll(call, job_id)
        if job.state == "completed" and not job.facts["published"] and not self.cloud:
            self.fail(job.id, message=UNPUBLISHED)
        return job

    # -- routes --------------------------------------------------------------------------------------------------------

    @operation("create", "POST", "/v1/videos")
    async def create(self, call: Call) -> Answer:
        fields = self.form(call) if call.content_type == "multipart/form-data" else self.payload(call)
        await self.look(fields)
        width, height = self.measures(fields)
        fps = fields.get("fps") or 24
        frames = fields.get("num_frames") or fps * fields.get("seconds", 4)
        job = self.take(
            call,
            fields=fields,
            model=fields.get("model") or MODEL,
            size=f"{width}x{height}",
            seconds=str(round(frames / fps)),
            outputs=max(1, min(fields.get("num_outputs_per_prompt") or fields.get("n") or 1, 10)),
            folder=fields.get("output_path") or self.output_path or "/tmp/sglang",
            published=bool(fields.get("output_path") or self.output_path),
            revised=f"{fields['prompt']}, cinematic" if fields.get("enhance_prompt") else None,
        )
        return Answer(json=self.video(job))

    @operation("list", "GET", "/v1/videos")
    async def list(self, call: Call) -> Answer:
        limit, order = call.query.get("limit", "20"), call.query.get("order", "desc")
        if not re.fullmatch(r"\d{1,3}", limit, re.ASCII) or not 1 <= int(limit) <= 100:
            raise self.unprocessable("limit", "int_parsing", "Input should be an integer from 1 to 100", limit)
        if order not in ("asc", "desc"):
            raise self.unprocessable("order", "literal_error", "Input should be 'asc' or 'desc'", order)
        own = [job for job in self.jobs.values() if job.account == call.account and not job.removed]
        # Jobs of one second stay in the order of their making, whatever `order` says.
        own.sort(key=lambda job: job.created_at, reverse=order == "desc")
        if (after := call.query.get("after")) is not None:
            ids = [job.id for job in own]
            own = own[ids.index(after) + 1 :] if after in ids else []
        page = own[: int(limit)]
        ends = {"first_id": page[0].id if page else None, "last_id": page[-1].id if page else None}
        data = [self.video(job) for job in page]
        return Answer(json={"data": data, "object": "list", **ends, "has_more": len(own) > len(page)})

    @operation("fetch", "GET", "/v1/videos/{id}")
    async def fetch(self, call: Call) -> Answer:
        return Answer(json=self.video(self.poll(call, call.match["id"])))

    @operation("delete", "DELETE", "/v1/videos/{id}")
    async def delete(self, call: Call) -> Answer:
        """The job is forgotten; the work goes on, so that nothing is cancelled."""
        job = self.find(call, call.match["id"])
        job.removed = True
        return Answer(json={**self.video(job), "status": "deleted"})

    @operation("content", "GET", "/v1/videos/{id}/content")
    async def content(self, call: Call) -> Answer:
        job = self.find(call, call.match["id"])
        variant = call.query.get("variant")
        number = 0 if variant is None else int(variant) if re.fullmatch(r"-?\d+", variant, re.ASCII) else -1
        there = job.state == "completed" and 0 <= number < job.facts["outputs"]
        if there and self.cloud:
            url = self.video(job)["urls"][number]
            raise self.refuse(f"Video has been uploaded to cloud storage. Please use the cloud URL: {url}")
        if job.state not in ("completed", "failed"):
            raise Refuse(self.error(404, "Generation is still in-progress"))
        if not there:
            raise Refuse(self.error(404, f"Video variant {variant} not found"))
        return self.file(call, job)

    @operation("bucket", "GET", "/bucket/{name}", open=True)
    async def bucket(self, call: Call) -> Answer:
        """The object store, at its own origin; its links need no key."""
        job = self.jobs.get(call.match["name"][:36])
        if not call.elsewhere or not self.cloud or job is None:
            raise Refuse(Answer(status=403, body=b"<Error><Code>AccessDenied</Code></Error>"))
        return self.file(call, job)

    def file(self, call: Call, job: Job) -> Answer:
        """As Starlette's FileResponse gives it."""
        answer = self.serve(call, self.content_of(job))
        told = {"ETag": f'"{hashlib.md5(self.content_of(job)).hexdigest()}"'}
        told["Content-Disposition"] = f'attachment; filename="{job.id}.mp4"'
        return Answer(
            status=answer.status,
            body=answer.body,
            headers={**answer.headers, **told},
            chunked=answer.chunked,
            cut_at=answer.cut_at,
        )

    # -- bodies --------------------------------------------------------------------------------------------------------

    def form(self, call: Call) -> dict[str, Any]:
        """A form: what is no number is a 422 with a list, as FastAPI says it; files are named in their own fields."""
        sent = call.form
        fields: dict[str, Any] = {}
        for name, value in sent.items():
            files = name in ("input_reference", "video_reference")
            if files != isinstance(value, Part) and (files or name in (*INTEGERS, *NUMBERS, *SWITCHES, *TEXTS)):
                expected = "Expected UploadFile" if files else "Input should be a valid string"
                raise self.unprocessable(name, "value_error", expected, None)
            if isinstance(value, str) and name in (*INTEGERS, *NUMBERS, *SWITCHES):
                fields[name] = self.read(name, value)
                if fields[name] is None:
                    raise self.unprocessable(name, "parsing", f"Input should be valid, unable to parse {name}", value)
            else:
                fields[name] = value
        if not fields.get("prompt"):
            raise self.refuse("prompt is required")
        for name in ("extra_body", "extra_params"):
            if name in fields:
                self.unwrap(fields, name, f"{name} is not valid JSON")
        return fields

    def payload(self, call: Call) -> dict[str, Any]:
        """A JSON body, or one that is none, which is an empty one; unknown fields are allowed and go on."""
        data = call.json
        fields = {key: value for key, value in data.items() if value is not None} if isinstance(data, dict) else {}
        for name in ("extra_body", "extra_json", "extra_params"):
            if name in fields:
                self.unwrap(fields, name, f"Invalid request body: {name} is not valid JSON")
        wrong = [] if isinstance(fields.get("prompt"), str) else ["prompt"]
        for name in fields:
            if name in TEXTS:
                wrong += [] if isinstance(fields[name], str) else [name]
            elif name in (*INTEGERS, *NUMBERS, *SWITCHES):
                fields[name] = self.read(name, fields[name])
                wrong += [] if fields[name] is not None else [name]
        if wrong:
            lines = "".join(f"\n{name}\n  Input should be valid" for name in dict.fromkeys(wrong))
            count = f"{len(set(wrong))} validation error{'s' if len(set(wrong)) > 1 else ''}"
            raise self.refuse(f"Invalid request body: {count} for VideoGenerationsRequest{lines}")
        return fields

    def unwrap(self, fields: dict[str, Any], name: str, sentence: str) -> None:
        """Lift the keys of an inner object, or of its JSON, to the top, where nothing has that name."""
        inner = fields.pop(name)
        try:
            inner = json.loads(inner) if isinstance(inner, str) else inner
        except ValueError:
            raise self.refuse(sentence) from None
        for key, value in inner.items() if isinstance(inner, dict) else ():
            fields.setdefault(key, value)

    def read(self, name: str, value: Any) -> Any:
        """`value` as Pydantic reads it where it is lax; None where it does not."""
        if name in SWITCHES:
            words = {"true": True, "1": True, "on": True, "yes": True, "false": False, "0": False, "off": False}
            return value if isinstance(value, bool) else words.get(str(value).lower())
        try:
            if name in NUMBERS:
                return float(value) if math.isfinite(float(value)) else None
            return int(float(value)) if _INTEGER.fullmatch(str(value)) else None
        except (TypeError, ValueError):
            return None

    def measures(self, fields: dict[str, Any]) -> tuple[int, int]:
        """Width and height, by `size` or by their own names."""
        size = fields.get("size") or ""
        if size and not (match := _SIZE.fullmatch(size)):
            raise self.refuse(f"Invalid size format: {size}. Expected WIDTHxHEIGHT.")
        width, height = (int(match[1]), int(match[2])) if size and match else SIZE
        width, height = fields.get("width") or width, fields.get("height") or height
        if min(width, height, fields.get("seconds", 4), fields.get("fps") or 24) < 1:
            raise self.refuse("Width, height, fps and seconds must be positive")
        return width, height

    async def look(self, fields: dict[str, Any]) -> None:
        """Refuse a picture that is none; a path that the client names is read on the server, as long as it is there."""
        source = fields.get("input_reference") or fields.get("reference_url")
        name = source.filename or "" if isinstance(source, Part) else str(source or "")
        if source is None or name.partition("?")[0].lower().endswith(FILMS) or name.startswith("data:video"):
            return
        if isinstance(source, Part):
            fine = (source.content_type or "").startswith("video/")
            fine = fine or await asyncio.to_thread(measure, source.data) is not None
        else:
            fine = source.startswith(("http://", "https://", "data:image/", FOLDER))
        if not fine:
            raise self.refuse("Failed to process image source: cannot identify image file")
