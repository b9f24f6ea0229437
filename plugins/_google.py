"""What Google's video APIs have in common: the instances and parameters of Veo, its prices, and the error envelope.

https://ai.google.dev/gemini-api/docs/video and
https://docs.cloud.google.com/gemini-enterprise-agent-platform/models/video/generate-videos-from-text
"""

from __future__ import annotations

import re
from typing import Any, Final

from proxy import (
    AccountRefused,
    ApiError,
    InvalidRequest,
    JobError,
    Model,
    ModerationBlocked,
    Picture,
    Reply,
    Throttled,
    UnsupportedOperation,
    UpstreamGone,
    VideoRequest,
)

SIZES: Final = ("1280x720", "720x1280", "1920x1080", "1080x1920")
SIZES_4K: Final = (*SIZES, "3840x2160", "2160x3840")

EXTENSION: Final = 7
"""Seconds that an extension adds, whatever is asked."""
MOST_REFERENCES: Final = 3

# US dollars per second; with sound, which is not priced apart.
STANDARD: Final[dict[str, Any]] = {"price": 0.40, "prices": {"4k": 0.60}}
FAST: Final[dict[str, Any]] = {"price": 0.10, "prices": {"1080p": 0.12, "4k": 0.30}}
LITE: Final[dict[str, Any]] = {"price": 0.05, "prices": {"1080p": 0.08}}

LAST_ALONE: Final = "A picture for the end needs one for the beginning."
LAST_OF_SEVERAL: Final = "Several pictures cannot be combined with 'last_frame'."

PARAMS: Final = {
    "model": "model",
    "prompt": "prompt",
    "text": "prompt",
    "input": "prompt",
    "duration": "seconds",
    "durationSeconds": "seconds",
    "aspect_ratio": "size",
    "aspectRatio": "size",
    "resolution": "size",
    "image": "input_reference",
    "referenceImages": "input_reference",
    "lastFrame": "last_frame",
    "video": "video",
    "seed": "seed",
    "negativePrompt": "negative_prompt",
}
"""Google's fields in OpenAI's words, for the `param` of a refusal."""

# A refusal for its content has no code of its own: these are Google's sentences.
_MODERATION: Final = re.compile(
    r"responsible ai|usage guidelines|content polic|safety (?:filter|setting|polic)|support code", re.IGNORECASE
)
# The same as a code, where an error has a word for it.
_MODERATED: Final = re.compile(r"safety|policy|prohibited|moderat|blocked|recitation", re.IGNORECASE)
# A key that is wrong is a bad argument to Google, and no 401.
_WRONG_KEY: Final = re.compile(r"API[ _]key (?:not valid|not found|expired)|API_KEY_INVALID", re.IGNORECASE)
# Projects, operations, interactions and files by their names, a project by its number, service accounts.
_RESOURCE: Final = re.compile(
    r"\b(?:projects|operations|interactions|files)/[^\s'\"`,;]+"
    r"|\bproject(?:_number)?[ :]\d+"
    r"|(?<![\w.+-])[\w.+-]{1,64}@[\w-]+\.[\w.-]*\w"
)
_DELAY: Final = re.compile(r"(\d{1,6}(?:\.\d{1,9})?)s", re.ASCII)
NO_REASON: Final = "The upstream gave no reason."

NO_CLIENTS_AFFAIR: Final = frozenset(
    """
    candidate_count candidatecount gcs_output_directory gcs_uri gcsoutputdirectory gcsuri numberofvideos output_gcs_uri
    outputgcsuri pubsub_topic pubsubtopic storage_uri storageuri webhook_config webhookconfig
    """.split()  # noqa: SIM905 - as in Channel
)
"""Metadata, in lower case, that makes several videos, writes them with the operator's account, or notifies others."""


def veo(sizes: tuple[str, ...], max_images: int, prices: dict[str, Any]) -> Model:
    """A model of Veo 3.1."""
    return Model(
        seconds=(4, 6, 8),
        extend_seconds=(EXTENSION,),
        default_seconds=8,
        sizes=sizes,
        max_images=max_images,
        last_frame=True,
        audio=True,
        native=("extend",),
        **prices,
    )


# ---------------------------------------------------------------- what is sent


def instance(request: VideoRequest) -> dict[str, Any]:
    """Prompt and pictures: one picture is the first frame, several are references of what the video shows."""
    made: dict[str, Any] = {"prompt": request.prompt}
    if len(request.images) > 1:
        made["referenceImages"] = [{"image": picture(one), "referenceType": "asset"} for one in request.images]
    elif request.image:
        made["image"] = picture(request.image)
    if request.last_frame:
        made["lastFrame"] = picture(request.last_frame)
    return made


def parameters(request: VideoRequest) -> dict[str, Any]:
    """One video as it was ordered, over the client's metadata. An extension has a length of its own."""
    made: dict[str, Any] = {
        "sampleCount": 1,
        "durationSeconds": None if request.kind == "extend" else request.seconds,
        "aspectRatio": request.ratio,
        "resolution": request.resolution,
        "seed": request.seed,
        "negativePrompt": request.negative_prompt,
    }
    return {**request.metadata, **{name: value for name, value in made.items() if value is not None}}


