"""What DashScope's video models take: lengths, sizes and inputs, per model.

https://help.aliyun.com/en/model-studio (text-to-video, image-to-video, Wan 2.7, HappyHorse). Where the documents are
silent, everything passes: the tiers of a size for models of 2.2, 2.5 and 2.6, whether HappyHorse has a `ratio`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

SIZES: Final = {
    "480P": ("832*480", "480*832", "624*624"),
    "720P": ("1280*720", "720*1280", "960*960", "1088*832", "832*1088"),
    "1080P": ("1920*1080", "1080*1920", "1440*1440", "1632*1248", "1248*1632"),
}
RATIOS: Final = ("16:9", "9:16", "1:1", "4:3", "3:4")
MAX_SEED: Final = 2**31 - 1
LONGEST_NEGATIVE: Final = 500

TEXT, PICTURE, ENDS, REFERENCES, TALK, VACE, MEDIA = "text", "picture", "ends", "references", "talk", "vace", "media"
"""Where a model's inputs are: nowhere but in the prompt; `img_url`; `first_frame_url` with `last_frame_url`;
`reference_urls` or `reference_video_urls`; `img_url` with `audio_url`; what its `function` says; a list `media`."""

FIELDS: Final = {
    TEXT: ("audio_url",),
    PICTURE: ("img_url", "audio_url"),
    ENDS: ("first_frame_url", "last_frame_url"),
    REFERENCES: ("reference_urls", "reference_video_urls", "reference_url"),
    TALK: ("img_url", "audio_url"),
    VACE: ("img_url", "first_frame_url", "last_frame_url", "video_url"),
    MEDIA: ("media", "audio_url"),
}
"""The inputs that point at a file, for each place; a model that is given another one never looks at it."""
EVERY_FIELD: Final = frozenset(name for names in FIELDS.values() for name in names)
NEEDED: Final = {
    PICTURE: ("img_url",),
    ENDS: ("first_frame_url",),
    REFERENCES: ("reference_urls", "reference_video_urls", "reference_url"),
    TALK: ("img_url", "audio_url"),
}
LISTS: Final = ("reference_urls", "reference_video_urls")
MEDIA_TYPES: Final = {
    "t2v": ("driving_audio",),
    "i2v": ("first_frame", "last_frame", "driving_audio", "first_clip"),
    "r2v": ("reference_image", "reference_video", "first_frame"),
    "edit": ("video", "reference_image"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What one model takes. `size` and `resolution` say by which of the two its size is set; both empty: by neither."""

    inputs: str
    seconds: tuple[int, ...] = (5,)
    size: tuple[str, ...] = ()
    resolution: tuple[str, ...] = ()
    ratio: bool = False
    prompt: int = 1500
    role: str = ""
    """Of a model with `media`: t2v, i2v, r2v or edit."""
    flags: tuple[str, ...] = ("prompt_extend", "watermark", "audio")

    @property
    def route(self) -> str:
        """The path segment that its tasks are ordered under."""
        return "image2video" if self.inputs == ENDS else "video-generation"


def _span(first: int, last: int) -> tuple[int, ...]:
    return tuple(range(first, last + 1))


ALL: Final = tuple(SIZES)
HIGH: Final = ("720P", "1080P")
LOW: Final = ("480P", "720P")

_MEDIA = Rule(inputs=MEDIA, seconds=_span(2, 15), resolution=HIGH, prompt=5000)
_HORSE = replace(_MEDIA, seconds=_span(3, 15), ratio=True)
_26 = Rule(inputs=TEXT, seconds=(5, 10, 15), size=ALL)
_26_PICTURE = Rule(inputs=PICTURE, seconds=(5, 10, 15), resolution=ALL)
_25 = (5, 10)
_TURBO = Rule(inputs=PICTURE, seconds=_span(3, 5), resolution=LOW, prompt=800)
_21 = Rule(inputs=TEXT, size=LOW, prompt=800)

