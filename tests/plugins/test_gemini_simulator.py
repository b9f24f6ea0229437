"""The Gemini simulator is held to the fact sheet: keys, quota, interactions and files."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from proxy.testing import SimulatorServer
from tests.plugins.gemini_bodies import FORMAT, INTERACTIONS, OMNI, PICTURE, PNG, VEO, filled
from tests.plugins.gemini_caller import OTHER, Caller, word_of
from tests.simulators.gemini import GeminiSimulator
from tests.simulators.gemini_files import KEY
from tests.simulators.vertex import FILTERED

VIDEO = {"type": "video"}


@pytest.fixture
async def sim() -> AsyncIterator[GeminiSimulator]:
    async with SimulatorServer(GeminiSimulator(keys={KEY, OTHER})) as simulator:
        yield simulator


@pytest.fixture
async def mine(sim: GeminiSimulator) -> AsyncIterator[Caller]:
    async with aiohttp.ClientSession() as http:
        yield Caller(sim, http)


@pytest.fixture
def other(sim: GeminiSimulator, mine: Caller) -> Caller:
    return Caller(sim, mine.http, OTHER)


# ---------------------------------------------------------------- both shapes


async def test_who_may(sim: GeminiSimulator, mine: Caller, other: Caller) -> None:
    """A key counts in its header or in the address, not as a Bearer, and sees what is its own."""
    made = (await mine.order())[1]["id"]
    assert (await mine.call("GET", f"interactions/{made}?key={KEY}", headers={}))[0] == 200
    for headers in ({}, {"Authorization": f"Bearer {KEY}"}, {"x-goog-api-key": "AIzaNobody"}):
        assert word_of(await mine.call("GET", f"interactions/{made}", headers=headers)) == (401, "UNAUTHENTICATED")
    sim.wrong_key_status = 400
    status, told = await mine.call("GET", f"interactions/{made}", headers={})
    assert (status, told["error"]["details"][0]["reason"]) == (400, "API_KEY_INVALID")
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/cancel")):
        assert word_of(await other.call(method, f"interactions/{made}{path}")) == (404, "NOT_FOUND")
    name = (await mine.predict())[1]["name"]
    assert word_of(await other.call("GET", name)) == (404, "NOT_FOUND")
    assert word_of(await mine.call("GET", f"{sim.files_url}/v1beta/{name}")) == (404, "NOT_FOUND")
    assert word_of(await mine.call("POST", f"{name}:cancel")) == (404, "NOT_FOUND")
    assert sim.paid == 2


async def test_versions(sim: GeminiSimulator, mine: Caller) -> None:
    """Interactions are at v1beta as documented and at v1 as the SDK has them; Veo is at v1beta alone."""
    made = (await mine.order())[1]["id"]
    for version, status in (("v1", 200), ("v1beta", 200), ("v2", 404)):
        assert (await mine.call("GET", f"{sim.base_url}/{version}/interactions/{made}"))[0] == status
    name = (await mine.predict())[1]["name"]
    assert (await mine.call("GET", f"{sim.base_url}/v1/{name}"))[0] == 404


async def test_quota(sim: GeminiSimulator, mine: Caller, other: Caller) -> None:
    """Beyond the jobs of a minute comes RESOURCE_EXHAUSTED, with a RetryInfo where it is said; polls go on."""
    sim.per_minute = 1
    made = (await mine.order())[1]["id"]
    for answer in (await mine.order(), await mine.predict()):
        assert word_of(answer) == (429, "RESOURCE_EXHAUSTED")
        assert "details" not in answer[1]["error"]
    sim.retry_delay = "37s"
    (detail,) = (await mine.order())[1]["error"]["details"]
    assert detail == {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "37s"}
    await mine.look(made)
    assert (await other.order())[0] == 200
    assert sim.paid == 2


async def test_kinds(sim: GeminiSimulator, mine: Caller) -> None:
    """Orders on one route are counted and scripted by what they are; a remix is an edit."""
    source = await mine.made()
    film = base64.b64encode(sim.video_bytes).decode()
    uri = await mine.film()
    for name, kind in (("edit", "edit"), ("extend", "extend"), ("edit_upload", "edit"), ("references", "create")):
        await mine.made(filled(INTERACTIONS[name], previous=source, film=film))
        assert sim.latest.kind == kind
    await mine.made(previous_interaction_id=source)
    assert sim.latest.kind == "edit"
    assert (await mine.predict(video={"uri": uri}))[0] == 200
    assert sim.latest.kind == "extend"
    assert [len(sim.calls(kind)) for kind in ("create", "edit", "remix", "extend")] == [3, 3, 3, 2]
    sim.then(status=503, json={}, on="remix")
    assert (await mine.order())[0] == 200
    assert (await mine.order(previous_interaction_id=source))[0] == 503
    sim.mangle(lambda told: {**told, "id": ""}, on="remix")
    assert (await mine.order(previous_interaction_id=source))[1]["id"] == ""
    sim.fault("no_id", on="remix")
    assert "id" not in (await mine.order(previous_interaction_id=source))[1]
    body: Any
    for body in ([], {"input": [None]}, {"input": 7}):
        assert (await mine.call("POST", "interactions", json=body))[0] == 400
    for body in ([], {}, {"instances": [7]}, {"instances": []}):
        assert (await mine.call("POST", f"models/{VEO}:predictLongRunning", json=body))[0] == 400
    assert (await mine.call("POST", "interactions", data=b"{"))[0] == 400


# ---------------------------------------------------------------- interactions


async def test_an_interaction(sim: GeminiSimulator, mine: Caller) -> None:
    """It is told as the sheet shows it, with the input as parts, and the film in the model's step once it is there."""
    made = (await mine.order())[1]
    seen = [await mine.look(made["id"]) for _ in range(3)]
    assert [told["status"] for told in (made, *seen)] == ["queued", "queued", "in_progress", "completed"]
    assert set(made) == {"id", "object", "status", "model", "created", "updated", "steps", "usage"}
    assert (made["object"], made["model"], made["usage"]) == ("interaction", OMNI, {})
    user = {"type": "user_input", "content": [{"type": "text", "text": "a paper boat"}]}
    assert [told["steps"] for told in seen[:2]] == [[user]] * 2
    film = {"type": "video", "mime_type": "video/mp4", "data": base64.b64encode(sim.video_bytes).decode()}
    assert seen[2]["steps"] == [user, {"type": "model_output", "content": [film]}]
    assert await mine.look(made["id"]) == seen[2]
    sim.talks = True
    types = [step["type"] for step in (await mine.look(made["id"]))["steps"]]
    assert types == ["user_input", "thought", "model_output"]
    assert sim.paid == 1


