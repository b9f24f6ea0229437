"""What the Kling simulator takes and refuses, per model and kind: the tables of the sheet."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.plugins.kling_calls import FILM, STILL, bare, client, made, refused, running, told
from tests.simulators.kling import KlingSimulator
from tests.simulators.kling_models import FIELDS, IMAGE, KINDS, MODELS, MOTION, OMNI, SEVERAL, TEXT

SIMPLE = {"type": "simple", "config": {"zoom": 3}}
V1 = {"model_name": "kling-v1"}
V15 = {"model_name": "kling-v1-5", "image": STILL, "mode": "pro"}
V26 = {"model_name": "kling-v2-6", "mode": "pro"}
V3 = {"model_name": "kling-v3"}
O1 = {"model_name": "kling-video-o1", "aspect_ratio": "1:1"}
SHOTS = [{"index": 1, "prompt": "a", "duration": "2"}, {"index": 2, "prompt": "b", "duration": "3"}]
OWN_SHOTS = {"multi_shot": True, "shot_type": "customize", "prompt": None}


@pytest.fixture
async def sim() -> AsyncIterator[KlingSimulator]:
    async with running() as simulator:
        yield simulator


@pytest.fixture
async def http(sim: KlingSimulator) -> AsyncIterator[aiohttp.ClientSession]:
    async with client(sim) as session:
        yield session


@pytest.mark.parametrize(
    ("kind", "fields", "field"),
    [
        (TEXT, {"prompt": ""}, "prompt"),
        (TEXT, {"prompt": 7}, "prompt"),
        (TEXT, {"prompt": "x" * 2501}, "prompt"),
        (TEXT, {"negative_prompt": "x" * 2501}, "negative_prompt"),
        (TEXT, {"model_name": "kling-v2-1"}, "model_name"),
        (TEXT, {"model_name": "kling-v1-5"}, "model_name"),
        (TEXT, {"model_name": "kling-video-o1"}, "model_name"),
        (TEXT, {"duration": 5}, "duration"),
        (TEXT, {"duration": "6"}, "duration"),
        (TEXT, {"duration": "5.0"}, "duration"),
        (TEXT, {**V3, "duration": "16"}, "duration"),
        (TEXT, {"mode": "4k"}, "mode"),
        (TEXT, {"aspect_ratio": "4:3"}, "aspect_ratio"),
        (TEXT, {"cfg_scale": 1.1}, "cfg_scale"),
        (TEXT, {"cfg_scale": "0.5"}, "cfg_scale"),
        (TEXT, {**V26, "cfg_scale": 0.5}, "cfg_scale"),
        (TEXT, {"sound": "off"}, "sound"),
        (TEXT, {**V26, "sound": True}, "sound"),
        (TEXT, {**V26, "mode": "std", "sound": "on"}, "sound"),
        (TEXT, {"watermark_info": [{"enabled": True}]}, "watermark_info"),
        (TEXT, {"camera_control": SIMPLE}, "camera_control"),
        (TEXT, {**V1, "duration": "10", "camera_control": SIMPLE}, "camera_control"),
        (TEXT, {**V1, "camera_control": {"type": "simple", "config": {"zoom": 3, "pan": 1}}}, "camera_control"),
        (TEXT, {**V1, "camera_control": {"type": "simple", "config": {"zoom": 11}}}, "camera_control"),
        (TEXT, {**V1, "camera_control": {**SIMPLE, "type": "down_back"}}, "camera_control"),
        (TEXT, {**V1, "camera_control": {"type": "around"}}, "camera_control"),
        (TEXT, {"multi_shot": True}, "multi_shot"),
        (TEXT, {**V3, **OWN_SHOTS, "multi_prompt": SHOTS, "duration": "6"}, "multi_prompt"),
        (TEXT, {**V3, **OWN_SHOTS, "multi_prompt": SHOTS[:1] * 7, "duration": "14"}, "multi_prompt"),
        (TEXT, {**V3, "multi_shot": True, "shot_type": "intelligence", "prompt": None}, "prompt"),
        (TEXT, {**V3, "prompt": "<<<voice_1>>> says"}, "prompt"),
        (TEXT, {**V3, "element_list": [{"element_id": "1"}]}, "element_list"),
        (TEXT, {**V3, "element_list": [{"element_id": 1}] * 4}, "element_list"),
        (IMAGE, {}, "image"),
        (IMAGE, {"image": STILL, "image_tail": STILL}, "image_tail"),
        (IMAGE, {**V1, "image": STILL, "image_tail": STILL, "duration": "10"}, "image_tail"),
        (IMAGE, {"model_name": "kling-v2-master", "image_tail": STILL, "mode": "pro"}, "image_tail"),
        (IMAGE, {**V26, "image": STILL, "image_tail": STILL, "sound": "on"}, "image_tail"),
        (IMAGE, {**V1, "image": STILL, "image_tail": STILL, "static_mask": STILL}, "image_tail"),
        (IMAGE, {"image": STILL, "static_mask": STILL}, "static_mask"),
        (IMAGE, {**V15, "camera_control": {"type": "down_back"}}, "camera_control"),
        (IMAGE, {"image": f"data:image/png;base64,{STILL}"}, "image"),
        (IMAGE, {"image": bare(299, 400)}, "image"),
        (IMAGE, {"image": bare(1000, 399)}, "image"),
        (IMAGE, {"image": bare(form="WEBP")}, "image"),
        (IMAGE, {"image": "ftp://a.example/a.png"}, "image"),
        (IMAGE, {"image": base64.b64encode(b"GIF89a").decode()}, "image"),
        (SEVERAL, {"image_list": []}, "image_list"),
        (SEVERAL, {"image_list": [{"image": STILL}] * 5}, "image_list"),
        (SEVERAL, {"image_list": [{"image_url": STILL}]}, "image_list"),
        (SEVERAL, {**V1, "image_list": [{"image": STILL}]}, "model_name"),
        (OMNI, {**O1, "aspect_ratio": None}, "aspect_ratio"),
        (OMNI, {**O1, "image_list": [{"image": STILL}]}, "image_list"),
        (OMNI, {**O1, "image_list": [{"image_url": STILL}] * 8}, "image_list"),
        (OMNI, {**O1, "image_list": [{"image_url": STILL}] * 5, "video_list": [{"video_url": FILM}]}, "image_list"),
        (OMNI, {**O1, "image_list": [{"image_url": STILL}] * 2 + [{"image_url": STILL, "type": "end_frame"}]}, "image"),
        (OMNI, {**O1, "image_list": [{"image_url": STILL, "type": "middle"}]}, "image_list"),
        (OMNI, {**O1, "prompt": "<<<image_1>>>"}, "prompt"),
        (OMNI, {**O1, "video_list": [{"video_url": FILM}] * 2}, "video_list"),
        (OMNI, {**O1, "video_list": [{"video_url": "a.mp4"}]}, "video_url"),
        (OMNI, {**O1, "duration": "11"}, "duration"),
        (OMNI, {**O1, "mode": "4k"}, "mode"),
        (MOTION, {**V26, "image_url": STILL, "video_url": FILM}, "character_orientation"),
        (MOTION, {"model_name": "kling-v1", "mode": "std"}, "model_name"),
    ],
)
async def test_bodies(http: aiohttp.ClientSession, sim: KlingSimulator, kind: str, fields: Any, field: str) -> None:
    """What a model's kind does not take is a 1201 that names the field; it is free."""
    assert (await refused(http, kind, **fields)).startswith(field)
    assert sim.paid == 0


