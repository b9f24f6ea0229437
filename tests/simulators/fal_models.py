"""What fal's video endpoints take: the fact sheet's table, completed from its source, the endpoint map of fal-js
(https://github.com/fal-ai/fal-js, libs/client/src/types/endpoints.ts, 2026-08-02).

What the map leaves open is as the sheet has it: the durations of veo's extensions and references, the resolutions of
minimax/h3, wan/v2.6/text-to-video. A field outside the table is taken without a look, as fal does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

CONTENT_POLICY = "content_policy_violation"
ERRORS_PAGE = "https://docs.fal.ai/errors"

_TABLE = """
alibaba/happy-horse/image-to-video alibaba/happy-horse/v1.1/image-to-video
    prompt image_url* duration#3..15 resolution=720p|1080p enable_safety_checker seed
alibaba/happy-horse/reference-to-video
    prompt* image_urls* aspect_ratio=16:9|9:16|1:1|4:3|3:4 duration#3..15 resolution=720p|1080p
    enable_safety_checker seed
alibaba/happy-horse/text-to-video
    prompt* aspect_ratio=16:9|9:16|1:1|4:3|3:4 duration#3..15 resolution=720p|1080p enable_safety_checker seed
alibaba/happy-horse/v1.1/reference-to-video
    prompt* image_urls* aspect_ratio=16:9|9:16|1:1|4:3|3:4|21:9|9:21|5:4|4:5 duration#3..15 resolution=720p|1080p
    enable_safety_checker seed
alibaba/happy-horse/v1.1/text-to-video
    prompt* aspect_ratio=16:9|9:16|1:1|4:3|3:4|21:9|9:21|5:4|4:5 duration#3..15 resolution=720p|1080p
    enable_safety_checker seed
alibaba/happy-horse/video-edit
    prompt* video_url* resolution=720p|1080p audio_setting=auto|origin enable_safety_checker reference_image_urls
    seed
bytedance/seedance-2.0/fast/image-to-video
    prompt* image_url* aspect_ratio=auto|21:9|16:9|4:3|1:1|3:4|9:16 duration=auto|4..15 resolution=480p|720p
    bitrate_mode=standard|high end_image_url end_user_id generate_audio
bytedance/seedance-2.0/fast/reference-to-video
    prompt* aspect_ratio=auto|21:9|16:9|4:3|1:1|3:4|9:16 duration=auto|4..15 resolution=480p|720p audio_urls
    bitrate_mode=standard|high end_user_id generate_audio image_urls video_urls
bytedance/seedance-2.0/fast/text-to-video
    prompt* aspect_ratio=auto|21:9|16:9|4:3|1:1|3:4|9:16 duration=auto|4..15 resolution=480p|720p
    bitrate_mode=standard|high end_user_id generate_audio
bytedance/seedance-2.0/image-to-video
    prompt* image_url* aspect_ratio=auto|21:9|16:9|4:3|1:1|3:4|9:16 duration=auto|4..15
    resolution=480p|720p|1080p|4k bitrate_mode=standard|high end_image_url end_user_id generate_audio
bytedance/seedance-2.0/mini/image-to-video
    prompt* image_url* aspect_ratio=auto|21:9|16:9|4:3|1:1|3:4|9:16 duration=auto|4..15 resolution=480p|720p
    end_image_url end_user_id generate_audio
bytedance/seedance-2.0/mini/reference-to-video
    prompt* aspect_ratio=auto|21:9|16:9|4:3|1:1|3:4|9:16 duration=auto|4..15 resolution=480p|720p audio_urls
    end_user_id generate_audio image_urls video_urls
bytedance/seedance-2.0/mini/text-to-video
    prompt* aspect_ratio=auto|21:9|16:9|4:3|1:1|3:4|9:16 duration=auto|4..15 resolution=480p|720p end_user_id
    generate_audio
bytedance/seedance-2.0/reference-to-video
    prompt* aspect_ratio=auto|21:9|16:9|4:3|1:1|3:4|9:16 duration=auto|4..15 resolution=480p|720p|1080p|4k
    audio_urls bitrate_mode=standard|high end_user_id generate_audio image_urls video_urls
