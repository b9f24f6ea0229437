"""The Gemini simulator is held to Google's own SDK, google-genai, which runs in environments of its own."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from proxy.testing import SimulatorServer
from tests.plugins.gemini_bodies import INTERACTIONS, OMNI, PREDICT, VEO, filled
from tests.plugins.sdk_peer import Ask, driven
from tests.simulators.gemini import GeminiSimulator
from tests.simulators.gemini_files import KEY
from tests.simulators.vertex import FILTERED

PEER = Path(__file__).parent / "gemini_peer.py"
GOOGLE = "https://generativelanguage.googleapis.com"
BODY = INTERACTIONS["background"]
ENDS = ("failed", "cancelled", "incomplete", "budget_exceeded")
PAUSES = ("queued", "in_progress", "requires_action", "requires_continuation")


@pytest.fixture
async def sim() -> AsyncIterator[GeminiSimulator]:
    async with SimulatorServer(GeminiSimulator()) as simulator:
        # The SDK finds the id of a file in addresses of https alone.
        simulator.public_url = GOOGLE
        yield simulator


@pytest.fixture
async def omni(sim: GeminiSimulator) -> AsyncIterator[Ask]:
    async with driven("REELGATE_GENAI_PYTHON", "google-genai 3.4.0", PEER, sim.base_url, KEY) as ask:
        yield ask


@pytest.fixture
async def veo(sim: GeminiSimulator) -> AsyncIterator[Ask]:
    async with driven("REELGATE_GENAI2_PYTHON", "google-genai 2.34.0", PEER, sim.base_url, KEY) as ask:
        yield ask


def digest(sim: GeminiSimulator) -> str:
    return hashlib.sha256(sim.video_bytes).hexdigest()


# ---------------------------------------------------------------- interactions


async def test_sdk_life(sim: GeminiSimulator, omni: Ask) -> None:
    """The SDK orders in the background, polls, and finds the film in the last answer; held open it comes at once."""
    made = await omni("interact", body=BODY)
    assert (made["id"], made["status"]) == (sim.latest.id, "queued")
    polls = [await omni("look", id=made["id"]) for _ in range(4)]
    assert [poll["status"] for poll in polls] == ["queued", "in_progress", "completed", "completed"]
    assert [poll.get("film") for poll in polls] == [None, None, *[[None, digest(sim), "video/mp4"]] * 2]
    sim.talks = True
    assert (await omni("look", id=made["id"]))["film"] == [None, digest(sim), "video/mp4"]
    held = await omni("interact", body=INTERACTIONS["synchronous"])
    assert (held["status"], held["film"][1]) == ("completed", digest(sim))
    assert sim.paid == 2


async def test_sdk_files(sim: GeminiSimulator, omni: Ask) -> None:
    """A film by its address is a file that is processed, active, downloaded over a redirect, deleted and gone."""
    made = await omni("interact", body=INTERACTIONS["uri"])
    sim.jobs[made["id"]].polls = 2
    uri, data, _ = (await omni("look", id=made["id"]))["film"]
    name = f"files/{sim.latest.facts['file']}"
    assert (uri, data) == (f"{GOOGLE}/v1beta/{name}:download?alt=media", None)
    assert (await omni("download", uri=uri))["refused"][:2] == [400, "FAILED_PRECONDITION"]
    seen = [await omni("file", name=name) for _ in range(2)]
    assert [file["state"] for file in seen] == ["PROCESSING", "ACTIVE"]
    assert seen[1] | {"state": ""} == {
        "state": "",
        "size": len(sim.video_bytes),
        "type": "video/mp4",
        "source": "GENERATED",
    }
    for redirects in (True, False):
        sim.redirects = redirects
        assert (await omni("download", uri=uri))["film"] == digest(sim)
    assert len(sim.calls("stored")) == 1
    await omni("remove", name=name)
    assert (await omni("file", name=name))["refused"][:2] == [404, "NOT_FOUND"]


async def test_sdk_ends(sim: GeminiSimulator, omni: Ask) -> None:
    """Every word for a state is the SDK's own; failures have their sentence, blocked and empty ones no film."""
    made = (await omni("interact", body=BODY))["id"]
    for state in (*PAUSES, *ENDS):
        sim.put(made, state)
        said = await omni("look", id=made)
        assert (said["status"], "film" in said) == (state, False)
    sim.fail(made, code="quota", message="It broke.")
    assert (await omni("look", id=made))["errors"] == [["quota", "It broke."]]
    sim.step_errors = True
    assert (await omni("look", id=made))["faults"] == [[13, "It broke."]]
    sim.jobs[made].failure = None
    sim.moderate(made)
    said = await omni("look", id=made)
    assert (said["status"], said["faults"], "film" in said) == ("completed", [[3, FILTERED]], False)
    sim.put(made, "empty")
    said = await omni("look", id=made)
    assert (said["status"], said["faults"], "film" in said) == ("completed", [], False)