@pytest.mark.parametrize(
    ("kind", "fields", "units"),
    [
        (TEXT, {"model_name": None}, 1),
        (TEXT, {"prompt": "x" * 2500, "negative_prompt": "rain", "cfg_scale": 0, "mode": "pro"}, 3.5),
        (TEXT, {**V1, "camera_control": SIMPLE}, 1),
        (TEXT, {"model_name": "kling-v2-master", "mode": "pro"}, 10),
        (TEXT, {**V26, "sound": "on", "duration": "10"}, 10),
        (TEXT, {**V26, "mode": "std", "sound": "off"}, 1.5),
        (TEXT, {**V3, "duration": "15", "mode": "4k"}, 45),
        (TEXT, {**V3, **OWN_SHOTS, "multi_prompt": SHOTS}, 3),
        (IMAGE, {**V1, "image": "https://a.example/a", "image_tail": STILL}, 1),
        (IMAGE, {**V15, "image_tail": STILL, "duration": "10"}, 7),
        (IMAGE, {**V15, "camera_control": SIMPLE}, 3.5),
        (IMAGE, {**V1, "image": bare(form="JPEG"), "dynamic_masks": [{"mask": STILL, "trajectories": []}]}, 1),
        (IMAGE, {**V26, "image_tail": bare(300, 750)}, 2.5),
        (SEVERAL, {"image_list": [{"image": STILL}] * 4, "aspect_ratio": "1:1"}, 2),
        (OMNI, {**O1, "image_list": [{"image_url": STILL}] * 7, "prompt": "<<<image_7>>>"}, 4),
        (OMNI, {**O1, "aspect_ratio": None, "video_list": [{"video_url": FILM, "keep_original_sound": "no"}]}, 6),
        (MOTION, {**V26, "image_url": STILL, "video_url": FILM, "character_orientation": "image"}, 3.75),
    ],
)
async def test_what_is_taken(
    sim: KlingSimulator, http: aiohttp.ClientSession, kind: str, fields: Any, units: float
) -> None:
    """The bounds themselves are legal; the units are those of the price list."""
    task_id = await made(http, kind, **fields)
    assert (sim.latest.facts["ignored"], sim.latest.facts["units"]) == ([], pytest.approx(units))
    assert (await told(http, task_id, kind))["task_status"] == "submitted"


def test_the_tables_hold_together() -> None:
    """Every kind has its fields, and every model a price for each of its modes."""
    assert FIELDS.keys() == set(KINDS)
    for name, rule in MODELS.items():
        assert set(rule.units) == set(rule.modes), name
        assert {*rule.sound, *rule.tail, rule.usual_mode} <= set(rule.modes), name
