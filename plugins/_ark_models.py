"""What the models of Seedance can do, their words for a shape, and what a second of them costs.

https://www.volcengine.com/docs/82379/1520757 (Volcengine Ark) and https://docs.byteplus.com/en/docs/ModelArk/1520757
(BytePlus ModelArk), which call the same models by other names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from proxy import InvalidRequest, Model, PictureForm, UnsupportedOperation, VideoRequest

RATIOS: Final = ("16:9", "9:16", "1:1", "4:3", "3:4", "21:9")
PIXELS: Final = {
    "480p": ("864x496", "496x864", "640x640", "752x560", "560x752", "992x432"),
    "720p": ("1280x720", "720x1280", "960x960", "1112x834", "834x1112", "1470x630"),
    "1080p": ("1920x1080", "1080x1920", "1440x1440", "1664x1248", "1248x1664", "2206x946"),
    "4k": ("3840x2160", "2160x3840"),
}
"""What a resolution is in pixels, in the order of `RATIOS`. Those of 4k in other shapes are not documented."""
OLD_PIXELS: Final = {
    "480p": ("864x480", "480x864", "640x640", "736x544", "544x736", "960x416"),
    "720p": ("1248x704", "704x1248", "960x960", "1120x832", "832x1120", "1504x640"),
    "1080p": ("1920x1088", "1088x1920", "1440x1440", "1664x1248", "1248x1664", "2176x928"),
}
"""The same for the models of 1.0."""
SHAPES: Final[Mapping[str, tuple[str, str]]] = {
    size: (resolution, ratio)
    for pixels in (PIXELS, OLD_PIXELS)
    for resolution, sizes in pixels.items()
    for size, ratio in zip(sizes, RATIOS, strict=False)
}

LARGEST_SEED: Final = 2**32 - 1
MOST_REFERENCES: Final = 9
PICTURE: Final = PictureForm(max_bytes=29_000_000, min_side=300, max_side=6000)
NARROWEST, WIDEST = 0.4, 2.5
"""The bounds of a picture's width by its height."""
FRAME_RATE: Final = 24

OLD: Final[dict[str, Any]] = {"seconds": tuple(range(2, 13)), "audio": False, "native": ()}
SECOND: Final[dict[str, Any]] = {"audio": True, "max_images": MOST_REFERENCES, "last_frame": True}


def sizes(pixels: Mapping[str, tuple[str, ...]], resolutions: str) -> tuple[str, ...]:
    """The sizes of some resolutions, the first of which is the model's own."""
    return tuple(size for resolution in resolutions.split() for size in pixels[resolution])


def per_second(usd_per_million: float, of: tuple[str, ...]) -> dict[str, float]:
    """What a second costs in each size: the tokens of a film are its pixels times its frames, by 1024."""
    tokens = {size: FRAME_RATE * int(size.split("x")[0]) * int(size.split("x")[1]) / 1024 for size in of}
    return {size: round(count * usd_per_million / 1e6, 4) for size, count in tokens.items()}


FULL_OLD: Final = sizes(OLD_PIXELS, "1080p 720p 480p")
SMALL_OLD: Final = sizes(OLD_PIXELS, "720p 480p 1080p")
SMALL: Final = sizes(PIXELS, "720p 480p")
FULL: Final = sizes(PIXELS, "720p 480p 1080p")
SPAN: Final = tuple(range(4, 16))

FIRST: Final = {
    "seedance-1-0-pro-250528": Model(sizes=FULL_OLD, max_images=1, last_frame=True, **OLD),
    "seedance-1-0-pro-fast-251015": Model(sizes=FULL_OLD, max_images=1, **OLD),
    "seedance-1-0-lite-t2v-250428": Model(sizes=SMALL_OLD, image=False, **OLD),
    "seedance-1-0-lite-i2v-250428": Model(sizes=SMALL_OLD, max_images=4, last_frame=True, **OLD),
    "seedance-1-5-pro-251215": Model(
        seconds=tuple(range(4, 13)), sizes=FULL, max_images=1, last_frame=True, audio=True, native=()
    ),
}
"""Models that BytePlus calls so, and Volcengine with `doubao-` before it."""
LATER: Final = {
    "seedance-2-0-260128": Model(seconds=SPAN, sizes=FULL, **SECOND),
    "seedance-2-0-fast-260128": Model(seconds=SPAN, sizes=SMALL, **SECOND),
    "seedance-2-5-260628": Model(seconds=tuple(range(4, 31)), sizes=sizes(PIXELS, "720p 480p 1080p 4k"), **SECOND),
}
"""Models that BytePlus has with `dreamina-` before it."""
MINI: Final = Model(seconds=SPAN, sizes=SMALL, **SECOND)

