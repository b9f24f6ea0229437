"""What MiniMax's create routes take, per generation and model: sections 6A and 6B of the fact sheet.

It imports the standard library only. A problem is the sentence that names the field.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

H3: Final = "MiniMax-H3"
H3_MAX: Final = "MiniMax-H3-Max"
HAILUO: Final = "MiniMax-Hailuo-2.3"
FAST: Final = "MiniMax-Hailuo-2.3-Fast"
HAILUO_02: Final = "MiniMax-Hailuo-02"
SUBJECT: Final = "S2V-01"

RESOLUTIONS: Final = ("512P", "720P", "768P", "1080P")
PIXELS: Final = {"512P": (910, 512), "720P": (1280, 720), "768P": (1366, 768), "1080P": (1920, 1080)}
"""Width and height of a result of V1 that does not follow a picture; the sheet tells those of 768P."""
RATIOS: Final = ("adaptive", "21:9", "16:9", "4:3", "1:1", "3:4", "9:16")
LONGEST_V1: Final = 2000
LONGEST_V2: Final = 7000
SECONDS_V2: Final = {H3: range(4, 16), H3_MAX: range(5, 16)}
TIERS: Final = {H3: ("2K", "768P"), H3_MAX: ("768P", "480P")}
"""The default first, as @ai-sdk/minimax has it."""
DOLLARS: Final = {"768P": 0.08, "2K": 0.13, "480P": 0.08}
"""Per second; that of 480P is not known."""
FREE_PICTURES, DOLLARS_PER_PICTURE, DOLLARS_REGENERATED = 5, 0.04, 0.05

ROLES: Final = {
    "image_url": ("first_frame", "last_frame", "reference_image"),
    "video_url": ("reference_video",),
    "audio_url": ("reference_audio",),
}
MOST: Final = {"image_url": 9, "video_url": 3, "audio_url": 3}

FIELDS_V1: Final[Mapping[str, type]] = {
    "model": str,
    "prompt": str,
    "prompt_optimizer": bool,
    "fast_pretreatment": bool,
    "duration": int,
    "resolution": str,
    "first_frame_image": str,
    "last_frame_image": str,
    "subject_reference": list,
    "callback_url": str,
    "aigc_watermark": bool,
}
FIELDS_V2: Final[Mapping[str, type]] = {
    "model": str,
    "content": list,
    "resolution": str,
    "duration": int,
    "ratio": str,
    "callback_url": str,
    "aigc_watermark": bool,
}


@dataclass(frozen=True, slots=True)
class Rule:
    """What a model of V1 takes: seconds, and resolutions of each, the default first; `text` whether a prompt alone
    will do, `picture` the field of the picture that it takes, `last` whether it takes a last frame too."""

    lengths: Mapping[int, tuple[str, ...]]
    text: bool = True
    picture: str = "first_frame_image"
    last: bool = False


_NEW: Final = {6: ("768P", "1080P"), 10: ("768P",)}
_OLD: Final = {6: ("720P",)}
RULES: Final[Mapping[str, Rule]] = {
    HAILUO: Rule(_NEW),
    FAST: Rule(_NEW, text=False),
    HAILUO_02: Rule({6: ("768P", "1080P", "512P"), 10: ("768P", "512P")}, last=True),
    "T2V-01": Rule(_OLD, picture=""),
    "T2V-01-Director": Rule(_OLD, picture=""),
    "I2V-01": Rule(_OLD, text=False),
    "I2V-01-Director": Rule(_OLD, text=False),
    "I2V-01-live": Rule(_OLD, text=False),
    SUBJECT: Rule(_OLD, text=False, picture="subject_reference"),
}


def typed(fields: Mapping[str, Any], known: Mapping[str, type], *, strict: bool) -> Iterator[str]:
    """Fields that there are not, and values of the wrong type."""
    for name, value in fields.items():
        if name not in known:
            if strict:
                yield f"{name} is not supported"
        elif not isinstance(value, known[name]) or (known[name] is int and isinstance(value, bool)):
            yield f"{name} has the wrong type"


def problems_v1(fields: Mapping[str, Any], *, strict: bool, fast_takes_text: bool) -> Iterator[str]:
    """What is wrong with a body of V1 but what its pictures show, the worst first."""
    yield from typed(fields, FIELDS_V1, strict=strict)
    rule = RULES.get(fields.get("model", ""))
    if rule is None:
        yield "model is unknown"
        return
    pictured = bool(rule.picture) and rule.picture in fields
    alone = rule.text or (fields["model"] == FAST and fast_takes_text)
    if not pictured and not alone:
        yield f"{rule.picture} is required"
    if not fields.get("prompt") and not pictured:
        yield "prompt is required"
    if len(fields.get("prompt", "")) > LONGEST_V1:
        yield f"prompt is longer than {LONGEST_V1} characters"
    for name in ("first_frame_image", "subject_reference"):
        if name in fields and name != rule.picture:
            yield f"{name} is not supported by {fields['model']}"
    if "last_frame_image" in fields and not (rule.last and pictured):
        yield "last_frame_image needs MiniMax-Hailuo-02 and a first_frame_image"
    subjects = fields.get("subject_reference", [{"type": "character", "image": [""]}])
    if len(subjects) != 1 or not is_subject(subjects[0]):
        yield "subject_reference must be one character with one image"
    lengths = rule.lengths.get(fields.get("duration", 6))
    if lengths is None:
        yield "duration is not supported by the model"
    elif fields.get("resolution", lengths[0]) not in lengths:
        yield f"resolution must be one of {', '.join(lengths)}"
    elif fields.get("resolution") == "512P" and not pictured:
        yield "resolution 512P needs a first_frame_image"
    elif fields.get("resolution") == "512P" and "last_frame_image" in fields:
        yield "resolution 512P has no last_frame_image"


def is_subject(item: Any) -> bool:
    if not isinstance(item, dict) or item.keys() != {"type", "image"} or item["type"] != "character":
        return False
    images = item["image"]
    return isinstance(images, list) and len(images) == 1 and isinstance(images[0], str)


def problems_v2(fields: Mapping[str, Any], *, strict: bool, h3_max: bool) -> Iterator[str]:
    """What is wrong with a body of V2 but what its media show, the worst first."""
    yield from typed(fields, FIELDS_V2, strict=strict)
    model = fields.get("model", "")
    if model not in SECONDS_V2 or (model == H3_MAX and not h3_max):
        yield "model is unknown"
        return
    items = fields.get("content", [])
    if wrong := next((why for why in map(wrong_item, items) if why), None):
        yield wrong
        return
    texts = [item["text"] for item in items if item["type"] == "text"]
    if not any(texts):
        yield "content needs a text"
    if sum(map(len, texts)) > LONGEST_V2:
        yield f"content has a text of more than {LONGEST_V2} characters"
    roles = [item["role"] for item in items if item["type"] != "text"]
    yield from wrong_roles(roles, [item["type"] for item in items])
    if model == H3_MAX and any(role.startswith("reference") for role in roles):
        yield "content has references, which the model does not take"
    if fields.get("duration", 5) not in SECONDS_V2[model]:
        yield "duration is not supported by the model"
    if fields.get("resolution", TIERS[model][0]) not in TIERS[model]:
        yield f"resolution must be one of {', '.join(TIERS[model])}"
    if fields.get("ratio", "adaptive") not in RATIOS:
        yield f"ratio must be one of {', '.join(RATIOS)}"
    if not roles and fields.get("ratio", "adaptive") == "adaptive":
        yield "ratio must be a fixed one for text alone"


def wrong_item(item: Any) -> str:
    """What is wrong with the form of one item of a content."""
    kind = item.get("type") if isinstance(item, dict) else None
    if kind == "text":
        return "" if isinstance(item.get("text"), str) else "content has a text without a text"
    if kind not in ROLES:
        return "content has an item of an unknown type"
    inner = item.get(kind)
    if not isinstance(inner, dict) or not isinstance(inner.get("url"), str):
        return f"content has a {kind} without a url"
    return "" if item.get("role") in ROLES[kind] else f"content has a {kind} with a role that it cannot have"


def wrong_roles(roles: list[str], kinds: list[str]) -> Iterator[str]:
    for kind, most in MOST.items():
        if kinds.count(kind) > most:
            yield f"content has more than {most} of {kind}"
    frames = [role for role in roles if role.endswith("_frame")]
    if len(set(frames)) != len(frames):
        yield "content has a frame twice"
    if "last_frame" in frames and "first_frame" not in frames:
        yield "content has a last_frame without a first_frame"
    if frames and len(frames) != len(roles):
        yield "content has frames and references, which exclude each other"
    if "reference_audio" in roles and not {"reference_image", "reference_video"} & set(roles):
        yield "content has audio, which needs an image or a video"


def media(fields: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Every picture, film and sound of a body, as field, kind ("image", "video", "audio") and address."""
    for name in ("first_frame_image", "last_frame_image"):
        if name in fields:
            yield name, "image", fields[name]
    for item in fields.get("subject_reference", []):
        yield "subject_reference", "image", item["image"][0]
    for item in fields.get("content", []):
        if item["type"] != "text":
            yield "content", item["type"].removesuffix("_url"), item[item["type"]]["url"]


def is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme == "https" and bool(parts.hostname)


def unpack(uri: str, kind: str) -> bytes | None:
    """The bytes of a data URI of that kind; None where it is none."""
    head, _, text = uri.partition(",")
    if not head.startswith(f"data:{kind}/") or not head.endswith(";base64"):
        return None
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return None
