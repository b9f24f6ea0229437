"""What Kling's create routes take, per model and kind, and what a task costs.

Section 1 of the fact sheet: the table of models, "Create" and "Pricing". A model that the table says nothing about an
end frame of takes one where it has modes to choose from (kling-v3), and none where it has not (the two masters).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

TEXT, IMAGE, SEVERAL = "text2video", "image2video", "multi-image2video"
EXTEND, OMNI, MOTION = "video-extend", "omni-video", "motion-control"
KINDS: Final = (TEXT, IMAGE, SEVERAL, EXTEND, OMNI, MOTION)
RATIOS: Final = ("16:9", "9:16", "1:1")
CAMERAS: Final = ("simple", "down_back", "forward_up", "right_turn_forward", "left_turn_forward")
MOVES: Final = ("horizontal", "vertical", "pan", "tilt", "roll", "zoom")
LONGEST_TEXT: Final = 2500
LONGEST_SHOT: Final = 512
OLD: Final = ("5", "10")
EXTENDABLE: Final = ("kling-v1", "kling-v1-5", "kling-v1-6")
ADDED: Final = 5
"""Seconds that an extension adds."""
LONGEST_EXTENDED: Final = 180
EDITABLE: Final = (3, 10)
"""Seconds of a video that omni-video takes."""

_REFERENCE = re.compile(r"<<<(image|video|element|voice)_(\d+)>>>")
_LISTS: Final = {"image": "image_list", "video": "video_list", "element": "element_list", "voice": "voice_list"}

Problem = tuple[str, str]
"""Field and sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What one model takes. `sound` and `tail` are the modes in which it makes sound and takes an end frame; `units`
    the price of a second by mode, and `loud` that of one with sound where it is another."""

    kinds: tuple[str, ...]
    durations: tuple[str, ...] = OLD
    modes: tuple[str, ...] = ("std", "pro")
    usual_mode: str = "std"
    cfg: bool = True
    sound: tuple[str, ...] = ()
    tail: tuple[str, ...] = ()
    shots: bool = False
    units: Mapping[str, float]
    loud: Mapping[str, float] | None = None


def _span(least: int, most: int) -> tuple[str, ...]:
    return tuple(str(seconds) for seconds in range(least, most + 1))


_EVERY: Final = ("std", "pro", "4k")
_V2: Final = {"std": 0.4, "pro": 0.7}
_MASTER: Final = {"std": 2.0, "pro": 2.0}
_V3: Final = {"std": 0.6, "pro": 0.8, "4k": 3.0}
_V3_LOUD: Final = {"std": 0.9, "pro": 1.2, "4k": 3.0}

MODELS: Final[Mapping[str, Rule]] = {
    "kling-v1": Rule(kinds=(TEXT, IMAGE), tail=("std", "pro"), units={"std": 0.2, "pro": 0.7}),
    "kling-v1-5": Rule(kinds=(IMAGE,), tail=("pro",), units=_V2),
    "kling-v1-6": Rule(kinds=(TEXT, IMAGE, SEVERAL), tail=("pro",), units=_V2),
    "kling-v2-master": Rule(kinds=(TEXT, IMAGE), cfg=False, units=_MASTER),
    "kling-v2-1": Rule(kinds=(IMAGE,), cfg=False, tail=("pro",), units=_V2),
    "kling-v2-1-master": Rule(kinds=(TEXT, IMAGE), cfg=False, units=_MASTER),
    "kling-v2-5-turbo": Rule(kinds=(TEXT, IMAGE), cfg=False, tail=("pro",), units={"std": 0.3, "pro": 0.5}),
    "kling-v2-6": Rule(
        kinds=(TEXT, IMAGE, MOTION),
        cfg=False,
        sound=("pro",),
        tail=("pro",),
        units={"std": 0.3, "pro": 0.5},
        loud={"pro": 1.0},
    ),
    "kling-v3": Rule(
        kinds=(TEXT, IMAGE, MOTION),
        durations=_span(3, 15),
        modes=_EVERY,
        sound=_EVERY,
        tail=_EVERY,
        shots=True,
        units=_V3,
        loud=_V3_LOUD,
    ),
    "kling-video-o1": Rule(
        kinds=(OMNI,),
        durations=_span(3, 10),
        usual_mode="pro",
        sound=("std", "pro"),
        units={"std": 0.6, "pro": 0.8},
    ),
    "kling-v3-omni": Rule(
        kinds=(OMNI,),
        durations=_span(3, 15),
        modes=_EVERY,
        usual_mode="pro",
        sound=_EVERY,
        shots=True,
        units=_V3,
        loud=_V3_LOUD,
    ),
}
DEFAULTS: Final = {
    TEXT: "kling-v1",
    IMAGE: "kling-v1",
    SEVERAL: "kling-v1-6",
    OMNI: "kling-video-o1",
    MOTION: "kling-v2-6",
}

_COMMON: Final = frozenset(("prompt", "callback_url", "external_task_id", "watermark_info"))
_MADE: Final = _COMMON | {"model_name", "negative_prompt", "mode", "duration"}
_FIRST: Final = _MADE | frozenset(
    ("sound", "cfg_scale", "camera_control", "multi_shot", "shot_type", "multi_prompt", "voice_list", "element_list")
)
FIELDS: Final[Mapping[str, frozenset[str]]] = {
    TEXT: _FIRST | {"aspect_ratio"},
    IMAGE: _FIRST | {"image", "image_tail", "static_mask", "dynamic_masks"},
    SEVERAL: _MADE | {"image_list", "aspect_ratio"},
    EXTEND: _COMMON | {"video_id", "negative_prompt", "cfg_scale"},
    OMNI: (_MADE - {"negative_prompt"})
    | frozenset(("image_list", "video_list", "element_list", "voice_list", "aspect_ratio", "sound"))
    | frozenset(("multi_shot", "shot_type", "multi_prompt")),
    MOTION: _COMMON
    | frozenset(("model_name", "mode", "image_url", "video_url", "character_orientation", "keep_original_sound")),
}
"""The fields of each kind; Kling does not look at others."""


def price(rule: Rule, mode: str, seconds: float, *, sound: bool, film: bool) -> float:
    """Units of a task; an input film makes it half as dear again."""
    table = rule.loud if sound and rule.loud else rule.units
    return table[mode] * seconds * (1.5 if film else 1)


# ---------------------------------------------------------------- what is wrong with a body


def problems(kind: str, fields: Mapping[str, Any]) -> Iterator[Problem]:
    """Everything that is wrong with the fields of an order, the first one first. Its model is one of `MODELS`."""
    yield from _texts(fields)
    yield from _words(fields, "sound", "on", "off")
    yield from _words(fields, "aspect_ratio", *RATIOS)
    yield from _words(fields, "keep_original_sound", "yes", "no")
    yield from _references(fields)
    if not 0 <= _number(fields.get("cfg_scale", 0.5)) <= 1:
        yield "cfg_scale", "must be a number of 0 to 1"
    mark = fields.get("watermark_info", {"enabled": True})
    if not isinstance(mark, dict) or not isinstance(mark.get("enabled"), bool):
        yield "watermark_info", "must be an object with a boolean 'enabled'"
    if kind == EXTEND:
        if not isinstance(fields.get("video_id"), str):
            yield "video_id", "is required"
        return
    model = fields.get("model_name", DEFAULTS[kind])
    rule = MODELS[model]
    mode = fields.get("mode", rule.usual_mode)
    if kind not in rule.kinds:
        yield "model_name", f"{model} is not supported by {kind}"
    if mode not in rule.modes:
        yield "mode", f"must be one of {', '.join(rule.modes)}"
    duration = fields.get("duration", "5")
    if not isinstance(duration, str) or duration not in rule.durations:
        yield "duration", f"must be one of the strings {', '.join(rule.durations)}"
        return
    if "cfg_scale" in fields and not rule.cfg:
        yield "cfg_scale", f"is not supported by {model}"
    if fields.get("sound") == "on" and mode not in rule.sound:
        yield "sound", f"is not supported by {model} in mode {mode}"
    if "sound" in fields and not rule.sound:
        yield "sound", f"is not supported by {model}"
    yield from _shots(kind, fields, rule, duration)
    yield from _OF_KIND[kind](fields, model, mode, duration)


def _texts(fields: Mapping[str, Any]) -> Iterator[Problem]:
    for name in ("prompt", "negative_prompt", "callback_url", "external_task_id", "image", "image_tail", "video_id"):
        if not isinstance(fields.get(name, ""), str):
            yield name, "must be a string"
            return
    for name in ("prompt", "negative_prompt"):
        if len(fields.get(name, "")) > LONGEST_TEXT:
            yield name, f"must have at most {LONGEST_TEXT} characters"


def _words(fields: Mapping[str, Any], name: str, *legal: str) -> Iterator[Problem]:
    if name in fields and fields[name] not in legal:
        yield name, f"must be one of {', '.join(legal)}"


def _number(value: Any) -> float:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else math.nan


def _objects(fields: Mapping[str, Any], name: str, most: int) -> Iterator[Problem]:
    items = fields.get(name, [])
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        yield name, "must be a list of objects"
    elif len(items) > most:
        yield name, f"must have at most {most} items"


def _references(fields: Mapping[str, Any]) -> Iterator[Problem]:
    for name, most in (("image_list", 7), ("video_list", 1), ("element_list", 7), ("voice_list", 2)):
        yield from _objects(fields, name, most)
    for word, number in _REFERENCE.findall(str(fields.get("prompt", ""))):
        items = fields.get(_LISTS[word], [])
        if not 1 <= int(number) <= (len(items) if isinstance(items, list) else 0):
            yield "prompt", f"refers to {word}_{number}, which is not there"
    for item, key, kind in (("element_list", "element_id", int), ("voice_list", "voice_id", str)):
        for found in fields.get(item, []):
            if not isinstance(found.get(key), kind) or isinstance(found[key], bool):
                yield item, f"each needs its {key}"


def _shots(kind: str, fields: Mapping[str, Any], rule: Rule, duration: str) -> Iterator[Problem]:
    for name in ("multi_shot", "shot_type", "multi_prompt", "element_list"):
        if name in fields and not rule.shots and not (name == "element_list" and kind == OMNI):
            yield name, "is not supported by this model"
            return
    yield from _objects(fields, "element_list", 7 if kind == OMNI else 3)
    if "voice_list" in fields and not rule.sound:
        yield "voice_list", "is not supported by this model"
    if not isinstance(fields.get("multi_shot", False), bool):
        yield "multi_shot", "must be a boolean"
    yield from _words(fields, "shot_type", "customize", "intelligence")
    yield from _objects(fields, "multi_prompt", 6)
    shots = fields.get("multi_prompt", [])
    if customised(fields):
        lengths = [shot.get("duration") for shot in shots]
        if not all(isinstance(length, str) and length.isdecimal() for length in lengths):
            yield "multi_prompt", "each needs its duration, as a string"
        elif sum(map(int, lengths)) != int(duration):
            yield "multi_prompt", "the durations must add up to that of the video"
        for shot in shots:
            text = shot.get("prompt")
            if not isinstance(shot.get("index"), int) or not isinstance(text, str) or not 0 < len(text) <= LONGEST_SHOT:
                yield "multi_prompt", f"each needs an index and a prompt of at most {LONGEST_SHOT} characters"
    elif not fields.get("prompt") and kind != MOTION:
        yield "prompt", "is required"


def customised(fields: Mapping[str, Any]) -> bool:
    return fields.get("multi_shot") is True and fields.get("shot_type") == "customize"


def _text(fields: Mapping[str, Any], model: str, mode: str, duration: str) -> Iterator[Problem]:
    if "camera_control" in fields:
        if model != "kling-v1" or mode != "std" or duration != "5":
            yield "camera_control", "is only supported by kling-v1 in mode std with 5 seconds"
        yield from _camera(fields["camera_control"])


def _image(fields: Mapping[str, Any], model: str, mode: str, duration: str) -> Iterator[Problem]:
    if not fields.get("image") and not fields.get("image_tail"):
        yield "image", "one of image and image_tail is required"
    brushes = {"static_mask", "dynamic_masks"} & fields.keys()
    if sum((bool(brushes), "image_tail" in fields, "camera_control" in fields)) > 1:
        yield "image_tail", "image_tail, masks and camera_control exclude each other"
    if "image_tail" in fields:
        if mode not in MODELS[model].tail or (model == "kling-v1" and duration != "5"):
            yield "image_tail", f"is not supported by {model} in mode {mode} with {duration} seconds"
        if fields.get("sound") == "on" and model == "kling-v2-6":
            yield "image_tail", "cannot be combined with sound"
    short = duration == "5"
    if brushes and not (short and (model == "kling-v1" or (model == "kling-v1-5" and mode == "pro"))):
        yield sorted(brushes)[0], f"is not supported by {model} in mode {mode} with {duration} seconds"
    yield from _objects(fields, "dynamic_masks", 6)
    if "camera_control" in fields:
        camera = fields["camera_control"]
        simple = isinstance(camera, dict) and camera.get("type") == "simple"
        if not (model == "kling-v1-5" and mode == "pro" and short and simple):
            yield "camera_control", "is only supported by kling-v1-5 in mode pro with 5 seconds and type simple"
        yield from _camera(camera)


def _camera(camera: Any) -> Iterator[Problem]:
    if not isinstance(camera, dict) or camera.get("type") not in CAMERAS:
        yield "camera_control", f"type must be one of {', '.join(CAMERAS)}"
        return
    config = camera.get("config")
    if camera["type"] != "simple":
        if config is not None:
            yield "camera_control", "config is for type simple only"
        return
    moves = config if isinstance(config, dict) else {}
    if moves.keys() - set(MOVES) or not all(-10 <= _number(value) <= 10 for value in moves.values()):
        yield "camera_control", "each move must be a number of -10 to 10"
    elif sum(value != 0 for value in moves.values()) != 1:
        yield "camera_control", "exactly one move must not be 0"


def _several(fields: Mapping[str, Any], model: str, mode: str, duration: str) -> Iterator[Problem]:
    if not 1 <= len(fields.get("image_list", [])) <= 4:
        yield "image_list", "must have 1 to 4 images"
    if not all(isinstance(item.get("image"), str) for item in fields.get("image_list", [])):
        yield "image_list", "each needs its image"


def _omni(fields: Mapping[str, Any], model: str, mode: str, duration: str) -> Iterator[Problem]:
    images, films = fields.get("image_list", []), fields.get("video_list", [])
    ends = [item.get("type") for item in images if item.get("type") is not None]
    if not all(isinstance(item.get("image_url"), str) for item in images):
        yield "image_list", "each needs its image_url"
    if set(ends) - {"first_frame", "end_frame"} or len(ends) != len(set(ends)):
        yield "image_list", "type must be first_frame or end_frame, each once"
    if "end_frame" in ends and len(images) > 2:
        yield "image_list", "an end frame cannot be used with more than 2 images"
    if len(images) + len(fields.get("element_list", [])) > (4 if films else 7):
        yield "image_list", f"there must be at most {4 if films else 7} images and elements"
    for film in films:
        if not isinstance(film.get("video_url"), str):
            yield "video_list", "each needs its video_url"
        yield from _words(film, "refer_type", "base", "feature")
        yield from _words(film, "keep_original_sound", "yes", "no")
    edits = any(film.get("refer_type", "base") == "base" for film in films)
    if "aspect_ratio" not in fields and "first_frame" not in ends and not edits:
        yield "aspect_ratio", "is required without a first frame or a video to edit"


def _motion(fields: Mapping[str, Any], model: str, mode: str, duration: str) -> Iterator[Problem]:
    for name in ("image_url", "video_url", "character_orientation", "mode"):
        if not isinstance(fields.get(name), str):
            yield name, "is required"
    yield from _words(fields, "character_orientation", "image", "video")


_OF_KIND: Final = {TEXT: _text, IMAGE: _image, SEVERAL: _several, OMNI: _omni, MOTION: _motion}