VOLCENGINE: Final = {f"doubao-{name}": model for name, model in {**FIRST, **LATER}.items()} | {
    "doubao-seedance-2-0-mini-260615": MINI
}
BYTEPLUS: Final = {
    **FIRST,
    **{f"dreamina-{name}": model for name, model in LATER.items()},
    "dreamina-seedance-2-0-mini": MINI,
    # The one price that is known in US dollars; 1080p has another.
    "dreamina-seedance-2-0-260128": Model(seconds=SPAN, sizes=FULL, prices=per_second(7.0, SMALL), **SECOND),
}
OTHER: Final = Model(max_images=MOST_REFERENCES, last_frame=True, native=("edit", "extend"))
"""An endpoint `ep-…`, or a model to come. Whether it makes videos of videos is not known: its remix is a new video."""

FLAGS: Final = re.compile(r"[-\ufe63\uff0d]{2,}")
"""Hyphens in a row, also small and full-width ones: whoever normalises a text has plain ones of them."""


def plain(prompt: str) -> str:
    """`prompt` without what Seedance would read as a parameter, such as `--dur 12`: a dash is one character here."""
    return FLAGS.sub("—", prompt)


def shape(request: VideoRequest) -> tuple[str, str]:
    """Resolution and ratio of a request; a size of no model's is told by its number of pixels, which are paid for."""
    if request.size in SHAPES:
        return SHAPES[request.size]
    pixels = request.width * request.height
    bounds = {"480p": 614_000, "720p": 1_380_000, "1080p": 4_150_000}
    return next((word for word, most in bounds.items() if pixels <= most), "4k"), request.ratio


def pictures(request: VideoRequest) -> Iterator[dict[str, Any]]:
    """The pictures of a new video: a first frame, one for each end, or several references."""
    role = "reference_image" if len(request.images) > 1 else "first_frame"
    given = [(image, role) for image in request.images]
    if request.last_frame:
        given.append((request.last_frame, "last_frame"))
    for image, role in given:
        yield {"type": "image_url", "image_url": {"url": image.data_uri}, "role": role}


def check(request: VideoRequest, model: Model) -> None:
    """Raise for what `model`, that of the request, cannot say."""
    resolution, _ = shape(request)
    if request.seed is not None and not -1 <= request.seed <= LARGEST_SEED:
        raise InvalidRequest(f"'seed' must be between -1 and {LARGEST_SEED}.", param="seed")
    if request.metadata.get("draft") and resolution != "480p":
        raise InvalidRequest("A draft has one of the sizes of 480p.", param="size")
    if request.video and request.video.url is None:
        raise UnsupportedOperation("This server has no public address, which uploads here need.", param="video")
    if request.kind in ("remix", "edit") and model.seconds and request.seconds not in model.seconds:
        # As long as an extension has made it.
        raise InvalidRequest(
            f"The model {request.model} makes videos of {model.seconds[0]} to {model.seconds[-1]} seconds, and the "
            f"source has {request.seconds}.",
            param="video",
        )
    if request.kind != "create":
        return
    if request.last_frame and len(request.images) != 1:
        raise UnsupportedOperation("A picture for the end goes with one picture for the beginning.", param="last_frame")
    if "lite-i2v" in request.model and not request.images:
        raise InvalidRequest(f"The model {request.model} needs an input picture.", param="input_reference")
    if "lite-i2v" in request.model and len(request.images) > 1 and resolution == "1080p":
        raise InvalidRequest("With several pictures the video has 720p at most.", param="size")
    for image, param in [*((image, "input_reference") for image in request.images), (request.last_frame, "last_frame")]:
        if image and not NARROWEST < image.width / image.height < WIDEST:
            raise InvalidRequest(
                f"The picture's width by its height must be between {NARROWEST} and {WIDEST}.", param=param
            )