async def test_sdk_cancels_and_deletes(sim: GeminiSimulator, omni: Ask) -> None:
    """What runs is cancelled, once; what is deleted is gone."""
    made = (await omni("interact", body=BODY))["id"]
    assert (await omni("cancel", id=made))["status"] == "cancelled"
    assert (await omni("cancel", id=made))["refused"][:2] == [400, "FAILED_PRECONDITION"]
    assert (await omni("delete", id=made)) == {}
    for do in ("look", "cancel", "delete"):
        assert (await omni(do, id=made))["refused"][:2] == [404, "NOT_FOUND"]


async def test_sdk_refusals(sim: GeminiSimulator, omni: Ask) -> None:
    """The SDK reads Google's envelope of bad input, retired models, full quotas and wrong keys."""
    for change, code, word, text in (
        ({"response_format": {"type": "video", "duration": "99s"}}, 400, "INVALID_ARGUMENT", "duration 99s"),
        ({"model": "gemini-omni-flash-preview"}, 404, "NOT_FOUND", "is no longer available"),
    ):
        refused = (await omni("interact", body={**BODY, **change}))["refused"]
        assert refused[:2] == [code, word]
        assert text in refused[2]
    sim.per_minute = 0
    assert (await omni("interact", body=BODY))["refused"][:2] == [429, "RESOURCE_EXHAUSTED"]
    sim.keys.clear()
    assert (await omni("interact", body=BODY))["refused"][:2] == [401, "UNAUTHENTICATED"]
    assert sim.paid == 0


async def test_sdk_bodies(sim: GeminiSimulator, omni: Ask) -> None:
    """Every body of the list is what the SDK sends, has no field that its types do not know, and is taken."""
    first = (await omni("interact", body=BODY))["id"]
    sim.finish(first)
    film = base64.b64encode(sim.video_bytes).decode()
    uri = sim.address(sim.file_of(sim.jobs[first]))
    kinds = {}
    for name, body in INTERACTIONS.items():
        body = filled(body, previous=first, film=film, uri=uri)
        assert await omni("typed", body=body) == {"body": []}, name
        parts = body["input"] if isinstance(body["input"], str) else body["input"][0]["content"]
        for given in (parts, body["input"]):
            made = await omni("interact", body={**body, "input": given})
            assert made["id"] == sim.latest.id, (name, made)
            assert sim.requests[-1].json == body, name
        kinds[name] = sim.latest.kind
    assert {name for name, kind in kinds.items() if kind == "edit"} == {"edit", "edit_upload"}
    assert {name for name, kind in kinds.items() if kind == "extend"} == {"extend", "extend_file"}


async def test_sdk_types(sim: GeminiSimulator, omni: Ask) -> None:
    """Nothing in any answer is strange to the SDK's types, but the `object` that the documents show."""
    headers = {"x-goog-api-key": KEY}
    url = f"{sim.base_url}/v1beta/interactions"
    sim.talks = True
    async with aiohttp.ClientSession(headers=headers) as http:
        for body in (BODY, INTERACTIONS["uri"], INTERACTIONS["unstored"], INTERACTIONS["first_frame"]):
            async with http.post(url, json=body) as response:
                assert response.status == 200
            for state in ("queued", *ENDS, "filtered", "empty", "completed"):
                sim.put(sim.latest.id, state, means="failed" if state == "failed" else None)
                async with http.get(f"{url}/{sim.latest.id}") as response:
                    assert await omni("typed", answer=await response.json()) == {"answer": [".object"]}


