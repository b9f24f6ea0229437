"""What the models of Grok Imagine can do, what a second of them costs, and their words for a shape.

https://docs.x.ai/docs/guides/video-generations and https://docs.x.ai/docs/models
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from proxy import InvalidRequest, Model, UnsupportedOperation, VideoRequest

RATIOS: Final = {"16:9": 16 / 9, "9:16": 9 / 16, "1:1": 1.0, "4:3": 4 / 3, "3:4": 3 / 4, "3:2": 3 / 2, "2:3": 2 / 3}
SIZES: Final = (
    *("848x480", "480x848", "480x480", "640x480", "480x640", "720x480", "480x720"),
    *("1280x720", "720x1280", "720x720", "960x720", "720x960", "1080x720", "720x1080"),
)
SIZES_1080: Final = ("1920x1080", "1080x1920", "1080x1080", "1440x1080", "1080x1440", "1620x1080", "1080x1620")
MOST_REFERENCES: Final = 7


def model(sizes: tuple[str, ...], price: float, prices: Mapping[str, float], *, last_frame: bool = True) -> Model:
    """A price is that of the film: an input picture adds 0.2 cents (grok-imagine-video) or 1 cent (its successors)."""
    return Model(
        seconds=tuple(range(1, 16)),
        extend_seconds=tuple(range(1, 11)),
        sizes=sizes,
        max_images=MOST_REFERENCES,
        last_frame=last_frame,
        audio=True,
        price=price,
        prices=prices,
    )


FIRST: Final = model(SIZES, 0.05, {"720p": 0.07}, last_frame=False)
SECOND: Final = model(SIZES + SIZES_1080, 0.08, {"720p": 0.14, "1080p": 0.25})
LITE: Final = model(SIZES + SIZES_1080, 0.02, {"720p": 0.03, "1080p": 0.14}, last_frame=False)

MODELS: Final = {
    "grok-imagine-video": FIRST,
    "grok-imagine-video-1.5": SECOND,
    "grok-imagine-video-1.5-preview": SECOND,
    "grok-imagine-video-1.5-2026-05-30": SECOND,
    "grok-imagine-video-1.5-lite": LITE,
}
OTHER: Final = Model(
    extend_seconds=SECOND.extend_seconds, max_images=MOST_REFERENCES, last_frame=True, default_size=SIZES[0]
)


def check(request: VideoRequest) -> None:
    """Raise for what a `Model` cannot say: several pictures are references, without an end and of 720p at most."""
    if len(request.images) > 1 and request.last_frame:
        raise UnsupportedOperation("Several pictures cannot be combined with 'last_frame'.", param="last_frame")
    if len(request.images) > 1 and resolution(request) == "1080p":
        raise InvalidRequest("With several pictures the video has 720p at most.", param="size")


def resolution(request: VideoRequest) -> str:
    """The smallest of xAI's words that has the short side."""
    short = min(request.dimensions)
    return "480p" if short <= 480 else "720p" if short <= 720 else "1080p"


def ratio(request: VideoRequest) -> str:
    """The nearest of xAI's words for the shape."""
    wanted = math.log(request.width / request.height)
    return min(RATIOS, key=lambda word: abs(math.log(RATIOS[word]) - wanted))
