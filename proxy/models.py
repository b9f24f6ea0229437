"""The value types that travel between the rooms and into plugins. All are frozen."""

from __future__ import annotations

import base64
import enum
import math
import re
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from proxy.errors import UpstreamError

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


class Absent(enum.Enum):
    """The type of `ABSENT`."""

    ABSENT = "absent"


ABSENT: Final = Absent.ABSENT
"""What `Channel.recover` answers when it is proved that the upstream never took the submission."""


# ---------------------------------------------------------------- what a model can do


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What one model of a channel can do; what is empty is not limited (only its form is checked).

    `seconds` are the legal durations; `sizes` legal `WxH` or ratio words, the default first unless `default_size`
    says otherwise; `price` US dollars per second. `exact_image` says that an input picture must have the video's
    pixel size, so that the core fits it (`fit:` of the entry).
    """

    seconds: tuple[int, ...] = ()
    sizes: tuple[str, ...] = ()
    default_seconds: int | None = None
    default_size: str | None = None
    image: bool = True
    exact_image: bool = False
    audio: bool | None = None
    price: float | None = None


# ---------------------------------------------------------------- what goes into a plugin


@dataclass(frozen=True, slots=True)
class Picture:
    """An input picture, already fetched, sniffed and decoded once: `data` is a whole image file.

    `url` is the address that the client gave, if it gave one, for upstreams that want an address.
    """

    data: bytes = field(repr=False)
    media_type: str
    width: int
    height: int
    url: str | None = None

    @property
    def base64(self) -> str:
        return base64.b64encode(self.data).decode("ascii")

    @property
    def data_uri(self) -> str:
        return f"data:{self.media_type};base64,{self.base64}"

    @property
    def filename(self) -> str:
        return "image." + {"image/jpeg": "jpg"}.get(self.media_type, self.media_type.removeprefix("image/"))


@dataclass(frozen=True, slots=True)
class Clip:
    """A video file that the client uploaded, on our disk until the submission is over."""

    path: Path
    media_type: str = "video/mp4"
    filename: str = "video.mp4"


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoRequest:
    """One submission to one channel: every value is the upstream's, ready to translate.

    `model` is the upstream's own name; `seconds` (for an extension: the seconds to add) and `size` (`WxH`) are never
    None; `attempt_id` is fixed before the submission and unique to it: the handle for external ids, idempotency keys
    and `recover`. `metadata` is what may be merged into the upstream body, never over a field that the plugin sets.
    """

    prompt: str
    model: str
    seconds: int
    size: str
    attempt_id: str
    kind: Kind = "create"
    images: tuple[Picture, ...] = ()
    video: Clip | None = None
    characters: tuple[str, ...] = ()
    audio: bool | None = None
    seed: int | None = None
    negative_prompt: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

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
    upstream gives an address. `expires_at` (unix seconds) is when the result vanishes. `facts` are the plugin's own
    (JSON values, small): stored with the video and handed back with every later call. `poll_after` is the plugin's
    advice in seconds. `error` may be given as a sentence.
    """

    id: str
    status: str = "queued"
    progress: float | None = None
    url: str | None = None
    error: JobError | str | None = None
    expires_at: float | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    poll_after: float | None = None

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
        _must(_is_storable(self.facts), "facts", "a dict of JSON values")
        object.__setattr__(self, "facts", dict(self.facts))
        if self.expires_at is not None:
            object.__setattr__(self, "expires_at", int(self.expires_at))


def _must(right: bool, name: str, what: str) -> None:
    if not right:
        raise UpstreamError(f"the {name} of an upstream's job must be {what} or None")


def _is_number(value: object) -> bool:
    # Beyond 2**53 lies no time, and what the store cannot hold.
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**53)


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
    if not isinstance(progress, int | float) or math.isnan(progress):
        return 0
    # 100 is kept for a finished video: clients take it for the end.
    return int(min(max(progress, 0), 99))


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where the bytes of a result are: exactly one of `url`, `path`, `data` and `stream`.

    `headers` go with a `url` request (an upstream that wants its key); a `url` without headers is public. `stream` is
    called for each reader and gives the bytes from the start. `size` is the number of bytes, where it is known.
    """

    url: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    path: Path | None = None
    data: bytes | None = field(default=None, repr=False)
    stream: Callable[[], AsyncIterator[bytes]] | None = None
    size: int | None = None
    media_type: str = "video/mp4"

    def __post_init__(self) -> None:
        if sum(form is not None for form in (self.url, self.path, self.data, self.stream)) != 1:
            raise ValueError("a Source has exactly one of url, path, data and stream")


_STEP = re.compile(r"[^.\[\]]+")


class Reply:
    """An upstream's answer: `status`, lower-case `headers`, and `data`, the decoded JSON (None when it is none).

    A path such as `"task.output[0].url"` (or `"task.output.0.url"`) walks objects and lists.
    """

    __slots__ = ("channel", "data", "headers", "status", "text")

    def __init__(
        self,
        data: Any,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        text: str = "",
        channel: str = "",
    ) -> None:
        self.data = data
        self.status = status
        self.headers = headers or {}
        self.text = text
        self.channel = channel

    def get(self, path: str, default: Any = None) -> Any:
        """The value at `path`, or `default` where any step is missing or null."""
        value = self.data
        for step in _STEP.findall(path):
            if isinstance(value, dict):
                value = value.get(step)
            elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
                value = value[int(step)]
            else:
                return default
        return default if value is None else value

    def need(self, path: str) -> Any:
        """The value at `path`; an `UpstreamError` that names the path where there is none."""
        value = self.get(path)
        if value is None or value == "":
            raise UpstreamError(f"{self._who()} answered {self.status} without {path}")
        return value

    def choose(self, path: str, words: Mapping[Any, Any]) -> Any:
        """`words[value at path]`; an `UpstreamError` that names an unknown word, so that it never fails a job."""
        value = self.need(path)
        try:
            return words[value]
        except (KeyError, TypeError):
            raise UpstreamError(f"{self._who()}: unknown {path} {str(value)[:60]!r}") from None

    def _who(self) -> str:
        return self.channel or "the upstream"
