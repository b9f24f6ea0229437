"""Video models on Replicate: what the well-known ones can do, and what each calls the parts of a request.

The names are those of the models' own input schemas (https://replicate.com/{owner}/{name}/api/schema); a schema that
is read from `GET /v1/models/{owner}/{name}` is turned into the same names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from proxy import Model, UnsupportedOperation, VideoRequest

DURATIONS: Final[Mapping[str, Callable[[int], int | str]]] = {"number": int, "text": str, "seconds": "{}s".format}
"""How a duration is written: 8, "8" or "8s"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """What a model calls the parts of a request; empty where it has no such input.

    `images` takes a list of addresses, the others one value. `known` are all its inputs, where its schema was read.
    """

    prompt: str = "prompt"
    image: str = "image"
    images: str = ""
    last_frame: str = ""
    duration: str = "duration"
    duration_form: str = "number"
    aspect_ratio: str = "aspect_ratio"
    resolution: str = ""
    audio: str = "generate_audio"
    seed: str = "seed"
    negative_prompt: str = "negative_prompt"
    known: frozenset[str] | None = None

    def changed(self, names: Mapping[str, str | None]) -> Fields:
        """These with other `names` for some parts."""
        given: dict[str, Any] = {part: name or "" for part, name in names.items()}
        return replace(self, **given) if given else self


PARTS: Final = tuple(field.name for field in fields(Fields) if field.name != "known")
"""What the option `fields` may name."""

WORDS: Final[Mapping[str, tuple[str, ...]]] = {
    "prompt": ("prompt", "text_prompt"),
    "image": ("image", "start_image", "first_frame_image", "first_frame", "start_frame", "input_image", "image_url"),
    "images": ("reference_images", "images", "input_images"),
    "last_frame": ("last_frame", "end_image", "last_frame_image", "last_image", "end_frame"),
    "duration": ("duration", "seconds", "duration_seconds"),
    "aspect_ratio": ("aspect_ratio",),
    "resolution": ("resolution",),
    "audio": ("generate_audio", "enable_audio", "with_audio"),
    "seed": ("seed",),
    "negative_prompt": ("negative_prompt",),
}
"""What models call each part, the best first."""

PARAMS: Final = {
    "image": "input_reference",
    "images": "input_reference",
    "duration": "seconds",
    "aspect_ratio": "size",
    "resolution": "size",
}
"""OpenAI's words for parts, where they differ."""


def words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


WIDE_HD: Final = words("1280x720 720x1280 1920x1080 1080x1920")
SQUARE_TOO: Final = words("16:9 9:16 1:1")
VEO: Final = Fields(last_frame="last_frame", resolution="resolution")
KLING: Final = Fields(image="start_image", seed="")
VEO_CAN: Final = Model(seconds=(4, 6, 8), default_seconds=8, sizes=WIDE_HD, max_images=1, last_frame=True, audio=True)
KLING_CAN: Final = Model(seconds=(5, 10), sizes=SQUARE_TOO, max_images=1, audio=True)

TABLE: Final[Mapping[str, tuple[Model, Fields]]] = {
    "google/veo-3.1": (replace(VEO_CAN, max_images=3), replace(VEO, images="reference_images")),
    "google/veo-3.1-fast": (VEO_CAN, VEO),
    "kwaivgi/kling-v2.6": (KLING_CAN, KLING),
    "kwaivgi/kling-v2.5-turbo-pro": (replace(KLING_CAN, audio=False), replace(KLING, audio="")),
    "luma/ray-flash-2-720p": (
        Model(
            seconds=(5, 9),
            sizes=words("16:9 9:16 1:1 4:3 3:4 21:9"),
            max_images=1,
            last_frame=True,
            audio=False,
        ),
        Fields(image="start_image", last_frame="end_image", audio="", seed="", negative_prompt=""),
    ),
    "pixverse/pixverse-v5": (
        Model(
            seconds=(5, 8),
            sizes=words("1280x720 720x1280 720x720 1920x1080 1080x1920 1080x1080 640x360 360x640 960x540 540x960"),
            max_images=1,
            last_frame=True,
            audio=False,
        ),
        Fields(last_frame="last_frame_image", resolution="quality", audio=""),
    ),
}


