"""What the models of Vidu can do, which ways of working each of them has, and what of it a `Model` cannot say.

https://platform.vidu.com/docs: text-to-video, image-to-video, start-end-to-video, reference-to-video, video-extension.
Vidu counts in credits, whose price depends on the contract: an entry's `price` says what a second costs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from proxy import InvalidRequest, Model, Picture, UnsupportedOperation, VideoRequest

TEXT, FIRST, ENDS, REFERENCES = "text2video", "img2video", "start-end2video", "reference2video"
EVERY: Final = frozenset((TEXT, FIRST, ENDS, REFERENCES))
PICTURED: Final = frozenset((FIRST, ENDS))
WAYS: Final[Mapping[str, frozenset[str]]] = {
    "viduq3-pro": PICTURED | {TEXT},
    "viduq3-turbo": PICTURED | {TEXT},
    "viduq2": frozenset((TEXT, REFERENCES)),
    "viduq2-pro": PICTURED,
    "viduq2-turbo": PICTURED,
    "viduq2-pro-fast": PICTURED,
    "vidu2.0": EVERY - {TEXT},
}
"""The last steps of the paths on which a model works; any other model has all of them."""

RATIOS: Final = {"16:9": 16 / 9, "9:16": 9 / 16, "1:1": 1.0, "4:3": 4 / 3, "3:4": 3 / 4}
TIERS: Final = (360, 540, 720, 1080)
EXTENDERS: Final = ("viduq2-pro", "viduq2-turbo")
LONGER: Final = tuple(range(1, 8))
"""Seconds that an extension may add."""
LONGEST_BETWEEN: Final = 8
"""Seconds between two pictures, of the models of the second generation."""
OLD: Final = ("vidu2.0", "vidu1.5")
"""Models that make eight seconds in one resolution only."""
MOST_REFERENCES: Final = 7
REFERENCE_WORDS: Final = (REFERENCES, "referenceGenerate")
"""What a client may say as `metadata.action`, so that its one or two pictures show things and not frames."""
LARGEST_BODY: Final = 20_000_000
ROOM: Final = 100_000
"""Bytes of a body that are kept for all that is not a picture."""
LARGEST_PICTURE: Final = 7_000_000
"""Bytes of a picture; two of them fit into one body as base64."""
SLIMMEST: Final = 4.0
SMALLER, LARGER = 0.8, 1.25
"""The bounds of the first picture's pixels by the last one's."""


def sizes(tiers: str, *, ratios: int = 5) -> tuple[str, ...]:
    """The sizes of some resolutions, each in the first `ratios` of `RATIOS`; the first one is the default."""
    found = []
    for side in map(int, tiers.split()):
        wide, square, less = f"{16 * side // 9}", f"{side}", f"{4 * side // 3}"
        found += [f"{wide}x{side}", f"{side}x{wide}", f"{square}x{side}", f"{less}x{side}", f"{side}x{less}"][:ratios]
    return tuple(found)


def model(longest: int, tiers: str, **facts: Any) -> Model:
    """A model of 1 to `longest` seconds, 5 unless told."""
    usual = {"seconds": tuple(range(1, longest + 1)), "default_seconds": 5, "max_images": 2, "last_frame": True}
    return Model(sizes=sizes(tiers), extend_seconds=LONGER, **{**usual, **facts})


def older(seconds: tuple[int, ...], tiers: str) -> Model:
    shapes = sizes(tiers, ratios=3)
    return Model(seconds=seconds, extend_seconds=LONGER, sizes=shapes, max_images=MOST_REFERENCES, last_frame=True)


MODELS: Final = {
    "viduq3-pro": model(16, "720 540 1080", audio=True),
    "viduq3-turbo": model(16, "720 540 1080", audio=True),
    "viduq2": model(10, "720 540 1080", max_images=MOST_REFERENCES, last_frame=False),
    "viduq2-pro": model(10, "720 540 1080"),
    "viduq2-turbo": model(10, "720 540 1080"),
    "viduq2-pro-fast": model(10, "720 1080"),
    "viduq1": older((5,), "1080"),
    "viduq1-classic": older((5,), "1080"),
    # Vidu's own default is 360p, which it does not make in eight seconds.
    "vidu2.0": older((4, 8), "720 360 1080"),
    "vidu1.5": older((4, 8), "720 360 1080"),
}
OTHER: Final = Model(
    default_seconds=5,
    default_size="1280x720",
    extend_seconds=LONGER,
    max_images=MOST_REFERENCES,
    last_frame=True,
)


def way(request: VideoRequest) -> str:
    """The last step of the path that carries a new video out, by its pictures."""
    ways = WAYS.get(request.model, EVERY)
    count = len(request.images)
    if request.last_frame:
        return ENDS
    if not count:
        return TEXT
    frames = FIRST if count == 1 else ENDS
    forced = request.metadata.get("action") in REFERENCE_WORDS
    return REFERENCES if forced or count > 2 or frames not in ways else frames


def resolution(request: VideoRequest) -> str:
    """The smallest of Vidu's words that has the short side; an extension has no 360p."""
    tiers = TIERS[1:] if request.kind == "extend" else TIERS
    short = min(request.dimensions)
    return f"{next((tier for tier in tiers if tier >= short), tiers[-1])}p"


