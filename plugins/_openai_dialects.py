"""The dialects of plugins/openai.py: what each kind of server does otherwise than OpenAI's own API.

`reelgate`: another Reelgate, docs/clients.md: takes all that a client of this one can ask for, cancels, and tells which
video an Idempotency-Key stands for. `sglang`: SGLang-diffusion, https://github.com/sgl-project/sglang
(python/sglang/multimodal_gen, 0.5.23): `seconds` is a number, a picture is a file, what was stored in a cloud is at the
`url` of the video. `vllm_omni`: vLLM-Omni, https://github.com/vllm-project/vllm-omni (0.30): takes forms only.
`newapi`: gateways of the new-api family, https://github.com/QuantumNous/new-api: `metadata` goes to the provider behind
them, and their older door answers in an envelope. `litellm`: the proxy of LiteLLM, https://docs.litellm.ai/docs/proxy
(1.106): OpenAI's wire without a delete.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from proxy import Model, Reply, VideoRequest

Word = Literal["openai", "reelgate", "sglang", "vllm_omni", "newapi", "litellm"]

OWN: Final = Model(max_images=1, exact_image=True, default_seconds=4, default_size="720x1280")
"""OpenAI's: which durations and sizes there are is the entry's to say."""
PLAIN: Final = replace(OWN, max_images=None, exact_image=False, native=())
"""That of a server that fits pictures itself, however many, and makes new videos only."""

SAMPLING: Final = frozenset(
    """
    seed negative_prompt guidance_scale guidance_scale_2 true_cfg_scale flow_shift num_inference_steps fps num_frames
    width height quality num_outputs_per_prompt enable_frame_interpolation frame_interpolation_exp
    frame_interpolation_scale
    """.split()  # noqa: SIM905 - a table of words reads better than thirty strings
)
"""Metadata that both self-hosted servers know. What names files, hosts or models of the server is not among it."""
SGLANG: Final = SAMPLING | frozenset(
    """
    n max_sequence_length enable_teacache enable_upscaling upscaling_scale output_quality output_compression
    enhance_prompt
    """.split()  # noqa: SIM905
)
VLLM_OMNI: Final = SAMPLING | frozenset(("aspect_ratio", "short_edge", "boundary_ratio", "sound_duration", "user"))

PRICED: Final = frozenset(
    """
    num_inference_steps short_edge sound_duration
    model_name sound multi_shot multi_prompt voice_list video_list off_peak callback_url webhook_url
    """.split()  # noqa: SIM905
)
"""What costs time of the server's machine, or money at a provider behind a new-api, and no list of the core has; whom
that calls back is no client's affair."""

WITHHELD: Final = frozenset(
    "prompt text content input image images input_reference action video_id draft_task".split()  # noqa: SIM905
)
"""Metadata that a new-api would lay over what the plugin says, or that starts from tasks of anybody."""

NEWAPI_STATES: Final = {"not_start": "queued", "unknown": "queued", "failure": "failed"}
"""Beside the usual words. `unknown` is how it shows, among others, a task that it has not started."""
ADDRESSES: Final = ("metadata.url", "url", "result_url", "video_url", "data[0].url", "fail_reason")
"""Where a new-api puts the address of a result; in `fail_reason`, of all places, before it had `result_url`."""


def no_address(reply: Reply, upstream_id: str) -> str | None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One dialect. `body` makes the arguments of the POST that orders a video, `read` makes an answer look like
    OpenAI's, `address` finds where the result is if not at the content route. `states` are further words of it;
    `can` those of cancel, character, delete, recover, thumbnail and spritesheet that it has."""

    body: Callable[[VideoRequest], dict[str, Any]]
    further: Callable[[VideoRequest], dict[str, Any]] = lambda request: {}
    """What a remix, an edit and an extension say beyond OpenAI's fields."""
    model: Model = PLAIN
    families: Mapping[str, Model] = field(default_factory=dict)
    """What models whose names begin so can do, where it is something else."""
    read: Callable[[Reply], Reply] = lambda reply: reply
    address: Callable[[Reply, str], str | None] = no_address
    states: Mapping[str, str] = field(default_factory=dict)
    failures: frozenset[str] = frozenset()
    """Codes of failed videos, beside the moderation's, that mean what they mean here."""
    can: frozenset[str] = frozenset()
    lists: bool = False
    """Whether its list of models needs a key and has all that the key may use."""

    def limits(self, name: str) -> Model:
        """What the model `name` can do."""
        return next((model for start, model in self.families.items() if name.lower().startswith(start)), self.model)


