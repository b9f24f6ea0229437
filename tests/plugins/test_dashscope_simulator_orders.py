"""The DashScope simulator is held to the fact sheet: what an order may say, and the files that it names."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from proxy.testing import SimulatorServer
from tests.plugins.dashscope_caller import (
    CLIP,
    ENDS,
    HEADERS,
    KEY,
    ORDERS,
    OTHER,
    STILL,
    WEB,
    call,
    data_uri,
    look,
    made,
    media,
    order,
    png,
    refused,
)
from tests.simulators.dashscope import DashScopeSimulator
from tests.simulators.dashscope_models import FIELDS, RULES, SIZES, kind_of, rule_of


@pytest.fixture
async def sim() -> AsyncIterator[DashScopeSimulator]:
    async with SimulatorServer(DashScopeSimulator(keys={KEY, OTHER})) as simulator:
        yield simulator


@pytest.fixture
async def http(sim: DashScopeSimulator) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(sim.base_url, headers=HEADERS) as session:
        yield session


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (order("wan9-t2v"), "Model not exist"),
        (order("wan2.6-t2v", size="1280x720"), "size"),
        (order("wan2.6-t2v", size="1280*721"), "size"),
        (order("wan2.6-t2v", resolution="720P"), "resolution"),
        (order("wan2.6-t2v", ratio="16:9"), "ratio"),
        (order("wanx2.1-t2v-turbo", size="1920*1080"), "size"),
        (order("wan2.7-t2v", size="1280*720"), "size"),
        (order("wan2.7-t2v", resolution="480P"), "resolution"),
        (order("wan2.7-t2v", resolution="720p"), "resolution"),
        (order("wan2.7-t2v", resolution="720P", ratio="21:9"), "ratio"),
        (order("wan2.7-i2v", media(("first_frame", WEB)), resolution="720P", ratio="16:9"), "ratio"),
        (order("wan2.6-i2v", {"img_url": WEB}, size="1280*720"), "size"),
        (order("wan2.6-t2v", duration=6), "duration"),
        (order("wan2.6-t2v", duration="5"), "duration"),
        (order("wan2.6-t2v", duration=True), "duration"),
        (order("wan2.5-t2v-preview", duration=15), "duration"),
        (order("wan2.2-t2v-plus", duration=10), "duration"),
        (order("wan2.7-t2v", duration=1), "duration"),
        (order("happyhorse-1.0-t2v", duration=2), "duration"),
        (order("wan2.6-t2v", seed=2**31), "seed"),
        (order("wan2.6-t2v", seed=-1), "seed"),
        (order("wan2.6-t2v", watermark="false"), "watermark"),
        (order("wan2.6-t2v", shot_type="double"), "shot_type"),
        (order("wan2.6-t2v", {"img_url": WEB}), "img_url"),
        (order("wan2.6-t2v", {"prompt": ""}), "prompt"),
        (order("wan2.6-t2v", {"prompt": 7}), "prompt"),
        (order("wan2.6-t2v", {"negative_prompt": 7}), "negative_prompt"),
        (order("wan2.6-i2v"), "img_url"),
        (order("wan2.6-i2v", {"img_url": [WEB]}), "img_url"),
        (order("wan2.6-i2v", {"media": []}), "media"),
        (order("wan2.6-r2v"), "reference_urls"),
        (order("wan2.6-r2v", {"reference_urls": WEB}), "reference_urls"),
        (order("wan2.2-s2v", {"img_url": WEB}), "audio_url"),
        (order("wan2.1-vace-plus"), "function"),
        (order("wan2.7-i2v"), "first_frame"),
        (order("wan2.7-i2v", {"img_url": WEB}), "img_url"),
        (order("wan2.7-i2v", {"media": [WEB]}), "media"),
        (order("wan2.7-i2v", media(("picture", WEB), ("first_frame", WEB))), "type of media"),
        (order("wan2.7-i2v", {"media": [{"type": "first_frame"}]}), "url of media"),
        (order("wan2.7-i2v", media(("first_frame", WEB), ("first_clip", WEB))), "either"),
        (order("wan2.7-i2v", media(("first_frame", WEB), ("first_frame", WEB))), "more than one"),
        (order("wan2.7-r2v"), "reference_image"),
        (order("wan2.7-videoedit"), "video"),
        (order("wan2.7-videoedit", media(("video", WEB)), audio_setting="loud"), "audio_setting"),
        ({"model": "wan2.6-t2v", "input": "a boat"}, "input"),
        ({"model": "wan2.6-t2v", "input": {"prompt": "a"}, "parameters": []}, "parameters"),
        ([CLIP], "body"),
    ],
)
async def test_bodies(sim: DashScopeSimulator, http: aiohttp.ClientSession, body: Any, word: str) -> None:
    """What a model does not take is refused in words that name the field, and it is free."""
    code, said = await refused(http, body)
    assert code == ("ModelNotFound" if "exist" in word else "InvalidParameter")
    assert word in said
    assert sim.paid == 0


async def test_bodies_that_are_none(http: aiohttp.ClientSession) -> None:
    """A form and broken JSON are InvalidParameter."""
    for kwargs in ({"data": {"model": "wan2.6-t2v"}}, {"data": b"{", "headers": {"Content-Type": "application/json"}}):
        status, data = await call(http, "POST", ORDERS, **kwargs)
        assert (status, data["code"]) == (400, "InvalidParameter")


async def test_first_and_last_frames_have_a_route_of_their_own(
    sim: DashScopeSimulator, http: aiohttp.ClientSession
) -> None:
    """kf2v models are ordered under image2video and nowhere else, and no other model is."""
    body = order("wan2.2-kf2v-flash", {"first_frame_url": STILL, "last_frame_url": STILL}, resolution="480P")
    assert "url error" in (await refused(http, body))[1]
    assert "url error" in (await refused(http, CLIP, ENDS))[1]
    await made(http, body, ENDS)
    assert (await refused(http, order("wan2.2-kf2v-flash", {"last_frame_url": STILL}), ENDS))[0] == "InvalidParameter"
    assert sim.paid == 1


async def test_what_is_taken(sim: DashScopeSimulator, http: aiohttp.ClientSession) -> None:
    """The SDK's superfluous fields, nulls, dated models, films for edits and extensions; each has its own kind."""
    film = data_uri(sim.video_bytes, "video/mp4")
    sdk = {"extend_prompt": True, "function": "video-synthesis", "img_url": "https://x/a.png", "audio_url": None}
    await made(http, order("wan2.6-i2v", sdk, duration=5, resolution="720P", seed=None))
    await made(http, order("wan2.7-t2v-2026-04-25", resolution="1080P", ratio="3:4", duration=15, unheard_of=1))
    await made(http, order("wan2.7-i2v", media(("first_frame", STILL), ("last_frame", STILL)), resolution="720P"))
    await made(http, order("wan2.7-r2v", media(("reference_image", STILL), ("reference_video", film)), ratio="1:1"))
    await made(http, order("wan2.6-r2v", {"reference_urls": [STILL, film]}, size="960*960", shot_type="multi"))
    await made(http, order("wan2.2-s2v", {"img_url": STILL, "audio_url": data_uri(b"ID3", "audio/mpeg")}))
    await made(http, order("wan2.2-i2v-plus", {"img_url": STILL, "prompt": None}, resolution="1080P"))
    assert sim.calls("edit") == sim.calls("extend") == []
    await made(http, order("wan2.7-videoedit", media(("video", film)), audio_setting="origin"))
    await made(http, order("wan2.1-vace-plus", {"function": "video_edit", "video_url": film}, size="1280*720"))
    await made(http, order("happyhorse-1.0-video-edit", media(("video", film), ("reference_image", STILL))))
    assert (len(sim.calls("create")), len(sim.calls("edit")), len(sim.calls("remix"))) == (7, 3, 3)
    await made(http, order("wan2.7-i2v", media(("first_clip", film)), duration=15))
    assert (len(sim.calls("extend")), sim.latest.kind, sim.paid) == (1, "extend", 11)


