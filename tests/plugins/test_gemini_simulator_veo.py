"""The Gemini simulator is held to the fact sheet: operations of Veo on the Developer API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from proxy.testing import SimulatorServer
from tests.plugins.gemini_bodies import INTERACTIONS, PNG, PREDICT, VEO, VEO_PICTURE
from tests.plugins.gemini_caller import OTHER, Caller, word_of
from tests.simulators.gemini import GeminiSimulator
from tests.simulators.gemini_files import KEY
from tests.simulators.vertex import FILTERED

FAST, LITE, OLD = "veo-3.0-fast-generate-001", "veo-3.1-lite-generate-preview", "veo-2.0-generate-001"


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


async def test_an_operation(sim: GeminiSimulator, mine: Caller) -> None:
    """It has a name, then it is not done, then it has the address of a file that is there for as long as it is."""
    status, made = await mine.predict()
    assert (status, set(made)) == (200, {"name"})
    assert made["name"].startswith(f"models/{VEO}/operations/")
    seen = [await mine.look(made["name"]) for _ in range(3)]
    assert seen[0] == made
    assert (seen[1]["done"], seen[2]["done"]) == (False, True)
    assert seen[2]["response"]["@type"].endswith("v1beta.PredictLongRunningResponse")
    (sample,) = seen[2]["response"]["generateVideoResponse"]["generatedSamples"]
    place = sample["video"]["uri"].partition(":download")[0]
    assert (await mine.call("GET", place))[1]["state"] == "ACTIVE"
    assert await mine.call("DELETE", place) == (200, {})
    assert sim.latest.removed
    assert await mine.look(made["name"]) == seen[2]
    assert (await mine.call("GET", sample["video"]["uri"]))[0] == 404
    assert word_of(await mine.call("GET", f"models/{VEO}/operations/none")) == (404, "NOT_FOUND")


async def test_ends_of_operations(sim: GeminiSimulator, mine: Caller) -> None:
    """Filtered and empty ends are done without a film; a failed one says a number; an unknown word is pending."""
    name = (await mine.predict(parameters={"sampleCount": 2}))[1]["name"]
    sim.moderate(name)
    response = (await mine.look(name))["response"]["generateVideoResponse"]
    assert response == {"raiMediaFilteredCount": 2, "raiMediaFilteredReasons": [FILTERED] * 2}
    sim.moderate(name, count=1)
    response = (await mine.look(name))["response"]["generateVideoResponse"]
    assert (len(response["generatedSamples"]), response["raiMediaFilteredCount"]) == (1, 1)
    sim.put(name, "empty")
    assert (await mine.look(name))["response"]["generateVideoResponse"] == {}
    sim.fail(name, message="It broke.")
    assert await mine.look(name) == {"name": name, "done": True, "error": {"code": 13, "message": "It broke."}}
    sim.put(name, "daydreaming")
    assert await mine.look(name) == {"name": name}


REFERENCES = {"referenceImages": [{"image": VEO_PICTURE, "referenceType": "ASSET"}]}
VEO_REFUSED: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    *((VEO, {"durationSeconds": value}, {}) for value in (5, "8", True, None, 8.0)),
    *((VEO, {"sampleCount": value}, {}) for value in (0, 5)),
    *((VEO, {"seed": value}, {}) for value in (-1, 2**32)),
    *((VEO, {name: "x"}, {}) for name in ("aspectRatio", "resolution", "personGeneration", "enhancePrompt")),
    *((VEO, {name: True}, {}) for name in ("generateAudio", "fps", "storageUri", "negativePrompt")),
    *((VEO, {"resolution": high, "durationSeconds": 6}, {}) for high in ("1080p", "4k")),
    (VEO, {"durationSeconds": 6}, REFERENCES),
    (VEO, {}, {"referenceImages": REFERENCES["referenceImages"] * 4}),
    (VEO, {}, {"referenceImages": [{"image": VEO_PICTURE, "referenceType": "style"}]}),
    (VEO, {}, {"prompt": ""}),
    (VEO, {}, {"image": {"gcsUri": "gs://b/a.png", "mimeType": "image/png"}}),
    (VEO, {}, {"image": {"uri": "https://a.example/a.png"}}),
    (VEO, {}, {"image": {**VEO_PICTURE, "mimeType": "image/gif"}}),
    (VEO, {}, {"image": {**VEO_PICTURE, "bytesBase64Encoded": "YWJj"}}),
    (VEO, {}, {"lastFrame": {"bytesBase64Encoded": PNG}}),
    (VEO, {}, {"lastFrame": VEO_PICTURE}),
    (VEO, {}, {"video": {"uri": "https://a.example/a.mp4"}}),
    (VEO, {}, {"video": {"encodedVideo": PNG, "encoding": "video/mp4"}}),
    (VEO, {"personGeneration": "allow_adult"}, {}),
    (VEO, {"personGeneration": "allow_all"}, {"image": VEO_PICTURE}),
    (VEO, {"personGeneration": "dont_allow"}, {}),
    (LITE, {"resolution": "4k"}, {}),
    (LITE, {}, REFERENCES),
    (FAST, {"resolution": "4k"}, {}),
    (FAST, {"resolution": "1080p", "aspectRatio": "9:16"}, {}),
    (FAST, {}, {"image": VEO_PICTURE, "lastFrame": VEO_PICTURE}),
    (OLD, {"durationSeconds": 4}, {}),
    (OLD, {"resolution": "1080p"}, {}),
]


async def test_what_veo_refuses(sim: GeminiSimulator, mine: Caller, other: Caller) -> None:
    """Every value outside the sheet's lists is INVALID_ARGUMENT and costs nothing; so are films of others."""
    for model, parameters, instance in VEO_REFUSED:
        status, told = await mine.predict(model, parameters, **instance)
        assert (status, told.get("error", {}).get("status")) == (400, "INVALID_ARGUMENT"), (parameters, instance, told)
    two = {"instances": [{"prompt": "a cat"}] * 2}
    for body in (two, {**PREDICT["text"].body, "labels": {}}, {**PREDICT["text"].body, "parameters": []}):
        assert (await mine.call("POST", f"models/{VEO}:predictLongRunning", json=body))[0] == 400
    assert word_of(await mine.predict("veo-9")) == (404, "NOT_FOUND")
    sim.retired.add(VEO)
    assert "is no longer available" in (await mine.predict())[1]["error"]["message"]
    sim.retired.clear()
    assert sim.paid == 0
    uri, high = await mine.film(), await mine.film(resolution="1080p")
    omni = await mine.made(INTERACTIONS["uri"])
    foreign = (await mine.look(omni))["steps"][1]["content"][0]["uri"]
    assert (await other.predict(video={"uri": uri}))[0] == 404
    for video in (high, foreign):
        assert (await mine.predict(video={"uri": video}))[0] == 400
    for parameters in ({"resolution": "1080p"}, {"durationSeconds": 6}):
        assert (await mine.predict(parameters=parameters, video={"uri": uri}))[0] == 400
    sim.expire_files()
    assert (await mine.predict(video={"uri": uri}))[0] == 404


