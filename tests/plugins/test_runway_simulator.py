"""The Runway simulator is held to the sheet and to the official SDK, so that the plugin's tests may lean on it."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from PIL import Image

from proxy.testing import Call, Job, SimulatorServer
from tests.simulators.runway import FAILURES, VERSION, RunwaySimulator
from tests.simulators.runway_models import IMAGE, OLD_MODELS, RULES, TEXT, VIDEO

ROOT = Path(__file__).parents[2]
KEY, OTHER = f"key_{'a1' * 64}", f"key_{'b2' * 64}"
HEADERS = {"Authorization": f"Bearer {KEY}", "X-Runway-Version": VERSION}
CLIP: dict[str, Any] = {"model": "gen4.5", "promptText": "a paper boat", "ratio": "1280:720", "duration": 5}


def png(width: int = 64, height: int = 36) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), (40, 90, 160)).save(file, "PNG")
    return file.getvalue()


def data_uri(data: bytes, media_type: str = "image/png") -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


STILL = {"model": "gen4_turbo", "ratio": "1280:720", "promptImage": data_uri(png())}


class Prompted(RunwaySimulator):
    """Does with a task what its prompt says, for a client in another process: `STATE word` or `FAIL code`."""

    def take(self, call: Call, *, kind: str = "create", **facts: Any) -> Job:
        job = super().take(call, kind=kind, **facts)
        order, _, word = call.json.get("promptText", "").partition(" ")
        if order == "STATE":
            self.put(job.id, word, means="in_progress" if word == "RUNNING" else None)
        elif order == "FAIL":
            self.fail(job.id, code=word)
        return job


@pytest.fixture
async def sim() -> AsyncIterator[Prompted]:
    async with SimulatorServer(Prompted(keys={KEY, OTHER})) as simulator:
        yield simulator


@pytest.fixture
async def http(sim: Prompted) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(sim.base_url, headers=HEADERS) as session:
        yield session


async def call(http: aiohttp.ClientSession, method: str, path: str, **kwargs: Any) -> tuple[int, Any]:
    async with http.request(method, path, **kwargs) as response:
        is_json = response.content_type == "application/json"
        return response.status, await response.json() if is_json else await response.read()


async def made(http: aiohttp.ClientSession, route: str = TEXT, **fields: Any) -> str:
    status, data = await call(http, "POST", f"/v1/{route}", json=fields or CLIP)
    assert (status, set(data)) == (200, {"id", "estimatedCost"}), data
    return str(data["id"])


async def refused(http: aiohttp.ClientSession, route: str, fields: Any) -> str:
    """What a 400 says: the field of its first issue, or the sentence where it has none."""
    # A stream, because aiohttp warns of large bodies that are not.
    body, headers = io.BytesIO(json.dumps(fields).encode()), {"Content-Type": "application/json"}
    status, data = await call(http, "POST", f"/v1/{route}", data=body, headers=headers)
    assert status == 400, data
    assert isinstance(data["error"], str)
    return str(data["issues"][0]["path"][0] if "issues" in data else data["error"])


async def uploaded(http: aiohttp.ClientSession, data: bytes) -> str:
    """The address of an upload that went through."""
    _, begun = await call(http, "POST", "/v1/uploads", json={"filename": "a.png", "type": "ephemeral"})
    form = aiohttp.FormData(begun["fields"])
    form.add_field("file", data, filename="a.png", content_type="image/png")
    async with aiohttp.ClientSession() as bare, bare.post(begun["uploadUrl"], data=form) as response:
        assert response.status == 204
    return str(begun["runwayUri"])


# ---------------------------------------------------------------- the official SDK


@pytest.mark.skipif("REELGATE_RUNWAY_PYTHON" not in os.environ, reason="REELGATE_RUNWAY_PYTHON names no Python")
async def test_official_sdk(sim: Prompted, tmp_path: Path) -> None:
    """The SDK, which checks every answer strictly, does a whole life; its request types are the simulator's tables."""
    (tmp_path / "picture.png").write_bytes(png())
    process = await asyncio.create_subprocess_exec(
        *(os.environ["REELGATE_RUNWAY_PYTHON"], str(ROOT / "tests/plugins/runway_sdk.py")),
        *(sim.base_url, KEY, OTHER, str(tmp_path)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    assert {call.operation for call in sim.requests} >= {"create", "edit", "fetch", "delete", "upload", "content"}


# ---------------------------------------------------------------- tasks


async def test_life(sim: Prompted, http: aiohttp.ClientSession) -> None:
    """PENDING, RUNNING with a progress, SUCCEEDED with the output; the costs are where the types want them."""
    task_id = await made(http)
    seen = [(await call(http, "GET", f"/v1/tasks/{task_id}"))[1] for _ in range(3)]
    assert [task["status"] for task in seen] == ["PENDING", "RUNNING", "SUCCEEDED"]
    assert all(task["id"] == task_id and task["createdAt"].endswith("Z") for task in seen)
    assert [task.get("estimatedCost", task.get("cost")) for task in seen] == [{"credits": 60}] * 3
    assert ["cost" in task for task in seen] == [False, False, True]
    assert 0 < seen[1]["progress"] < 1
    assert sim.paid == 1


async def test_concurrency_is_no_error(sim: Prompted, http: aiohttp.ClientSession) -> None:
    """Beyond the limit a task is THROTTLED until another one of the model ends, and never refused."""
    sim.max_concurrent, sim.queued_polls = 1, 0
    first, second, other = await made(http), await made(http), await made(http, IMAGE, **STILL)
    await call(http, "GET", f"/v1/tasks/{first}")
    states = [(await call(http, "GET", f"/v1/tasks/{task}"))[1]["status"] for task in (second, second, other)]
    assert states == ["THROTTLED", "THROTTLED", "RUNNING"]
    await call(http, "GET", f"/v1/tasks/{first}")
    assert (await call(http, "GET", f"/v1/tasks/{second}"))[1]["status"] == "RUNNING"


async def test_daily_cap(sim: Prompted, http: aiohttp.ClientSession) -> None:
    """The day's limit of a model is a 429, and takes no task."""
    sim.max_daily = 1
    await made(http)
    status, data = await call(http, "POST", f"/v1/{TEXT}", json=CLIP)
    assert (status, list(data)) == (429, ["error"])
    await made(http, IMAGE, **STILL)
    assert sim.paid == 2


@pytest.mark.parametrize("code", [*FAILURES, None])
async def test_failures(sim: Prompted, http: aiohttp.ClientSession, code: str | None) -> None:
    """Each family of failureCode comes with a sentence, and with the credits that are left to pay."""
    task_id = await made(http)
    for refunded, credits in ((True, 0), (False, 60)):
        sim.fail(task_id, code=code, refunded=refunded)
        _, task = await call(http, "GET", f"/v1/tasks/{task_id}")
        assert (task["status"], task["failureCode"], task["cost"]) == ("FAILED", code, {"credits": credits})
        assert task["failure"]


@pytest.mark.parametrize(
    ("state", "cost"), [("PENDING", 0), ("THROTTLED", 0), ("RUNNING", 60), ("SUCCEEDED", 60), ("CANCELLED", 0)]
)
async def test_delete(sim: Prompted, http: aiohttp.ClientSession, state: str, cost: int) -> None:
    """One call cancels what runs and deletes what ended; the task is gone, and what ran is paid for."""
    task_id = await made(http)
    means = {"RUNNING": "in_progress", "SUCCEEDED": "completed", "CANCELLED": "failed"}.get(state)
    sim.put(task_id, state, means=means)
    _, task = await call(http, "GET", f"/v1/tasks/{task_id}")
    assert (task["status"], "output" in task) == (state, state == "SUCCEEDED")
    assert await call(http, "DELETE", f"/v1/tasks/{task_id}") == (204, b"")
    assert (sim.latest.cancelled, sim.latest.removed) == (state in ("PENDING", "THROTTLED", "RUNNING"), True)
    for method in ("GET", "DELETE"):
        assert (await call(http, method, f"/v1/tasks/{task_id}"))[0] == 404
    _, organization = await call(http, "GET", "/v1/organization")
    assert organization["creditBalance"] == 10_000 - cost
    assert organization["usage"]["models"] == {"gen4.5": {"dailyGenerations": 1}}
    for url in task.get("output", []):
        assert (await call(http, "GET", url))[0] == 403


async def test_links(sim: Prompted, http: aiohttp.ClientSession) -> None:
    """Results are on the other origin, need no key, and run out; each look at the task gives a new address."""
    task_id = await made(http)
    sim.finish(task_id)
    urls = [(await call(http, "GET", f"/v1/tasks/{task_id}"))[1]["output"][0] for _ in range(2)]
    assert urls[0] != urls[1]
    async with aiohttp.ClientSession() as bare:
        for url in urls:
            assert url.startswith(f"{sim.files_url}/")
            assert await call(bare, "GET", url) == (200, sim.video_bytes)
        assert (await call(bare, "GET", urls[0].partition("?")[0]))[0] == 403
        assert (await call(bare, "GET", urls[0].replace(sim.files_url, sim.base_url)))[0] == 404
        sim.expire_links()
        sim.gone_status = 404
        assert (await call(bare, "GET", urls[1]))[0] == 404
        _, task = await call(http, "GET", f"/v1/tasks/{task_id}")
        assert (await call(bare, "GET", task["output"][0]))[0] == 200
        sim.link_seconds = -1
        _, task = await call(http, "GET", f"/v1/tasks/{task_id}")
        assert (await call(bare, "GET", task["output"][0]))[0] == 404


# ---------------------------------------------------------------- refusals


async def test_who_may_call(sim: Prompted, http: aiohttp.ClientSession) -> None:
    """Another version or none is a 400, a wrong key a 401; other accounts' tasks, other paths and methods are none."""
    task_id = await made(http)
    for headers, status in (
        ({"X-Runway-Version": "2023-01-01"}, 400),
        ({"X-Runway-Version": ""}, 400),
        ({"Authorization": "Bearer key_nobody"}, 401),
        ({"Authorization": KEY}, 401),
        ({"Authorization": f"Bearer {OTHER}"}, 404),
    ):
        assert (await call(http, "GET", f"/v1/tasks/{task_id}", headers=headers))[0] == status
    for method, path, status in (
        ("POST", f"/v1/tasks/{task_id}/cancel", 404),
        ("GET", "/v1/tasks", 404),
        ("PUT", f"/v1/tasks/{task_id}", 405),
        ("GET", f"/v1/{TEXT}", 405),
        ("GET", f"{sim.files_url}/v1/tasks/{task_id}", 404),
    ):
        assert (await call(http, method, path))[0] == status
    assert sim.paid == 1


@pytest.mark.parametrize(
    ("route", "changes", "field"),
    [
        (TEXT, {"model": "gen4_turbo"}, "model"),
        (TEXT, {"model": "gen3a_turbo"}, "model"),
        (TEXT, {"n": 2}, "n"),
        (TEXT, {"promptImage": data_uri(png())}, "promptImage"),
        (TEXT, {"ratio": "1280x720"}, "ratio"),
        (TEXT, {"ratio": "960:960"}, "ratio"),
        (TEXT, {"duration": 11}, "duration"),
        (TEXT, {"duration": "5"}, "duration"),
        (TEXT, {"duration": 5.0}, "duration"),
        (TEXT, {"duration": True}, "duration"),
        (TEXT, {"seed": 2**32}, "seed"),
        (TEXT, {"seed": -1}, "seed"),
        (TEXT, {"promptText": ""}, "promptText"),
        (TEXT, {"promptText": "x" * 1001}, "promptText"),
        (TEXT, {"promptText": "🛶" * 501}, "promptText"),
        (TEXT, {"promptText": None}, "promptText"),
        (TEXT, {"audio": True}, "audio"),
        (TEXT, {"contentModeration": {"publicFigureThreshold": "high"}}, "contentModeration"),
        (TEXT, {"model": "veo3.1", "duration": 5}, "duration"),
        (TEXT, {"model": "gemini_omni_flash", "duration": 2}, "duration"),
        (TEXT, {"model": "gemini_omni_flash", "duration": "auto"}, "duration"),
        (IMAGE, {}, "promptImage"),
        (IMAGE, {"promptImage": [{"uri": data_uri(png()), "position": "last"}]}, "promptImage"),
        (IMAGE, {"promptImage": [{"uri": data_uri(png())}]}, "promptImage"),
        (IMAGE, {"promptImage": [{"uri": "https://a.example/a", "position": "first"}] * 2}, "promptImage"),
        (VIDEO, {"model": "aleph2"}, "videoUri"),
    ],
)
async def test_bodies(sim: Prompted, http: aiohttp.ClientSession, route: str, changes: Any, field: str) -> None:
    """What a model's route does not take is a 400 that names the field, in issues or in the sentence; it is free."""
    assert await refused(http, route, {**CLIP, **changes}) == field
    sim.with_issues = False
    assert f"{field}: " in await refused(http, route, {**CLIP, **changes})
    assert sim.paid == 0


async def test_bodies_that_are_none(http: aiohttp.ClientSession) -> None:
    """A form, a list and broken JSON are a 400."""
    for kwargs in ({"data": CLIP}, {"json": [CLIP]}, {"data": b"{", "headers": {"Content-Type": "application/json"}}):
        assert (await call(http, "POST", f"/v1/{TEXT}", **kwargs))[0] == 400


async def test_what_is_taken(sim: Prompted, http: aiohttp.ClientSession) -> None:
    """The longest prompt, frames, references and keyframes, automatic durations and models of all three routes."""
    still, film = data_uri(png()), data_uri(sim.video_bytes, "video/mp4")
    await made(http, **{**CLIP, "promptText": "🛶" * 500, "seed": 0, "contentModeration": {}})
    frames = [{"uri": still, "position": place} for place in ("first", "last")]
    await made(http, IMAGE, model="veo3.1_fast", ratio="720:1280", promptImage=frames, negativePrompt="rain")
    await made(http, IMAGE, model="seedance2", promptImage=[{"uri": still}] * 2, duration="auto")
    sound = {"type": "audio", "uri": data_uri(b"ID3", "audio/mp3")}
    await made(http, TEXT, model="hailuo3", promptText="x", references=[{"uri": still}], referenceAudio=[sound])
    keys = [{"uri": still, "seconds": 0.5}, {"uri": still, "at": 1}]
    await made(http, VIDEO, model="aleph2", videoUri=film, keyframes=keys, targetAspectRatio="21:9")
    assert (sim.latest.kind, sim.latest.facts["credits"]) == ("edit", 140)
    assert sim.calls("remix") == sim.calls("edit") == sim.calls("extend")
    sim.old_models = True
    await made(http, IMAGE, model="gen3a_turbo", promptImage=still, duration=10)
    old = {"model": "gen4_aleph", "videoUri": film, "promptText": "x", "ratio": "640:480"}
    await made(http, VIDEO, **old, references=[{"type": "image", "uri": still}])
    assert await refused(http, VIDEO, {**old, "references": [{"type": "image", "uri": still}] * 2}) == "references"
    assert sim.paid == 7


async def test_drafts(sim: Prompted, http: aiohttp.ClientSession) -> None:
    """A finished draft can be enhanced by its task's id; another task cannot."""
    draft = await made(http, TEXT, model="seedance2_5", promptText="x", draft=True)
    assert await refused(http, TEXT, {"model": "seedance2_5", "draftTaskId": draft}) == "draftTaskId"
    sim.finish(draft)
    await made(http, TEXT, model="seedance2_5", draftTaskId=draft)


# ---------------------------------------------------------------- inputs


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("http://a.example/a.png", "HTTPS"),
        ("https://10.1.2.3/a.png", "domain"),
        ("https://[::1]/a.png", "domain"),
        ("https://localhost/a.png", "domain"),
        ("https://[a/", "malformed"),
        (f"https://a.example/{'a' * 2048}", "2048"),
        ("data:image/png;base64,?", "malformed"),
        ("data:image/png,abc", "malformed"),
        ("data:;base64,AAAA", "media type"),
        ("data:application/octet-stream;base64,AAAA", "media type"),
        (data_uri(b"\x00\x00\x00\x18ftypmp42", "video/mp4"), "media type"),
        (data_uri(b"GIF89a"), "no image"),
        (data_uri(bytes(4 * 2**20)), "5 MB"),
        ("runway://nobody", "no such upload"),
    ],
)
async def test_wrong_inputs(sim: Prompted, http: aiohttp.ClientSession, uri: str, why: str) -> None:
    """An input that Runway cannot read is a 400 that names the field and the reason."""
    sentence = await refused(http, IMAGE, {**STILL, "promptImage": uri})
    assert "promptImage" in sentence
    assert why in sentence
    assert sim.paid == 0


