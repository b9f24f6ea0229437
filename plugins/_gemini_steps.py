"""An interaction of Gemini Omni: the body that orders one, and what its steps say.

https://ai.google.dev/gemini-api/docs/omni
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from proxy import InvalidRequest, JobError, Reply, Spooled, UnsupportedOperation, VideoRequest

from ._google import LAST_ALONE, LAST_OF_SEVERAL, failure, reason

STATES: Final = {
    "queued": "queued",
    "in_progress": "in_progress",
    "requires_action": "in_progress",
    "requires_continuation": "in_progress",
    "completed": "completed",
    "failed": "failed",
    "cancelled": "failed",
    "incomplete": "failed",
    "budget_exceeded": "failed",
}

_ADDRESS: Final = re.compile(r"https?://\S+")
# A prompt that says itself what its pictures are for.
_TAGGED: Final = re.compile(r"<(?:FIRST_FRAME|LAST_FRAME|(?:IMAGE|VIDEO)_REF_\d+)>|\[# (?:Sources|References) ")

Part = dict[str, str]


# ---------------------------------------------------------------- what is sent


def check(request: VideoRequest) -> None:
    """Refuse what Omni cannot combine."""
    if request.audio is False:
        raise UnsupportedOperation(
            "The sound cannot be switched off here; say in the prompt what it is.", param="audio"
        )
    if request.seed is not None and not -(2**31) <= request.seed < 2**31:
        raise InvalidRequest("Here 'seed' is a number from -2147483648 to 2147483647.", param="seed")
    if request.last_frame and not request.images:
        raise InvalidRequest(LAST_ALONE, param="last_frame")
    if request.last_frame and len(request.images) > 1:
        raise UnsupportedOperation(LAST_OF_SEVERAL, param="last_frame")


def order(
    request: VideoRequest, delivery: str, *, video: Part | None = None, previous: str | None = None
) -> dict[str, Any]:
    """The body for `request`, which goes on from the interaction `previous` or from the part `video`."""
    pictures = [*request.images, *([request.last_frame] if request.last_frame else [])]
    parts = [{"type": "image", "data": one.base64, "mime_type": one.media_type} for one in pictures]
    text, task = _prompt(request)
    shape = {"type": "video", "aspect_ratio": request.ratio, "resolution": request.resolution, "delivery": delivery}
    if request.kind in ("create", "extend"):
        # An edit is as long as what it starts from.
        shape["duration"] = f"{request.seconds}s"
    parts = [*([video] if video else []), *parts]
    settings = {"seed": request.seed, "video_config": {"task": task} if task else None}
    made = {
        "model": request.model,
        "input": [{"type": "user_input", "content": [*parts, {"type": "text", "text": text}]}] if parts else text,
        "response_format": shape,
        "generation_config": {name: value for name, value in settings.items() if value is not None} or None,
        "previous_interaction_id": previous,
        "background": True,
    }
    return _over(request.metadata, {name: value for name, value in made.items() if value is not None})


def _prompt(request: VideoRequest) -> tuple[str, str | None]:
    """The prompt, which tells in tags what its pictures are for, and the task, where it has to be said."""
    text = request.prompt
    if request.negative_prompt:
        # There is no field for it; Google says to write it into the prompt.
        text = f"{text}\nDo not show: {request.negative_prompt}"
    task = {"create": None, "extend": "extend"}.get(request.kind, "edit")
    if not request.images or _TAGGED.search(request.prompt):
        return text, task
    if request.last_frame:
        return f"<FIRST_FRAME> <LAST_FRAME> {text}", task or "image_to_video"
    if task is None and len(request.images) == 1:
        return f"<FIRST_FRAME> {text}", "image_to_video"
    names = " ".join(f"<IMAGE_REF_{number}>@Image{number + 1}" for number in range(len(request.images)))
    return f"[# References {names}] {text}", task or "reference_to_video"


def _over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`above`, and what `below` has beside it; `above` says how deep that goes."""
    merged = {**below, **above}
    for name, value in above.items():
        if isinstance(value, dict) and isinstance(other := below.get(name), Mapping):
            merged[name] = _over(other, value)
    return merged


# ---------------------------------------------------------------- what is answered


def film(reply: Reply) -> Spooled | str | None:
    """The last video of the model: an address, its bytes in a file, or these as base64."""
    for part in reversed(_outputs(reply)):
        if part.get("type") == "video":
            if uri := address(part.get("uri")):
                return uri
            if isinstance(data := part.get("data"), Spooled | str) and data:
                return data
    return None


def address(uri: Any) -> str | None:
    """`uri` where it is an address."""
    return uri if isinstance(uri, str) and _ADDRESS.fullmatch(uri) else None


def why(reply: Reply) -> JobError | None:
    """Why there is no video: an error of the interaction or of a step, or what the model says instead."""
    errors = reply.get("errors")
    found = [
        reply.get("error"),
        *(errors if isinstance(errors, list) else ()),
        *(one.get("error") for one in _steps(reply)),
    ]
    for error in found:
        if said := failure(error):
            return said
    texts = (part.get("text") for part in _outputs(reply) if part.get("type") == "text")
    said_instead = " ".join(text for text in texts if isinstance(text, str) and text)
    return reason(said_instead) if said_instead else None


def _outputs(reply: Reply) -> list[dict[str, Any]]:
    contents = (step.get("content") for step in _steps(reply) if step.get("type") == "model_output")
    parts = (part for content in contents if isinstance(content, list) for part in content)
    return [part for part in parts if isinstance(part, dict)]


def _steps(reply: Reply) -> list[dict[str, Any]]:
    """The steps of the last turn. An edit may show those of the turns before it too, as Google's own SDK expects."""
    steps = reply.get("steps")
    found = [step for step in steps if isinstance(step, dict)] if isinstance(steps, list) else []
    turns = [place for place, step in enumerate(found) if step.get("type") == "user_input"]
    return found[turns[-1] :] if turns else found