async def test_held_open(sim: GeminiSimulator, mine: Caller) -> None:
    """Without `background` the answer comes when the film is there, whoever finishes it."""
    told = (await mine.order(background=None))[1]
    assert told["status"] == "completed"
    sim.automatic = False
    waiting = [asyncio.create_task(mine.order(background=False, input=text)) for text in ("one", "two")]
    while len(sim.jobs) < 3:
        await asyncio.sleep(0)
    one, two = list(sim.jobs)[1:]
    sim.advance(one)
    sim.fail(two, message="It broke.")
    sim.finish(one)
    ends = {answer["id"]: answer["status"] for _, answer in await asyncio.gather(*waiting)}
    assert ends == {one: "completed", two: "failed"}


async def test_the_stand_in_stops(mine: Caller, sim: GeminiSimulator) -> None:
    """A call that is held open ends when the stand-in stops."""
    sim.automatic = False
    waiting = asyncio.create_task(mine.order(background=False))
    while not sim.jobs:
        await asyncio.sleep(0)
    await sim.stop()
    assert (await waiting)[1]["status"] == "queued"


async def test_ends(sim: GeminiSimulator, mine: Caller) -> None:
    """A failure says why in `errors` or in its step, a blocked film in its step; an empty end says nothing."""
    made = (await mine.order())[1]["id"]
    sim.fail(made, message="It broke.")
    told = await mine.look(made)
    assert (told["status"], told["errors"]) == ("failed", [{"code": "internal_error", "message": "It broke."}])
    assert [step["type"] for step in told["steps"]] == ["user_input"]
    sim.step_errors = True
    told = await mine.look(made)
    assert "errors" not in told
    assert told["steps"][1]["error"] == {"code": 13, "message": "It broke.", "details": []}
    sim.jobs[made].failure = None
    sim.moderate(made)
    told = await mine.look(made)
    assert (told["status"], told["steps"][1]["error"]["message"]) == ("completed", FILTERED)
    assert "content" not in told["steps"][1]
    sim.put(made, "empty")
    told = await mine.look(made)
    assert (told["status"], told["steps"][1]["content"]) == ("completed", [])
    sim.put(made, "daydreaming")
    assert (await mine.look(made))["status"] == "daydreaming"