OFFICIAL: Final = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
DEPLOYMENT: Final = re.compile(r"deployments/[\w.-]+/[\w.-]+", re.ASCII)
VERSION: Final = re.compile(r"[\w.-]+/[\w.-]+:[0-9a-f]+|[0-9a-f]{64}", re.ASCII)
NAMED: Final = re.compile(r"[\w.-]+/[\w.-]+(?::[0-9a-f]+)?", re.ASCII)
"""A model whose schema can be asked for."""


def target(model: str) -> tuple[str, dict[str, str]]:
    """Where a prediction of `model` is ordered, and what the body says about it beside the input."""
    if VERSION.fullmatch(model):
        return "/v1/predictions", {"version": model}
    if DEPLOYMENT.fullmatch(model):
        return f"/v1/{model}/predictions", {}
    if OFFICIAL.fullmatch(model):
        return f"/v1/models/{model}/predictions", {}
    raise UnsupportedOperation(
        f"'{model}' is no model of Replicate: the operator names it owner/name, owner/name:version, a version or "
        "deployments/owner/name.",
        param="model",
    )


def slip(model: str, names: Mapping[str, str | None]) -> str:
    """What is wrong with what an operator calls the inputs of `model`; empty where nothing is."""
    try:
        target(model)
    except UnsupportedOperation as error:
        return error.message
    if unknown := names.keys() - set(PARTS):
        return f"{min(unknown)} is no part; there are {', '.join(PARTS)}"
    if names.get("duration_form", "number") not in DURATIONS:
        return f"duration_form must be one of {', '.join(DURATIONS)}"
    if not names.get("prompt", "prompt"):
        return "prompt is empty"
    taken: dict[str, str] = {}
    for part, name in {"prompt": "prompt", **names}.items():
        if name and part != "duration_form" and (other := taken.setdefault(name, part)) != part:
            return f"{part} and {other} have the same name, {name}"
    return ""


def of_schema(schemas: Any) -> Fields | None:
    """The names in the `components.schemas` of a model, or None where nobody can tell."""
    inputs = _table(_table(_table(schemas).get("Input")).get("properties"))
    names = {part: next((word for word in known if word in inputs), "") for part, known in WORDS.items()}
    if not names["prompt"]:
        return None
    duration = names["duration"]
    # An input that has an enumeration is described beside `Input`, under its own name.
    described = {**_table(inputs.get(duration)), **_table(schemas.get(duration))}
    form = "text" if described.get("type") == "string" else "number"
    if form == "text" and str(described.get("enum", [""])).endswith("s']"):
        form = "seconds"
    return Fields(**names, duration_form=form, known=frozenset(inputs))


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def param_of(name: str) -> str | None:
    """OpenAI's word for an input that the upstream blames, such as `input.start_image`."""
    name = name.rpartition(".")[2]
    part = next((part for part, known in WORDS.items() if name in known), None)
    return part and PARAMS.get(part, part)


def fit(request: VideoRequest, fields: Fields) -> None:
    """Refuse what the model has no input for and must not be left out in silence."""
    if request.images and not (fields.image or fields.images):
        raise UnsupportedOperation("This model takes no input picture.", param="input_reference")
    if len(request.images) > 1 and not fields.images:
        raise UnsupportedOperation("This model takes one input picture.", param="input_reference")
    if request.last_frame and not fields.last_frame:
        raise UnsupportedOperation("This model takes no picture for the end of the video.", param="last_frame")
    if request.last_frame and len(request.images) != 1:
        raise UnsupportedOperation(
            "A picture for the end needs one, and only one, for the beginning.", param="last_frame"
        )
    if request.audio and not fields.audio:
        raise UnsupportedOperation("This model has no input that asks for sound.", param="audio")


def arguments(request: VideoRequest, fields: Fields, pictures: list[str], last: str | None) -> dict[str, Any]:
    """The `input` of a prediction: the request in the model's own words, over the client's metadata."""
    made: dict[str, Any] = {
        fields.duration: DURATIONS[fields.duration_form](request.seconds),
        fields.aspect_ratio: request.ratio,
        fields.resolution: request.resolution,
        fields.audio: request.audio,
        fields.seed: request.seed,
        fields.negative_prompt: request.negative_prompt,
        fields.last_frame: last,
        fields.prompt: request.prompt,
    }
    if pictures:
        alone = len(pictures) == 1 and fields.image
        made[fields.image if alone else fields.images] = pictures[0] if alone else pictures
    metadata = {name: value for name, value in request.metadata.items() if fields.known is None or name in fields.known}
    return {**metadata, **{name: value for name, value in made.items() if name and value is not None}}
