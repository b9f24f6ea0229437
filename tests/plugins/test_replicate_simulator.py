"""The Replicate simulator is held to the fact sheet, so that the plugin's tests may lean on it."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from proxy.testing import SimulatorServer
from tests.simulators.media import picture
from tests.simulators.replicate import THROTTLED, ReplicateSimulator
from tests.simulators.replicate_models import CARDS, Card, between, kind_of

KEY, OTHER = f"r8_{'7a' * 18}b", f"r8_{'8c' * 18}d"
VEO, FLIPBOOK = CARDS[0], CARDS[-1]
CREATE = f"/v1/models/{VEO.name}/predictions"
CLIP: dict[str, Any] = {"prompt": "a paper boat", "duration": 8, "aspect_ratio": "16:9"}
PICTURE = f"data:image/png;base64,{base64.b64encode(picture('PNG')).decode()}"


@pytest.fixture
async def sim() -> AsyncIterator[ReplicateSimulator]:
    async with SimulatorServer(ReplicateSimulator(keys={KEY, OTHER})) as simulator:
        yield simulator


@pytest.fixture
async def http(sim: ReplicateSimulator) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(sim.base_url, headers={"Authorization": f"Bearer {KEY}"}) as session:
        yield session


async def call(http: aiohttp.ClientSession, method: str, path: str, **kwargs: Any) -> tuple[int, Any]:
    async with http.request(method, path, **kwargs) as response:
        is_json = response.content_type == "application/json"
        return response.status, await response.json() if is_json else await response.read()


async def made(http: aiohttp.ClientSession, path: str = CREATE, **fields: Any) -> dict[str, Any]:
    status, data = await call(http, "POST", path, json={"input": CLIP, **fields})
    assert status == 201, data
    return dict(data)


# ---------------------------------------------------------------- predictions


async def test_the_sheets_example(sim: ReplicateSimulator, http: aiohttp.ClientSession) -> None:
    """A create answers 201 and every key of the sheet's example, with addresses to follow and to cancel."""
    data = await made(http)
    path = f"{sim.base_url}/v1/predictions/{data['id']}"
    assert data == {
        "id": sim.latest.id,
        "model": "google/veo-3.1",
        "version": "hidden",
        "input": CLIP,
        "logs": "",
        "output": None,
        "error": None,
        "status": "starting",
        "created_at": data["created_at"],
        "data_removed": False,
        "urls": {"get": path, "cancel": f"{path}/cancel", "web": f"https://replicate.com/p/{data['id']}"},
    }
    assert data["created_at"].endswith("Z")
    seen = [(await call(http, "GET", data["urls"]["get"]))[1] for _ in range(3)]
    assert [one["status"] for one in seen] == ["starting", "processing", "succeeded"]
    assert [one["output"] is None for one in seen] == [True, True, False]
    assert " 50%|█████     | 5/10 [" in seen[1]["logs"]
    assert all("progress" not in one for one in seen)
    assert sim.paid == 1


@pytest.mark.parametrize("state", ["failed", "canceled", "aborted"])
async def test_bad_ends(sim: ReplicateSimulator, http: aiohttp.ClientSession, state: str) -> None:
    """Each bad end has no output; only a failure has a sentence."""
    data = await made(http)
    sim.put(data["id"], state, means="failed")
    _, found = await call(http, "GET", data["urls"]["get"])
    assert (found["status"], found["output"], found["error"] is None) == (state, None, state != "failed")
    assert "completed_at" in found


async def test_moderation(sim: ReplicateSimulator, http: aiohttp.ClientSession) -> None:
    """What was flagged fails with the code E005 in its sentence."""
    data = await made(http)
    sim.moderate(data["id"])
    _, found = await call(http, "GET", data["urls"]["get"])
    assert "flagged as sensitive" in found["error"]
    assert "(E005)" in found["error"]


async def test_results_are_public_for_an_hour(sim: ReplicateSimulator, http: aiohttp.ClientSession) -> None:
    """A result is on the other origin, needs no key, and is gone after the hour, as is what the prediction held."""
    data = await made(http)
    sim.finish(data["id"])
    _, done = await call(http, "GET", data["urls"]["get"])
    async with aiohttp.ClientSession() as bare:
        assert await call(bare, "GET", done["output"]) == (200, sim.video_bytes)
        assert (await call(bare, "GET", done["output"].replace(sim.files_url, sim.base_url)))[0] == 404
        for end in (lambda: sim.vanish(data["id"]), lambda: setattr(sim, "result_seconds", 0)):
            sim.jobs[data["id"]].facts.pop("vanished", None)
            end()
            assert (await call(bare, "GET", done["output"]))[0] == 404
            status, gone = await call(http, "GET", data["urls"]["get"])
            assert (status, gone["status"], gone["data_removed"]) == (200, "succeeded", True)
            assert (gone["output"], gone["input"], gone["logs"]) == (None, {}, "")