async def test_cancel_and_delete(sim: GeminiSimulator, mine: Caller) -> None:
    """What runs can be cancelled, once; what is deleted is gone, and so is the way to edit it, but not its file."""
    made = (await mine.order())[1]["id"]
    assert (await mine.call("POST", f"interactions/{made}/cancel"))[1]["status"] == "cancelled"
    assert (sim.latest.cancelled, (await mine.look(made))["status"]) == (True, "cancelled")
    assert word_of(await mine.call("POST", f"interactions/{made}/cancel")) == (400, "FAILED_PRECONDITION")
    made = await mine.made(INTERACTIONS["uri"])
    uri = (await mine.look(made))["steps"][1]["content"][0]["uri"]
    assert await mine.call("DELETE", f"interactions/{made}") == (200, {})
    for method in ("GET", "DELETE"):
        assert word_of(await mine.call(method, f"interactions/{made}")) == (404, "NOT_FOUND")
    assert word_of(await mine.order(previous_interaction_id=made)) == (404, "NOT_FOUND")
    assert (await mine.call("GET", uri))[0] == 302


async def test_sources(sim: GeminiSimulator, mine: Caller, other: Caller) -> None:
    """Edits and extensions start from a completed and stored interaction of one's own; 40 seconds are the most."""
    running = (await mine.order())[1]["id"]
    unstored = await mine.made(store=False)
    assert word_of(await mine.order(previous_interaction_id=running)) == (400, "FAILED_PRECONDITION")
    assert word_of(await mine.order(previous_interaction_id=unstored)) == (400, "FAILED_PRECONDITION")
    long = {**FORMAT, "duration": "15s"}
    source = await mine.made(response_format=long)
    assert (await other.order(previous_interaction_id=source))[0] == 404
    edit = await mine.made(previous_interaction_id=source, response_format=VIDEO)
    assert (await mine.look(edit))["previous_interaction_id"] == source
    assert sim.latest.facts["seconds"] == 15
    extend = filled(INTERACTIONS["extend"], previous=source)
    for duration in ("2s", "11s"):
        assert (await mine.order(extend, response_format={**FORMAT, "duration": duration}))[0] == 400
    longer = await mine.made(extend, response_format={**FORMAT, "duration": "10s"})
    longest = await mine.made({**extend, "previous_interaction_id": longer})
    assert sim.latest.facts["seconds"] == 33
    assert (await mine.order({**extend, "previous_interaction_id": longest}))[0] == 400
    assert (await mine.order({**extend, "previous_interaction_id": None}))[0] == 400
    assert sim.paid == 6


def omni(*parts: Any, task: str | None = None, **changes: Any) -> dict[str, Any]:
    """What an order changes: its input and its task."""
    changes |= {"input": list(parts)} if parts else {}
    return changes if task is None else {**changes, "generation_config": {"video_config": {"task": task}}}


def form(**changes: Any) -> dict[str, Any]:
    return {"response_format": {**FORMAT, **changes}}


