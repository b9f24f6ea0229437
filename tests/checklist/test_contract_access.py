"""CONTRACT §3: tenants and credentials; links, ranges and HEAD through the whole product."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from aiohttp import FormData

from proxy.accounts.keys import mint
from proxy.api import links
from proxy.app import WIRING
from tests.checklist.desk import UNKNOWN_ID, Desk, channel, config, envelope
from tests.conftest import Launch
from tests.simulators.openai import OpenAISimulator


async def new_key(desk: Desk, *, user: str | None = None) -> str:
    """A key as `reelgate keys create` makes it."""
    wiring = desk.product.server.app[WIRING]
    assert wiring.engine is not None
    plain, key, digest = mint("a client", tenant=user, now=time.time())
    await wiring.engine._core.store.add_key(key, digest)
    return plain


async def raw(desk: Desk, method: str, path: str, key: str, **kwargs: Any) -> tuple[int, bytes, dict[str, str]]:
    """Status, bytes and headers of an answer without what is different each time: the request's id, the date."""
    headers = {"Authorization": f"Bearer {key}"}
    async with desk.product.session.request(method, desk.url + path, headers=headers, **kwargs) as response:
        shown = {
            name: value for name, value in response.headers.items() if name.lower() not in ("x-request-id", "date")
        }
        return response.status, await response.read(), shown


async def test_foreign_is_unknown_byte_for_byte(desk: Desk) -> None:
    """On every route someone else's video answers as an unknown one does, byte for byte but for the ids."""
    anna, bert = await new_key(desk), await new_key(desk)
    status, video, _ = await desk.call("POST", "/v1/videos", key=anna, json={"prompt": "x"})
    assert status == 200
    desk.sim.finish(desk.sim.latest.id)
    while (await desk.call("GET", f"/v1/videos/{video['id']}", key=anna))[1]["status"] != "completed":
        pass
    for method, path, body in (
        ("GET", "/v1/videos/{}", None),
        ("HEAD", "/v1/videos/{}", None),
        ("GET", "/v1/videos/{}/content", None),
        ("GET", "/v1/videos/{}/content?variant=thumbnail", None),
        ("HEAD", "/v1/videos/{}/content", None),
        ("DELETE", "/v1/videos/{}", None),
        ("DELETE", "/v1/videos/{}?force=true", None),
        ("POST", "/v1/videos/{}/remix", {"prompt": "x"}),
        ("POST", "/v1/videos/{}/remix", {"prompt": "x", "model": "nonsense", "metadata": {"n": 1}}),
        ("POST", "/v1/videos/edits", {"prompt": "x", "video": {"id": "{}"}}),
        ("POST", "/v1/videos/extensions", {"prompt": "x", "seconds": "4", "video": {"id": "{}"}}),
        ("GET", "/v1/video/generations/{}", None),
        ("GET", "/v1/videos?after={}", None),
    ):
        answers = []
        for video_id in (video["id"], UNKNOWN_ID):
            sent = None
            if body is not None:
                sent = {**body, "video": {"id": video_id}} if "video" in body else body
            status, data, headers = await raw(desk, method, path.replace("{}", video_id), bert, json=sent)
            answers.append((status, data.replace(video_id.encode(), b"ID"), headers))
        assert answers[0] == answers[1], (method, path)
        assert answers[0][0] == (200 if "after" in path else 404), (method, path)
    # The admin is a tenant like any other here.
    await desk.refused("GET", f"/v1/videos/{video['id']}", 404, code="video_not_found")
    assert desk.sim.paid == 1
    assert not desk.sim.latest.removed


async def test_characters_are_a_tenants_own(desk: Desk) -> None:
    """Someone else's character is unknown, to look at and to use."""
    anna, bert = await new_key(desk), await new_key(desk)
    data = FormData({"name": "Mira"})
    data.add_field("video", desk.sim.video_bytes, filename="a.mp4")
    _, made, _ = await desk.call("POST", "/v1/videos/characters", key=anna, data=data)
    unknown = "char_" + UNKNOWN_ID.partition("_")[2]
    answers = []
    for character_id in (made["id"], unknown):
        look = await raw(desk, "GET", f"/v1/videos/characters/{character_id}", bert)
        use = await raw(desk, "POST", "/v1/videos", bert, json={"prompt": "x", "characters": [{"id": character_id}]})
        answers.append([(status, body.replace(character_id.encode(), b"ID")) for status, body, _ in (look, use)])
    assert answers[0] == answers[1]
    assert [status for status, _ in answers[0]] == [404, 400]


async def test_keys_of_a_user_share(desk: Desk) -> None:
    """Keys of one user see the same videos; keys without one do not."""
    first, second, alone = [await new_key(desk, user=user) for user in ("user_mia", "user_mia", None)]
    _, video, _ = await desk.call("POST", "/v1/videos", key=first, json={"prompt": "x"})
    assert (await desk.call("GET", f"/v1/videos/{video['id']}", key=second))[0] == 200
    assert (await desk.call("GET", f"/v1/videos/{video['id']}", key=alone))[0] == 404
    pages = [(await desk.call("GET", "/v1/videos", key=key))[1]["data"] for key in (first, second, alone)]
    assert [len(page) for page in pages] == [1, 1, 0]


async def test_idempotency_keys_are_a_tenants_own(desk: Desk) -> None:
    """The same Idempotency-Key of two tenants makes two videos."""
    headers = {"Idempotency-Key": "order-1"}
    ids = set()
    for key in (await new_key(desk), await new_key(desk)):
        _, video, _ = await desk.call("POST", "/v1/videos", key=key, json={"prompt": "x"}, headers=headers)
        ids.add(video["id"])
    assert (len(ids), desk.sim.paid) == (2, 2)