def ratio(request: VideoRequest) -> str:
    """The nearest of Vidu's words for the shape."""
    wanted = math.log(request.width / request.height)
    return min(RATIOS, key=lambda word: abs(math.log(RATIOS[word]) - wanted))


def check(request: VideoRequest) -> None:
    """Raise for what a `Model` cannot say."""
    given = [*request.images, *([request.last_frame] if request.last_frame else [])]
    if sum(len(picture.data) for picture in given) * 4 / 3 > LARGEST_BODY - ROOM:
        raise InvalidRequest("The pictures are too large to be sent together.", param="input_reference")
    for picture in given:
        if not 1 / SLIMMEST < picture.width / picture.height < SLIMMEST:
            param = "last_frame" if picture is request.last_frame else "input_reference"
            raise InvalidRequest("A picture may be at most four times as long as wide.", param=param)
    if request.video and request.video.url is None:
        raise UnsupportedOperation("This server has no public address, which uploads here need.", param="video")
    if request.kind == "create":
        _check_way(request, way(request))
    if request.kind == "create" and request.model in OLD and request.seconds == 8 and resolution(request) != "720p":
        raise InvalidRequest(f"A video of 8 seconds of {request.model} has 720p.", param="size")


def _check_way(request: VideoRequest, chosen: str) -> None:
    if request.last_frame and len(request.images) != 1:
        raise InvalidRequest("A picture for the end needs exactly one for the beginning.", param="last_frame")
    if (action := request.metadata.get("action")) is not None and action not in REFERENCE_WORDS:
        raise InvalidRequest(f"Supported values are: {', '.join(REFERENCE_WORDS)}.", param="metadata.action")
    if chosen not in WAYS.get(request.model, EVERY):
        if chosen == TEXT:
            raise InvalidRequest(f"The model {request.model} needs an input picture.", param="input_reference")
        param = "metadata.action" if action else "input_reference"
        raise UnsupportedOperation(f"The model {request.model} takes pictures as frames only.", param=param)
    if chosen != ENDS:
        return
    if request.model.startswith("viduq2") and request.seconds > LONGEST_BETWEEN:
        raise InvalidRequest(f"Between two pictures lie at most {LONGEST_BETWEEN} seconds.", param="seconds")
    first, last = request.images[0], request.last_frame or request.images[-1]
    if not SMALLER <= pixels(first) / pixels(last) <= LARGER:
        param = "last_frame" if request.last_frame else "input_reference"
        raise InvalidRequest("The first and the last picture must have about the same size.", param=param)


def pixels(picture: Picture) -> int:
    return picture.width * picture.height