TEXT = {"type": "text", "text": "a boat"}
FILE = {"type": "image", "uri": "https://a.example/b.png", "mime_type": "image/png"}
REFUSED: list[dict[str, Any]] = [
    *(form(duration=value) for value in (8, "8", "8.5s", "16s", "0s", None)),
    *(form(**{name: "x"}) for name in ("aspect_ratio", "resolution", "delivery", "type", "fps")),
    form(resolution="1080P"),
    {"response_format": []},
    {"response_format": [VIDEO, VIDEO]},
    {"response_format": {**FORMAT, "duration": "2s"}, "model": "gemini-omni-1.1-flash"},
    {"response_format": {**FORMAT, "duration": "11s"}, "model": "gemini-omni-1.1-flash"},
    {"model": None},
    {"n": 2},
    {"background": "true"},
    {"stream": True},
    {"input": None},
    {"input": []},
    {"input": ""},
    {"generation_config": []},
    {"generation_config": {"video_config": {"tasks": "edit"}}},
    {"generation_config": {"sampleCount": 2}},
    {"generation_config": {"seed": "7"}},
    omni(task="remix"),
    omni(TEXT, PICTURE, task="text_to_video"),
    *(omni(TEXT, task=task) for task in ("image_to_video", "reference_to_video", "edit", "extend", "upscale")),
    omni({"type": "audio", "data": "AAAA"}),
    omni("a boat"),
    omni({"type": "user_input", "content": "a boat"}),
    omni({**TEXT, "role": "user"}),
    omni(TEXT, {**PICTURE, "uri": FILE["uri"]}),
    omni(TEXT, {"type": "image", "mime_type": "image/png"}),
    omni(TEXT, {**PICTURE, "mime_type": None}),
    omni(TEXT, {**PICTURE, "mime_type": "image/gif"}),
    omni(TEXT, {**PICTURE, "data": "?"}),
    omni(TEXT, {**PICTURE, "data": "YWJj"}),
    omni(TEXT, {**FILE, "uri": "http://a.example/b.png"}),
    omni(TEXT, {"type": "video", "data": PNG, "mime_type": "video/mp4"}),
    omni(TEXT, *[PICTURE] * 4),
    omni({"type": "text", "text": "<FIRST_FRAME> x"}, *[PICTURE] * 5),
    omni(TEXT, *[{"type": "video", "uri": FILE["uri"]}] * 4, task="reference_to_video"),
]


async def test_what_omni_refuses(sim: GeminiSimulator, mine: Caller) -> None:
    """Every value outside the sheet's lists is INVALID_ARGUMENT and costs nothing; retired models are gone."""
    for changes in REFUSED:
        status, told = await mine.order(changes)
        assert (status, told.get("error", {}).get("status")) == (400, "INVALID_ARGUMENT"), (changes, told)
    status, told = await mine.order(model="gemini-omni-flash-preview")
    assert (status, "is no longer available" in told["error"]["message"]) == (404, True)
    assert word_of(await mine.order(model=VEO)) == (404, "NOT_FOUND")
    assert word_of(await mine.call("GET", "interactions/v1_x?stream=true")) == (400, "INVALID_ARGUMENT")
    assert sim.paid == 0


async def test_what_omni_takes(sim: GeminiSimulator, mine: Caller) -> None:
    """Frames beside three references, addresses, films up to three, and formats left out are taken."""
    film = base64.b64encode(sim.video_bytes).decode()
    clip = {"type": "video", "data": film, "mime_type": "video/mp4"}
    both = {"type": "text", "text": "<FIRST_FRAME> to <LAST_FRAME> with <IMAGE_REF_1>"}
    for changes in (
        omni(both, *[PICTURE] * 5),
        omni(TEXT, FILE, task="image_to_video"),
        omni(TEXT, PICTURE, *[clip] * 2, task="reference_to_video"),
        omni(TEXT, clip, response_format=VIDEO, task="edit"),
        omni(TEXT, clip, task="extend"),
        {"response_format": None, "labels": {"who": "tests"}, "generation_config": {"seed": 7}},
        {"response_format": [{"type": "text"}, FORMAT]},
        {"input": {"type": "text", "text": "a part alone"}},
        form(resolution="4k", duration="15s", aspect_ratio="9:16"),
    ):
        status, told = await mine.order(changes)
        assert status == 200, (changes, told)
    assert (await mine.order(filled(INTERACTIONS["extend_file"], uri=await mine.film())))[0] == 200
    assert [job.facts["seconds"] for job in sim.jobs.values()] == [8, 8, 8, 2, 10, 8, 8, 8, 15, 8, 16]