async def test_an_extension_counts_its_clip(sim: DashScopeSimulator, http: aiohttp.ClientSession) -> None:
    """The duration of a continuation is that of the whole film, and must be more than the clip's."""
    film = data_uri(sim.video_bytes, "video/mp4")
    code, said = await refused(http, order("wan2.7-i2v", media(("first_clip", film)), duration=2))
    assert (code, "first_clip" in said) == ("InvalidParameter", True)
    task_id = await made(http, order("wan2.7-i2v", media(("first_clip", film)), duration=3))
    sim.finish(task_id)
    assert (await look(http, task_id))["usage"]["duration"] == 3


async def test_long_prompts(sim: DashScopeSimulator, http: aiohttp.ClientSession) -> None:
    """A prompt that is too long is cut, or refused where the simulator is told so; each family has its own bound."""
    for model, longest in (("wan2.2-t2v-plus", 800), ("wan2.6-t2v", 1500), ("wan2.7-t2v", 5000)):
        task_id = await made(http, order(model, {"prompt": "雲" * (longest + 1)}))
        sim.finish(task_id)
        assert (await look(http, task_id))["output"]["orig_prompt"] == "雲" * longest
    sim.strict_prompts = True
    assert "prompt" in (await refused(http, order("wan2.6-t2v", {"prompt": "雲" * 1501})))[1]
    assert "negative_prompt" in (await refused(http, order("wan2.6-t2v", {"negative_prompt": "x" * 501})))[1]
    await made(http, order("wan2.6-t2v", {"prompt": "雲" * 1500, "negative_prompt": "x" * 500}))