# ---------------------------------------------------------------- orders


def own_body(request: VideoRequest) -> dict[str, Any]:
    body: dict[str, Any] = {
        "prompt": request.prompt,
        "model": request.model,
        "seconds": str(request.seconds),
        "size": request.size,
    }
    # Characters are known as JSON only, so a picture beside them travels as a data URI.
    if request.image and not request.characters:
        return {"form": {**body, "input_reference": request.image}}
    if request.image:
        body["input_reference"] = {"image_url": request.image.data_uri}
    if request.characters:
        body["characters"] = [{"id": character} for character in request.characters]
    return {"json": body}


def reelgate_body(request: VideoRequest) -> dict[str, Any]:
    body: dict[str, Any] = {
        "prompt": request.prompt,
        "seconds": str(request.seconds),
        "size": request.size,
        **reelgate_further(request),
    }
    if request.characters:
        body["characters"] = [{"id": character} for character in request.characters]
    files = [("images" if len(request.images) > 1 else "input_reference", image) for image in request.images]
    if request.last_frame:
        files.append(("last_frame", request.last_frame))
    return {"form": [*texts(body).items(), *files]} if files else {"json": body}


def reelgate_further(request: VideoRequest) -> dict[str, Any]:
    found = {"model": request.model, "audio": request.audio, "metadata": dict(request.metadata) or None}
    return {key: value for key, value in found.items() if value is not None} | wishes(request)


def sglang_body(request: VideoRequest) -> dict[str, Any]:
    body = passed(request, SGLANG) | {
        "prompt": request.prompt,
        "model": request.model,
        "seconds": request.seconds,
        "size": request.size,
        **wishes(request),
    }
    if request.image is None:
        return {"json": body}
    return {"form": {**texts(body), "input_reference": request.image}}


def vllm_omni_body(request: VideoRequest) -> dict[str, Any]:
    # Each server has one model, and refuses any name but the one that it was started with: it needs none.
    body = passed(request, VLLM_OMNI) | {
        "prompt": request.prompt,
        "seconds": request.seconds,
        "size": request.size,
        **wishes(request),
    }
    if request.audio is not None:
        body["generate_sound"] = request.audio
    name = "input_references" if len(request.images) > 1 else "input_reference"
    return {"form": [*texts(body).items(), *((name, image) for image in request.images)]}


def newapi_body(request: VideoRequest) -> dict[str, Any]:
    given = {key: value for key, value in request.metadata.items() if key.lower() not in WITHHELD}
    # The providers behind it read the one or the other.
    body: dict[str, Any] = {
        "prompt": request.prompt,
        "model": request.model,
        "seconds": str(request.seconds),
        "duration": request.seconds,
        "size": request.size,
    }
    if metadata := given | wishes(request):
        body["metadata"] = metadata
    if request.image and request.model.lower().startswith("sora"):
        # Those channels hand on what OpenAI takes, and it takes a file.
        return {"form": {**texts(body), "input_reference": request.image}}
    if len(request.images) > 1:
        body["images"] = [image.data_uri for image in request.images]
    elif request.image:
        body["image"] = request.image.data_uri
    return {"json": body}


def litellm_body(request: VideoRequest) -> dict[str, Any]:
    # Of itself it orders a video up to three times where the first answers are errors: each may be paid for.
    return {**own_body(request), "headers": {"x-litellm-num-retries": "0"}}