bytedance/seedance-2.0/text-to-video
    prompt* aspect_ratio=auto|21:9|16:9|4:3|1:1|3:4|9:16 duration=auto|4..15 resolution=480p|720p|1080p|4k
    bitrate_mode=standard|high end_user_id generate_audio
fal-ai/kling-video/o3/4k/image-to-video fal-ai/kling-video/o3/pro/image-to-video
fal-ai/kling-video/o3/standard/image-to-video
    prompt image_url* duration=3..15 end_image_url generate_audio multi_prompt shot_type=customize|intelligent
fal-ai/kling-video/o3/4k/reference-to-video fal-ai/kling-video/o3/pro/reference-to-video
fal-ai/kling-video/o3/standard/reference-to-video
    prompt aspect_ratio=16:9|9:16|1:1 duration=3..15 elements end_image_url generate_audio image_urls multi_prompt
    shot_type=customize|intelligent start_image_url
fal-ai/kling-video/o3/4k/text-to-video fal-ai/kling-video/o3/pro/text-to-video
fal-ai/kling-video/o3/standard/text-to-video
    prompt aspect_ratio=16:9|9:16|1:1 duration=3..15 generate_audio multi_prompt shot_type=customize|intelligent
fal-ai/kling-video/o3/pro/video-to-video/edit fal-ai/kling-video/o3/standard/video-to-video/edit
    prompt* video_url* elements image_urls keep_audio shot_type
fal-ai/kling-video/o3/pro/video-to-video/reference fal-ai/kling-video/o3/standard/video-to-video/reference
    prompt* video_url* aspect_ratio=auto|16:9|9:16|1:1 duration=3..15 elements image_urls keep_audio shot_type
fal-ai/kling-video/v2.6/pro/image-to-video
    prompt* start_image_url* duration=5|10 end_image_url generate_audio negative_prompt voice_ids
fal-ai/kling-video/v2.6/pro/text-to-video
    prompt* aspect_ratio=16:9|9:16|1:1 duration=5|10 cfg_scale generate_audio negative_prompt
fal-ai/kling-video/v3/4k/image-to-video fal-ai/kling-video/v3/pro/image-to-video
fal-ai/kling-video/v3/standard/image-to-video
    prompt start_image_url* duration=3..15 cfg_scale elements end_image_url generate_audio multi_prompt
    negative_prompt shot_type=customize|intelligent
fal-ai/kling-video/v3/4k/text-to-video fal-ai/kling-video/v3/pro/text-to-video
fal-ai/kling-video/v3/standard/text-to-video
    prompt aspect_ratio=16:9|9:16|1:1 duration=3..15 cfg_scale generate_audio multi_prompt negative_prompt
    shot_type=customize|intelligent
fal-ai/kling-video/v3/turbo/pro/image-to-video fal-ai/kling-video/v3/turbo/standard/image-to-video
    prompt image_url* duration=3..15 multi_prompt
fal-ai/kling-video/v3/turbo/pro/text-to-video fal-ai/kling-video/v3/turbo/standard/text-to-video
    prompt aspect_ratio=16:9|9:16|1:1 duration=3..15 multi_prompt
fal-ai/ltx-2.3/extend-video
    prompt video_url* duration context mode=start|end
fal-ai/ltx-2.3/image-to-video
    prompt* image_url* aspect_ratio=auto|16:9|9:16 duration#6|8|10 resolution=1080p|1440p|2160p end_image_url
    fps#24|25|48|50 generate_audio
fal-ai/ltx-2.3/image-to-video/fast
    prompt* image_url* aspect_ratio=auto|16:9|9:16 duration#6|8|10|12|14|16|18|20 resolution=1080p|1440p|2160p
    end_image_url fps#24|25|48|50 generate_audio
fal-ai/ltx-2.3/reframe
    video_url* aspect_ratio=1:1|4:5|5:4|9:16|16:9 resolution=720p|1080p
