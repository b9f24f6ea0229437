"""The value types that travel between the rooms and into plugins. All are frozen."""

from __future__ import annotations

import enum
import math
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from proxy.errors import UnsupportedOperation, UpstreamError
from proxy.inputs import Clip, Picture
from proxy.spooled import Spooled

Status = Literal["queued", "in_progress", "completed", "failed"]
STATUSES: Final = ("queued", "in_progress", "completed", "failed")

Kind = Literal["create", "remix", "edit", "extend"]

FailureCode = Literal[
    "moderation_blocked",
    "upstream_failed",
    "outcome_unknown",
    "queue_timeout",
    "poll_timeout",
    "insufficient_funds",
    "expired",
]
FAILURE_CODES: Final = frozenset(FailureCode.__args__)  # type: ignore[attr-defined]

Variant = Literal["video", "thumbnail", "spritesheet"]
VARIANTS: Final = ("video", "thumbnail", "spritesheet")

SIZE_PATTERN: Final = re.compile(r"([1-9]\d{1,4})x([1-9]\d{1,4})", re.ASCII)
RATIO_PATTERN: Final = re.compile(r"([1-9]\d?):([1-9]\d?)", re.ASCII)
PRICE_PATTERN: Final = re.compile(
    r"(?:(?:remix|edit|extend) )?(?:(?:\d+x\d+|(?!2160p)\d+p|4k)(?: silent)?|silent)|remix|edit|extend", re.ASCII
)


class Absent(enum.Enum):
    """The type of `ABSENT`."""

    ABSENT = "absent"


ABSENT: Final = Absent.ABSENT
"""What `Channel.recover` answers when it is proved that the upstream never took the submission."""