RULES: Final[dict[str, Rule]] = {
    "wan2.7-t2v": replace(_MEDIA, role="t2v", ratio=True),
    "wan2.7-i2v": replace(_MEDIA, role="i2v"),
    "wan2.7-r2v": replace(_MEDIA, role="r2v", ratio=True),
    "wan2.7-videoedit": replace(_MEDIA, role="edit"),
    "wan2.6-t2v": _26,
    "wan2.6-i2v": _26_PICTURE,
    "wan2.6-i2v-flash": _26_PICTURE,
    "wan2.6-r2v": replace(_26, inputs=REFERENCES),
    "wan2.6-r2v-flash": replace(_26, inputs=REFERENCES),
    "wan2.5-t2v-preview": replace(_26, seconds=_25),
    "wan2.5-i2v-preview": replace(_26_PICTURE, seconds=_25),
    "wan2.2-t2v-plus": Rule(inputs=TEXT, size=ALL, prompt=800),
    "wan2.2-i2v-plus": Rule(inputs=PICTURE, resolution=ALL, prompt=800),
    "wan2.2-i2v-flash": Rule(inputs=PICTURE, resolution=ALL, prompt=800),
    "wan2.2-kf2v-flash": Rule(inputs=ENDS, resolution=ALL, prompt=800),
    "wan2.2-s2v": Rule(inputs=TALK, resolution=ALL, prompt=800),
    "wanx2.1-t2v-turbo": _21,
    "wanx2.1-t2v-plus": _21,
    "wanx2.1-i2v-turbo": _TURBO,
    "wanx2.1-i2v-plus": replace(_TURBO, seconds=(5,)),
    "wanx2.1-kf2v-plus": Rule(inputs=ENDS, resolution=LOW, prompt=800),
    "wan2.1-vace-plus": Rule(inputs=VACE, size=LOW, resolution=LOW, prompt=800),
    "happyhorse-1.0-t2v": replace(_HORSE, role="t2v"),
    "happyhorse-1.0-i2v": replace(_HORSE, role="i2v"),
    "happyhorse-1.0-r2v": replace(_HORSE, role="r2v"),
    "happyhorse-1.0-video-edit": replace(_HORSE, role="edit"),
}

_DATED: Final = re.compile(r"-\d{4}-\d{2}-\d{2}$", re.ASCII)


def rule_of(model: object) -> Rule | None:
    """The rule of a model or of a dated variant of it."""
    return RULES.get(_DATED.sub("", model)) if isinstance(model, str) else None


def kind_of(order: Any) -> str:
    """What an order is in the product's words: "create", "edit" or "extend"; all go over one route."""
    model, given = (order.get("model"), order.get("input")) if isinstance(order, dict) else (None, None)
    media = given.get("media") if isinstance(given, dict) else None
    items = media if isinstance(media, list) else []
    types = [item.get("type") for item in items if isinstance(item, dict)]
    if "first_clip" in types:
        return "extend"
    rule = rule_of(model)
    return "edit" if "video" in types or (rule and rule.inputs == VACE) else "create"


def problems(rule: Rule, given: dict[str, Any], wanted: dict[str, Any]) -> Iterator[str]:
    """What is wrong with `input` and `parameters`, in sentences. Unknown fields of both are nobody's concern."""
    yield from _wrong_inputs(rule, given)
    yield from _wrong_shape(rule, wanted)
    if "duration" in wanted and not (_whole(wanted["duration"]) and wanted["duration"] in rule.seconds):
        yield f"duration must be in {list(rule.seconds)}"
    if "seed" in wanted and not (_whole(wanted["seed"]) and 0 <= wanted["seed"] <= MAX_SEED):
        yield f"seed must be in [0, {MAX_SEED}]"
    for name in rule.flags:
        if name in wanted and not isinstance(wanted[name], bool):
            yield f"{name} must be a boolean"
    for name, legal in (("shot_type", ("single", "multi")), ("audio_setting", ("auto", "origin"))):
        if name in wanted and wanted[name] not in legal:
            yield f"{name} must be one of {', '.join(legal)}"