# ---------------------------------------------------------------- files


async def test_files(sim: GeminiSimulator, mine: Caller, other: Caller) -> None:
    """A film by its address is a file: processed, then active, redirected to where no key is asked for."""
    made = (await mine.order(INTERACTIONS["uri"]))[1]["id"]
    told = [await mine.look(made) for _ in range(3)][-1]
    (film,) = told["steps"][1]["content"]
    uri, place = film["uri"], film["uri"].partition(":download")[0]
    assert film == {"type": "video", "mime_type": "video/mp4", "uri": f"{place}:download?alt=media"}
    assert place.startswith(f"{sim.base_url}/v1beta/files/")
    assert word_of(await mine.call("GET", uri)) == (400, "FAILED_PRECONDITION")
    assert [(await mine.call("GET", place))[1]["state"] for _ in range(3)] == ["PROCESSING", "ACTIVE", "ACTIVE"]
    status, there = await mine.call("GET", uri)
    assert (status, there.startswith(f"{sim.files_url}/films/")) == (302, True)
    assert await mine.call("GET", there, headers={}) == (200, sim.video_bytes)
    assert await mine.call("GET", there, headers={"Range": "bytes=5-9"}) == (206, sim.video_bytes[5:10])
    assert (await mine.call("GET", there.replace(sim.files_url, sim.base_url), headers={}))[0] == 404
    assert (await mine.call("GET", uri, headers={}))[0] == 401
    assert (await other.call("GET", uri))[0] == 404
    assert (await mine.call("GET", uri.replace("alt=media", "alt=json")))[1]["name"] == place.rpartition("v1beta/")[2]
    sim.redirects = False
    assert await mine.call("GET", f"{uri}&key={KEY}", headers={"Range": "bytes=-2"}) == (206, sim.video_bytes[-2:])
    sim.hold_file(made, "FAILED")
    status, file = await mine.call("GET", place)
    assert (file["state"], file["error"]["code"], file["sizeBytes"]) == ("FAILED", 13, str(len(sim.video_bytes)))
    extend = filled(INTERACTIONS["extend_file"], uri=uri)
    assert word_of(await mine.order(extend)) == (400, "FAILED_PRECONDITION")


async def test_files_end(sim: GeminiSimulator, mine: Caller) -> None:
    """An expired and a deleted file are gone, also where a download was redirected to; its interaction stays."""
    for end in ("expired", "deleted"):
        made = await mine.made(INTERACTIONS["uri"])
        uri = (await mine.look(made))["steps"][1]["content"][0]["uri"]
        place = uri.partition(":download")[0]
        there = (await mine.call("GET", uri))[1]
        if end == "expired":
            sim.expire_files()
        else:
            assert await mine.call("DELETE", place) == (200, {})
        assert word_of(await mine.call("GET", uri)) == (404, "NOT_FOUND")
        sim.gone_status = 403
        assert word_of(await mine.call("DELETE", place)) == (403, "PERMISSION_DENIED")
        sim.gone_status = 404
        assert (await mine.call("GET", there, headers={}))[0] == 404
        assert (await mine.look(made))["status"] == "completed"
    assert (await mine.call("GET", "files/nobody"))[0] == 404


async def test_bytes_break_as_content_does(sim: GeminiSimulator, mine: Caller) -> None:
    """An answer that carries a film is cut where content is cut; one that carries none is whole."""
    running, inline, uri = (await mine.order())[1]["id"], await mine.made(), await mine.made(INTERACTIONS["uri"])
    sim.cut_content_at = 0.5
    for whole in (running, uri):
        await mine.look(whole)
    with pytest.raises(aiohttp.ClientPayloadError):
        await mine.look(inline)