fal-ai/ltx-2.3/retake-video
    prompt* video_url* duration retake_mode=replace_audio|replace_video|replace_audio_and_video start_time
fal-ai/ltx-2.3/text-to-video
    prompt* aspect_ratio=16:9|9:16 duration#6|8|10 resolution=1080p|1440p|2160p fps#24|25|48|50 generate_audio
fal-ai/ltx-2.3/text-to-video/fast
    prompt* aspect_ratio=16:9|9:16 duration#6|8|10|12|14|16|18|20 resolution=1080p|1440p|2160p fps#24|25|48|50
    generate_audio
fal-ai/luma-dream-machine/ray-2 fal-ai/luma-dream-machine/ray-2-flash
    prompt* aspect_ratio=16:9|9:16|4:3|3:4|21:9|9:21 duration=5s|9s resolution=540p|720p|1080p loop
fal-ai/luma-dream-machine/ray-2-flash/image-to-video fal-ai/luma-dream-machine/ray-2/image-to-video
    prompt* aspect_ratio=16:9|9:16|4:3|3:4|21:9|9:21 duration=5s|9s resolution=540p|720p|1080p end_image_url
    image_url loop
fal-ai/luma-dream-machine/ray-2-flash/modify fal-ai/luma-dream-machine/ray-2/modify
    prompt video_url* image_url
    mode=adhere_1|adhere_2|adhere_3|flex_1|flex_2|flex_3|reimagine_1|reimagine_2|reimagine_3
fal-ai/minimax/hailuo-2.3-fast/pro/image-to-video fal-ai/minimax/hailuo-2.3/pro/image-to-video
    prompt* image_url* prompt_optimizer
fal-ai/minimax/hailuo-2.3-fast/standard/image-to-video fal-ai/minimax/hailuo-2.3/standard/image-to-video
    prompt* image_url* duration=6|10 prompt_optimizer
fal-ai/minimax/hailuo-2.3/pro/text-to-video
    prompt* prompt_optimizer
fal-ai/minimax/hailuo-2.3/standard/text-to-video
    prompt* duration=6|10 prompt_optimizer
fal-ai/pika/v2.2/image-to-video
    prompt* image_url* duration#5|10 resolution=720p|1080p negative_prompt seed
fal-ai/pika/v2.2/pikaframes
    prompt image_urls* resolution=720p|1080p negative_prompt seed transitions
fal-ai/pika/v2.2/pikascenes
    prompt* image_urls* aspect_ratio=16:9|9:16|1:1|4:5|5:4|3:2|2:3 duration#5|10 resolution=720p|1080p
    ingredients_mode=precise|creative negative_prompt seed
fal-ai/pika/v2.2/text-to-video
    prompt* aspect_ratio=16:9|9:16|1:1|4:5|5:4|3:2|2:3 duration#5|10 resolution=1080p|720p negative_prompt seed
fal-ai/pixverse/v6/extend
    prompt* video_url* duration resolution=360p|540p|720p|1080p generate_audio_switch negative_prompt seed
    style=anime|3d_animation|clay|comic|cyberpunk
fal-ai/pixverse/v6/image-to-video
    prompt* image_url* duration resolution=360p|540p|720p|1080p generate_audio_switch generate_multi_clip_switch
    negative_prompt seed style=anime|3d_animation|clay|comic|cyberpunk thinking_type=enabled|disabled|auto
fal-ai/pixverse/v6/text-to-video
    prompt* aspect_ratio=16:9|4:3|1:1|3:4|9:16|2:3|3:2|21:9 duration resolution=360p|540p|720p|1080p
    generate_audio_switch generate_multi_clip_switch negative_prompt seed
    style=anime|3d_animation|clay|comic|cyberpunk thinking_type=enabled|disabled|auto
fal-ai/pixverse/v6/transition
    prompt* end_image_url* first_image_url* aspect_ratio=16:9|4:3|1:1|3:4|9:16|2:3|3:2|21:9 duration
    resolution=360p|540p|720p|1080p generate_audio_switch generate_multi_clip_switch negative_prompt seed
    style=anime|3d_animation|clay|comic|cyberpunk thinking_type=enabled|disabled|auto