# ---------------------------------------------------------------- what a model can do


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What one model of a channel can do; what is empty is not limited (only its form is checked).

    `seconds` are the legal durations of a new video, `extend_seconds` those that an extension may add (empty: those of
    a new video); `sizes` legal `WxH` or ratio words, the default first unless `default_size` says otherwise.
    A default that is not legal, since something else narrowed what is, counts for nothing.
    `exact_image` says that an input picture must have the video's pixel size, so that the core fits it (`fit:` of the
    entry). `max_images` is how many input pictures one request may have (None: not limited here); `last_frame` whether
    a picture may be named for the end of the video. `native` are those of remix, edit and extend that the channel does
    with this model (None: all that it can).

    `price` is US dollars per second; `prices` says where it is another: by a size (`1920x1080`), a resolution, which is
    the short side (`1080p`, `4k`), `silent` for a video without sound, or two of them (`1080p silent`); and by what is
    done to a video (`edit`, `extend 1080p`), where that has a price of its own. `extend_bills_whole` says that an
    extension is billed together with what it extends.
    """

    seconds: tuple[int, ...] = ()
    extend_seconds: tuple[int, ...] = ()
    sizes: tuple[str, ...] = ()
    default_seconds: int | None = None
    default_size: str | None = None
    image: bool = True
    exact_image: bool = False
    max_images: int | None = None
    last_frame: bool = False
    audio: bool | None = None
    native: tuple[str, ...] | None = None
    price: float | None = None
    prices: Mapping[str, float] = field(default_factory=dict)
    extend_bills_whole: bool = False

    def __post_init__(self) -> None:
        for name in ("seconds", "extend_seconds"):
            if not all(isinstance(one, int) and one > 0 for one in _listed(self, name)):
                raise ValueError(f"{name} of a Model must be whole numbers above 0")
        for size in (*_listed(self, "sizes"), *([] if self.default_size is None else [self.default_size])):
            if not isinstance(size, str) or not (SIZE_PATTERN.fullmatch(size) or RATIO_PATTERN.fullmatch(size)):
                raise ValueError(f"{size!r} is no size of a Model; write 1280x720 or 16:9")
        if self.native is not None and not {"remix", "edit", "extend"}.issuperset(_listed(self, "native")):
            raise ValueError("native of a Model must be None or some of remix, edit and extend")
        prices = (*self.prices.values(), *([] if self.price is None else [self.price]))
        if wrong_prices := [one for one in prices if not isinstance(one, int | float) or not 0 <= one < math.inf]:
            raise ValueError(f"{wrong_prices[0]!r} is no price of a Model; write US dollars per second, 0 or more")
        if wrong := [word for word in self.prices if not PRICE_PATTERN.fullmatch(word)]:
            raise ValueError(f"prices of a Model has {wrong[0]!r}; write 1920x1080, 1080p, 4k, silent, or 1080p silent")

    def lengths(self, kind: Kind) -> tuple[int, ...]:
        """The legal seconds of a request of `kind`; empty: not limited."""
        return self.extend_seconds or self.seconds if kind == "extend" else self.seconds

    def priced_as(self, kind: Literal["remix", "edit", "extend"], other: Model) -> Model:
        """This model where `other` does `kind` with its videos, at its own price (none known: this one's)."""
        theirs = {f"{kind} {word}": price for word, price in other.prices.items()}
        if other.price is not None:
            theirs[kind] = other.price
        return replace(self, prices={**self.prices, **theirs})

    def price_of(self, size: str, *, audio: bool | None = None, kind: Kind = "create") -> float | None:
        """US dollars per second of a video of `size` (`WxH`), silent where `audio` is false; None: not known."""
        words = [size, resolution(size)]
        if audio is False:
            words = [f"{words[0]} silent", f"{words[1]} silent", *words, "silent"]
        if kind != "create":
            words = [*(f"{kind} {word}" for word in words), kind, *words]
        return next((self.prices[word] for word in words if word in self.prices), self.price)


def _listed(model: Model, name: str) -> tuple[Any, ...]:
    found = getattr(model, name)
    # A text would pass for a list of its letters.
    if not isinstance(found, tuple | list):
        raise ValueError(f"{name} of a Model must be a tuple, not {found!r}")
    return tuple(found)


def resolution(size: str) -> str:
    """The word for the short side of a `WxH`: "720p", "1080p", "4k"."""
    short = min(int(side) for side in size.split("x"))
    return "4k" if short == 2160 else f"{short}p"


# ---------------------------------------------------------------- what goes into a plugin

FrameOf = Callable[[Literal["first", "last"]], Awaitable[Picture]]
"""Gives a frame of a video as a PNG."""


async def _no_frame(which: str) -> Picture:
    raise UnsupportedOperation("There is no source video to take a frame from.")


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoRequest:
    """One submission to one channel: every value is the upstream's, ready to translate.

    `model` is the upstream's own name; `seconds` (for an extension: the seconds to add) and `size` (`WxH`) are never
    None; `attempt_id` is fixed before the submission and unique to it: the handle for external ids, idempotency keys
    and `recover`. `metadata` is what may be merged into the upstream body, never over a field that the plugin sets.

    `images` are the input pictures, the first of which becomes the first frame; `last_frame` the one that the video
    ends with. `source_frame("last")` gives a frame of the video that is remixed, edited or extended, for an upstream
    that goes on from a picture; it costs a download, and raises an `ApiError`.
    """

    prompt: str
    model: str
    seconds: int
    size: str
    attempt_id: str
    kind: Kind = "create"
    images: tuple[Picture, ...] = ()
    last_frame: Picture | None = None
    video: Clip | None = None
    characters: tuple[str, ...] = ()
    audio: bool | None = None
    seed: int | None = None
    negative_prompt: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    source_frame: FrameOf = field(default=_no_frame, repr=False, compare=False)

    @property
    def clip(self) -> Clip:
        """The uploaded `video`; a `ValueError` where there is none, and so a source must be."""
        if self.video is None:
            raise ValueError("an edit or extension has a source or an uploaded clip")
        return self.video

    @property
    def image(self) -> Picture | None:
        """The first input picture, which becomes the first frame, or None."""
        return self.images[0] if self.images else None

    @property
    def dimensions(self) -> tuple[int, int]:
        """Width and height in pixels."""
        match = SIZE_PATTERN.fullmatch(self.size)
        if match is None:
            raise ValueError(f"size {self.size!r} is not WxH")
        return int(match[1]), int(match[2])

    @property
    def width(self) -> int:
        return self.dimensions[0]

    @property
    def height(self) -> int:
        return self.dimensions[1]

    @property
    def resolution(self) -> str:
        """The word for the short side: "720p", "1080p", "4k"."""
        return resolution(self.size)

    @property
    def ratio(self) -> str:
        """The nearest of the common ratio words, such as "16:9"."""
        return nearest_ratio(*self.dimensions)


COMMON_RATIOS: Final = {"16:9": 16 / 9, "9:16": 9 / 16, "1:1": 1.0, "4:3": 4 / 3, "3:4": 3 / 4, "21:9": 21 / 9}


def nearest_ratio(width: int, height: int) -> str:
    """The common ratio word nearest to `width` by `height` pixels."""
    wanted = math.log(width / height)
    return min(COMMON_RATIOS, key=lambda word: abs(math.log(COMMON_RATIOS[word]) - wanted))


# ---------------------------------------------------------------- what comes out of a plugin


@dataclass(frozen=True, slots=True)
class JobError:
    """Why a job failed. `code` is one of `FAILURE_CODES`; any other word becomes `upstream_failed`."""

    code: str
    message: str

    def __post_init__(self) -> None:
        if not isinstance(self.code, str) or self.code not in FAILURE_CODES:
            object.__setattr__(self, "code", "upstream_failed")
        if not isinstance(self.message, str) or not self.message.strip():
            object.__setattr__(self, "message", "The upstream gave no reason.")


@dataclass(frozen=True, slots=True)
class UpstreamJob:
    """A job as the upstream tells it.

    `id` is the upstream's and never reaches a client. `progress` is 0 to 100. `url` is where the result is, when the
    upstream gives an address, and `url_expires_at` (unix seconds) when that address stops working although the result
    is still there: the core asks `fetch` for a new one then. `expires_at` (unix seconds) is when the result itself
    vanishes. `facts` are the plugin's own (JSON values, small): stored with the video and handed back with every later
    call. `delivered` is how many seconds of video the upstream says that it made, as a number or a text: the bill goes
    by it, and what makes no sense counts as not said. `poll_after` is
    the plugin's advice in seconds. `error` may be given as a sentence. `film` is the video
    itself, where the answer of a finished job had it within: it is kept on disk, so that nobody has to ask for it soon.
    """

    id: str
    status: str = "queued"
    progress: float | None = None
    url: str | None = None
    error: JobError | str | None = None
    expires_at: float | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    poll_after: float | None = None
    url_expires_at: float | None = None
    film: Spooled | None = field(default=None, repr=False, compare=False)
    delivered: float | None = None

    def __post_init__(self) -> None:
        if isinstance(self.id, int) and not isinstance(self.id, bool):
            object.__setattr__(self, "id", str(self.id))
        if not isinstance(self.id, str) or not self.id:
            raise UpstreamError("the upstream gave its job no id")
        if self.status not in STATUSES:
            raise UpstreamError(f"the plugin answered the status {self.status!r}; it must be one of {STATUSES}")
        if isinstance(self.error, str):
            object.__setattr__(self, "error", JobError("upstream_failed", self.error))
        object.__setattr__(self, "progress", _whole_progress(self.progress, self.status))
        # A plugin passes on what its upstream said, and a provider may put anything anywhere: what cannot be stored is
        # a bad answer, not a crash.
        _must(self.error is None or isinstance(self.error, JobError), "error", "a sentence or a JobError")
        _must(self.url is None or isinstance(self.url, str), "url", "text")
        _must(_is_number(self.expires_at), "expires_at", "unix seconds")
        _must(_is_number(self.poll_after), "poll_after", "seconds")
        _must(_is_number(self.url_expires_at), "url_expires_at", "unix seconds")
        _must(self.film is None or isinstance(self.film, Spooled), "film", "a Spooled file")
        _must(_is_storable(self.facts), "facts", "a dict of JSON values")
        object.__setattr__(self, "facts", dict(self.facts))
        object.__setattr__(self, "delivered", _length(self.delivered))
        if self.expires_at is not None:
            object.__setattr__(self, "expires_at", int(self.expires_at))


LONGEST: Final = 86_400.0
"""Seconds: no film is longer."""


def _must(right: bool, name: str, what: str) -> None:
    if not right:
        raise UpstreamError(f"the {name} of an upstream's job must be {what} or None")


def _is_number(value: object) -> bool:
    # Beyond 2**53 lies no time, and what the store cannot hold.
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**53)


