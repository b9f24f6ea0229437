"""What Runway's create routes take, per model and route.

https://docs.dev.runwayml.com/api and the request types of its SDK (runwayml 5.24.0; 4.0.0 for the two old models).
It imports the standard library only, so that the SDK's own environment can hold it to the SDK's types.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

IMAGE, TEXT, VIDEO = "image_to_video", "text_to_video", "video_to_video"
OLD_MODELS = ("gen4_aleph", "gen3a_turbo")
"""Gone from the current SDK."""
PROMPT_CHARACTERS = {"seedance2_5": 15_000, "happyhorse_1_0": 2500} | dict.fromkeys(
    ("seedance2", "seedance2_fast", "seedance2_mini"), 3500
)
"""In UTF-16 units, where it is not 1000."""
CREDITS = {"gen4.5": 12, "gen4_turbo": 5, "aleph2": 28, "gen4_aleph": 15, "veo3.1": 40, "veo3.1_fast": 15}
CREDITS |= {"seedance2": 36, "seedance2_5": 30}
"""Per second; 10 for other models."""
MUTE_CREDITS = {"veo3.1": 20, "veo3.1_fast": 10}
MAX_SEED = 2**32 - 1

FIRST, BOTH, FREE = "first", "both", "free"
"""Which pictures a model takes: the first frame, the last one too, or those or references without a position."""

_SIX = "1280:720 720:1280 1104:832 960:960 832:1104 1584:672"
_VEO = "1280:720 720:1280 1080:1920 1920:1080"
_KLING = {
    "standard": "1280:720 720:1280 960:960",
    "pro": "1920:1080 1080:1920 1440:1440",
    "4k": "3840:2160 2160:3840 2880:2880",
}
_SEEDANCE_720 = "992:432 864:496 752:560 640:640 560:752 496:864 1470:630 1280:720 1112:834 960:960 834:1112 720:1280"
_SEEDANCE = (
    f"{_SEEDANCE_720} 2206:946 1920:1080 1664:1248 1440:1440 1248:1664 1080:1920"
    " 3840:1646 3840:2160 3840:2880 3840:3840 2880:3840 2160:3840"
)
_SEEDANCE_25 = (
    "992:432 854:480 752:560 640:640 560:752 480:854 1470:630 1280:720 1112:834 960:960 834:1112 720:1280"
    " 2206:946 1920:1080 1664:1248 1440:1440 1248:1664 1080:1920"
)
_OMNI = "640:360 360:640 1280:720 720:1280 1920:1080 1080:1920 3840:2160 2160:3840"
_WAN = (
    "832:480 720:544 624:624 544:720 480:832 1280:720 1104:832 960:960 832:1104 720:1280"
    " 1920:1080 1648:1248 1440:1440 1248:1648 1080:1920 auto_480p auto_720p auto_1080p"
)
_GROK_LITE = (
    "848:480 480:848 480:480 640:480 480:640 720:480 480:720 1280:720 720:1280 720:720 960:720 720:960 1088:720"
    " 720:1088 1904:1072 1072:1904 1424:1424 1648:1232 1232:1648 1744:1152 1152:1744"
)
_HORSE = "1280:720 720:1280 960:960 1108:832 832:1108 1920:1080 1080:1920 1440:1440 1662:1248 1248:1662"
_KLING_4 = "1280:720 720:1280 940:940 1460:624 1920:1080 1080:1920 1440:1440 2200:940 auto_720p auto_1080p"
_FORMATS = (
    "mp4 prores png_sequence hdr10 hlg sdr_rec709_10bit hdr_pq_12bit_master hdr_prores hdr_png_sequence"
    " hdr_exr_sequence hdr_exr_acescg_sequence_1_3 hdr_exr_acescg_sequence_2_0"
)
_MODES = "reference extend edit"
_REFERENCES = "references referenceVideos referenceAudio"


@dataclass(frozen=True, slots=True)
class Rule:
    """What one route takes for one model; the set of fields is closed. `words` are the legal values of a field."""

    fields: frozenset[str]
    required: frozenset[str]
    duration: str
    frames: str
    references: int
    words: dict[str, tuple[str, ...]]


RULES: dict[tuple[str, str], Rule] = {}
"""By route and model."""


def _rule(
    models: str,
    route: str,
    fields: str,
    *,
    duration: str = "int",
    frames: str = FIRST,
    references: int = 10,
    **words: str,
) -> None:
    """`fields` are names, `*` after those that must be there."""
    names = fields.split()
    for model in models.split():
        RULES[route, model] = Rule(
            frozenset(name.rstrip("*") for name in names),
            frozenset(name[:-1] for name in names if name.endswith("*")),
            duration,
            frames,
            references,
            {name: tuple(legal.split()) for name, legal in words.items()},
        )


_GEN = "seed contentModeration outputFormat proresProfile"
_rule(
    "gen4.5",
    IMAGE,
    f"promptImage* promptText* ratio* duration* {_GEN}",
    duration="2-10",
    ratio=_SIX,
    outputFormat=_FORMATS,
)
_rule(
    "gen4.5",
    TEXT,
    f"promptText* ratio* duration* {_GEN}",
    duration="2-10",
    ratio="1280:720 720:1280",
    outputFormat=_FORMATS,
)
_rule(
    "gen4_turbo", IMAGE, "promptImage* ratio* promptText duration seed contentModeration", duration="2-10", ratio=_SIX
)
_rule(
    "gen3a_turbo",
    IMAGE,
    "promptImage* promptText ratio duration seed contentModeration",
    duration="5 10",
    frames=BOTH,
    ratio="768:1280 1280:768",
)

_veo = "ratio* duration audio negativePrompt seed"
_rule("veo3.1 veo3.1_fast", IMAGE, f"promptImage* promptText {_veo}", duration="4 6 8", frames=BOTH, ratio=_VEO)
_rule("veo3.1 veo3.1_fast", TEXT, f"promptText* {_veo}", duration="4 6 8", ratio=_VEO)

_rule("kling2.5_turbo_pro", IMAGE, "promptImage* promptText* duration cfgScale", duration="5 10", frames=BOTH)
_rule(
    "kling2.5_turbo_pro",
    TEXT,
    "promptText* ratio duration cfgScale",
    duration="5 10",
    ratio="1920:1080 1440:1440 1080:1920 1280:720 720:720 720:1280",
)
for _tier, _ratio in _KLING.items():
    _common = "promptText duration audio providerSettings"
    _rule(f"kling3.0_{_tier}", IMAGE, f"promptImage* ratio cfgScale {_common}", frames=BOTH, ratio=_ratio)
    _rule(f"kling3.0_{_tier}", TEXT, f"ratio* cfgScale {_common}", ratio=_ratio)
    _rule(
        f"klingO3_{_tier}", IMAGE, f"promptImage* ratio references {_common}", frames=BOTH, references=7, ratio=_ratio
    )
    _rule(f"klingO3_{_tier}", TEXT, f"ratio* {_common}", ratio=_ratio)
    _rule(f"klingO3_{_tier}", VIDEO, "promptVideo* promptText* providerSettings references", references=4)
_kling_4 = "duration ratio references referenceVideos"
_rule("kling_4", IMAGE, f"promptImage* promptText {_kling_4}", frames=BOTH, ratio="auto_720p auto_1080p")
_rule("kling_4", TEXT, f"promptText* {_kling_4}", ratio=_KLING_4)
_rule("kling_4", VIDEO, "videoUri* promptText* ratio references", ratio="auto_720p auto_1080p")

for _models, _ratio in (("seedance2", _SEEDANCE), ("seedance2_fast seedance2_mini", _SEEDANCE_720)):
    _common = "duration ratio audio seed"
    _rule(
        _models,
        IMAGE,
        f"promptImage* promptText referenceAudio {_common}",
        duration="int auto",
        frames=FREE,
        ratio=_ratio,
    )
    _rule(_models, TEXT, f"promptText* {_REFERENCES} {_common}", duration="int auto", references=9, ratio=_ratio)
    _rule(
        _models,
        VIDEO,
        f"promptVideo* promptText {_REFERENCES} {_common}",
        duration="int auto",
        references=9,
        ratio=_ratio,
    )
_common = "promptText duration ratio audio seed draft outputFormat"
for _route, _more in (
    (IMAGE, "promptImage* referenceAudio"),
    (TEXT, f"draftTaskId {_REFERENCES}"),
    (VIDEO, f"promptVideo* mode {_REFERENCES}"),
):
    _rule(
        "seedance2_5",
        _route,
        f"{_more} {_common}",
        duration="int auto",
        frames=FREE,
        references=30,
        ratio=_SEEDANCE_25,
        outputFormat="mp4 mov",
        mode=_MODES,
    )

for _route, _more in (
    (IMAGE, "promptImage* referenceAudio"),
    (TEXT, _REFERENCES),
    (VIDEO, f"promptVideo* {_REFERENCES}"),
):
    _rule(
        "hailuo3",
        _route,
        f"{_more} promptText* duration ratio resolution",
        frames=FREE,
        references=9,
        ratio="adaptive 21:9 16:9 4:3 1:1 3:4 9:16",
        resolution="768p 2k 768P 2K",
    )
_omni = "gemini_omni_flash"
_rule(_omni, IMAGE, "promptImage* promptText duration ratio", duration="3-10", ratio="1280:720 720:1280")
_rule(_omni, TEXT, "promptText* duration ratio", duration="3-10", ratio="1280:720 720:1280")
_rule(_omni, VIDEO, "videoUri* promptText* references")
for _route, _more, _which in (
    (IMAGE, "promptImage*", BOTH),
    (TEXT, "references referenceVideos", FIRST),
    (VIDEO, "videoUri* references mode", FIRST),
):
    _rule(
        "gemini_omni_flash_1.1",
        _route,
        f"{_more} promptText* duration ratio",
        duration="3-10 auto",
        frames=_which,
        ratio=_OMNI,
        mode=_MODES,
    )
_rule("grok_imagine_1_5", IMAGE, "promptImage* promptText duration resolution", resolution="480p 720p 1080p")
_rule(
    "grok_imagine_1_5",
    TEXT,
    "promptText* duration ratio resolution references referenceAudio",
    ratio="1:1 16:9 9:16 4:3 3:4 3:2 2:3",
    resolution="480p 720p 1080p",
)
_rule("grok_imagine_1_5_lite", IMAGE, "promptImage* promptText duration ratio", ratio="auto_480p auto_720p auto_1080p")
_rule("grok_imagine_1_5_lite", TEXT, "promptText* duration ratio", ratio=_GROK_LITE)
_rule("happyhorse_1_0", IMAGE, "promptImage* promptText duration resolution", resolution="720p 1080p 720P 1080P")
_rule("happyhorse_1_0", TEXT, "promptText* duration ratio", ratio=_HORSE)
_wan = "promptText* duration ratio audio referenceAudio referenceVideos"
_rule("wan3 wan3_prime", IMAGE, f"promptImage* {_wan}", frames=FREE, ratio=_WAN)
_rule("wan3 wan3_prime", TEXT, f"references {_wan}", ratio=_WAN)
_h3 = "promptText* duration resolution promptExpansionMode seed"
_rule("h3_max", IMAGE, f"promptImage* {_h3}", frames=BOTH, resolution="480p 768p")
_rule("h3_max", TEXT, _h3, resolution="480p 768p")
_rule(
    "aleph2",
    VIDEO,
    f"videoUri* promptText keyframes ratio targetAspectRatio {_GEN}",
    targetAspectRatio="16:9 4:3 3:2 1:1 2:3 3:4 9:16 21:9",
    outputFormat="mp4 prores png_sequence sdr_rec709_10bit",
)
_rule(
    "gen4_aleph",
    VIDEO,
    "videoUri* promptText* ratio* references seed contentModeration",
    references=1,
    ratio=f"{_SIX} 848:480 640:480",
)

_WORDS = {
    "proresProfile": ("422", "4444", "422 Proxy", "422 LT", "422 HQ", "4444 XQ"),
    "promptExpansionMode": ("disabled", "balanced", "quality"),
}
_KINDS = {"references": "image", "referenceVideos": "video", "referenceAudio": "audio"}
_OPEN = frozenset({"aleph2"})
"""Models whose prompt has no known limit: the type says only that it is not empty."""


def price(fields: dict[str, Any]) -> int:
    """The credits that a task costs at most; where no duration is given, of five seconds."""
    per_second = CREDITS.get(fields["model"], 10)
    if fields.get("audio") is False:
        per_second = MUTE_CREDITS.get(fields["model"], per_second)
    duration = fields.get("duration", 5)
    return per_second * (10 if duration == "auto" else duration)


def problems(route: str, fields: dict[str, Any], *, old: bool = False) -> Iterator[tuple[str, str, str]]:
    """What is wrong with a request body, as (code, field, sentence)."""
    model = fields.get("model")
    rule = RULES.get((route, model)) if isinstance(model, str) and (old or model not in OLD_MODELS) else None
    if rule is None:
        legal = [name for where, name in RULES if where == route and (old or name not in OLD_MODELS)]
        yield "invalid_union_discriminator", "model", f"Expected one of {', '.join(legal)}."
        return
    for name in fields.keys() - rule.fields - {"model"}:
        yield "unrecognized_keys", name, f"Unrecognized key: '{name}'."
    for name in rule.required - fields.keys():
        yield "invalid_type", name, "Required."
    for name in rule.fields & fields.keys():
        if sentence := _complaint(name, fields[name], rule, str(model)):
            yield "invalid_value", name, sentence


def assets(fields: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """The inputs that a correct body names, as (field, kind of media, uri)."""
    for name, kind in (("promptImage", "image"), ("keyframes", "image"), *_KINDS.items()):
        value = fields.get(name, [])
        yield from ((name, kind, item["uri"]) for item in ([{"uri": value}] if isinstance(value, str) else value))
    yield from ((name, "video", fields[name]) for name in ("videoUri", "promptVideo") if name in fields)


def _complaint(name: str, value: Any, rule: Rule, model: str) -> str | None:
    """What is wrong with one field, or None."""
    if legal := rule.words.get(name) or _WORDS.get(name):
        return None if value in legal else f"Expected one of {', '.join(legal)}."
    match name:
        case "promptText" | "negativePrompt":
            limit = math.inf if model in _OPEN else PROMPT_CHARACTERS.get(model, 1000)
            right = isinstance(value, str) and 0 < len(value.encode("utf-16-le", "surrogatepass")) // 2 <= limit
            return None if right else f"Expected a string of 1 to {limit} UTF-16 code units."
        case "duration":
            return None if _lasts(value, rule.duration) else f"Expected a duration of {rule.duration} seconds."
        case "seed":
            return None if _whole(value) and 0 <= value <= MAX_SEED else f"Expected an integer from 0 to {MAX_SEED}."
        case "audio" | "draft":
            return None if isinstance(value, bool) else "Expected a boolean."
        case "cfgScale":
            number = isinstance(value, int | float) and not isinstance(value, bool)
            return None if number and 0 <= value <= 1 else "Expected a number from 0 to 1."
        case "contentModeration":
            levels: tuple[dict[str, str], ...] = (
                {},
                {"publicFigureThreshold": "auto"},
                {"publicFigureThreshold": "low"},
            )
            return None if value in levels else "Expected {publicFigureThreshold: auto or low}."
        case "providerSettings":
            return None if _shots(value) else "Expected {multiPrompt: [{prompt, duration}], shotType}."
        case "promptImage":
            return None if isinstance(value, str) else _frames(value, rule.frames)
        case "references" | "referenceVideos" | "referenceAudio":
            if isinstance(value, str) and model.startswith("klingO3"):
                return None
            right = isinstance(value, list) and all(_reference(item, name, model) for item in value)
            return None if right and len(value) <= rule.references else f"Expected at most {rule.references} {{uri}}."
        case "keyframes":
            right = isinstance(value, list) and len(value) <= 5 and all(_keyframe(item) for item in value)
            return None if right else "Expected at most 5 {uri, seconds or at, range}."
    return None if isinstance(value, str) and value else "Expected a string."


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _lasts(value: Any, legal: str) -> bool:
    """Whether `value` is a duration of `legal`: `2-10`, `5 10` or `int`, with or without `auto`."""
    words = legal.split()
    if value == "auto":
        return "auto" in words
    if not _whole(value):
        return False
    first, dash, last = words[0].partition("-")
    if dash:
        return bool(int(first) <= value <= int(last))
    return bool(value > 0) if first == "int" else str(value) in words


def _within(value: Any, *names: str) -> bool:
    return isinstance(value, dict) and value.keys() <= set(names)


def _reference(item: Any, name: str, model: str) -> bool:
    """Whether `item` is one reference: `type` belongs to sounds, films and the old model, `position` to one family."""
    typed = model == "gen4_aleph" or (name != "references" and model not in ("kling_4", "gemini_omni_flash_1.1"))
    more = ("type",) if typed else ("position",) if model.startswith("klingO3") else ()
    right = _within(item, "uri", *more) and isinstance(item.get("uri"), str)
    return right and (not typed or bool(item.get("type") == _KINDS[name]))


def _keyframe(item: Any) -> bool:
    right = _within(item, "uri", "seconds", "at", "range") and isinstance(item.get("uri"), str)
    return right and ("seconds" in item) != ("at" in item)


def _shots(value: Any) -> bool:
    if not _within(value, "multiPrompt", "shotType"):
        return False
    shots, kind = value.get("multiPrompt", []), value.get("shotType", "customize")
    right = isinstance(shots, list) and all(_within(shot, "prompt", "duration") and len(shot) == 2 for shot in shots)
    return right and kind in ("intelligence", "customize")


def _frames(value: Any, frames: str) -> str | None:
    """What is wrong with a list of pictures, or None."""
    if not isinstance(value, list) or not value:
        return "Expected a string or a list of {uri, position}."
    if not all(_within(item, "uri", "position") and isinstance(item.get("uri"), str) for item in value):
        return "Expected {uri, position}."
    places = [item.get("position") for item in value]
    if frames == FREE and not any(places):
        return None
    if frames == FIRST:
        return None if places == ["first"] else "Expected one picture, of position first."
    right = sorted(map(str, places)) in (["first"], ["first", "last"])
    return None if right else "Expected a picture of position first, and at most one of position last."
