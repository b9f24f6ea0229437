"""What the models of Kling can do, what a second of them costs, and what of it a `Model` cannot say.

https://app.klingai.com/global/dev/document-api (capability map, pricing): a unit is 14 cents. Where a client does not
say whether it wants sound, the price of a film with sound stands, although Kling makes none then.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, Literal

from proxy import InvalidRequest, Model, Picture, UnsupportedOperation, VideoRequest

Kind = Literal["text2video", "image2video", "multi-image2video", "omni-video", "video-extend"]
KINDS: Final[tuple[Kind, ...]] = ("text2video", "image2video", "multi-image2video", "omni-video", "video-extend")
"""The last steps of the paths of tasks: a task can be found under its own one only."""

RATIOS: Final = {"16:9": 16 / 9, "9:16": 9 / 16, "1:1": 1.0}
STD: Final = ("1280x720", "720x1280", "720x720")
PRO: Final = ("1920x1080", "1080x1920", "1080x1080")
BEST: Final = ("3840x2160", "2160x3840", "2160x2160")
MOST_IN_ONE: Final = 4
"""Pictures of a task of several."""
MOST_OMNI: Final = 7
ADDED: Final = 5
"""Seconds that an extension adds, about."""
LONGEST_EXTENDED: Final = 180
LONGEST_PROMPT: Final = 2500
UNIT: Final = 0.14
SHORT: Final = (5, 10)


def model(
    sizes: tuple[str, ...],
    units: Mapping[str, float],
    *,
    seconds: tuple[int, ...] = SHORT,
    per: int = 5,
    images: int = 1,
    last_frame: bool = False,
    audio: bool = False,
    extend: bool = False,
) -> Model:
    """`units` are those that a film of `per` seconds costs: usually, then by the words of `Model.prices`."""
    usual, *others = [(word, round(UNIT * number / per, 6)) for word, number in units.items()]
    return Model(
        seconds=seconds,
        extend_seconds=(ADDED,) if extend else (),
        sizes=sizes,
        default_seconds=5,
        max_images=images,
        last_frame=last_frame,
        audio=audio,
        native=("remix", "edit", "extend") if extend else ("remix", "edit"),
        price=usual[1],
        prices=dict(others),
    )


MODELS: Final = {
    "kling-v1": model(STD, {"720p": 1}, last_frame=True, extend=True),
    "kling-v1-5": model(STD + PRO, {"720p": 2, "1080p": 3.5}, last_frame=True, extend=True),
    "kling-v1-6": model(STD + PRO, {"720p": 2, "1080p": 3.5}, images=MOST_IN_ONE, last_frame=True, extend=True),
    "kling-v2-master": model(STD, {"720p": 10}),
    "kling-v2-1": model(STD + PRO, {"720p": 2, "1080p": 3.5}, last_frame=True),
    "kling-v2-1-master": model(PRO, {"1080p": 10}),
    "kling-v2-5-turbo": model(STD + PRO, {"720p": 1.5, "1080p": 2.5}, last_frame=True),
    "kling-v2-6": model(STD + PRO, {"720p": 1.5, "1080p": 5, "1080p silent": 2.5}, last_frame=True, audio=True),
    "kling-v3": model(
        STD + PRO + BEST,
        {"720p": 0.9, "720p silent": 0.6, "1080p": 1.2, "1080p silent": 0.8, "4k": 3},
        seconds=tuple(range(3, 16)),
        per=1,
        last_frame=True,
        audio=True,
    ),
    "kling-video-o1": model(
        # Its own default is the better mode.
        PRO + STD,
        {"720p": 0.6, "1080p": 0.8},
        seconds=tuple(range(3, 11)),
        per=1,
        images=MOST_OMNI,
        last_frame=True,
    ),
    "kling-v3-omni": model(
        PRO + STD + BEST,
        {"720p": 0.9, "720p silent": 0.6, "1080p": 1.2, "1080p silent": 0.8, "4k": 3},
        seconds=tuple(range(3, 16)),
        per=1,
        images=MOST_OMNI,
        last_frame=True,
        audio=True,
    ),
}
OTHER: Final = Model(
    default_seconds=5, default_size=STD[0], max_images=MOST_OMNI, last_frame=True, native=("remix", "edit")
)

ONE_MODE: Final = frozenset(("kling-v1", "kling-v2-master", "kling-v2-1-master"))
"""Models whose size is the same in each mode."""
FROM_PICTURES: Final = frozenset(("kling-v1-5", "kling-v2-1"))
END_IN_PRO: Final = frozenset(("kling-v1-5", "kling-v1-6", "kling-v2-1", "kling-v2-5-turbo", "kling-v2-6"))
"""Models that take a picture for the end in the better mode only."""


def is_omni(name: str) -> bool:
    return name.startswith("kling-video-") or name.endswith("-omni")


def kind_of(request: VideoRequest) -> Kind:
    """What kind of task carries `request` out."""
    if request.kind == "extend":
        return "video-extend"
    if request.kind != "create" or is_omni(request.model):
        return "omni-video"
    if len(request.images) > 1:
        return "multi-image2video"
    return "image2video" if request.image or request.last_frame else "text2video"


def mode(request: VideoRequest, name: str) -> str | None:
    """Kling's word for the resolution; None where a model has only one."""
    if name in ONE_MODE:
        return None
    short = min(request.dimensions)
    return "std" if short <= 720 else "4k" if short > 1080 and name != "kling-video-o1" else "pro"