def _length(seconds: object) -> float | None:
    # A word about the bill: one that makes no sense must not keep a film from its owner.
    try:
        found = float(seconds) if isinstance(seconds, int | float | str) and not isinstance(seconds, bool) else 0.0
    except (ValueError, OverflowError):
        return None
    return found if 0 < found < LONGEST else None


def _is_storable(facts: object) -> bool:
    if not isinstance(facts, Mapping):
        return False
    try:
        return not facts or bool(msgspec.json.encode(facts))
    except (TypeError, ValueError, OverflowError, RecursionError):
        return False


def _whole_progress(progress: float | None, status: str) -> int:
    if status == "completed":
        return 100
    # A whole number may be too large for a float.
    if not isinstance(progress, int | float) or (isinstance(progress, float) and math.isnan(progress)):
        return 0
    # 100 is kept for a finished video: clients take it for the end.
    return int(min(max(progress, 0), 99))


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where the bytes of a result are: exactly one of `url`, `path`, `data`, `spooled`, `stream` and `read`.

    `headers` go with a `url` request (an upstream that wants its key); a `url` without headers is public. `spooled` is
    what `Upstream` put aside out of an answer. `stream` is called for each reader and gives the bytes from the start;
    `read` is called with the first byte and the number of bytes, and gives those: it needs `size`, the number of all
    bytes, which the others may say where it is known.
    """

    url: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    path: Path | None = None
    data: bytes | None = field(default=None, repr=False)
    spooled: Spooled | None = None
    stream: Callable[[], AsyncIterator[bytes]] | None = None
    read: Callable[[int, int], AsyncIterator[bytes]] | None = None
    size: int | None = None
    media_type: str = "video/mp4"

    def __post_init__(self) -> None:
        forms = (self.url, self.path, self.data, self.spooled, self.stream, self.read)
        if sum(form is not None for form in forms) != 1:
            raise ValueError("a Source has exactly one of url, path, data, spooled, stream and read")
        if self.read is not None and self.size is None:
            raise ValueError("a Source with read needs its size")
        # A plugin may pass on what its upstream said, and a provider may put anything anywhere.
        if self.url is not None and not isinstance(self.url, str):
            raise ValueError("the url of a Source must be text")
        if self.size is not None and (not isinstance(self.size, int) or self.size < 0):
            raise ValueError("the size of a Source must be a number of bytes")