async def test_a_list_of_outputs(sim: ReplicateSimulator, http: aiohttp.ClientSession) -> None:
    """A model whose Output is an array answers a list."""
    data = await made(http, "/v1/predictions", version=FLIPBOOK.version, input={"prompt": "hi"})
    sim.finish(data["id"])
    _, done = await call(http, "GET", data["urls"]["get"])
    assert [url.startswith(sim.files_url) for url in done["output"]] == [True]


@pytest.mark.parametrize("state", ["starting", "processing", "succeeded", "failed"])
async def test_cancel(sim: ReplicateSimulator, http: aiohttp.ClientSession, state: str) -> None:
    """Cancel answers the prediction: canceled where it ran, and as it was where it had ended."""
    data = await made(http)
    means = {"processing": "in_progress", "succeeded": "completed", "failed": "failed"}.get(state)
    sim.put(data["id"], state, means=means)
    status, found = await call(http, "POST", data["urls"]["cancel"])
    runs = state in ("starting", "processing")
    assert (status, found["status"], sim.latest.cancelled) == (200, "canceled" if runs else state, runs)


async def test_ways_to_create(sim: ReplicateSimulator, http: aiohttp.ClientSession) -> None:
    """Official models by their name or as a version, others by 64 digits alone or after the name, and deployments."""
    given = {"prompt": "hi"}
    for version in (FLIPBOOK.version, FLIPBOOK.name, f"{FLIPBOOK.name}:{FLIPBOOK.version}"):
        data = await made(http, "/v1/predictions", version=version, input=given)
        assert (data["model"], data["version"]) == (FLIPBOOK.name, FLIPBOOK.version)
    assert (await made(http, "/v1/predictions", version=VEO.name))["version"] == "hidden"
    data = await made(http, "/v1/deployments/acme/flipbook-farm/predictions", input=given)
    assert data["model"] == FLIPBOOK.name
    assert [len(sim.calls("create")), sim.paid] == [5, 5]
    _, found = await call(http, "GET", "/v1/predictions")
    assert [one["id"] for one in found["results"]] == [*sim.jobs][::-1]


async def test_prefer_wait(sim: ReplicateSimulator, http: aiohttp.ClientSession) -> None:
    """A wait that expires is a 202, one that is long enough a 201 with the output; a minute is the most."""
    for in_time, wanted in ((False, (202, "starting")), (True, (201, "succeeded"))):
        sim.in_time = in_time
        for wait in ("wait", "wait=1", "wait=60"):
            status, data = await call(http, "POST", CREATE, json={"input": CLIP}, headers={"Prefer": wait})
            assert (status, data["status"]) == wanted
    for headers in ({"Prefer": "wait=0"}, {"Prefer": "wait=61"}, {"Prefer": "soon"}, {"Cancel-After": "soon"}):
        assert (await call(http, "POST", CREATE, json={"input": CLIP}, headers=headers))[0] == 422
    for after in ("90s", "5m", "1h30m"):
        assert (await call(http, "POST", CREATE, json={"input": CLIP}, headers={"Cancel-After": after}))[0] == 201
    assert sim.paid == 9


# ---------------------------------------------------------------- refusals


async def test_who_may_call(sim: ReplicateSimulator, http: aiohttp.ClientSession) -> None:
    """A key goes as Bearer or, as of old, as Token; another account's prediction is none, and so are other paths."""
    data = await made(http)
    path = f"/v1/predictions/{data['id']}"
    for word, status in ((f"Token {KEY}", 200), (f"Key {KEY}", 401), ("Bearer r8_no", 401), (f"Bearer {OTHER}", 404)):
        found, said = await call(http, "GET", path, headers={"Authorization": word})
        assert found == status
        assert status == 200 or {"title", "detail", "status"} == said.keys()
    for method, where in (("DELETE", path), ("GET", f"{sim.files_url}{path}"), ("POST", "/v2/predictions")):
        assert (await call(http, method, where))[0] == 404
    sim.bare_errors = True
    assert (await call(http, "GET", "/v1/predictions/none"))[1].keys() == {"detail"}