def ratio(request: VideoRequest) -> str:
    """The nearest of Kling's words for the shape."""
    wanted = math.log(request.width / request.height)
    return min(RATIOS, key=lambda word: abs(math.log(RATIOS[word]) - wanted))


def check(request: VideoRequest) -> None:
    """Raise for what a `Model` cannot say."""
    name = request.model
    for words, param in ((request.prompt, "prompt"), (request.negative_prompt or "", "negative_prompt")):
        if len(words) > LONGEST_PROMPT:
            raise InvalidRequest(f"It must have at most {LONGEST_PROMPT} characters.", param=param)
    for picture in request.images:
        _check_shape(picture, "input_reference")
    if request.last_frame:
        _check_shape(request.last_frame, "last_frame")
        _check_end(request)
    if request.video:
        _check_upload(request)
    if request.kind != "create":
        return
    if kind_of(request) == "multi-image2video" and len(request.images) > MOST_IN_ONE:
        raise InvalidRequest(f"The model '{name}' takes {MOST_IN_ONE} pictures at most.", param="input_reference")
    if name in FROM_PICTURES and not request.images and not request.last_frame:
        raise InvalidRequest(f"The model '{name}' needs an input picture.", param="input_reference")
    if name == "kling-v2-6" and request.audio and mode(request, name) == "std":
        raise InvalidRequest(f"The model '{name}' makes sound in 1080p only.", param="audio")


def _check_end(request: VideoRequest) -> None:
    name = request.model
    if len(request.images) > 1:
        raise UnsupportedOperation("Several pictures cannot be combined with 'last_frame'.", param="last_frame")
    if is_omni(name) and not request.images:
        raise UnsupportedOperation(f"The model '{name}' takes an end only beside a beginning.", param="last_frame")
    if name in END_IN_PRO and mode(request, name) == "std":
        raise InvalidRequest(f"The model '{name}' takes 'last_frame' in 1080p only.", param="size")
    if name == "kling-v1" and request.seconds != SHORT[0]:
        raise InvalidRequest("With 'last_frame' the video has 5 seconds.", param="seconds")
    if name == "kling-v2-6" and request.audio:
        raise InvalidRequest("With 'last_frame' the video is silent.", param="audio")


def _check_upload(request: VideoRequest) -> None:
    if request.kind == "extend":
        raise UnsupportedOperation("Kling extends only its own videos, and no upload.", param="video")
    if request.clip.url is None:
        raise UnsupportedOperation("This server has no public address, which uploads here need.", param="video")


def _check_shape(picture: Picture, param: str) -> None:
    if not 0.4 <= picture.width / picture.height <= 2.5:
        raise InvalidRequest("A picture must be at most 2.5 times as long as it is wide or high.", param=param)
