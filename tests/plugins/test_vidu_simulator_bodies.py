"""What the Vidu simulator takes and refuses: bodies, pictures, extensions, and what they cost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.plugins.openai_oracle import picture_file
from tests.plugins.vidu_calls import (
    BOAT,
    CLIP,
    HEADERS,
    LONGER,
    OTHER,
    SHEET,
    STILL,
    Prompted,
    call,
    made,
    order,
    refused,
    running,
    told,
    uri,
)
from tests.simulators.media import picture
from tests.simulators.vidu_models import (
    ENDS,
    EXTEND,
    FIELDS,
    FRAMES,
    IMAGE,
    MODELS,
    REFERENCE,
    RULES,
    TEXT,
    filled,
    problems,
)
from tests.simulators.vidu_models import credits as price


@pytest.fixture
async def ran() -> AsyncIterator[tuple[Prompted, aiohttp.ClientSession]]:
    async with running() as both:
        yield both


@pytest.fixture
def sim(ran: tuple[Prompted, aiohttp.ClientSession]) -> Prompted:
    return ran[0]


@pytest.fixture
def http(ran: tuple[Prompted, aiohttp.ClientSession]) -> aiohttp.ClientSession:
    return ran[1]


@pytest.mark.parametrize(
    ("route", "changes", "expected"),
    [
        (TEXT, {"model": None}, ("FieldLacking", "model")),
        (TEXT, {"model": "vidu9"}, ("ModelUnavailable", "model")),
        (TEXT, {"model": "viduq2-pro"}, ("FieldInvalid", "model")),
        (TEXT, {"prompt": ""}, ("FieldLacking", "prompt")),
        (TEXT, {"prompt": "x" * 2001}, ("FieldInvalid", "prompt")),
        (TEXT, {"prompt": 7}, ("FieldInvalid", "prompt")),
        (TEXT, {"duration": 11}, ("FieldInvalid", "duration")),
        (TEXT, {"duration": "5"}, ("FieldInvalid", "duration")),
        (TEXT, {"duration": True}, ("FieldInvalid", "duration")),
        (TEXT, {"resolution": "360p"}, ("FieldInvalid", "resolution")),
        (TEXT, {"model": "vidu1.5", "duration": 8, "resolution": "1080p"}, ("FieldInvalid", "resolution")),
        (TEXT, {"aspect_ratio": "21:9"}, ("FieldInvalid", "aspect_ratio")),
        (TEXT, {"model": "viduq1", "aspect_ratio": "4:3"}, ("FieldInvalid", "aspect_ratio")),
        (TEXT, {"images": [STILL]}, ("FieldUnwanted", "images")),
        (TEXT, {"size": "1280x720"}, ("FieldUnwanted", "size")),
        (TEXT, {"seed": 0.5}, ("FieldInvalid", "seed")),
        (TEXT, {"audio": "yes"}, ("FieldInvalid", "audio")),
        (TEXT, {"style": "noir"}, ("FieldInvalid", "style")),
        (TEXT, {"movement_amplitude": "huge"}, ("FieldInvalid", "movement_amplitude")),
        (TEXT, {"wm_position": 5}, ("FieldInvalid", "wm_position")),
        (TEXT, {"payload": "x" * 1_048_577}, ("FieldInvalid", "payload")),
        (IMAGE, {"images": None}, ("FieldLacking", "images")),
        (IMAGE, {"images": [STILL] * 2}, ("FieldItemCountOutOfRange", "images")),
        (IMAGE, {"aspect_ratio": "16:9"}, ("FieldUnwanted", "aspect_ratio")),
        (IMAGE, {"model": "viduq2"}, ("FieldInvalid", "model")),
        (IMAGE, {"model": "viduq2-pro-fast", "resolution": "540p"}, ("FieldInvalid", "resolution")),
        (ENDS, {}, ("FieldItemCountOutOfRange", "images")),
        (ENDS, {"images": [STILL] * 2, "duration": 9}, ("FieldInvalid", "duration")),
        (ENDS, {"images": [STILL, uri(picture_file(64, 36))]}, ("FieldInvalid", "images")),
        (REFERENCE, {"prompt": "x"}, ("FieldInvalid", "model")),
        (REFERENCE, {"model": "viduq2"}, ("FieldLacking", "prompt")),
        (REFERENCE, {**CLIP, "images": [STILL] * 8}, ("FieldItemCountOutOfRange", "images")),
        (REFERENCE, {**CLIP, "subjects": [{"id": "a", "images": [STILL]}]}, ("FieldUnwanted", "images")),
        (REFERENCE, {**CLIP, "images": None, "subjects": ["a"]}, ("FieldLacking", "subjects")),
        (
            REFERENCE,
            {**CLIP, "images": None, "subjects": [{"id": "a", "images": [STILL] * 4}]},
            ("FieldItemCountOutOfRange", "subjects"),
        ),
        (FRAMES, {"images": None}, ("FieldLacking", "start_image")),
        (FRAMES, {"images": None, "start_image": STILL}, ("FieldItemCountOutOfRange", "image_settings")),
        (
            FRAMES,
            {"images": None, "start_image": STILL, "image_settings": [{"key_image": STILL, "duration": 8}] * 2},
            ("FieldInvalid", "image_settings"),
        ),
        (EXTEND, {}, ("FieldLacking", "video_creation_id")),
        (EXTEND, {**LONGER, "video_creation_id": "1"}, ("FieldUnwanted", "video_url")),
        (EXTEND, {**LONGER, "duration": 8}, ("FieldInvalid", "duration")),
        (EXTEND, {**LONGER, "model": "viduq3-pro"}, ("FieldInvalid", "model")),
        (EXTEND, {**LONGER, "images": [STILL] * 2}, ("FieldItemCountOutOfRange", "images")),
        (EXTEND, {**LONGER, "video_url": "http://cdn.example.com/a.mp4"}, ("FieldInvalid", "video_url")),
    ],
)
async def test_bodies(
    sim: Prompted, http: aiohttp.ClientSession, route: str, changes: Any, expected: tuple[str, str]
) -> None:
    """What a route does not take is a 400 with a name, and costs nothing."""
    base = CLIP if route == TEXT else BOAT
    assert await refused(http, route, **{**base, **changes}) == expected
    assert sim.paid == 0


async def test_bodies_that_are_none(sim: Prompted, http: aiohttp.ClientSession) -> None:
    """A form, a list, broken JSON and more than 20 MB are a 400."""
    large = {**CLIP, "meta_data": "x" * (20 * 2**20)}
    for kwargs in ({"data": CLIP}, {"json": [CLIP]}, {"data": b"{", "headers": {"Content-Type": "application/json"}}):
        assert (await call(http, "POST", f"/ent/v2/{TEXT}", **kwargs))[0] == 400
    assert (await order(http, **large))[1]["reason"] == "BadRequest"
    assert sim.paid == 0


async def test_what_is_taken(sim: Prompted, http: aiohttp.ClientSession) -> None:
    """Nulls count as absent, every route takes its fields, and a lenient one those that it does not have."""
    switches: dict[str, Any] = {
        "bgm": True,
        "audio": True,
        "is_rec": False,
        "watermark": True,
        "wm_position": 1,
        "wm_url": "https://a/b",
    }
    await made(
        http, **SHEET, **switches, images=None, voice_id="v1", meta_data="{}", callback_url="https://a/b", seed=0
    )
    await made(http, **{**CLIP, "model": "viduq3-pro", "duration": 16, "resolution": "540p", "aspect_ratio": "4:3"})
    await made(http, IMAGE, **BOAT, duration=10, seed=7)
    still = uri(picture("WEBP"), "image/webp")
    await made(http, ENDS, model="viduq2-turbo", images=[uri(picture("JPEG"), "image/jpeg"), still], duration=8)
    await made(http, ENDS, model="viduq2-turbo", images=["https://a.example/a.png", still])
    await made(http, REFERENCE, **CLIP, images=[STILL] * 7, aspect_ratio="3:4")
    await made(http, REFERENCE, **CLIP, subjects=[{"id": "fox", "images": [STILL] * 3, "voice_id": "v1"}])
    items = [{"key_image": STILL, "duration": 2, "prompt": "on"}, {"key_image": STILL, "duration": 7}]
    await made(http, FRAMES, model="viduq2-turbo", start_image=STILL, image_settings=items)
    assert sim.latest.facts["fields"]["duration"] == 9
    assert await refused(http, IMAGE, **BOAT, aspect_ratio="16:9") == ("FieldUnwanted", "aspect_ratio")
    sim.strict = False
    await made(http, IMAGE, **BOAT, aspect_ratio="16:9", size=["x"])
    assert "images" in await refused(http, **CLIP, images=[STILL])
    sim.turbo = False
    assert await refused(http, **{**CLIP, "model": "viduq3-turbo"}) == ("ModelUnavailable", "model")
    assert sim.paid == 9


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (STILL.partition(",")[2], "ImageFormatInvalid"),
        ("data:image/gif;base64,R0lGODlh", "ImageFormatInvalid"),
        ("data:;base64,AAAA", "ImageFormatInvalid"),
        ("data:image/png;base64,?", "ImageFormatInvalid"),
        (uri(b"no picture"), "ImageFormatInvalid"),
        (uri(picture_file(100, 20)), "PageSizeOutOfRange"),
        ("http://a.example/a.png", "ImageDownloadFailure"),
        ("https://[a/", "ImageDownloadFailure"),
        (7, "ImageFormatInvalid"),
    ],
)
async def test_wrong_pictures(sim: Prompted, http: aiohttp.ClientSession, item: Any, reason: str) -> None:
    """A picture is an HTTPS address or a data URI of a known type with a readable picture in it; never bare base64."""
    assert await refused(http, IMAGE, **{**BOAT, "images": [item]}) == (reason, "images")
    assert sim.paid == 0


async def test_extensions(sim: Prompted, http: aiohttp.ClientSession) -> None:
    """An extension names a creation of the own account, or an address; its own links count while they live."""
    task_id = await made(http)
    sim.finish(task_id)
    (creation,) = (await told(http, task_id))["creations"]
    longer = {"model": "viduq2-turbo", "prompt": "it sails away", "duration": 5}
    job_id = await made(http, EXTEND, **longer, video_creation_id=creation["id"], images=[STILL])
    assert (sim.jobs[job_id].kind, sim.jobs[job_id].facts["credits"], len(sim.calls("extend"))) == ("extend", 35, 1)
    await made(http, EXTEND, model="viduq2-pro", video_url=creation["url"])
    body = {**longer, "video_creation_id": creation["id"]}
    for wrong, headers in (
        ({**body, "video_creation_id": task_id}, HEADERS),
        (body, {"Authorization": f"Token {OTHER}"}),
    ):
        status, data = await call(http, "POST", f"/ent/v2/{EXTEND}", json=wrong, headers=headers)
        assert (status, data["reason"]) == (404, "CreationNotFound")
    sim.expire_links()
    assert (await refused(http, EXTEND, **longer, video_url=creation["url"]))[1] == "video_url"


@pytest.mark.parametrize(
    ("route", "fields", "cost"),
    [
        (TEXT, {"model": "viduq2", "duration": 5, "resolution": "720p"}, 20),
        (TEXT, {"model": "viduq3-pro", "duration": 10, "resolution": "720p"}, 250),
        (TEXT, {"model": "viduq3-pro", "duration": 1, "resolution": "1080p"}, 30),
        (TEXT, {"model": "viduq2", "duration": 5, "resolution": "720p", "audio": True}, 35),
        (TEXT, {"model": "viduq2", "duration": 5, "resolution": "720p", "off_peak": True}, 10),
        (EXTEND, {"model": "viduq2-turbo", "duration": 5, "resolution": "540p"}, 18),
        (EXTEND, {"model": "viduq2-turbo", "duration": 5, "resolution": "1080p"}, 80),
        (EXTEND, {"model": "viduq2-pro", "duration": 5, "resolution": "540p"}, 35),
        (EXTEND, {"model": "viduq2-pro", "duration": 5, "resolution": "720p"}, 70),
        (EXTEND, {"model": "viduq2-pro", "duration": 5, "resolution": "1080p"}, 120),
    ],
)
def test_credits(route: str, fields: dict[str, Any], cost: int) -> None:
    """Credits are the sheet's example, and its prices at 0.03125 a credit."""
    assert price(route, filled(route, fields)) == cost


def test_the_tables_hold_together() -> None:
    """Every default is legal, of 5 seconds where those are legal, and each route has what it needs."""
    for route, rules in RULES.items():
        for model, lengths in rules.items():
            assert not lengths.keys() & {5} or next(iter(lengths)) == 5, (route, model)
            needed: dict[str, Any] = {"images": ["https://a/b"] * {IMAGE: 1, ENDS: 2, REFERENCE: 1}.get(route, 0)}
            needed |= {"video_url": "https://a/b"} if route == EXTEND else {}
            body = {"model": model, "prompt": "x", **{name: value for name, value in needed.items() if value}}
            wrong = list(problems(route, body, strict=True, longest=2000, turbo=True))
            assert not wrong or route == FRAMES, (route, model, wrong)
    assert FIELDS.keys() == RULES.keys()
    assert len(MODELS) == 10
