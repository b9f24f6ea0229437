"""Gemini Omni over the Interactions API: what an order may say, and the life of an interaction.

https://ai.google.dev/gemini-api/docs/omni and google/genai/_gaos/types/interactions, as the fact sheet has them. Not
confirmed, and taken here: durations under three seconds of the 1.2 model, the length of what has no `duration`, which
picture a prompt's tag binds.
"""

from __future__ import annotations

import asyncio
import base64
import re
import secrets
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from proxy.testing import Answer, Call, Job, operation
from tests.simulators.gemini_files import API, KEY, GeminiFiles, stamp
from tests.simulators.vertex import CODES, FILTERED

# The longest and the shortest film of each model.
MODELS = {"gemini-omni-1.2-flash": range(1, 16), "gemini-omni-1.1-flash": range(3, 11)}
EXTENSION, LONGEST, DEFAULT_SECONDS = range(3, 11), 40, 8
MOST_REFERENCES, LONGEST_REFERENCE = 3, 3.0
RUNNING = ("queued", "in_progress", "requires_action", "requires_continuation")
TASKS = ("text_to_video", "image_to_video", "reference_to_video", "edit", "extend", "upscale")
FRAMES = ("<FIRST_FRAME>", "<LAST_FRAME>")

BODY = (
    *("model", "input", "background", "cached_content", "continuation_token", "environment", "generation_config"),
    *("labels", "previous_interaction_id", "response_format", "response_mime_type", "response_modalities"),
    *("safety_settings", "service_tier", "store", "stream", "system_instruction", "tools", "webhook_config"),
)
FORMAT = {
    "type": ("video",),
    "aspect_ratio": ("16:9", "9:16"),
    "resolution": ("360p", "720p", "1080p", "4k"),
    "delivery": ("inline", "uri"),
}
CONFIG = (
    *("image_config", "max_output_tokens", "seed", "speech_config", "stop_sequences", "temperature"),
    *("thinking_level", "thinking_summaries", "tool_choice", "top_p", "transcription_config", "video_config"),
)
PARTS = {"text": ("type", "text"), "image": ("type", "data", "uri", "mime_type", "resolution")}
PARTS["video"] = (*PARTS["image"], "name", "processing")

_DURATION = re.compile(r"(\d{1,3})s", re.ASCII)


class Inputs(NamedTuple):
    """What the input of an order has: its parts, and the seconds of each film among them."""

    parts: list[dict[str, Any]]
    films: list[float]

    def count(self, kind: str) -> int:
        return sum(part["type"] == kind for part in self.parts)

    @property
    def text(self) -> str:
        return "\n".join(part["text"] for part in self.parts if part["type"] == "text")


def asked_for(body: Any) -> str:
    """What an order is: its task says it, or else what it starts from."""
    if not isinstance(body, dict):
        return "create"
    task = task_of(body)
    if task in ("edit", "extend", "upscale"):
        return "extend" if task == "extend" else "edit"
    given = body.get("input")
    steps = given if isinstance(given, list) else [given]
    parts = [part for step in steps if isinstance(step, dict) for part in (step.get("content") or [step])]
    film = any(isinstance(part, dict) and part.get("type") == "video" for part in parts)
    return "edit" if "previous_interaction_id" in body or (film and task != "reference_to_video") else "create"


def task_of(body: Mapping[str, Any]) -> Any:
    config = body.get("generation_config")
    video = config.get("video_config") if isinstance(config, dict) else None
    return video.get("task") if isinstance(video, dict) else None