async def test_what_veo_takes(sim: GeminiSimulator, mine: Caller) -> None:
    """Pictures in both forms, words in any case, Veo 2 with its own lengths, and unknown parameters are taken."""
    inline = {"inlineData": {"mimeType": "image/png", "data": PNG}}
    lower = {"referenceImages": [{"image": inline, "referenceType": "asset"}]}
    for model, parameters, instance in (
        (VEO, {"personGeneration": "ALLOW_ALL", "seed": 7}, {}),
        (VEO, {"resolution": "4k", "aspectRatio": "9:16"}, {"image": inline, "prompt": ""}),
        (VEO, {"personGeneration": "allow_adult"}, lower),
        (OLD, {"durationSeconds": 5, "personGeneration": "dont_allow"}, {"image": VEO_PICTURE}),
        (FAST, {"resolution": "1080p"}, {}),
    ):
        status, told = await mine.predict(model, parameters, **instance)
        assert status == 200, told
    assert (await mine.predict(parameters={"sampleCounts": 2}, lastframe=1))[0] == 200
    assert sim.latest.facts["ignored"] == ["sampleCounts", "lastframe"]
    sim.adults_only = True
    assert (await mine.predict(parameters={"personGeneration": "allow_all"}))[0] == 400
    assert (await mine.predict(parameters={"personGeneration": "allow_adult"}))[0] == 200