@pytest.mark.parametrize(
    ("changes", "kind", "field", "said"),
    [
        ({"prompt": None}, "invalid_type", "input.prompt", "Expected: string, given: null"),
        ({"duration": 5}, "enum", "input.duration", "duration must be one of the following: 4, 6, 8"),
        ({"duration": "8"}, "invalid_type", "input.duration", "Expected: integer, given: string"),
        ({"duration": True}, "invalid_type", "input.duration", "Expected: integer, given: boolean"),
        ({"aspect_ratio": "1:1"}, "enum", "input.aspect_ratio", 'one of the following: "16:9", "9:16"'),
        ({"seed": 1.5}, "invalid_type", "input.seed", "Expected: integer, given: number"),
        ({"generate_audio": 1}, "invalid_type", "input.generate_audio", "Expected: boolean, given: integer"),
        ({"image": "cat.png"}, "format", "input.image", "Does not match format 'uri'"),
        ({"image": "https://[a/"}, "format", "input.image", "Does not match format 'uri'"),
        ({"image": ["x"]}, "invalid_type", "input.image", "Expected: string, given: array"),
        ({"reference_images": PICTURE}, "invalid_type", "input.reference_images", "Expected: array, given: string"),
        ({"reference_images": [PICTURE, "x"]}, "format", "input.reference_images.1", "Does not match format 'uri'"),
        ({"image": "data:image/png;base64,?"}, "custom", "input.image", "malformed"),
        ({"image": "data:image/png,AAAA"}, "custom", "input.image", "malformed"),
        ({"image": "data:image/png;base64,AAAA"}, "custom", "input.image", "no picture"),
    ],
)
async def test_inputs(
    sim: ReplicateSimulator, http: aiohttp.ClientSession, changes: Any, kind: str, field: str, said: str
) -> None:
    """What the model's schema does not allow is a 422 that names field and rule, in `detail` too; it is free."""
    status, data = await call(http, "POST", CREATE, json={"input": {**CLIP, **changes}})
    assert (status, data["status"], data["title"]) == (422, 422, "Input validation failed")
    ((wrong),) = data["invalid_fields"]
    assert (wrong["type"], wrong["field"]) == (kind, field)
    assert said in wrong["description"]
    assert data["detail"] == f"- {field}: {wrong['description']}\n"
    assert sim.paid == 0


async def test_bounds(sim: ReplicateSimulator, http: aiohttp.ClientSession) -> None:
    """The bounds of a number are legal, and what is beyond is not."""
    for frames, status in ((1, 201), (240, 201), (0, 422), (241, 422)):
        body = {"version": FLIPBOOK.version, "input": {"prompt": "hi", "num_frames": frames}}
        assert (await call(http, "POST", "/v1/predictions", json=body))[0] == status
    assert sim.paid == 2


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        (CREATE, {}, "input is required"),
        (CREATE, {"input": "hi"}, "Expected: object"),
        (CREATE, {"input": CLIP, "version": "x"}, "Additional property version is not allowed"),
        (CREATE, {"input": CLIP, "webhook": "http://here.example"}, "HTTPS"),
        (CREATE, {"input": CLIP, "webhook_events_filter": ["end"]}, "start, output, logs, completed"),
        ("/v1/predictions", {"input": CLIP}, "version is required"),
        ("/v1/predictions", {"input": CLIP, "version": VEO.name, "model": VEO.name}, "Additional property model"),
        ("/v1/predictions", {"input": CLIP, "version": "0" * 64}, "does not exist"),
        ("/v1/predictions", {"input": CLIP, "version": f"{FLIPBOOK.name}:{'0' * 64}"}, "does not exist"),
        ("/v1/predictions", {"input": CLIP, "version": "veo"}, "does not exist"),
        ("/v1/predictions", {"input": CLIP, "version": 7}, "does not exist"),
    ],
)
async def test_bodies(sim: ReplicateSimulator, http: aiohttp.ClientSession, path: str, body: Any, field: str) -> None:
    """The fields around `input` are closed, and a version that nobody has is a 422 too."""
    status, data = await call(http, "POST", path, json=body)
    assert status == 422
    assert field in data["detail"]
    assert sim.paid == 0


async def test_what_is_not_there(http: aiohttp.ClientSession) -> None:
    """Unknown models and deployments, and a community's model on the official route, are a 404; no JSON a 400."""
    for owner in (f"models/{FLIPBOOK.name}", "models/google/veo-9", "deployments/acme/none"):
        assert (await call(http, "POST", f"/v1/{owner}/predictions", json={"input": CLIP}))[0] == 404
    for method, path in (("GET", "/v1/models/google/veo-9"), ("GET", f"/v1/models/{VEO.name}/versions/hidden")):
        assert (await call(http, method, path))[0] == 404
    for body in ({"data": b"{"}, {"json": [1]}, {"data": {"input": "x"}}):
        assert (await call(http, "POST", CREATE, **body))[0] == 400


async def test_inputs_that_a_model_does_not_have(sim: ReplicateSimulator, http: aiohttp.ClientSession) -> None:
    """@ai-sdk/replicate sends `size` beside `aspect_ratio`, so it is left out; a stricter server refuses it."""
    await made(http, input={**CLIP, "size": "1280x720"})
    assert sim.latest.facts["ignored"] == ["size"]
    sim.closed_inputs = True
    status, data = await call(http, "POST", CREATE, json={"input": {**CLIP, "size": "1280x720"}})
    assert (status, data["detail"]) == (422, "- input: Additional property size is not allowed\n")