# ---------------------------------------------------------------- files


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("ftp://a.example/a.png", "InvalidURL"),
        ("https://", "InvalidURL"),
        (base64.b64encode(png()).decode(), "InvalidURL"),
        ("data:image/png;base64,?", "InvalidURL"),
        ("data:image/png,abc", "InvalidURL"),
        ("data:video/mp4;base64,AAAA", "InvalidURL"),
        ("oss://nobody/a.png", "InvalidURL"),
        (data_uri(b"GIF89a"), "InvalidParameter"),
        (data_uri(b"\x00\x00\x00\x18ftypmp42"), "InvalidParameter"),
        (data_uri(png(359)), "InvalidParameter"),
        (data_uri(png(2001)), "InvalidParameter"),
    ],
)
async def test_wrong_inputs(sim: DashScopeSimulator, http: aiohttp.ClientSession, url: str, code: str) -> None:
    """An input that DashScope cannot read is refused with the name of its field; bare base64 is one."""
    body = order("wan2.6-i2v", {"img_url": url}, resolution="720P")
    found, said = await refused(http, body, **{"X-DashScope-OssResourceResolve": "enable"})
    assert (found, said.startswith("img_url")) == (code, True)
    assert sim.paid == 0


async def test_a_result_is_an_address_while_it_lives(sim: DashScopeSimulator, http: aiohttp.ClientSession) -> None:
    """The link of a result is an input like any other, until it runs out."""
    task_id = await made(http)
    sim.finish(task_id)
    url = (await look(http, task_id))["output"]["video_url"]
    body = order("wan2.7-videoedit", media(("video", url)))
    await made(http, body)
    assert (await refused(http, order("wan2.7-i2v", media(("first_frame", url)))))[0] == "InvalidParameter"
    sim.expire_links()
    assert (await refused(http, body))[0] == "InvalidURL"


