"""The bodies that the MiniMax simulator takes and those that it refuses are those of the sheet."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.plugins.minimax_calls import (
    BOAT,
    CLIP,
    FILM,
    FIRST,
    LAST,
    REFERENCE,
    SOUND,
    STILL,
    TEXT,
    V1,
    V2,
    WEB,
    item,
    made,
    refused,
    running,
    still,
)
from tests.simulators.minimax import MinimaxSimulator
from tests.simulators.minimax_models import RULES


@pytest.fixture
async def ran() -> AsyncIterator[tuple[MinimaxSimulator, aiohttp.ClientSession]]:
    async with running() as both:
        yield both


@pytest.fixture
def sim(ran: tuple[MinimaxSimulator, aiohttp.ClientSession]) -> MinimaxSimulator:
    return ran[0]


@pytest.fixture
def http(ran: tuple[MinimaxSimulator, aiohttp.ClientSession]) -> aiohttp.ClientSession:
    return ran[1]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"model": "MiniMax-H3"}, "model"),
        ({"model": None}, "model"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": "x" * 2001}, "prompt"),
        ({"duration": 5}, "duration"),
        ({"duration": "6"}, "duration"),
        ({"duration": 6.0}, "duration"),
        ({"duration": 10, "resolution": "1080P"}, "resolution"),
        ({"resolution": "768p"}, "resolution"),
        ({"resolution": "512P"}, "resolution"),
        ({"model": "MiniMax-Hailuo-02", "resolution": "512P"}, "resolution"),
        (
            {"model": "MiniMax-Hailuo-02", "resolution": "512P", "first_frame_image": WEB, "last_frame_image": WEB},
            "resolution",
        ),
        ({"model": "T2V-01", "duration": 10}, "duration"),
        ({"model": "T2V-01", "resolution": "768P"}, "resolution"),
        ({"model": "T2V-01", "first_frame_image": WEB}, "first_frame_image"),
        ({"model": "I2V-01"}, "first_frame_image"),
        ({"model": "MiniMax-Hailuo-2.3-Fast"}, "first_frame_image"),
        ({"model": "S2V-01"}, "subject_reference"),
        ({"model": "S2V-01", "subject_reference": [{"type": "character", "image": [WEB] * 2}]}, "subject_reference"),
        ({"first_frame_image": WEB, "last_frame_image": WEB}, "last_frame_image"),
        ({"model": "MiniMax-Hailuo-02", "last_frame_image": WEB}, "last_frame_image"),
        ({"first_frame_image": "http://cdn.example.com/a.png"}, "first_frame_image"),
        ({"first_frame_image": STILL.partition(",")[2]}, "first_frame_image"),
        ({"first_frame_image": "data:image/png;base64,?"}, "first_frame_image"),
        ({"first_frame_image": "data:image/gif;base64,R0lGODdh"}, "first_frame_image"),
        ({"first_frame_image": "mm_file://1"}, "first_frame_image"),
        ({"first_frame_image": still(300, 400)}, "first_frame_image"),
        ({"first_frame_image": still(1000, 310)}, "first_frame_image"),
        ({"prompt_optimizer": "true"}, "prompt_optimizer"),
        ({"n": 2}, "n"),
        ({"ratio": "16:9"}, "ratio"),
    ],
)
async def test_bodies_of_v1(http: aiohttp.ClientSession, sim: MinimaxSimulator, changes: Any, field: str) -> None:
    """What a model of V1 does not take is bad parameters inside a 200, and free."""
    assert (await refused(http, V1, {**CLIP, **changes})).startswith(f"invalid params, {field} ")
    assert sim.paid == 0


async def test_what_v1_takes(sim: MinimaxSimulator, http: aiohttp.ClientSession) -> None:
    """Each model with each length and resolution, pictures of every form, nulls, and what the options allow."""
    wants = {"first_frame_image": STILL, "subject_reference": [{"type": "character", "image": [STILL]}]}
    number = 0
    for model, rule in RULES.items():
        more = {rule.picture: wants[rule.picture]} if rule.picture else {}
        for seconds, words in rule.lengths.items():
            for word in words:
                await made(http, V1, **{**CLIP, **more, "model": model, "duration": seconds, "resolution": word})
                number += 1
    ends = {"first_frame_image": still(form="JPEG"), "last_frame_image": still(form="WEBP")}
    await made(http, V1, model="MiniMax-Hailuo-02", **ends)
    flags = {"prompt_optimizer": False, "fast_pretreatment": True, "aigc_watermark": True, "callback_url": None}
    await made(http, V1, **{**CLIP, **flags, "prompt": "🛶" * 2000})
    sim.strict, sim.fast_takes_text, sim.bounds_sides = False, True, False
    await made(http, V1, **{**CLIP, "n": 2, "model": "MiniMax-Hailuo-2.3-Fast"})
    await made(http, V1, **{**CLIP, "first_frame_image": still(1000, 100)})
    assert sim.paid == number + 4


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"model": "MiniMax-Hailuo-2.3"}, "model"),
        ({"content": None}, "content"),
        ({"content": [{**TEXT, "text": ""}]}, "content"),
        ({"content": [{**TEXT, "text": "x" * 7001}]}, "content"),
        ({"content": [FIRST]}, "content"),
        ({"content": [TEXT, {"type": "image", "image": WEB}]}, "content"),
        ({"content": [TEXT, {**FIRST, "image_url": WEB}]}, "content"),
        ({"content": [TEXT, {**FIRST, "role": None}]}, "content"),
        ({"content": [TEXT, {**FIRST, "role": "reference_video"}]}, "content"),
        ({"content": [TEXT, FIRST, FIRST]}, "content"),
        ({"content": [TEXT, LAST]}, "content"),
        ({"content": [TEXT, FIRST, REFERENCE]}, "content"),
        ({"content": [TEXT, SOUND]}, "content"),
        ({"content": [TEXT, *[REFERENCE] * 10]}, "content"),
        ({"content": [TEXT, *[FILM] * 4]}, "content"),
        ({"content": [TEXT, FILM, *[SOUND] * 4]}, "content"),
        ({"content": [TEXT, item("image", "first_frame", "mm_file://1")]}, "content"),
        ({"content": [TEXT, item("image", "first_frame", "data:text/plain;base64,AAAA")]}, "content"),
        ({"duration": 3}, "duration"),
        ({"duration": 16}, "duration"),
        ({"duration": "6"}, "duration"),
        ({"duration": True}, "duration"),
        ({"resolution": "1080P"}, "resolution"),
        ({"ratio": "3:2"}, "ratio"),
        ({"ratio": "adaptive"}, "ratio"),
        ({"ratio": None}, "ratio"),
        ({"seed": 7}, "seed"),
        ({"model": "MiniMax-H3-Max", "duration": 4}, "duration"),
        ({"model": "MiniMax-H3-Max", "resolution": "2K"}, "resolution"),
        ({"model": "MiniMax-H3-Max", "content": [TEXT, REFERENCE]}, "content"),
    ],
)
async def test_bodies_of_v2(http: aiohttp.ClientSession, sim: MinimaxSimulator, changes: Any, field: str) -> None:
    """What V2 does not take is a 400 that names the field, and free."""
    assert (await refused(http, V2, {**BOAT, **changes})).startswith(f"invalid params, {field} ")
    assert sim.paid == 0


async def test_what_v2_takes(sim: MinimaxSimulator, http: aiohttp.ClientSession) -> None:
    """Frames, references with sound, files of the account, the longest prompt, and a ratio that follows a picture."""
    sim.files.add("42")
    inline = item("image", "first_frame", STILL)
    orders: list[list[dict[str, Any]]] = [
        [{**TEXT, "text": "🛶" * 7000}, inline],
        [FIRST, TEXT, LAST],
        [TEXT, *[REFERENCE] * 9, *[FILM] * 3, *[SOUND] * 3],
        [TEXT, item("video", "reference_video", "mm_file://42")],
    ]
    for content in orders:
        await made(http, V2, model="MiniMax-H3", content=content)
    assert (sim.latest.facts["tier"], sim.latest.facts["seconds"]) == ("2K", 5)
    await made(http, V2, **{**BOAT, "model": "MiniMax-H3-Max", "aigc_watermark": True, "callback_url": None})
    assert sim.paid == 5
    sim.h3_max = False
    assert "model" in await refused(http, V2, {**BOAT, "model": "MiniMax-H3-Max"})