class Interactions(GeminiFiles):
    """Interactions. Two odd states of theirs say "completed" without a film: "filtered" and "empty"."""

    def __init__(self, *, keys: Collection[str] = (KEY,)) -> None:
        super().__init__(keys=keys)
        self.step_errors = False
        """Whether a failed interaction says why in its step, or in `errors`."""
        self.talks = False
        """Whether a thought and a sentence come before the film."""
        self._moved = asyncio.Event()

    # -- calls ---------------------------------------------------------------------------------------------------------

    @operation("create", "POST", f"{API}/interactions")
    async def interact(self, call: Call) -> Answer:
        """Answers also as "edit" and "extend", see `asked_for`; without `background` once the film is there."""
        body = self.body(call, BODY)
        facts = await self.order(call, body)
        self.room(call)
        job = self.take(call, kind=call.operation, shape="interactions", **facts)
        # The text of the real ones is base64 of text too.
        self.rename(job, f"v1_{base64.b64encode(secrets.token_hex(24).encode()).decode()}")
        if not body.get("background"):
            if self.automatic:
                self._become(job, "completed")
            while job.state in RUNNING and not self._stopping.is_set():
                self._moved.clear()
                await self._moved.wait()
        return self.told(job)

    @operation("fetch", "GET", f"{API}/interactions/{{id}}")
    async def look_at(self, call: Call) -> Answer:
        if call.query.get("stream", "false") != "false":
            raise self.refuse("This stand-in does not stream.")
        return self.told(self.poll(call, call.match["id"]))

    @operation("cancel", "POST", f"{API}/interactions/{{id}}/cancel")
    async def cancel(self, call: Call) -> Answer:
        job = self.find(call, call.match["id"])
        if job.state not in RUNNING:
            raise self.refuse("The interaction has already ended.", word="FAILED_PRECONDITION")
        job.cancelled = True
        self.put(job.id, "cancelled")
        return self.told(job)

    @operation("delete", "DELETE", f"{API}/interactions/{{id}}")
    async def delete(self, call: Call) -> Answer:
        self.find(call, call.match["id"]).removed = True
        return Answer(json={})

    def put(self, job_id: str, state: str, *, means: str | None = None) -> None:
        super().put(job_id, state, means=means)
        self._moved.set()

    async def stop(self) -> None:
        # Orders that are held open end with the server.
        self._moved.set()
        await super().stop()

    # -- what is told --------------------------------------------------------------------------------------------------

    def told(self, job: Job) -> Answer:
        answer = Answer(json=self.interaction(job))
        if job.state != "completed" or job.facts["delivery"] == "uri":
            return answer
        # With the film's bytes in it the answer is the content, and breaks as content does.
        return replace(answer, chunked=not self.sends_length, cut_at=self.cut_content_at)

    def interaction(self, job: Job) -> dict[str, Any]:
        """The interaction as it is now."""
        told: dict[str, Any] = {
            "id": job.id,
            "object": "interaction",
            "status": "completed" if job.state in ("filtered", "empty") else job.state,
            "model": job.facts["model"],
            "created": stamp(job.created_at),
            "updated": stamp(job.completed_at or job.created_at),
            "steps": [{"type": "user_input", "content": job.facts["parts"]}, *self.output(job)],
            "usage": {},
        }
        if job.facts["previous"]:
            told["previous_interaction_id"] = job.facts["previous"]
        if job.state == "failed" and not self.step_errors:
            code, message = job.failure or ("", "")
            told["errors"] = [{"code": code, "message": message}]
        return told

    def output(self, job: Job) -> list[dict[str, Any]]:
        """The steps of the model."""
        if job.state == "filtered" or (job.state == "failed" and self.step_errors):
            code, message = job.failure or ("INVALID_ARGUMENT", FILTERED)
            error = {"code": CODES.get(code, CODES["INTERNAL"]), "message": message, "details": []}
            return [{"type": "model_output", "error": error}]
        if job.state == "empty":
            return [{"type": "model_output", "content": []}]
        if job.state != "completed":
            return []
        film = {"type": "video", "mime_type": "video/mp4"}
        if job.facts["delivery"] == "uri":
            film["uri"] = self.address(self.file_of(job))
        else:
            film["data"] = base64.b64encode(self.content_of(job)).decode()
        if not self.talks:
            return [{"type": "model_output", "content": [film]}]
        thought = {"type": "thought", "signature": base64.b64encode(b"a thought").decode()}
        return [thought, {"type": "model_output", "content": [{"type": "text", "text": "Here it is."}, film]}]

    # -- validation ----------------------------------------------------------------------------------------------------

    async def order(self, call: Call, body: Mapping[str, Any]) -> dict[str, Any]:
        """What is ordered; refused where Omni does not make it."""
        for name in ("background", "store", "stream"):
            if not isinstance(body.get(name, False), bool):
                raise self.refuse(f"Invalid value at '{name}' (TYPE_BOOL).")
        if body.get("stream"):
            raise self.refuse("This stand-in does not stream.")
        model = body.get("model")
        if not isinstance(model, str):
            raise self.refuse("A model is needed.")
        self.known_model(model, MODELS)
        self.config(body.get("generation_config", {}))
        task, source = task_of(body), self.source(call, body)
        given = await self.inputs(call, body.get("input"))
        form = self.form(body.get("response_format", {"type": "video"}))
        self.suits(task, given, source)
        start = source.facts["seconds"] if source else sum(given.films)
        seconds = form.get("seconds", DEFAULT_SECONDS)
        if call.operation == "extend":
            if seconds not in EXTENSION or start + seconds > LONGEST:
                raise self.refuse(f"An extension adds 3 to 10 seconds, up to {LONGEST} in all.")
            seconds += start
        elif "seconds" in form and seconds not in MODELS[model]:
            span = MODELS[model]
            raise self.refuse(f"Unsupported duration {seconds}s; {model} makes {span[0]}s to {span[-1]}s.")
        elif "seconds" not in form and call.operation == "edit":
            seconds = start
        return {
            "model": model,
            "task": task,
            "parts": given.parts,
            "previous": source.id if source else None,
            "stored": body.get("store", True),
            "delivery": form.get("delivery", "inline"),
            "resolution": form.get("resolution", "720p"),
            "ratio": form.get("aspect_ratio", "16:9"),
            "seconds": seconds,
        }

    def config(self, config: Any) -> None:
        if not isinstance(config, dict):
            raise self.refuse("Invalid value at 'generation_config'.")
        self.closed(config, CONFIG, "generation_config")
        video = config.get("video_config", {})
        if not isinstance(video, dict) or video.get("task", TASKS[0]) not in TASKS:
            raise self.refuse(f"Invalid value at 'generation_config.video_config.task'; there are {', '.join(TASKS)}.")
        self.closed(video, ("task",), "generation_config.video_config")
        if type(config.get("seed", 0)) is not int:
            raise self.refuse("Invalid value at 'generation_config.seed' (TYPE_INT32).")

    def source(self, call: Call, body: Mapping[str, Any]) -> Job | None:
        """The interaction that is edited or extended."""
        if "previous_interaction_id" not in body:
            return None
        job = self.find(call, body["previous_interaction_id"])
        if job.state != "completed" or not job.facts["stored"]:
            raise self.refuse("The previous interaction has no stored video.", word="FAILED_PRECONDITION")
        return job

    def form(self, given: Any) -> dict[str, Any]:
        """The video's response_format, with `seconds` from its duration."""
        forms = given if isinstance(given, list) else [given]
        found = [form for form in forms if isinstance(form, dict) and form.get("type") == "video"]
        if len(found) != 1:
            raise self.refuse("response_format needs one entry of the type 'video'.")
        form = dict(found[0])
        self.closed(form, (*FORMAT, "duration", "gcs_uri"), "response_format")
        for name, words in FORMAT.items():
            if form.get(name, words[0]) not in words:
                raise self.refuse(f"Invalid value at 'response_format.{name}'; supported are {', '.join(words)}.")
        if "duration" in form:
            match = _DURATION.fullmatch(form["duration"]) if isinstance(form["duration"], str) else None
            if match is None:
                raise self.refuse("Invalid value at 'response_format.duration'; expected seconds such as \"8s\".")
            form["seconds"] = int(match[1])
        return form

    async def inputs(self, call: Call, given: Any) -> Inputs:
        """A text, a part, a list of parts, or a list of steps."""
        if isinstance(given, str):
            given = [{"type": "text", "text": given}]
        parts: list[dict[str, Any]] = []
        for one in given if isinstance(given, list) else [given]:
            inner = one.get("content") if isinstance(one, dict) and one.get("type") == "user_input" else [one]
            parts += inner if isinstance(inner, list) else [inner]
        films: list[float] = []
        for number, part in enumerate(parts):
            at = f"input[{number}]"
            if not isinstance(part, dict) or part.get("type") not in PARTS:
                raise self.refuse(f"Invalid value at '{at}'; parts are {', '.join(PARTS)}.")
            self.closed(part, PARTS[part["type"]], at)
            if part["type"] == "text":
                if not isinstance(part.get("text"), str) or not part["text"]:
                    raise self.refuse(f"Invalid value at '{at}.text': empty.")
            elif (seconds := await self.media(call, at, part)) is not None:
                films.append(seconds)
        if not parts:
            raise self.refuse("An input is needed.")
        return Inputs(parts, films)

    async def media(self, call: Call, at: str, part: Mapping[str, Any]) -> float | None:
        """Refuse a picture or film that cannot be read; the seconds of a film, as far as they can be seen."""
        if ("data" in part) == ("uri" in part):
            raise self.refuse(f"'{at}' needs exactly one of data and uri.")
        if "data" in part and part["type"] == "image":
            await self.picture(at, part["data"], part.get("mime_type"))
        elif "data" in part:
            return self.film(at, part["data"], part.get("mime_type"))
        elif not isinstance(part["uri"], str) or not (
            (file := self.own_file(call, part["uri"])) or part["uri"].startswith("https://")
        ):
            raise self.refuse(f"Invalid value at '{at}.uri': no file that can be read.")
        elif file:
            return float(file.job.facts["seconds"])
        return None

    def suits(self, task: Any, given: Inputs, source: Job | None) -> None:
        """Refuse what does not go together."""
        images, films = given.count("image"), given.count("video")
        wanting = {
            "text_to_video": images or films,
            "image_to_video": not images,
            "reference_to_video": not images and not films,
            **dict.fromkeys(("edit", "extend", "upscale"), not films and source is None),
        }
        if wanting.get(task):
            raise self.refuse(f"The input does not suit the task {task}.")
        frames = sum(tag in given.text for tag in FRAMES)
        if images > MOST_REFERENCES + frames or films > MOST_REFERENCES:
            raise self.refuse(f"At most {MOST_REFERENCES} reference images and {MOST_REFERENCES} videos are possible.")
        if task == "reference_to_video" and any(seconds > LONGEST_REFERENCE for seconds in given.films):
            raise self.refuse("A reference video has at most 3 seconds.")