def files(rule: Rule, given: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """The files that a correct `input` names, as (field, kind of file, address)."""
    for item in given.get("media", []) if rule.inputs == MEDIA else []:
        kind = item["type"].rpartition("_")[2]
        yield item["type"], {"frame": "image", "clip": "video"}.get(kind, kind), item["url"]
        if "reference_voice" in item:
            yield "reference_voice", "audio", item["reference_voice"]
    for name in (name for name in FIELDS[rule.inputs] if name in given and name != "media"):
        kind = "any" if name in ("reference_urls", "reference_url") else "image"
        kind = {"audio_url": "audio", "reference_video_urls": "video", "video_url": "video"}.get(name, kind)
        yield from ((name, kind, url) for url in (given[name] if name in LISTS else [given[name]]))


def _wrong_inputs(rule: Rule, given: dict[str, Any]) -> Iterator[str]:
    prompt, template = given.get("prompt"), given.get("template")
    if prompt is not None and not isinstance(prompt, str):
        yield "prompt must be a string"
    if not prompt and not template and rule.inputs in (TEXT, VACE) + ((MEDIA,) if rule.role != "i2v" else ()):
        yield "prompt is required"
    if not isinstance(given.get("negative_prompt", ""), str):
        yield "negative_prompt must be a string"
    for name in sorted(EVERY_FIELD & given.keys() - set(FIELDS[rule.inputs])):
        yield f"{name} is not supported by this model"
    needed = NEEDED.get(rule.inputs, ())
    there = [name for name in needed if given.get(name)]
    if needed and (not there if rule.inputs == REFERENCES else len(there) < len(needed)):
        yield f"{' or '.join(needed) if rule.inputs == REFERENCES else ' and '.join(needed)} is required"
    if rule.inputs == VACE and not isinstance(given.get("function"), str):
        yield "function is required"
    for name in FIELDS[rule.inputs]:
        if name in given and name != "media" and not _right_file(name, given[name]):
            yield f"{name} must be a {'list of strings' if name in LISTS else 'string'}"
    if rule.inputs == MEDIA:
        yield from _wrong_media(rule, given.get("media", []))


def _wrong_media(rule: Rule, media: Any) -> Iterator[str]:
    if not isinstance(media, list) or not all(isinstance(item, dict) for item in media):
        yield "media must be a list of objects"
        return
    types = [item.get("type") for item in media]
    for item in media:
        if item.get("type") not in MEDIA_TYPES[rule.role]:
            yield f"the type of media must be one of {', '.join(MEDIA_TYPES[rule.role])}"
        if not isinstance(item.get("url"), str):
            yield "the url of media must be a string"
    repeated = [kind for kind in ("first_frame", "last_frame", "first_clip", "video") if types.count(kind) > 1]
    if repeated:
        yield f"media has more than one {repeated[0]}"
    starts = [kind for kind in ("first_frame", "first_clip") if kind in types]
    if rule.role == "i2v" and len(starts) != 1:
        yield "media must have either a first_frame or a first_clip"
    if rule.role == "r2v" and not {"reference_image", "reference_video"} & set(types):
        yield "media must have a reference_image or a reference_video"
    if rule.role == "edit" and "video" not in types:
        yield "media must have a video"


def _wrong_shape(rule: Rule, wanted: dict[str, Any]) -> Iterator[str]:
    sizes = tuple(size for tier in rule.size for size in SIZES[tier])
    for name, legal in (("size", sizes), ("resolution", rule.resolution), ("ratio", RATIOS if rule.ratio else ())):
        if name in wanted and not legal:
            yield f"{name} is not supported by this model"
        elif name in wanted and wanted[name] not in legal:
            yield f"{name} must be in {', '.join(legal)}"


def _right_file(name: str, value: Any) -> bool:
    if name in LISTS:
        return isinstance(value, list) and bool(value) and all(isinstance(item, str) for item in value)
    return isinstance(value, str)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