async def test_the_link(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """video_url is absolute, needs no key, is stable for an hour, ends with its time and with its video, and opens
    nothing else; a key that is present and wrong decides against a good link."""
    video, other = await desk.completed(), await desk.completed()
    link = video["video_url"]
    assert re.fullmatch(re.escape(f"{desk.url}/v1/videos/{video['id']}/content?") + r"exp=\d+&sig=[\w-]+", link)
    looks = {(await desk.call("GET", f"/v1/videos/{video['id']}"))[1]["video_url"] for _ in range(3)}
    now = time.time()
    start = now // links.STABLE * links.STABLE
    for moment in (start + 1, start + links.STABLE - 1):
        monkeypatch.setattr("proxy.api.render.time.time", lambda moment=moment: moment)
        looks.add((await desk.call("GET", f"/v1/videos/{video['id']}"))[1]["video_url"])
    monkeypatch.undo()
    assert len(looks) <= 2 if time.time() // links.STABLE != start // links.STABLE else looks == {link}

    path = link.removeprefix(desk.url)
    status, body, _ = await desk.call("GET", path, key=None)
    assert (status, body) == (200, desk.sim.video_bytes)
    assert (await desk.call("GET", path, key=None, headers={"Range": "bytes=1-2"}))[0] == 206
    assert (await desk.call("HEAD", path, key=None))[0] == 200
    assert (await desk.call("GET", path.removeprefix("/v1"), key=None))[0] == 200
    for wrong in (
        path.replace(video["id"], other["id"]),
        path + "&variant=thumbnail",
        path.replace("exp=", "exp=1"),
        path[:-1] + ("A" if path[-1] != "A" else "B"),
        path.replace("/content", ""),
        path.replace("/content", "/remix"),
    ):
        assert (await desk.call("GET", wrong, key=None))[0] in (401, 405), wrong
    await desk.refused("GET", path, 401, key="wrong-key")
    await desk.refused("GET", path, 404, code="video_not_found", key=await new_key(desk))

    assert (await desk.call("DELETE", f"/v1/videos/{video['id']}"))[0] == 200
    await desk.refused("GET", path, 404, code="video_not_found", key=None)


async def test_the_link_ends(launch: Launch, sim: OpenAISimulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """After link_ttl and at most an hour more a link is a 401; public_url is where it points."""
    desk = Desk(await launch(config(channel(sim), link_ttl=60, public_url="https://video.example.com/")), sim)
    video = await desk.completed()
    assert video["video_url"].startswith(f"https://video.example.com/v1/videos/{video['id']}/content?")
    path = video["video_url"].removeprefix("https://video.example.com")
    assert (await desk.call("GET", path, key=None))[0] == 200
    later = time.time() + 60 + links.STABLE
    monkeypatch.setattr("proxy.api.content.time.time", lambda: later)
    await desk.refused("GET", path, 401, key=None)


@pytest.mark.parametrize("honours", [True, False])
async def test_unsatisfiable_ranges(desk: Desk, honours: bool) -> None:
    """A range beyond the content is a 416 in the envelope whose Content-Range tells the size."""
    desk.sim.honours_range = honours
    video = await desk.completed()
    size = len(desk.sim.video_bytes)
    for wish in (f"bytes={size}-", "bytes=99999999-", f"bytes={size}-{size + 5}", "bytes=-0"):
        status, body, headers = await desk.call("GET", f"/v1/videos/{video['id']}/content", headers={"Range": wish})
        assert status == 416, wish
        assert envelope(body, headers)["code"] == "range_not_satisfiable"
        assert headers["content-range"] == f"bytes */{size}"


async def test_heads_and_conditions(desk: Desk) -> None:
    """HEAD has the headers of GET and goes upstream as a GET; the ETag is ours, stable, and spares a transfer."""
    video = await desk.completed()
    path = f"/v1/videos/{video['id']}/content"
    _, _, whole = await desk.call("GET", path)
    status, body, head = await desk.call("HEAD", path)
    assert (status, body) == (200, b"")
    different = {"date", "x-request-id", "connection", "keep-alive"}
    assert {name: value for name, value in head.items() if name not in different} == {
        name: value for name, value in whole.items() if name not in different
    }
    assert {call.method for call in desk.sim.calls("content")} == {"GET"}
    assert (whole["accept-ranges"], whole["content-type"]) == ("bytes", "video/mp4")
    asked = len(desk.sim.calls("content"))
    status, body, _ = await desk.call("GET", path, headers={"If-None-Match": whole["etag"]})
    assert (status, body, len(desk.sim.calls("content"))) == (304, b"", asked)
    data = desk.sim.video_bytes
    resumed = {"Range": "bytes=10-", "If-Range": whole["etag"]}
    assert (await desk.call("GET", path, headers=resumed))[:2] == (206, data[10:])
    resumed = {"Range": "bytes=10-", "If-Range": '"another"'}
    assert (await desk.call("GET", path, headers=resumed))[:2] == (200, data)
    status, _, headers = await desk.call("GET", f"{path}?download=1")
    assert headers["content-disposition"] == f'attachment; filename="{video["id"]}.mp4"'


async def test_refused_leaves_nothing(desk: Desk) -> None:
    """A refused create leaves no listed video and frees its Idempotency-Key."""
    headers = {"Idempotency-Key": "k"}
    await desk.refused(
        "POST", "/v1/videos", 400, param="seconds", json={"prompt": "x", "seconds": "5"}, headers=headers
    )
    status, _, _ = await desk.call("POST", "/v1/videos", json={"prompt": "x", "seconds": "4"}, headers=headers)
    assert (status, desk.sim.paid) == (200, 1)