async def test_addresses_are_taken(sim: Prompted, http: aiohttp.ClientSession) -> None:
    """An HTTPS address on a domain is an input, and so is the link of a result while it lives."""
    await made(http, IMAGE, **{**STILL, "promptImage": "https://cdn.example.com/a.png?b=c"})
    sim.finish(sim.latest.id)
    _, task = await call(http, "GET", f"/v1/tasks/{sim.latest.id}")
    edit = {"model": "aleph2", "videoUri": task["output"][0], "promptText": "in winter"}
    await made(http, VIDEO, **edit)
    assert "no image" in await refused(http, IMAGE, {**STILL, "promptImage": task["output"][0]})
    sim.expire_links()
    assert "videoUri" in await refused(http, VIDEO, edit)
    assert sim.paid == 2


async def test_uploads(sim: Prompted, http: aiohttp.ClientSession) -> None:
    """An upload is its own account's, counts once its file is there, and runs out."""
    uri = await uploaded(http, png())
    await made(http, IMAGE, **{**STILL, "promptImage": uri})
    headers = {"Authorization": f"Bearer {OTHER}"}
    assert (await call(http, "POST", f"/v1/{IMAGE}", json={**STILL, "promptImage": uri}, headers=headers))[0] == 400
    await made(http, IMAGE, **{**STILL, "promptImage": uri})
    sim.expire_uploads()
    assert "too old" in await refused(http, IMAGE, {**STILL, "promptImage": uri})
    status, begun = await call(http, "POST", "/v1/uploads", json={"filename": "a.png", "type": "ephemeral"})
    assert (status, set(begun)) == (200, {"uploadUrl", "fields", "runwayUri"})
    assert "no such upload" in await refused(http, IMAGE, {**STILL, "promptImage": begun["runwayUri"]})
    for body in ({"filename": "a.png"}, {"type": "ephemeral"}, {"filename": "a", "type": "ephemeral", "size": 1}):
        assert (await call(http, "POST", "/v1/uploads", json=body))[0] == 400