async def test_uploads(sim: DashScopeSimulator, http: aiohttp.ClientSession) -> None:
    """A policy, a form to the other origin with the file last, and an oss:// address that needs its header."""
    status, told = await call(http, "GET", "/api/v1/uploads?action=getPolicy&model=wan2.6-i2v")
    data = told["data"]
    assert (status, data["upload_host"], data["max_file_size_mb"]) == (200, sim.files_url, 100)
    fields = {
        "OSSAccessKeyId": data["oss_access_key_id"],
        "Signature": data["signature"],
        "policy": data["policy"],
        "x-oss-object-acl": data["x_oss_object_acl"],
        "x-oss-forbid-overwrite": data["x_oss_forbid_overwrite"],
        "key": f"{data['upload_dir']}/a.png",
        "success_action_status": "200",
    }

    async def brought(*, last: bool = True, to: str = data["upload_host"], key: str = "", **changes: str) -> int:
        form = aiohttp.FormData(quote_fields=False)
        parts = [*{**fields, **changes}.items()]
        for name, value in parts if last else parts[:-1]:
            form.add_field(name, value)
        form.add_field("file", png(), filename="a.png", content_type="image/png")
        if not last:
            form.add_field(*parts[-1])
        headers = {"Authorization": key} if key else {}
        async with aiohttp.ClientSession() as bare, bare.post(to, data=form, headers=headers) as response:
            return response.status

    assert await brought(last=False) == 400
    assert await brought(key=f"Bearer {KEY}") == 400
    assert await brought(Signature="forged") == 403
    assert await brought(policy="forged") == 403
    assert await brought(to=sim.base_url) == 400
    assert await brought(**{"x-oss-content-type": "image/png"}) == 200
    assert await brought() == 409
    oss, resolve = f"oss://{fields['key']}", {"X-DashScope-OssResourceResolve": "enable"}
    body = order("wan2.6-i2v", {"img_url": oss}, resolution="720P")
    await made(http, body, **resolve)
    assert "OssResourceResolve" in (await refused(http, body))[1]
    assert (await refused(http, body, **resolve, Authorization=f"Bearer {OTHER}"))[0] == "InvalidURL"
    sim.expire_uploads()
    assert (await refused(http, body, **resolve))[0] == "InvalidURL"


async def test_policies(http: aiohttp.ClientSession) -> None:
    """A policy wants its action and a model that there is."""
    for query, code in (("model=wan2.6-i2v", "InvalidParameter"), ("action=getPolicy&model=x", "ModelNotFound")):
        assert (await call(http, "GET", f"/api/v1/uploads?{query}"))[1]["code"] == code


# ---------------------------------------------------------------- the tables


def test_the_tables_hold_together() -> None:
    """Every model of the sheet has a rule; each is sized by `size` or by `resolution`, and has lengths."""
    families = {name: [model for model in RULES if model.startswith(name)] for name in ("wan2.7", "wan2.6", "wan2.5")}
    assert {name: len(models) for name, models in families.items()} == {"wan2.7": 4, "wan2.6": 5, "wan2.5": 2}
    assert len([model for model in RULES if "2.2" in model]) == 5
    assert len([model for model in RULES if "2.1" in model]) == 6
    assert len([model for model in RULES if "happyhorse" in model]) == 4
    for name, rule in RULES.items():
        assert rule.inputs in FIELDS
        assert bool(rule.size) != bool(rule.resolution) or "vace" in name
        assert rule.seconds
        assert {*rule.size, *rule.resolution} <= SIZES.keys()
        assert (rule.route == "image2video") == ("kf2v" in name)
    assert rule_of("wan2.7-i2v-2026-04-25") is RULES["wan2.7-i2v"]
    assert rule_of("wan2.7-i2v-x") is rule_of(7) is None
    assert [kind_of(odd) for odd in (None, [], {"input": 7}, {"input": {"media": [7, {"type": []}]}})] == ["create"] * 4