# ---------------------------------------------------------------- Veo


async def test_sdk_predict_life(sim: GeminiSimulator, veo: Ask) -> None:
    """The SDK has a film made: pending, not done, done, and its file downloaded over a redirect."""
    order = PREDICT["text"]
    made = await veo("predict", model=VEO, source=order.source, config=order.config)
    assert made == {"name": sim.latest.id, "done": None}
    polls = [await veo("operation", name=made["name"]) for _ in range(4)]
    assert [poll["done"] for poll in polls] == [None, False, True, True]
    assert polls[2] == polls[3]
    (uri,) = polls[3]["films"]
    assert uri == sim.address(sim.file_of(sim.latest))
    assert (await veo("download", uri=uri))["film"] == digest(sim)
    assert [call.elsewhere for call in sim.requests[-2:]] == [False, True]
    assert sim.paid == 1


async def test_sdk_predict_bodies(sim: GeminiSimulator, veo: Ask) -> None:
    """The SDK makes every order of the list the body beside it, and the simulator takes it."""
    order = PREDICT["text"]
    first = (await veo("predict", model=VEO, source=order.source, config=order.config))["name"]
    sim.finish(first)
    uri = sim.address(sim.file_of(sim.jobs[first]))
    film = base64.b64encode(sim.video_bytes).decode()
    for name, order in PREDICT.items():
        source, body = (filled(one, uri=uri, film=film) for one in (order.source, order.body))
        made = await veo("predict", model=VEO, source=source, config=order.config)
        assert made["name"] == sim.latest.id, (name, made)
        assert sim.requests[-1].json == body, name
        assert (sim.latest.kind, sim.latest.facts["ignored"]) == ("extend" if "video" in source else "create", [])


async def test_sdk_predict_ends(sim: GeminiSimulator, veo: Ask) -> None:
    """The SDK reads a filtered film, a failure and an end without a reason, each as it is."""
    made = (await veo("predict", model=VEO, source={"prompt": "a cat"}, config={"numberOfVideos": 2}))["name"]
    sim.moderate(made, count=1)
    found = await veo("operation", name=made)
    assert (len(found["films"]), found["count"], found["reasons"]) == (1, 1, [FILTERED])
    sim.moderate(made)
    found = await veo("operation", name=made)
    assert (found["films"], found["count"], found["reasons"]) == ([], 2, [FILTERED] * 2)
    sim.put(made, "empty")
    found = await veo("operation", name=made)
    assert (found["done"], found.get("films", []), found["error"]) == (True, [], None)
    sim.fail(made, code="RESOURCE_EXHAUSTED", message="Too many.")
    assert (await veo("operation", name=made))["error"] == {"code": 8, "message": "Too many."}


async def test_sdk_predict_refusals(sim: GeminiSimulator, veo: Ask) -> None:
    """The SDK reads Google's envelope of bad input, unknown models, full quotas and wrong keys."""

    async def refused(model: str = VEO, **config: Any) -> list[Any]:
        said = await veo("predict", model=model, source={"prompt": "a cat"}, config=config)
        return list(said["refused"])

    assert (await refused(durationSeconds=5))[:2] == [400, "INVALID_ARGUMENT"]
    sim.retired.add(VEO)
    assert "is no longer available" in (await refused())[2]
    assert (await refused(model=OMNI))[:2] == [404, "NOT_FOUND"]
    sim.retired.clear()
    sim.per_minute = 0
    assert (await refused())[:2] == [429, "RESOURCE_EXHAUSTED"]
    sim.keys.clear()
    assert (await refused())[:2] == [401, "UNAUTHENTICATED"]
    assert sim.paid == 0
