"""What Vidu's routes take, as the fact sheet has it: models, seconds, resolutions, fields, and what a task costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

TEXT: Final = "text2video"
IMAGE: Final = "img2video"
ENDS: Final = "start-end2video"
REFERENCE: Final = "reference2video"
FRAMES: Final = "multiframe"
EXTEND: Final = "extend"

Lengths = Mapping[int, tuple[str, ...]]
"""The resolutions of each legal number of seconds; the defaults first."""


def even(first: int, last: int, *words: str) -> Lengths:
    """Every number of seconds, with the default of 5 first, in the same resolutions."""
    return dict.fromkeys(sorted(range(first, last + 1), key=lambda seconds: seconds != 5), words)


WIDE: Final = ("720p", "540p", "1080p")
OLD: Final[Lengths] = {4: ("360p", "720p", "1080p"), 8: ("720p",)}
Q1: Final[Lengths] = {5: ("1080p",)}
Q3: Final = even(1, 16, *WIDE)
TURBO: Final = "viduq3-turbo"

RULES: Final[Mapping[str, Mapping[str, Lengths]]] = {
    TEXT: {
        "viduq3-pro": Q3,
        TURBO: Q3,
        "viduq2": even(1, 10, *WIDE),
        "viduq1": Q1,
        "viduq1-classic": Q1,
        "vidu1.5": OLD,
    },
    IMAGE: {
        "viduq3-pro": Q3,
        TURBO: Q3,
        "viduq2-pro": even(1, 10, *WIDE),
        "viduq2-turbo": even(1, 10, *WIDE),
        "viduq2-pro-fast": even(1, 10, "720p", "1080p"),
        "viduq1": Q1,
        "viduq1-classic": Q1,
        "vidu2.0": OLD,
        "vidu1.5": OLD,
    },
    ENDS: {
        "viduq3-pro": Q3,
        TURBO: Q3,
        "viduq2-pro": even(1, 8, *WIDE),
        "viduq2-turbo": even(1, 8, *WIDE),
        "viduq2-pro-fast": even(1, 8, "720p", "1080p"),
        "viduq1": Q1,
        "viduq1-classic": Q1,
        "vidu2.0": OLD,
        "vidu1.5": OLD,
    },
    REFERENCE: {
        "viduq2": even(1, 10, *WIDE),
        "viduq1": Q1,
        "viduq1-classic": Q1,
        "vidu2.0": OLD,
        "vidu1.5": OLD,
    },
    # Its seconds are those of its pictures. Which models it has is not told.
    FRAMES: {"viduq2-pro": {0: WIDE}, "viduq2-turbo": {0: WIDE}},
    EXTEND: {"viduq2-pro": even(1, 7, *WIDE), "viduq2-turbo": even(1, 7, *WIDE)},
}
MODELS: Final = frozenset(model for rules in RULES.values() for model in rules)

RATIOS: Final = ("16:9", "9:16", "1:1")
NEWER_RATIOS: Final = ("4:3", "3:4")
"""Of the generations q2 and q3 only."""
AMPLITUDES: Final = ("auto", "small", "medium", "large")
COUNTS: Final = {TEXT: (0, 0), IMAGE: (1, 1), ENDS: (2, 2), REFERENCE: (1, 7), FRAMES: (0, 0), EXTEND: (0, 1)}
"""The least and the most pictures in `images`."""

EVERYWHERE: Final = frozenset(
    ("model", "prompt", "duration", "seed", "resolution", "movement_amplitude", "bgm", "audio", "voice_id", "is_rec")
) | frozenset(("off_peak", "watermark", "wm_position", "wm_url", "meta_data", "payload", "callback_url"))
FIELDS: Final[Mapping[str, frozenset[str]]] = {
    TEXT: EVERYWHERE | {"style", "aspect_ratio"},
    IMAGE: EVERYWHERE | {"images"},
    ENDS: EVERYWHERE | {"images"},
    REFERENCE: EVERYWHERE | {"images", "subjects", "aspect_ratio"},
    FRAMES: (EVERYWHERE - {"prompt", "duration"}) | {"start_image", "image_settings"},
    EXTEND: EVERYWHERE | {"images", "video_creation_id", "video_url"},
}
KINDS: Final[Mapping[str, tuple[type, ...]]] = {
    **dict.fromkeys(("bgm", "audio", "is_rec", "off_peak", "watermark"), (bool,)),
    **dict.fromkeys(("duration", "seed", "wm_position"), (int,)),
    **dict.fromkeys(("images", "subjects", "image_settings"), (list,)),
}
"""The type of each field that is no text."""
LARGEST_PAYLOAD: Final = 1_048_576

CREDITS: Final[Mapping[str, float]] = {"360p": 2, "540p": 2, "720p": 4, "1080p": 8}
"""Of a second; the sheet has one sum (5 s of viduq2 in 720p: 20), and the prices of those below."""
Q3_CREDITS: Final[Mapping[str, float]] = {"540p": 10, "720p": 25, "1080p": 30}
LONGER: Final[Mapping[str, Mapping[str, float]]] = {
    "viduq2-turbo": {"540p": 3.6, "720p": 7, "1080p": 16},
    "viduq2-pro": {"540p": 7, "720p": 14, "1080p": 24},
}
SOUND: Final = 15

Problem = tuple[str, str, str]
"""Reason, field and sentence."""


def filled(route: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """`fields`, which are legal, with the defaults that Vidu puts in."""
    lengths = RULES[route][fields["model"]]
    seconds = fields.get("duration", next(iter(lengths)))
    if route == FRAMES:
        seconds = sum(item.get("duration", 5) for item in fields["image_settings"])
    words = lengths.get(seconds) or next(iter(lengths.values()))
    shape = {"aspect_ratio": "16:9"} if "aspect_ratio" in FIELDS[route] else {}
    sound = {"audio": True} if fields["model"].startswith("viduq3") else {}
    usual = {"prompt": "", "resolution": words[0], "movement_amplitude": "auto", "payload": "", "off_peak": False}
    return {**usual, "bgm": False, **shape, **sound, **fields, "duration": seconds}


def credits(route: str, fields: Mapping[str, Any]) -> int:
    """What a task with these filled fields costs. How much cheaper the quiet hours are is not told: half, here."""
    model, word = fields["model"], fields["resolution"]
    rates = LONGER[model] if route == EXTEND else Q3_CREDITS if model.startswith("viduq3") else CREDITS
    extra = SOUND if fields.get("audio") and not model.startswith("viduq3") else 0
    whole: float = rates[word] * fields["duration"] + extra
    return round(whole / 2 if fields["off_peak"] else whole)


def problems(route: str, fields: Mapping[str, Any], *, strict: bool, longest: int, turbo: bool) -> Iterator[Problem]:
    """All that is wrong with a body but what its pictures show; the first one is what Vidu says."""
    for name in sorted(fields.keys() - FIELDS[route]):
        if strict or name == "images":
            yield "FieldUnwanted", name, f"it is not expected by {route}"
    for name, value in fields.items():
        kinds = KINDS.get(name, (str,))
        if name in FIELDS[route] and (not isinstance(value, kinds) or (kinds == (int,) and isinstance(value, bool))):
            yield "FieldInvalid", name, "it has the wrong type"
            return
    model = fields.get("model")
    if model is None:
        yield "FieldLacking", "model", "it is required"
    elif model not in MODELS or (model == TURBO and not turbo):
        yield "ModelUnavailable", "model", f"{model} is not available"
    elif model not in RULES[route]:
        yield "FieldInvalid", "model", f"{model} is not possible with {route}"
    else:
        yield from wrong_shape(route, fields)
    if not fields.get("prompt") and route in (TEXT, REFERENCE):
        yield "FieldLacking", "prompt", "it is required"
    if len(fields.get("prompt", "")) > longest:
        yield "FieldInvalid", "prompt", f"it is longer than {longest} characters"
    if fields.get("style", "general") not in ("general", "anime"):
        yield "FieldInvalid", "style", "it must be general or anime"
    if fields.get("movement_amplitude", "auto") not in AMPLITUDES:
        yield "FieldInvalid", "movement_amplitude", f"it must be one of {', '.join(AMPLITUDES)}"
    if not 1 <= fields.get("wm_position", 3) <= 4:
        yield "FieldInvalid", "wm_position", "it must be 1 to 4"
    if len(fields.get("payload", "")) > LARGEST_PAYLOAD:
        yield "FieldInvalid", "payload", f"it is longer than {LARGEST_PAYLOAD} characters"
    yield from wrong_number(route, fields)


def wrong_shape(route: str, fields: Mapping[str, Any]) -> Iterator[Problem]:
    """Seconds, resolution and ratio of a model that the route has."""
    model = fields["model"]
    lengths = RULES[route][model]
    seconds = fields.get("duration", next(iter(lengths)))
    if seconds not in lengths:
        yield "FieldInvalid", "duration", f"{seconds} is not possible with {model}"
    elif fields.get("resolution", lengths[seconds][0]) not in lengths[seconds]:
        yield "FieldInvalid", "resolution", f"{fields['resolution']} is not possible with {model} and {seconds} seconds"
    ratios = RATIOS + (NEWER_RATIOS if model.startswith(("viduq2", "viduq3")) else ())
    if "aspect_ratio" in FIELDS[route] and fields.get("aspect_ratio", "16:9") not in ratios:
        yield "FieldInvalid", "aspect_ratio", f"it must be one of {', '.join(ratios)}"


def wrong_number(route: str, fields: Mapping[str, Any]) -> Iterator[Problem]:
    """How many pictures, subjects or sources there must be."""
    least, most = COUNTS[route]
    if route == REFERENCE and "subjects" in fields:
        yield from wrong_subjects(fields)
    elif "images" in FIELDS[route]:
        images = fields.get("images", [])
        if not images and least:
            yield "FieldLacking", "images", "it is required"
        elif not least <= len(images) <= most:
            yield "FieldItemCountOutOfRange", "images", f"there must be {least} to {most}"
    if route == EXTEND and len(fields.keys() & {"video_creation_id", "video_url"}) != 1:
        lacking = not fields.keys() & {"video_creation_id", "video_url"}
        name = "video_creation_id" if lacking else "video_url"
        yield "FieldLacking" if lacking else "FieldUnwanted", name, "it must be one of video_creation_id and video_url"
    if route == FRAMES:
        yield from wrong_frames(fields)


def wrong_subjects(fields: Mapping[str, Any]) -> Iterator[Problem]:
    subjects = fields["subjects"]
    if "images" in fields:
        yield "FieldUnwanted", "images", "there are subjects already"
    for one in subjects:
        images = one.get("images") if isinstance(one, dict) else None
        if not isinstance(images, list) or not isinstance(one.get("id"), str) or not one["id"]:
            yield "FieldLacking", "subjects", "each has an id and images"
            return
        if not 1 <= len(images) <= 3:
            yield "FieldItemCountOutOfRange", "subjects", "each has 1 to 3 images"
    if not 1 <= sum(len(one["images"]) for one in subjects) <= 7:
        yield "FieldItemCountOutOfRange", "subjects", "they must have 1 to 7 images"


def wrong_frames(fields: Mapping[str, Any]) -> Iterator[Problem]:
    if "start_image" not in fields:
        yield "FieldLacking", "start_image", "it is required"
    items = fields.get("image_settings", [])
    if not 2 <= len(items) <= 9:
        yield "FieldItemCountOutOfRange", "image_settings", "there must be 2 to 9"
    for item in items:
        if not isinstance(item, dict) or not isinstance(item.get("key_image"), str):
            yield "FieldLacking", "image_settings", "each has a key_image"
        elif item.get("duration", 5) not in range(2, 8):
            yield "FieldInvalid", "image_settings", "each has a duration of 2 to 7"


def pictures(fields: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Every input picture, with the field that it is in."""
    found = [("images", item) for item in fields.get("images", [])]
    found += [("subjects", item) for one in fields.get("subjects", []) for item in one["images"]]
    found += [("start_image", fields["start_image"])] if "start_image" in fields else []
    return found + [("image_settings", item["key_image"]) for item in fields.get("image_settings", [])]