fal-ai/veo3.1 fal-ai/veo3.1/fast
    prompt* aspect_ratio=16:9|9:16 duration=4s|6s|8s resolution=720p|1080p|4k auto_fix generate_audio
    negative_prompt safety_tolerance=1..6 seed
fal-ai/veo3.1/extend-video fal-ai/veo3.1/fast/extend-video
    prompt* video_url* aspect_ratio=auto|16:9|9:16 duration=7s resolution=720p auto_fix generate_audio
    negative_prompt safety_tolerance=1..6 seed
fal-ai/veo3.1/fast/first-last-frame-to-video fal-ai/veo3.1/first-last-frame-to-video
    prompt* first_frame_url* last_frame_url* aspect_ratio=auto|16:9|9:16 duration=4s|6s|8s resolution=720p|1080p|4k
    auto_fix generate_audio negative_prompt safety_tolerance=1..6 seed
fal-ai/veo3.1/fast/image-to-video fal-ai/veo3.1/image-to-video
    prompt* image_url* aspect_ratio=auto|16:9|9:16 duration=4s|6s|8s resolution=720p|1080p|4k auto_fix
    generate_audio negative_prompt safety_tolerance=1..6 seed
fal-ai/veo3.1/lite
    prompt* aspect_ratio=16:9|9:16 duration=4s|6s|8s resolution=720p|1080p auto_fix generate_audio negative_prompt
    safety_tolerance=1..6 seed
fal-ai/veo3.1/lite/first-last-frame-to-video
    prompt* first_frame_url* last_frame_url* aspect_ratio=auto|16:9|9:16 duration=4s|6s|8s resolution=720p|1080p
    auto_fix generate_audio negative_prompt safety_tolerance=1..6 seed
fal-ai/veo3.1/lite/image-to-video
    prompt* image_url* aspect_ratio=auto|16:9|9:16 duration=4s|6s|8s resolution=720p|1080p auto_fix generate_audio
    negative_prompt safety_tolerance=1..6 seed
fal-ai/veo3.1/reference-to-video
    prompt* image_urls* aspect_ratio=16:9|9:16 duration=8s resolution=720p|1080p|4k auto_fix generate_audio
    safety_tolerance=1..6
fal-ai/vidu/q3/image-to-video fal-ai/vidu/q3/image-to-video/turbo
    prompt image_url* duration resolution=360p|540p|720p|1080p audio end_image_url seed
fal-ai/vidu/q3/reference-to-video/mix
    prompt* reference_image_urls* aspect_ratio=16:9|9:16|4:3|3:4|1:1 duration resolution=360p|540p|720p|1080p audio
    seed
fal-ai/vidu/q3/text-to-video fal-ai/vidu/q3/text-to-video/turbo
    prompt* aspect_ratio=16:9|9:16|4:3|3:4|1:1 duration resolution=360p|540p|720p|1080p audio seed
fal-ai/wan/v2.7/edit-video
    prompt* video_url* aspect_ratio=16:9|9:16|1:1|4:3|3:4 duration#0|2|3|4|5|6|7|8|9|10 resolution=720p|1080p
    audio_setting=auto|origin enable_safety_checker reference_image_url seed
fal-ai/wan/v2.7/image-to-video
    prompt duration#2..15 resolution=720p|1080p audio_url enable_prompt_expansion enable_safety_checker
    end_image_url image_url negative_prompt seed video_url
fal-ai/wan/v2.7/reference-to-video
    prompt* aspect_ratio=16:9|9:16|1:1|4:3|3:4 duration#2..10 resolution=720p|1080p enable_safety_checker
    multi_shots negative_prompt reference_image_urls reference_video_urls seed
fal-ai/wan/v2.7/text-to-video
    prompt* aspect_ratio=16:9|9:16|1:1|4:3|3:4 duration#2..15 resolution=720p|1080p audio_url
    enable_prompt_expansion enable_safety_checker negative_prompt seed