def picture(image: Picture) -> dict[str, str]:
    return {"bytesBase64Encoded": image.base64, "mimeType": image.media_type}


def check(request: VideoRequest, *, developer: bool = False) -> None:
    """Refuse what Veo cannot combine: `developer` on the Developer API, whose rules differ a little, else on Vertex."""
    if request.seed is not None and not 0 <= request.seed < 2**32:
        raise InvalidRequest("Here 'seed' is a number from 0 to 4294967295.", param="seed")
    if request.last_frame and not request.images:
        raise InvalidRequest(LAST_ALONE, param="last_frame")
    if request.video and request.video.media_type != "video/mp4":
        raise UnsupportedOperation("This channel extends MP4 files only.", param="video")
    if request.kind == "extend":
        if request.resolution != "720p":
            raise UnsupportedOperation("This channel extends videos of 720p only.", param="size")
    elif developer and request.resolution in ("1080p", "4k") and request.seconds != 8:
        raise InvalidRequest(f"In {request.resolution} the video has 8 seconds.", param="seconds")
    if len(request.images) > 1:
        if request.last_frame:
            raise UnsupportedOperation(LAST_OF_SEVERAL, param="last_frame")
        if request.seconds != 8:
            raise InvalidRequest("With several pictures the video has 8 seconds.", param="seconds")
        if request.ratio != "16:9" and not developer:
            raise InvalidRequest("With several pictures the video has the ratio 16:9.", param="size")


# ---------------------------------------------------------------- what is answered


def filtered(answer: Any) -> JobError | None:
    """Why a finished operation without a video was held back, from its `raiMediaFiltered…` fields."""
    if not isinstance(answer, dict):
        return None
    count, reasons = answer.get("raiMediaFilteredCount"), answer.get("raiMediaFilteredReasons")
    said = [one for one in reasons if isinstance(one, str) and one] if isinstance(reasons, list) else []
    if not said and (isinstance(count, bool) or not isinstance(count, int) or count < 1):
        return None
    return JobError("moderation_blocked", clean(" ".join(said)) or "The upstream's safety filter held the video back.")


def failure(error: Any) -> JobError | None:
    """The `error` of a finished operation or step, a google.rpc.Status; None where it is none."""
    if not isinstance(error, dict) or not (error.get("code") or error.get("message")):
        return None
    message, code = error.get("message"), error.get("code")
    said = message if isinstance(message, str) and message else NO_REASON
    return JobError("moderation_blocked", clean(said)) if _moderated(code) else reason(said)


def reason(said: str) -> JobError:
    """Why a video was not made, out of a sentence alone."""
    return JobError("moderation_blocked" if _MODERATION.search(said) else "upstream_failed", clean(said))


def refusal(status: int, reply: Reply) -> ApiError | None:
    """What `{"error": {code, message, status, details}}` means; None where the HTTP status says as much."""
    if status < 400:
        return None
    message, word = reply.get("error.message"), reply.get("error.status")
    said = clean(message) if isinstance(message, str) and message else NO_REASON
    if status == 429:
        return Throttled("The upstream is too busy; try again later.", retry_after=retry_delay(reply))
    if status in (400, 403, 422) and (_MODERATION.search(said) or _moderated(reply.get("error.code"))):
        return ModerationBlocked(said)
    if status == 400 and word == "FAILED_PRECONDITION":
        # Billing or region of the project, and not the request.
        return AccountRefused("The upstream account cannot be used for this. Only the operator can change that.")
    if status == 400 and (_WRONG_KEY.search(said) or "API_KEY_INVALID" in _values(reply, "reason")):
        return AccountRefused("The upstream does not accept this server's key. Only the operator can change that.")
    if status in (400, 422):
        return InvalidRequest(f"The upstream refused the request: {said}", param=_param(reply))
    if status == 404:
        return UpstreamGone(f"The upstream does not know what was asked for: {said}")
    return None


def retry_delay(reply: Reply) -> float | None:
    """Seconds of the `RetryInfo` among the details of an error."""
    found = (_DELAY.fullmatch(delay) for delay in _values(reply, "retryDelay") if isinstance(delay, str))
    return next((float(match[1]) for match in found if match), None)


def _moderated(code: Any) -> bool:
    return isinstance(code, str) and _MODERATED.search(code) is not None


def _param(reply: Reply) -> str | None:
    """The field that a `BadRequest` among the details blames."""
    for violations in _values(reply, "fieldViolations"):
        for violation in violations if isinstance(violations, list) else ():
            field = violation.get("field") if isinstance(violation, dict) else None
            step = field.rpartition(".")[2].partition("[")[0] if isinstance(field, str) else ""
            if step in PARAMS:
                return PARAMS[step]
    return None


def _values(reply: Reply, name: str) -> list[Any]:
    """What the details of an error say under `name`."""
    details = reply.get("error.details")
    return [one[name] for one in details if isinstance(one, dict) and name in one] if isinstance(details, list) else []


def clean(text: str) -> str:
    """`text` without the names of the operator's projects and accounts, of operations and of files."""
    return _RESOURCE.sub("[id]", text)
