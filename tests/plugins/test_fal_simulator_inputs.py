"""The fal simulator is held to the fact sheet, so that the plugin's tests may lean on it: inputs and files."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from proxy.testing import SimulatorServer
from tests.plugins.fal_http import KEY, KLING, OTHER, SEEDANCE, VEO, WISH, call, data_uri, png, refused, submit
from tests.simulators.fal import FalSimulator
from tests.simulators.fal_models import ENDPOINTS, Rule, app_of, shape


@pytest.fixture
async def sim() -> AsyncIterator[FalSimulator]:
    async with SimulatorServer(FalSimulator(keys={KEY, OTHER})) as simulator:
        yield simulator


@pytest.fixture
async def http(sim: FalSimulator) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(sim.base_url, headers={"Authorization": f"Key {KEY}"}) as session:
        yield session


@pytest.mark.parametrize(
    ("endpoint", "changes", "place", "kind"),
    [
        (VEO, {"prompt": None}, "prompt", "string_type"),
        (VEO, {"duration": 8}, "duration", "literal_error"),
        (VEO, {"duration": "8"}, "duration", "literal_error"),
        (VEO, {"duration": "5s"}, "duration", "literal_error"),
        (VEO, {"resolution": "480p"}, "resolution", "literal_error"),
        (VEO, {"aspect_ratio": "auto"}, "aspect_ratio", "literal_error"),
        (VEO, {"safety_tolerance": 3}, "safety_tolerance", "literal_error"),
        (VEO, {"seed": "7"}, "seed", "int_type"),
        (VEO, {"seed": True}, "seed", "int_type"),
        (VEO, {"generate_audio": "yes"}, "generate_audio", "bool_type"),
        (f"{VEO}/lite", {"resolution": "4k"}, "resolution", "literal_error"),
        (f"{VEO}/image-to-video", {}, "image_url", "missing"),
        (f"{VEO}/first-last-frame-to-video", {"first_frame_url": "https://a.b/c"}, "last_frame_url", "missing"),
        (f"{VEO}/reference-to-video", {"image_urls": "https://a.b/c"}, "image_urls", "list_type"),
        (f"{VEO}/extend-video", {"video_url": "https://a.b/c", "duration": "8s"}, "duration", "literal_error"),
        (f"{KLING}/text-to-video", {"duration": "8"}, "duration", "literal_error"),
        (f"{KLING}/text-to-video", {"duration": 5}, "duration", "literal_error"),
        (f"{KLING}/text-to-video", {"cfg_scale": "1"}, "cfg_scale", "float_type"),
        (f"{KLING}/image-to-video", {"image_url": "https://a.b/c"}, "start_image_url", "missing"),
        ("fal-ai/kling-video/v3/pro/text-to-video", {"duration": "2"}, "duration", "literal_error"),
        ("fal-ai/kling-video/v3/pro/text-to-video", {"multi_prompt": "x"}, "multi_prompt", "list_type"),
        (f"{SEEDANCE}/text-to-video", {"duration": 4}, "duration", "literal_error"),
        (f"{SEEDANCE}/fast/text-to-video", {"resolution": "1080p"}, "resolution", "literal_error"),
        ("xai/grok-imagine-video/text-to-video", {"duration": "6"}, "duration", "float_type"),
        ("xai/grok-imagine-video/edit-video", {}, "video_url", "missing"),
        ("fal-ai/ltx-2.3/text-to-video", {"duration": 12}, "duration", "literal_error"),
        ("fal-ai/ltx-2.3/text-to-video", {"duration": 6.0}, "duration", "int_type"),
        ("minimax/h3/text-to-video", {"resolution": "720p"}, "resolution", "literal_error"),
        ("fal-ai/wan/v2.7/text-to-video", {"duration": 16}, "duration", "literal_error"),
        ("wan/v2.6/text-to-video", {"duration": 5}, "duration", "literal_error"),
        ("fal-ai/pixverse/v6/text-to-video", {"resolution": "4320p"}, "resolution", "literal_error"),
        ("fal-ai/luma-dream-machine/ray-2", {"duration": "8s"}, "duration", "literal_error"),
        ("fal-ai/pika/v2.2/pikascenes", {"image_urls": []}, "image_urls", "list_type"),
    ],
)
async def test_inputs(
    sim: FalSimulator, http: aiohttp.ClientSession, endpoint: str, changes: dict[str, Any], place: str, kind: str
) -> None:
    """What an endpoint needs, the type of a field and its legal words: else a 422 that lists it, at once or late."""
    fields = {**WISH, **changes}
    assert await refused(http, endpoint, fields) == [([place], kind)]
    assert sim.paid == 0
    sim.refuses_late = True
    made = await submit(http, endpoint, **changes)
    assert (await call(http, "GET", made["status_url"]))[1]["status"] == "COMPLETED"
    status, said = await call(http, "GET", made["response_url"])
    assert (status, [(item["loc"][1:], item["type"]) for item in said["detail"]]) == (422, [([place], kind)])


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'"x"'])
async def test_bodies_that_are_none(sim: FalSimulator, http: aiohttp.ClientSession, body: bytes) -> None:
    """A body that is no JSON object is a 422, and so is a form."""
    status, said = await call(http, "POST", f"/{VEO}", data=body, headers={"Content-Type": "application/json"})
    assert (status, said["detail"][0]["type"]) == (422, "dict_type")
    assert (await call(http, "POST", f"/{VEO}", data=WISH))[0] == 422
    assert sim.paid == 0


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_every_endpoint(sim: FalSimulator, http: aiohttp.ClientSession, endpoint: str) -> None:
    """Each endpoint takes the first legal value of each field that it knows, and knows its own follow-up paths."""
    values: dict[str, Any] = {"text": "x", "int": 1, "bool": True, "number": 6, "list": [], "texts": ["x"]}
    values |= {"url": "https://a.example/b", "urls": ["https://a.example/b"]}
    rules = ENDPOINTS[endpoint].rules
    fields = {name: rule.legal[0] if rule.legal else values[rule.kind] for name, rule in rules.items()}
    made = await submit(http, endpoint, **fields)
    assert made["response_url"] == f"{sim.base_url}/{app_of(endpoint)}/requests/{made['request_id']}"
    assert set(sim.latest.facts["ignored"]) == {"prompt"} - rules.keys()
    # What need not be there may be null.
    await submit(http, endpoint, **{name: fields[name] for name in ENDPOINTS[endpoint].required})
    edits = ("edit", "edit-video", "video-edit", "modify", "reframe", "retake-video")
    last = endpoint.rpartition("/")[2]
    kind = "edit" if last in edits else "extend" if last in ("extend", "extend-video") else "create"
    assert sim.latest.kind == kind
    assert len(sim.calls(sim.latest.kind)) == 2


async def test_what_a_model_does_not_know(sim: FalSimulator, http: aiohttp.ClientSession) -> None:
    """Unknown fields are ignored and kept in mind, unless the option says otherwise; an unknown endpoint is a 404."""
    await submit(http, num_videos=4, image_url=None)
    assert sim.latest.facts["ignored"] == ["image_url", "num_videos"]
    sim.strict_fields = True
    assert await refused(http, VEO, {**WISH, "num_videos": 4}) == [(["num_videos"], "extra_forbidden")]
    for endpoint in ("fal-ai/veo3.1/slow", "fal-ai", "", "storage/upload"):
        assert (await call(http, "POST", f"/{endpoint}", json=WISH))[0] == 404
    assert sim.paid == 1


async def test_content_policy(sim: FalSimulator, http: aiohttp.ClientSession) -> None:
    """A prompt that is not liked is a content_policy_violation at once, or the end of the run."""
    sim.forbidden = {"parachute"}
    fields = {"prompt": "a parachute"}
    assert await refused(http, VEO, fields) == [(["prompt"], "content_policy_violation")]
    sim.refuses_late = True
    made = await submit(http, **fields)
    assert (await call(http, "GET", made["status_url"]))[1]["error_type"] == "content_policy_violation"
    assert (await call(http, "GET", made["response_url"]))[0] == 422


async def test_headers_of_a_submission(sim: FalSimulator, http: aiohttp.ClientSession) -> None:
    """A webhook and a priority are taken; a priority that there is not is refused."""
    async with http.post(f"/{VEO}?fal_webhook=https%3A%2F%2Fa.example%2Fb%3Fc%3D1", json=WISH) as response:
        assert response.headers["x-fal-request-id"] == sim.latest.id
    assert sim.latest.facts["webhook"] == "https://a.example/b?c=1"
    for priority, status in (("normal", 200), ("low", 200), ("high", 422)):
        headers = {"X-Fal-Queue-Priority": priority}
        assert (await call(http, "POST", f"/{VEO}", json=WISH, headers=headers))[0] == status


# ---------------------------------------------------------------- files


async def uploaded(sim: FalSimulator, http: aiohttp.ClientSession, name: str, media_type: str, data: bytes) -> str:
    """The address of an upload that went through; the storage service is a host of its own."""
    path = f"{sim.files_url}/storage/upload/initiate?storage_type=fal-cdn-v3"
    status, begun = await call(http, "POST", path, json={"file_name": name, "content_type": media_type})
    assert (status, begun.keys()) == (200, {"upload_url", "file_url"})
    async with aiohttp.ClientSession() as bare:
        assert (await call(bare, "GET", begun["file_url"]))[0] == 404
        assert (await call(bare, "PUT", begun["upload_url"].partition("?")[0], data=io.BytesIO(data)))[0] == 403
        assert (await call(bare, "PUT", begun["upload_url"], data=io.BytesIO(data)))[0] == 200
        assert await call(bare, "GET", begun["file_url"]) == (200, data)
    return str(begun["file_url"])


async def test_uploads(sim: FalSimulator, http: aiohttp.ClientSession) -> None:
    """An upload is announced with the key and PUT without one; its file is public and is an input."""
    url = await uploaded(sim, http, "a.mp4", "video/mp4", sim.video_bytes)
    await submit(http, f"{VEO}/extend-video", video_url=url)
    wrong = await refused(http, f"{VEO}/extend-video", {**WISH, "video_url": f"{url}x"})
    assert wrong == [(["video_url"], "file_download_error")]
    for query, body in (
        ("?storage_type=fal-cdn-v3", {"file_name": "a"}),
        ("?storage_type=tape", {"file_name": "a", "content_type": "video/mp4"}),
        ("", {"file_name": "a", "content_type": "video/mp4"}),
    ):
        assert (await call(http, "POST", f"/storage/upload/initiate{query}", json=body))[0] == 422
    bearer = {"Authorization": f"Bearer {KEY}"}
    assert (await call(http, "POST", "/storage/upload/initiate", headers=bearer))[0] == 401


async def test_results_and_data_uris_are_inputs(sim: FalSimulator, http: aiohttp.ClientSession) -> None:
    """A result can be the source of another request; a data URI must hold what its type says."""
    made = await submit(http)
    sim.finish(made["request_id"])
    _, result = await call(http, "GET", made["response_url"])
    await submit(http, "google/gemini-omni-flash/edit", video_url=result["video"]["url"])
    assert sim.latest.kind == "edit"
    assert sim.calls("remix") == sim.calls("edit")
    await submit(http, f"{VEO}/image-to-video", image_url=png())
    await submit(http, f"{VEO}/extend-video", video_url=data_uri(sim.video_bytes, "video/mp4"))
    await submit(http, f"{SEEDANCE}/reference-to-video", audio_urls=[data_uri(b"ID3", "audio/mpeg")])
    for broken in (data_uri(b"no picture"), png().replace("png", "gif"), "data:image/png,x", "file:///etc/x", "x"):
        images = {**WISH, "image_urls": ["https://a.example/b", broken]}
        assert await refused(http, f"{VEO}/reference-to-video", images) == [(["image_urls", 1], "file_download_error")]


def test_the_words_of_the_table() -> None:
    """A star is for what must be there; words, whole numbers and ranges of both are told apart, the rest by name."""
    made = shape("prompt* a=x|4..6 b#2..3|8 image_url end_image_urls* seed duration")
    assert made.required == {"prompt", "end_image_urls"}
    assert made.rules == {
        "prompt": Rule("text"),
        "a": Rule("word", ("x", "4", "5", "6")),
        "b": Rule("int", (2, 3, 8)),
        "image_url": Rule("url"),
        "end_image_urls": Rule("urls"),
        "seed": Rule("int"),
        "duration": Rule("number"),
    }