google/gemini-omni-flash
    prompt* aspect_ratio=16:9|9:16 duration
google/gemini-omni-flash/edit
    prompt* video_url*
google/gemini-omni-flash/image-to-video
    prompt* image_url* aspect_ratio=16:9|9:16 duration
google/gemini-omni-flash/reference-to-video
    prompt* image_urls* aspect_ratio=16:9|9:16 duration
minimax/h3/image-to-video
    prompt* image_url* duration resolution=480P|768P|2K|4K end_image_url
minimax/h3/reference-to-video
    prompt* aspect_ratio=adaptive|21:9|16:9|4:3|1:1|3:4|9:16 duration resolution=480P|768P|2K|4K
    reference_audio_urls reference_image_urls reference_video_urls
minimax/h3/text-to-video
    prompt* aspect_ratio=21:9|16:9|4:3|1:1|3:4|9:16 duration resolution=480P|768P|2K|4K
wan/v2.6/text-to-video
    prompt* aspect_ratio=16:9|9:16|1:1|4:3|3:4 duration=5|10|15 resolution=720p|1080p audio_url
    enable_prompt_expansion enable_safety_checker multi_shots negative_prompt seed
wan/v2.6/image-to-video
    prompt* image_url* duration=5|10|15 resolution=720p|1080p audio_url enable_prompt_expansion
    enable_safety_checker multi_shots negative_prompt seed
wan/v2.6/image-to-video/flash
    prompt* image_url* duration=5|10|15 resolution=720p|1080p audio_url enable_prompt_expansion
    enable_safety_checker generate_audio multi_shots negative_prompt seed
wan/v2.6/reference-to-video
    prompt* video_urls* aspect_ratio=16:9|9:16|1:1|4:3|3:4 duration=5|10 resolution=720p|1080p
    enable_prompt_expansion enable_safety_checker multi_shots negative_prompt seed
wan/v2.6/reference-to-video/flash
    prompt* aspect_ratio=16:9|9:16|1:1|4:3|3:4 duration=5|10 resolution=720p|1080p enable_prompt_expansion
    enable_safety_checker generate_audio image_urls multi_shots negative_prompt seed video_urls
xai/grok-imagine-video/edit-video
    prompt* video_url* resolution=auto|480p|720p
xai/grok-imagine-video/extend-video
    prompt* video_url* duration
xai/grok-imagine-video/image-to-video
    prompt* image_url* aspect_ratio=auto|16:9|4:3|3:2|1:1|2:3|3:4|9:16 duration resolution=480p|720p
xai/grok-imagine-video/reference-to-video
    prompt* reference_image_urls* aspect_ratio=16:9|4:3|3:2|1:1|2:3|3:4|9:16 duration resolution=480p|720p
xai/grok-imagine-video/text-to-video
    prompt* aspect_ratio=16:9|4:3|3:2|1:1|2:3|3:4|9:16 duration resolution=480p|720p
xai/grok-imagine-video/v1.5/image-to-video
    prompt* image_url* duration resolution=480p|720p|1080p
