"""What the models of DashScope can do, and the words of its wire for a size and for pictures.

https://help.aliyun.com/en/model-studio (text-to-video and image-to-video API)
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple

from proxy import InvalidRequest, Model, UnsupportedOperation, VideoRequest

SIZES: Final = {
    "480P": ("832x480", "480x832", "624x624"),
    "720P": ("1280x720", "720x1280", "960x960", "1088x832", "832x1088"),
    "1080P": ("1920x1080", "1080x1920", "1440x1440", "1632x1248", "1248x1632"),
}
LOW: Final = SIZES["720P"] + SIZES["480P"]
HIGH: Final = SIZES["720P"] + SIZES["1080P"]
EVERY: Final = HIGH + SIZES["480P"]
RATIOS: Final = {"16:9": 16 / 9, "9:16": 9 / 16, "1:1": 1.0, "4:3": 4 / 3, "3:4": 3 / 4}

LARGEST_SEED: Final = 2**31 - 1
LONGEST_EXTENDED: Final = 15
"""Seconds that an extended video may have, its source among them."""
INPUTS: Final = frozenset(
    """
    audio_url function template media img_url first_frame_url last_frame_url reference_urls reference_video_urls
    """.split()  # noqa: SIM905 - a table of words reads better than nine strings
)
"""Metadata that belongs into `input`; all other belongs into `parameters`."""

Kind = Literal["t2v", "i2v", "kf2v", "r2v", "edit", "any"]
_KIND: Final = re.compile(r"(?<![a-z0-9])(t2v|i2v|kf2v|r2v|video-?edit)(?![a-z0-9])")
_OLD: Final = re.compile(r"wanx?-?2\.[1-6](?!\d)")
_DATED: Final = re.compile(r"-\d{4}-\d{2}-\d{2}$")


class Wire(NamedTuple):
    """How a model is spoken to, which its name tells: what it makes a video of, and whether its pictures are a list of
    `media`, as they are from Wan 2.7 on and for HappyHorse."""

    kind: Kind
    media: bool
    horse: bool


def wire_of(name: str) -> Wire:
    found = _KIND.search(name)
    word = found[1] if found else "any"
    kind: Any = "edit" if word.endswith("edit") else word
    return Wire(kind, not _OLD.match(name), name.startswith("happyhorse"))


def is_able(operation: str, name: str) -> bool:
    """Whether the model `name` edits or extends videos; one whose name tells nothing may."""
    kind, media, horse = wire_of(name)
    if operation == "edit":
        return media and kind in ("edit", "any")
    return media and not horse and kind in ("i2v", "any")


def model(sizes: tuple[str, ...], seconds: tuple[int, ...], kind: Kind, **facts: Any) -> Model:
    usual = {
        "image": kind not in ("t2v", "edit"),
        "max_images": None if kind == "r2v" else 1,
        "last_frame": kind == "kf2v",
        "audio": True,
        "default_seconds": 5,
        "extend_seconds": ADDED,
    }
    return Model(sizes=sizes, seconds=seconds, **{**usual, **facts})


ADDED: Final = tuple(range(1, LONGEST_EXTENDED - 1))
WAN_27: Final = tuple(range(2, 16))
HORSE: Final = tuple(range(3, 16))
HORSE_PRICES: Final = {size: price for tier, price in (("720P", 0.14), ("1080P", 0.24)) for size in SIZES[tier]}
FULL_HD: Final = "1920x1080"

MODELS: Final[Mapping[str, Model]] = {
    "wan2.7-t2v": model(HIGH, WAN_27, "t2v"),
    "wan2.7-i2v": model(HIGH, WAN_27, "i2v", last_frame=True),
    "wan2.7-r2v": model(HIGH, WAN_27, "r2v"),
    "wan2.7-videoedit": model(HIGH, WAN_27, "edit"),
    "wan2.6-t2v": model(HIGH, (5, 10, 15), "t2v"),
    **{f"wan2.6-i2v{more}": model(HIGH, (5, 10, 15), "i2v") for more in ("", "-flash")},
    **{f"wan2.6-r2v{more}": model(HIGH, (5, 10, 15), "r2v") for more in ("", "-flash")},
    "wan2.5-t2v-preview": model(EVERY, (5, 10), "t2v"),
    "wan2.5-i2v-preview": model(EVERY, (5, 10), "i2v"),
    "wan2.2-t2v-plus": model(EVERY, (5,), "t2v", audio=False, default_size=FULL_HD),
    "wan2.2-i2v-plus": model(EVERY, (5,), "i2v", audio=False, default_size=FULL_HD),
    "wan2.2-i2v-flash": model(EVERY, (5,), "i2v", audio=False),
    "wan2.2-kf2v-flash": model(EVERY, (5,), "kf2v", audio=False),
    **{f"wanx2.1-t2v-{tier}": model(LOW, (5,), "t2v", audio=False) for tier in ("turbo", "plus")},
    "wanx2.1-i2v-turbo": model(LOW, (3, 4, 5), "i2v", audio=False),
    "wanx2.1-i2v-plus": model(LOW, (5,), "i2v", audio=False),
    "wanx2.1-kf2v-plus": model(LOW, (5,), "kf2v", audio=False),
    "happyhorse-1.0-t2v": model(HIGH, HORSE, "t2v", prices=HORSE_PRICES),
    "happyhorse-1.0-i2v": model(HIGH, HORSE, "i2v", prices=HORSE_PRICES),
    "happyhorse-1.0-r2v": model(HIGH, HORSE, "r2v", prices=HORSE_PRICES),
    "happyhorse-1.0-video-edit": model(HIGH, HORSE, "edit", prices=HORSE_PRICES),
}
OTHER: Final = Model(last_frame=True, extend_seconds=ADDED, default_seconds=5, default_size="1280x720")


def limits(name: str) -> Model:
    """What a model can do; one with a date behind its name is what it is without."""
    return MODELS.get(name) or MODELS.get(_DATED.sub("", name), OTHER)


def check(request: VideoRequest) -> None:
    """Raise for what a `Model` cannot say."""
    if request.seed is not None and not 0 <= request.seed <= LARGEST_SEED:
        raise InvalidRequest(f"'seed' must be 0 to {LARGEST_SEED}.", param="seed")
    if request.kind != "create":
        return
    kind, media, horse = wire_of(request.model)
    if kind == "edit":
        raise UnsupportedOperation("This model edits videos and makes none.", param="model")
    if kind == "t2v" and request.images:
        raise UnsupportedOperation("This model takes no input image.", param="input_reference")
    if request.last_frame and kind != "kf2v" and not (media and not horse and kind in ("i2v", "any")):
        raise UnsupportedOperation("This model takes no picture for the end of the video.", param="last_frame")
    if request.last_frame and len(request.images) > 1:
        raise UnsupportedOperation("Several pictures cannot be combined with 'last_frame'.", param="last_frame")
    if kind in ("i2v", "kf2v") and len(request.images) > 1:
        raise InvalidRequest("This model takes one input image.", param="input_reference")
    needs = kind in ("i2v", "kf2v", "r2v") or request.last_frame is not None
    if needs and not request.images and not INPUTS & request.metadata.keys():
        raise InvalidRequest("This model makes a video of an input image, and there is none.", param="input_reference")
    ends = request.last_frame is not None or {"last_frame_url", "template"} & request.metadata.keys()
    if kind == "kf2v" and not ends:
        raise InvalidRequest("This model needs a picture for the end of the video.", param="last_frame")


def tier(request: VideoRequest) -> str:
    """The word for the resolution."""
    listed = next((word for word, sizes in SIZES.items() if request.size in sizes), None)
    short = min(request.dimensions)
    return listed or ("480P" if short <= 540 else "720P" if short <= 900 else "1080P")


def ratio(request: VideoRequest) -> str:
    """The nearest of the words for the shape."""
    wanted = math.log(request.width / request.height)
    return min(RATIOS, key=lambda word: abs(math.log(RATIOS[word]) - wanted))


def shape(request: VideoRequest) -> dict[str, str]:
    """The parameters for the size: pixels, or a resolution, with a ratio where no picture or film decides on that."""
    if request.kind != "create":
        return {"resolution": tier(request).replace("480P", "720P")}
    kind, media, _ = wire_of(request.model)
    if not media and kind in ("t2v", "r2v", "any"):
        return {"size": request.size.replace("x", "*")}
    return {"resolution": tier(request), **({"ratio": ratio(request)} if kind in ("t2v", "r2v", "any") else {})}


def pictures(request: VideoRequest) -> dict[str, Any]:
    """The fields of `input` for the pictures of a creation."""
    kind, media, _ = wire_of(request.model)
    urls = [image.data_uri for image in request.images]
    last = request.last_frame.data_uri if request.last_frame else None
    if media:
        means = "reference_image" if kind == "r2v" or len(urls) > 1 else "first_frame"
        items = [{"type": means, "url": url} for url in urls]
        items += [{"type": "last_frame", "url": last}] if last else []
        return {"media": items} if items else {}
    if kind == "kf2v":
        ends = {"first_frame_url": urls[0] if urls else None, "last_frame_url": last}
        return {name: url for name, url in ends.items() if url}
    if kind == "r2v" or len(urls) > 1:
        return {"reference_urls": urls} if urls else {}
    return {"img_url": urls[0]} if urls else {}