def passed(request: VideoRequest, known: frozenset[str]) -> dict[str, Any]:
    # A list, such as one of seeds, may stand for as many videos.
    items = request.metadata.items()
    return {key: value for key, value in items if key in known and isinstance(value, str | int | float)}


def wishes(request: VideoRequest) -> dict[str, Any]:
    """What OpenAI has no field for and all others call by the same names."""
    found = {"seed": request.seed, "negative_prompt": request.negative_prompt}
    return {key: value for key, value in found.items() if value is not None}


def texts(body: Mapping[str, Any]) -> dict[str, str]:
    """The fields as the parts of a form: what is no text as JSON, which is how such servers read them."""
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in body.items()}


# ---------------------------------------------------------------- answers


def stored_at(reply: Reply, upstream_id: str) -> str | None:
    """Where SGLang stored the film, if not on its own disk."""
    return web_address(reply.get("url"))


def newapi_video(reply: Reply) -> Reply:
    """An answer of either door as a video: out of its envelope, in small letters, with a number for the progress."""
    data = reply.data
    if isinstance(data, dict) and isinstance(inner := data.get("data"), dict) and "status" not in data:
        # A task has the number of its row for an id.
        data = {**inner, "id": inner.get("task_id") or inner.get("id")}
    if not isinstance(data, dict):
        return reply
    status, progress = data.get("status"), data.get("progress")
    video = {
        **data,
        "id": data.get("id") or data.get("task_id"),
        "status": status.lower() if isinstance(status, str) else status,
        "progress": percent(progress) if isinstance(progress, str) else progress,
        "error": data.get("error") or data.get("fail_reason"),
    }
    return Reply(video, status=reply.status, headers=reply.headers, channel=reply.channel)


def newapi_address(reply: Reply, upstream_id: str) -> str | None:
    """The provider's own link; None where it is the gateway's content route, whose host may be one of its inside."""
    found = next(filter(None, (web_address(reply.get(path)) for path in ADDRESSES)), None)
    return None if found and found.partition("?")[0].endswith(f"/videos/{upstream_id}/content") else found


def web_address(value: Any) -> str | None:
    return value if isinstance(value, str) and value.startswith(("https://", "http://")) else None


def percent(text: str) -> int | None:
    digits = text.removesuffix("%")
    return int(digits) if digits.isascii() and digits.isdecimal() and len(digits) < 4 else None


DIALECTS: Final[Mapping[Word, Dialect]] = {
    "openai": Dialect(body=own_body, model=OWN, can=frozenset(("character", "delete", "thumbnail", "spritesheet"))),
    # It fits pictures itself, and knows best what each of its models can do.
    "reelgate": Dialect(
        body=reelgate_body,
        lists=True,
        further=reelgate_further,
        model=replace(PLAIN, last_frame=True, native=None),
        # That its account is spent is no affair of our client's.
        failures=frozenset(("outcome_unknown", "queue_timeout", "poll_timeout", "expired")),
        can=frozenset(("cancel", "character", "delete", "recover", "thumbnail", "spritesheet")),
    ),
    # Its delete forgets a running job, which goes on all the same.
    "sglang": Dialect(
        body=sglang_body,
        model=replace(PLAIN, max_images=1),
        address=stored_at,
        states={"deleted": "failed"},
        can=frozenset(("delete",)),
    ),
    "vllm_omni": Dialect(body=vllm_omni_body, can=frozenset(("cancel", "delete"))),
    # It passes on the remixes of its Sora channels alone.
    "newapi": Dialect(
        body=newapi_body,
        lists=True,
        families={"sora": replace(OWN, native=("remix",))},
        read=newapi_video,
        address=newapi_address,
        states=NEWAPI_STATES,
    ),
    # The ids that it gives to remixes, edits and extensions do not say which account makes them, so that none of them
    # could be asked for. For an id that it did not give it asks OpenAI itself, with no key.
    "litellm": Dialect(body=litellm_body, model=replace(OWN, native=()), can=frozenset(("character",)), lists=True),
}
