"""How one endpoint of fal is asked: the names of its fields, and the input that comes of a request.

https://docs.fal.ai/model-endpoints/queue: the body is the model's own input, and each model has other names for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Literal

import msgspec

from proxy import VideoRequest

FORMS: Final[Mapping[str, Callable[[int], int | str]]] = {"number": int, "text": str, "suffix": "{}s".format}

Field = Annotated[str, msgspec.Meta(pattern=r"^([A-Za-z_]\w*)?$")]
"""The name of a field of the input; empty: there is none."""
ENDPOINT: Final = re.compile(r"[\w.-]+(/[\w.-]+)+", re.ASCII)
EndpointId = Annotated[str, msgspec.Meta(pattern=rf"^({ENDPOINT.pattern})?$")]
"""An endpoint such as fal-ai/veo3.1/image-to-video; empty: there is none."""
RESOLUTION: Final = re.compile(r"\d{3,4}p|4k", re.ASCII)


class Fields(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one endpoint is asked. What is not said is as the plugin's table has it, or, for an endpoint that is not in
    the table, as `UNLISTED` has it."""

    image: Field | None = None
    """The field of the picture that the video starts from, such as `image_url`."""
    last_frame: Field | None = None
    """The field of the picture that it ends with."""
    images: Field | None = None
    """The field of a list of pictures, such as `image_urls`."""
    video: Field | None = None
    """The field of the video that is edited or extended."""
    duration: Field | None = None
    """The field of the seconds."""
    duration_form: Literal["number", "text", "suffix"] | None = None
    """How the seconds are written: 8, "8" or "8s"."""
    seconds: tuple[Annotated[int, msgspec.Meta(ge=1)], ...] | None = None
    """The seconds that this endpoint takes."""
    aspect_ratio: bool | None = None
    """Whether `aspect_ratio` is sent."""
    resolution: bool | dict[str, str] | None = None
    """Whether `resolution` is sent; as a mapping, the words in place of 720p, 1080p, 1440p or 4k."""
    audio: Field | None = None
    """The field that switches the sound on and off."""
    seed: bool | None = None
    """Whether `seed` is sent."""
    negative_prompt: bool | None = None
    """Whether `negative_prompt` is sent."""
    image_endpoint: EndpointId | None = None
    """The endpoint that takes over where there is a picture."""
    last_frame_endpoint: EndpointId | None = None
    """The endpoint that takes over where there is a picture for the end."""
    images_endpoint: EndpointId | None = None
    """The endpoint that takes over where there are several pictures."""
    extend_endpoint: EndpointId | None = None
    """The endpoint that extends a video."""
    edit_endpoint: EndpointId | None = None
    """The endpoint that edits a video, which is also how one is remixed."""


def merged(base: Fields, *said: Fields | None) -> Fields:
    """`base` with what each of `said` says over it."""
    for one in said:
        if one is not None:
            words = {name: getattr(one, name) for name in one.__struct_fields__}
            base = msgspec.structs.replace(base, **{name: word for name, word in words.items() if word is not None})
    return base


def slip(said: Fields) -> str:
    """What is wrong with what an operator says of an endpoint; empty where nothing is."""
    taken = {name: name for name in ("prompt", "aspect_ratio", "resolution", "seed", "negative_prompt")}
    for part in ("image", "last_frame", "images", "video", "duration", "audio"):
        if (name := getattr(said, part)) and taken.setdefault(name, part) != part:
            return f"{part} and {taken[name]} have the same name, {name}"
    words = said.resolution if isinstance(said.resolution, dict) else {}
    unknown = next((word for word in words if not RESOLUTION.fullmatch(word)), None)
    return f"resolution: {unknown} is none; write 720p, 1080p, 1440p or 4k" if unknown else ""


UNLISTED: Final = Fields(
    image="image_url",
    duration="duration",
    duration_form="number",
    aspect_ratio=True,
    resolution=True,
    audio="generate_audio",
    seed=True,
    negative_prompt=True,
)
DERIVED: Final = Fields(video="video_url")
"""An endpoint for edits or extensions that is not listed."""


def body(request: VideoRequest, fields: Fields) -> dict[str, Any]:
    """The input of an endpoint; its own fields over the client's metadata."""
    made: dict[str, Any] = {"prompt": request.prompt}
    if fields.duration:
        made[fields.duration] = FORMS[fields.duration_form or "number"](request.seconds)
    if fields.aspect_ratio:
        made["aspect_ratio"] = request.ratio
    if fields.resolution:
        words = fields.resolution if isinstance(fields.resolution, dict) else {}
        made["resolution"] = words.get(request.resolution, request.resolution)
    if fields.audio and request.audio is not None:
        made[fields.audio] = request.audio
    if fields.seed and request.seed is not None:
        made["seed"] = request.seed
    if fields.negative_prompt and request.negative_prompt is not None:
        made["negative_prompt"] = request.negative_prompt
    if fields.images and (len(request.images) > 1 or (request.images and not fields.image)):
        made[fields.images] = [image.data_uri for image in request.images]
    elif fields.image and request.image:
        made[fields.image] = request.image.data_uri
    if fields.last_frame and request.last_frame:
        made[fields.last_frame] = request.last_frame.data_uri
    return {**request.metadata, **made}
