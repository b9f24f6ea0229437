"""What Ark's video models take: sections 4 and 5 of the fact sheet as tables, and what is wrong with a body.

The sheet is not certain of the limits of 2.0-mini and 2.5, and has no pixels of the 2.x family: those of 1.5 stand in.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from tests.simulators.media import measure

Region = Literal["volcengine", "byteplus"]
Mode = Literal["text", "first", "last", "reference", "draft"]
Problem = tuple[str, str, str]
"""Code, parameter and sentence."""

FPS: Final = 24
AUTO: Final = -1
"""Of a duration: as the model likes."""
RESOLUTIONS: Final = ("480p", "720p", "1080p", "4k")
RATIOS: Final = ("16:9", "4:3", "1:1", "3:4", "9:16", "21:9")
ADAPTIVE: Final = "adaptive"
EVERYWHERE: Final[frozenset[Mode]] = frozenset(("text", "first", "last"))
OMNI: Final[frozenset[Mode]] = frozenset(("text", "first", "last", "reference"))


@dataclass(frozen=True)
class Card:
    """One model; `references` are how many pictures it takes as references at most."""

    family: Literal["1.0", "1.5", "2.x"]
    seconds: tuple[int, int]
    default: str
    modes: frozenset[Mode] = EVERYWHERE
    resolutions: tuple[str, ...] = RESOLUTIONS[:3]
    references: int | None = None

    def pixels(self, resolution: str, ratio: str) -> tuple[int, int]:
        """Width and height of a video."""
        if resolution == "4k":
            across, down = self.pixels("1080p", ratio)
            return 2 * across, 2 * down
        both = PIXELS[resolution][RATIOS.index(ratio)].split("|")
        width, height = both[-1 if self.family == "1.0" else 0].split("x")
        return int(width), int(height)


PIXELS: Final = {
    "480p": ("864x496|864x480", "752x560|736x544", "640x640", "560x752|544x736", "496x864|480x864", "992x432|960x416"),
    "720p": (
        *("1280x720|1248x704", "1112x834|1120x832", "960x960"),
        *("834x1112|832x1120", "720x1280|704x1248", "1470x630|1504x640"),
    ),
    "1080p": (
        *("1920x1080|1920x1088", "1664x1248", "1440x1440"),
        *("1248x1664", "1080x1920|1088x1920", "2206x946|2176x928"),
    ),
}
"""In the order of `RATIOS`; where the 1.0 family has others, they stand behind."""

_ONE: Final = {
    "seedance-1-0-pro-250528": Card("1.0", (2, 12), "1080p"),
    "seedance-1-0-pro-fast-251015": Card("1.0", (2, 12), "1080p", frozenset(("text", "first"))),
    "seedance-1-0-lite-t2v-250428": Card("1.0", (2, 12), "720p", frozenset(("text",))),
    "seedance-1-0-lite-i2v-250428": Card("1.0", (2, 12), "720p", OMNI - {"text"}, references=4),
    "seedance-1-5-pro-251215": Card("1.5", (4, 12), "720p", EVERYWHERE | {"draft"}),
}
_TWO: Final = {
    "seedance-2-0-260128": Card("2.x", (4, 15), "720p", OMNI),
    "seedance-2-0-fast-260128": Card("2.x", (4, 15), "720p", OMNI, RESOLUTIONS[:2]),
    "seedance-2-0-mini-260615": Card("2.x", (4, 15), "720p", OMNI, RESOLUTIONS[:2]),
    "seedance-2-5-260628": Card("2.x", (4, 30), "720p", OMNI, RESOLUTIONS),
}
CARDS: Final[Mapping[Region, Mapping[str, Card]]] = {
    "volcengine": {f"doubao-{name}": card for name, card in {**_ONE, **_TWO}.items()},
    # The mini has no date there.
    "byteplus": {**_ONE, **{f"dreamina-{name.removesuffix('-260615')}": card for name, card in _TWO.items()}},
}
"""The two houses have other names for the same models."""

WORDS: Final = {
    "resolution": RESOLUTIONS,
    "ratio": (*RATIOS, ADAPTIVE),
    "service_tier": ("default", "flex"),
    "omni_reference_task_type": ("auto", "reference", "edit", "extend"),
}
FLAGS_OF_BODY: Final = ("return_last_frame", "camera_fixed", "watermark", "generate_audio", "draft")
TEXTS: Final = ("callback_url", "safety_identifier", "output_format")
RANGES: Final = {"seed": (-1, 2**32 - 1), "execution_expires_after": (3600, 259_200), "frames": (29, 289)}
FIELDS: Final = frozenset(
    ("model", "content", "tools", "duration", "priority", *WORDS, *FLAGS_OF_BODY, *TEXTS, *RANGES)
)
OF_FAMILY: Final = {
    "frames": ("1.0",),
    "draft": ("1.5",),
    "generate_audio": ("1.5", "2.x"),
    "priority": ("2.x",),
    "tools": ("2.x",),
    "omni_reference_task_type": ("2.x",),
}
"""Parameters that only some models have."""

_FLAG: Final = re.compile(r"(?:^|(?<=\s))--(\w+)\s+(\S+)\s*")
_MEANS: Final = {
    "rs": "resolution",
    "rt": "ratio",
    "dur": "duration",
    "fps": "framespersecond",
    "cf": "camera_fixed",
    "camerafixed": "camera_fixed",
    "wm": "watermark",
}
_FLAGS: Final = frozenset((*_MEANS.values(), "seed", "frames"))
LARGEST_PICTURE: Final = 30_000_000
SIDES: Final = range(300, 6001)
PICTURES: Final = ("jpeg", "png", "webp", "bmp", "tiff", "gif")
"""What may stand behind `data:image/`; the 1.5 family also takes heic."""
MEASURED: Final = ("jpeg", "png", "webp")


@dataclass
class Content:
    """What the content array of a body comes to."""

    text: str = ""
    frames: dict[str, str] = field(default_factory=dict)
    """Addresses by role."""
    references: list[str] = field(default_factory=list)
    videos: list[str] = field(default_factory=list)
    sounds: list[str] = field(default_factory=list)
    draft: str | None = None

    @property
    def mode(self) -> Mode:
        if self.draft is not None:
            return "draft"
        if self.references or self.videos or self.sounds:
            return "reference"
        return "last" if "last_frame" in self.frames else "first" if self.frames else "text"

    @property
    def pictures(self) -> list[str]:
        return [*self.frames.values(), *self.references]


def without_nulls(value: Any) -> Any:
    """`value` without members that are null: the SDKs send every field that is not set as null."""
    if isinstance(value, dict):
        return {name: without_nulls(inner) for name, inner in value.items() if inner is not None}
    return [without_nulls(inner) for inner in value] if isinstance(value, list) else value


# ---------------------------------------------------------------- the content array

_KINDS: Final = {"text": "text", "image_url": "url", "video_url": "url", "audio_url": "url", "draft_task": "id"}
_ROLES: Final = {
    "image_url": ("first_frame", "last_frame", "reference_image"),
    "video_url": ("reference_video",),
    "audio_url": ("reference_audio",),
}


def read(items: Any) -> Content | Problem:
    """The content array, or what is wrong with it."""
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        return "InvalidParameter", "content", "it must be a list of objects."
    content, pictures = Content(), []
    for item in items:
        kind = item.get("type")
        if not isinstance(kind, str) or kind not in _KINDS:
            return "InvalidParameter", "content.type", f"it must be one of {', '.join(_KINDS)}."
        holder = item if kind == "text" else item.get(kind)
        value = holder.get(_KINDS[kind]) if isinstance(holder, dict) else None
        if not isinstance(value, str) or not value:
            return "MissingParameter", f"content.{kind}", "it is missing, or no text."
        if (more := sorted(item.keys() - {"type", kind, *(("role",) if kind in _ROLES else ())})) != []:
            return "InvalidParameter", f"content.{more[0]}", "there is no such parameter."
        role = item.get("role", "first_frame" if kind == "image_url" else None)
        if kind in _ROLES and role not in _ROLES[kind]:
            return "InvalidParameter", "content.role", f"it must be one of {', '.join(_ROLES[kind])}."
        if kind == "text":
            content.text = f"{content.text}\n{value}" if content.text else value
        elif kind == "draft_task":
            content.draft = value
        elif kind == "image_url":
            pictures.append((str(role), value))
        else:
            (content.videos if kind == "video_url" else content.sounds).append(value)
    for role, value in pictures:
        if role == "reference_image":
            content.references.append(value)
        elif role in content.frames:
            return "InvalidParameter", "content.role", f"there is more than one {role}."
        else:
            content.frames[role] = value
    return _excluded(content, len(items)) or content


def _excluded(content: Content, count: int) -> Problem | None:
    """What cannot stand together."""
    if content.draft is not None and count > 1:
        return "InvalidParameter", "content", "a draft_task stands alone."
    if content.frames and (content.references or content.videos or content.sounds):
        return "InvalidParameter", "content.role", "frames and references exclude each other."
    if "last_frame" in content.frames and "first_frame" not in content.frames:
        return "InvalidParameter", "content.role", "a last_frame needs a first_frame."
    return None if count else ("MissingParameter", "content", "it is empty.")


# ---------------------------------------------------------------- flags in the prompt


def flags(text: str, card: Card) -> tuple[str, dict[str, Any]]:
    """`text` without the flags of the old style, and what they say. A value that is none is passed over."""
    found: dict[str, Any] = {}

    def take(match: re.Match[str]) -> str:
        name, word = _MEANS.get(match[1], match[1]), match[2]
        if name not in _FLAGS:
            return match[0]
        value: Any = word
        if name in FLAGS_OF_BODY:
            value = {"true": True, "false": False}.get(word)
        elif name not in WORDS:
            value = int(word) if re.fullmatch(r"-?\d{1,10}", word, re.ASCII) else None
        known = name not in OF_FAMILY or card.family in OF_FAMILY[name]
        if value is not None and known and not any(wrong_values({name: value}, card)):
            found[name] = value
        return ""

    return _FLAG.sub(take, text).rstrip(), found


# ---------------------------------------------------------------- values


def foreign(fields: Mapping[str, Any], card: Card) -> list[str]:
    """The parameters that there are not, or not for this model."""
    return sorted(
        name for name in fields if name not in FIELDS or (name in OF_FAMILY and card.family not in OF_FAMILY[name])
    )


def wrong(fields: Mapping[str, Any], content: Content, card: Card, *, free: bool) -> Iterator[Problem]:
    """What is wrong with a body whose content was read; `free`: a ratio may be named beside frames."""
    for name in foreign(fields, card):
        yield "InvalidParameter", name, "this model has no such parameter."
    yield from wrong_values(fields, card)
    mode = content.mode
    if mode not in card.modes:
        yield "InvalidParameter", "content", f"this model does not take this kind of input ({mode})."
    if (content.videos or content.sounds) and card.family != "2.x":
        yield "InvalidParameter", "content", "this model takes neither videos nor sounds."
    if mode == "text" and not content.text:
        yield "MissingParameter", "content.text", "without a picture it is needed."
    if card.references is not None and len(content.references) > card.references:
        yield "InvalidParameter", "content", f"there may be {card.references} references."
    if mode == "reference" and card.family == "1.0" and fields.get("resolution") == "1080p":
        yield "InvalidParameter", "resolution", "with references it is 720p at most."
    if mode == "text" and card.family == "1.0" and fields.get("ratio") == ADAPTIVE:
        yield "InvalidParameter", "ratio", "without a picture there is nothing to adapt to."
    if content.frames and not free and fields.get("ratio", ADAPTIVE) != ADAPTIVE:
        yield "InvalidParameter", "ratio", "the picture decides."
    if fields.get("draft") and fields.get("resolution", "480p") != "480p":
        yield "InvalidParameter", "resolution", "a draft has 480p."
    if fields.get("omni_reference_task_type") in ("edit", "extend") and not content.videos:
        yield "InvalidParameter", "omni_reference_task_type", "there is no reference_video."


def wrong_values(fields: Mapping[str, Any], card: Card) -> Iterator[Problem]:
    """What is wrong with each value by itself."""
    for name, legal in WORDS.items():
        if name in fields and fields[name] not in (card.resolutions if name == "resolution" else legal):
            yield "InvalidParameter", name, f"it must be one of {', '.join(legal)}, as the model has it."
    for name in FLAGS_OF_BODY:
        if name in fields and not isinstance(fields[name], bool):
            yield "InvalidParameter", name, "it must be true or false."
    for name in TEXTS:
        if name in fields and not isinstance(fields[name], str):
            yield "InvalidParameter", name, "it must be a text."
    for name, (least, most) in RANGES.items():
        yield from _whole(fields, name, range(least, most + 1))
    least, most = card.seconds
    automatic = () if card.family == "1.0" else (AUTO,)
    yield from _whole(fields, "duration", (*automatic, *range(least, most + 1)))
    if isinstance(fields.get("priority", 0), bool) or not isinstance(fields.get("priority", 0), int):
        yield "InvalidParameter", "priority", "it must be a whole number."
    if (fields.get("frames", 25) - 25) % 4:
        yield "InvalidParameter", "frames", "it must be 25 + 4n."
    if fields.get("framespersecond", FPS) != FPS:
        yield "InvalidParameter", "framespersecond", f"it must be {FPS}."
    tools = fields.get("tools", [])
    if not isinstance(tools, list) or any(tool != {"type": "web_search"} for tool in tools):
        yield "InvalidParameter", "tools", "there is only web_search."


def _whole(fields: Mapping[str, Any], name: str, legal: Iterable[int]) -> Iterator[Problem]:
    if name not in fields:
        return
    value = fields[name]
    if isinstance(value, bool) or not isinstance(value, int) or value not in legal:
        yield "InvalidParameter", name, "it must be a whole number within the model's bounds."


# ---------------------------------------------------------------- pictures


def unfit(uri: str, card: Card) -> str:
    """Why the picture of a data URI cannot be used; empty where it can."""
    head, _, text = uri.removeprefix("data:").partition(",")
    form = head.removeprefix("image/").removesuffix(";base64")
    if head != f"image/{form};base64" or form not in (*PICTURES, *(("heic",) if card.family == "1.5" else ())):
        return "it must begin with data:image/<format>;base64, and the format in lower case."
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error:
        return "the base64 is malformed."
    if not data or len(data) >= LARGEST_PICTURE:
        return "the picture is empty, or has 30 MB or more."
    if form not in MEASURED:
        return ""
    if (size := measure(data)) is None:
        return "this is no picture that can be read."
    width, height = map(int, size.split("x"))
    if width not in SIDES or height not in SIDES or not 0.4 <= width / height <= 2.5:
        return f"a picture of {size} is too small, too large or too narrow."
    return ""