async def test_upload_forms(sim: Prompted, http: aiohttp.ClientSession) -> None:
    """The object store wants each signed field first, the file last, no key of Runway's, and its own origin."""
    _, begun = await call(http, "POST", "/v1/uploads", json={"filename": "a.png", "type": "ephemeral"})
    url, fields = begun["uploadUrl"], list(begun["fields"].items())
    file = ("file", None)

    async def sent(*parts: Any, to: str = url, **headers: str) -> int:
        form = aiohttp.FormData(quote_fields=False)
        for name, value in parts:
            form.add_field(name, value or png(), filename=None if value else "a.png")
        async with aiohttp.ClientSession() as bare, bare.post(to, data=form, headers=headers) as response:
            return response.status

    assert await sent(file, *fields) == 403
    assert await sent(*fields[:-1], file) == 403
    assert await sent(*fields, ("acl", "public"), file) == 403
    assert await sent(*fields[:-1], (fields[-1][0], "forged"), file) == 403
    assert await sent(*fields) == 400
    assert await sent(*fields, ("data", None)) == 403
    assert await sent(*fields, file, Authorization=f"Bearer {KEY}") == 400
    assert await sent(*fields, file, to=f"{sim.base_url}/uploads") == 404
    assert sim.uploads[begun["runwayUri"]].data is None
    assert await sent(*fields, file) == 204
    assert sim.uploads[begun["runwayUri"]].data == png()


def test_the_tables_hold_together() -> None:
    """Every rule names its source picture or film where the route has one, and requires only what it knows."""
    for (route, model), rule in RULES.items():
        source = {IMAGE: {"promptImage"}, TEXT: set(), VIDEO: {"videoUri", "promptVideo"}}[route]
        assert bool(rule.required & source) == bool(source), model
        assert rule.required <= rule.fields
        assert not {"promptImage", "videoUri", "promptVideo"} - source & rule.fields
    assert {model for _, model in RULES} > set(OLD_MODELS)