async def test_no_credit_and_no_room(sim: ReplicateSimulator, http: aiohttp.ClientSession) -> None:
    """Without credit a create is a 402; too many are a 429 with the sheet's sentence, with Retry-After where set."""
    sim.penniless = True
    assert (await call(http, "POST", CREATE, json={"input": CLIP}))[0] == 402
    sim.penniless, sim.creates_left = False, 1
    await made(http)
    for after, header in ((None, None), (30, "30")):
        sim.retry_after = after
        async with http.post(CREATE, json={"input": CLIP}) as response:
            assert (response.status, await response.json()) == (429, {"detail": THROTTLED})
            assert response.headers.get("Retry-After") == header
    assert sim.paid == 1


# ---------------------------------------------------------------- models and files


async def test_schemas(sim: ReplicateSimulator, http: aiohttp.ClientSession) -> None:
    """The schema that is served says what is refused: enumerations by reference, bounds, required fields, output."""
    sim.models["acme/reel"] = Card(name="acme/reel", required=(), inputs={"length": between(2, 4)})
    _, found = await call(http, "GET", "/v1/models/acme/reel")
    schemas = found["latest_version"]["openapi_schema"]["components"]["schemas"]
    assert schemas["Input"]["properties"]["length"]["maximum"] == 4
    assert schemas["Output"] == {"title": "Output", "type": "string", "format": "uri"}
    _, found = await call(http, "GET", f"/v1/models/{VEO.name}")
    schemas = found["latest_version"]["openapi_schema"]["components"]["schemas"]
    for name, schema in schemas["Input"]["properties"].items():
        if "allOf" in schema:
            assert schema["allOf"][0]["$ref"] == f"#/components/schemas/{name}"
            assert schemas[name]["enum"] == VEO.inputs[name]["enum"]
    assert found["latest_version"]["id"] == VEO.version
    assert (await call(http, "GET", f"/v1/models/{FLIPBOOK.name}/versions/{FLIPBOOK.version}"))[1]["id"]


async def test_files(sim: ReplicateSimulator, http: aiohttp.ClientSession) -> None:
    """A file goes up as the part `content`, is its own account's, and an input until it is removed."""

    def form(name: str) -> aiohttp.FormData:
        data = aiohttp.FormData()
        data.add_field(name, picture("PNG"), filename="a.png", content_type="image/png")
        return data

    assert (await call(http, "POST", "/v1/files", data=form("file")))[0] == 400
    status, file = await call(http, "POST", "/v1/files", data=form("content"))
    assert (status, file["name"], file["content_type"]) == (201, "a.png", "image/png")
    body = {"input": {**CLIP, "image": file["urls"]["get"]}}
    assert (await call(http, "POST", CREATE, json=body))[0] == 201
    other = {"Authorization": f"Bearer {OTHER}"}
    assert (await call(http, "POST", CREATE, json=body, headers=other))[0] == 422
    assert (await call(http, "GET", file["urls"]["get"], headers=other))[0] == 404
    assert (await call(http, "GET", file["urls"]["get"]))[1] == file
    assert (await call(http, "DELETE", file["urls"]["get"]))[0] == 204
    assert (await call(http, "POST", CREATE, json=body))[0] == 422
    assert (await call(http, "GET", file["urls"]["get"]))[0] == 404
    assert sim.paid == 1


async def test_what_is_taken(sim: ReplicateSimulator, http: aiohttp.ClientSession) -> None:
    """Pictures as data URIs and as addresses, several, the lowest and the highest values, and webhooks."""
    full = {**CLIP, "image": PICTURE, "last_frame": "https://a.example/b.png", "reference_images": [PICTURE] * 3}
    full |= {"resolution": "1080p", "generate_audio": False, "seed": 0, "negative_prompt": "rain"}
    hook = {"webhook": "https://here.example/hook", "webhook_events_filter": ["completed"], "stream": False}
    data = await made(http, input=full, **hook)
    assert (data["input"], sim.latest.facts["ignored"]) == (full, [])
    kling = {"prompt": "x", "start_image": PICTURE, "duration": 10, "guidance_scale": 1}
    await made(http, f"/v1/models/{CARDS[1].name}/predictions", input=kling)
    assert sim.paid == 2


def test_the_table_holds_together() -> None:
    """Every model requires what it has, and every kind of field is one that values have."""
    for card in CARDS:
        assert {*card.required} <= card.inputs.keys()
        assert {schema["type"] for schema in card.inputs.values()} <= {
            "string",
            "integer",
            "number",
            "boolean",
            "array",
        }
    assert [kind_of(value) for value in (True, 1, 1.5, "", [], {}, None)] == [
        *("boolean", "integer", "number", "string", "array", "object", "null")
    ]