"""
"""Endpoints, and the fields of those: `*` after one that must be there, `=` before words and `#` before whole numbers
that are legal, `..` within a range of either. The other fields are of a kind that their name tells."""

_KINDS = {
    "list": "elements multi_prompt transitions",
    "number": "duration cfg_scale context start_time",
    "bool": "auto_fix generate_audio prompt_optimizer enable_prompt_expansion enable_safety_checker multi_shots"
    " keep_audio loop audio generate_audio_switch generate_multi_clip_switch",
    "int": "seed",
    "text": "prompt negative_prompt shot_type end_user_id",
    "texts": "voice_ids",
}


@dataclass(frozen=True, slots=True)
class Rule:
    """What one field may be: a kind, and the legal values where they are named."""

    kind: str
    legal: tuple[str | int, ...] = ()


@dataclass(frozen=True, slots=True)
class Shape:
    """The input of one endpoint: the rule of each known field, and which must be there."""

    rules: dict[str, Rule]
    required: frozenset[str]


def shape(fields: str) -> Shape:
    """A shape in the words of the table."""
    rules, required = {}, set()
    for name, star, sign, legal in re.findall(r"(\w+)(\*?)([=#]?)(\S*)", fields):
        rules[name] = Rule("word" if sign == "=" else "int", tuple(_values(legal, sign))) if sign else _rule(name)
        required |= {name} if star else set()
    return Shape(rules, frozenset(required))


def _values(legal: str, sign: str) -> Iterator[str | int]:
    for part in legal.split("|"):
        first, dots, last = part.partition("..")
        values = [str(number) for number in range(int(first), int(last) + 1)] if dots else [part]
        yield from values if sign == "=" else map(int, values)


def _rule(name: str) -> Rule:
    if name.endswith(("_url", "_urls")):
        return Rule(name.rpartition("_")[2])
    return Rule(next(kind for kind, names in _KINDS.items() if name in names.split()))


ENDPOINTS: dict[str, Shape] = {
    endpoint: shape(fields)
    # What has a slash is an endpoint; the fields of several follow the last one.
    for endpoints, fields in re.findall(r"((?:\S+/\S+\s+)+)((?:[^\s/]+\s+)+)", _TABLE)
    for endpoint in endpoints.split()
}
"""By endpoint id."""


def app_of(endpoint: str) -> str:
    """Where the follow-up calls of an endpoint are: its owner and alias, below the namespace where it has one."""
    parts = endpoint.split("/")
    return "/".join(parts[: 3 if parts[0] in ("workflows", "comfy") else 2])


def issue(kind: str, message: str, *place: str | int, given: Any = None, **more: Any) -> dict[str, Any]:
    """One item of a `detail` list."""
    return {
        "loc": ["body", *place],
        "msg": message,
        "type": kind,
        "url": f"{ERRORS_PAGE}#{kind}",
        "ctx": more,
        "input": given,
    }


def problems(shape: Shape, fields: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What is wrong with an input, as items of a `detail` list."""
    for name in sorted(shape.required - fields.keys()):
        yield issue("missing", "Field required", name, given=fields)
    for name, rule in shape.rules.items():
        # A null is a field that is not there, where it need not be.
        if name in fields and (fields[name] is not None or name in shape.required):
            yield from _wrong(name, fields[name], rule)


def assets(shape: Shape, fields: dict[str, Any]) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
    """The files that a correct input names, as (place, kind of media, address)."""
    for name, rule in shape.rules.items():
        if not fields.get(name) or rule.kind not in ("url", "urls"):
            continue
        kind = next((kind for kind in ("video", "audio") if kind in name), "image")
        if rule.kind == "url":
            yield (name,), kind, fields[name]
        else:
            yield from (((name, number), kind, url) for number, url in enumerate(fields[name]))


def _wrong(name: str, value: Any, rule: Rule) -> Iterator[dict[str, Any]]:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    match rule.kind:
        case "text" | "url":
            if not isinstance(value, str) or (rule.kind == "url" and not value):
                yield issue("string_type", "Input should be a valid string", name, given=value)
        case "int" if not number or isinstance(value, float):
            yield issue("int_type", "Input should be a valid integer", name, given=value)
        case "number":
            if not number or value < 0:
                yield issue("float_type", "Input should be a valid number", name, given=value)
        case "bool":
            if not isinstance(value, bool):
                yield issue("bool_type", "Input should be a valid boolean", name, given=value)
        case "list" | "urls" | "texts":
            if not isinstance(value, list) or (rule.kind == "urls" and not value):
                yield issue("list_type", "Input should be a valid list", name, given=value)
            elif rule.kind != "list":
                wrong = [at for at, item in enumerate(value) if not isinstance(item, str) or not item]
                yield from (
                    issue("string_type", "Input should be a valid string", name, at, given=value[at]) for at in wrong
                )
        case _:
            if rule.legal and value not in rule.legal:
                said = " or ".join(map(repr, rule.legal))
                yield issue("literal_error", f"Input should be {said}", name, given=value, expected=said)
