"""What the models of MiniMax can do, on which of its two wires each lives, and their words for a size.

https://platform.minimax.io/docs/api-reference/video-generation-intro and video-generation-v2. The API says no prices of
the older models.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, Literal

from proxy import InvalidRequest, Model, UnsupportedOperation, VideoRequest

Version = Literal["v1", "v2"]


def words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


FREE: Final = words("1366x768 1280x720 1920x1080")
"""What the Hailuo models make without a picture: a shape can be asked for by a picture only."""
LOW: Final = words("910x512 512x910 512x512 682x512 512x682")
HAILUO: Final = (
    *FREE,
    *words("768x1366 768x768 1024x768 768x1024 720x1280 720x720 960x720 720x960"),
    *words("1080x1920 1080x1080 1440x1080 1080x1440"),
)
OLD: Final = words("1280x720 720x1280 720x720 960x720 720x960")
SIZES_768: Final = (
    *words("1366x768 768x1366 768x768 1024x768 768x1024 1792x768"),
    *words("1280x720 720x1280 720x720 960x720 720x960 1680x720"),
)
SIZES_2K: Final = (
    *words("2560x1440 1440x2560 1440x1440 1920x1440 1440x1920 3360x1440"),
    *words("1920x1080 1080x1920 1080x1080 1440x1080 1080x1440 2520x1080"),
)


def first(sizes: tuple[str, ...], *seconds: int, **facts: Any) -> Model:
    """A model of V1."""
    return Model(sizes=sizes, seconds=seconds, audio=False, max_images=1, **facts)


MODELS: Final[Mapping[str, Model]] = {
    "MiniMax-Hailuo-2.3": first(HAILUO, 6, 10),
    "MiniMax-Hailuo-2.3-Fast": first(HAILUO, 6, 10),
    "MiniMax-Hailuo-02": first((*HAILUO, *LOW), 6, 10, last_frame=True),
    **dict.fromkeys(("T2V-01", "T2V-01-Director"), first(OLD[:1], 6, image=False)),
    **dict.fromkeys(("I2V-01", "I2V-01-Director", "I2V-01-live"), first(OLD, 6)),
    "S2V-01": first(OLD[:1], 6),
    # A price is that of the film: of input pictures, each from the sixth on adds 4 cents.
    "MiniMax-H3": Model(
        seconds=tuple(range(4, 16)),
        sizes=(*SIZES_768, *SIZES_2K),
        max_images=9,
        last_frame=True,
        audio=True,
        price=0.13,
        prices={"720p": 0.08, "768p": 0.08},
    ),
}
OTHER: Final[Mapping[Version, Model]] = {
    "v1": Model(max_images=1, last_frame=True),
    "v2": Model(max_images=9, last_frame=True),
}
"""A model that the table does not have, or that an entry moves to the other wire."""

SUBJECT: Final = "S2V-01"
FIXED: Final = frozenset(("T2V-01", "T2V-01-Director", "I2V-01", "I2V-01-Director", "I2V-01-live", SUBJECT))
"""Models of one length and resolution, which are not told them."""
PICTURED: Final = frozenset(("MiniMax-Hailuo-2.3-Fast", "I2V-01", "I2V-01-Director", "I2V-01-live", SUBJECT))
SLIMMEST: Final = 2.5
"""Of a picture, its longer side by its shorter one."""
LONGEST_PROMPT: Final[Mapping[Version, int]] = {"v1": 2000, "v2": 7000}

_V2_NAME: Final = re.compile(r"MiniMax-H\d")


def version_of(model: str) -> Version:
    """The wire of `model` by its name: MiniMax-H3 and its successors are on V2."""
    return "v2" if _V2_NAME.match(model) else "v1"


def model_of(name: str, version: Version) -> Model:
    """What the model `name` can do on that wire."""
    return MODELS.get(name, OTHER[version]) if version == version_of(name) else OTHER[version]


def tier(request: VideoRequest, version: Version) -> str:
    """MiniMax's word for the resolution."""
    short = min(request.dimensions)
    if version == "v2":
        return "768P" if short <= 900 else "2K"
    if short <= 540 and (request.model == "MiniMax-Hailuo-02" or request.model not in MODELS):
        return "512P"
    return "768P" if short <= 900 else "1080P"


def check(request: VideoRequest, version: Version) -> None:
    """Raise for what a `Model` cannot say."""
    if len(request.prompt) > LONGEST_PROMPT[version]:
        raise InvalidRequest(f"The prompt is longer than {LONGEST_PROMPT[version]} characters.", param="prompt")
    if request.last_frame and not request.images:
        raise UnsupportedOperation("A picture for the end needs one for the beginning.", param="last_frame")
    if request.last_frame and len(request.images) > 1:
        raise UnsupportedOperation("Several pictures cannot be combined with 'last_frame'.", param="last_frame")
    for picture in [*request.images, *([request.last_frame] if request.last_frame else [])]:
        if not 1 / SLIMMEST <= picture.width / picture.height <= SLIMMEST:
            param = "last_frame" if picture is request.last_frame else "input_reference"
            raise InvalidRequest("A picture may be at most two and a half times as long as wide.", param=param)
    if version == "v2" and not request.prompt.strip():
        raise InvalidRequest("The prompt is empty.", param="prompt")
    if version == "v2" and request.audio is False:
        raise InvalidRequest("The model makes every video with sound; leave 'audio' out.", param="audio")
    if version == "v1" and request.model in MODELS:
        _check_first(request)


def _check_first(request: VideoRequest) -> None:
    if request.model in PICTURED and not request.images:
        raise InvalidRequest(f"The model {request.model} needs an input picture.", param="input_reference")
    if request.model not in FIXED and not request.images and request.size not in FREE:
        raise InvalidRequest(f"Without an input picture the size is one of {', '.join(FREE)}.", param="size")
    if tier(request, "v1") == "512P" and request.last_frame:
        raise InvalidRequest("With a picture for the end there is no 512P.", param="size")
    if tier(request, "v1") == "1080P" and request.seconds > 6:
        raise InvalidRequest(f"In 1080P the model {request.model} makes 6 seconds.", param="seconds")
