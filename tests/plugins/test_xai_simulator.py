"""The xAI simulator is held to the sheet, so that the plugin's tests may lean on it."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable
from typing import Any, Literal

import aiohttp
import pytest

from proxy.testing import SimulatorServer
from tests.simulators.media import picture
from tests.simulators.xai import LITE, NEWER, PLAIN, TICKS, XaiSimulator

KEY, OTHER = f"xai-{'a1' * 40}", f"xai-{'b2' * 40}"
HEADERS = {"Authorization": f"Bearer {KEY}"}
URI = f"data:image/png;base64,{base64.b64encode(picture('PNG')).decode()}"
STILL = {"url": URI}
CLIP: dict[str, Any] = {"model": NEWER, "prompt": "hi"}


@pytest.fixture
async def sim() -> AsyncIterator[XaiSimulator]:
    async with SimulatorServer(XaiSimulator(keys={KEY, OTHER})) as simulator:
        yield simulator


@pytest.fixture
async def http(sim: XaiSimulator) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(sim.base_url, headers=HEADERS) as session:
        yield session


async def call(http: aiohttp.ClientSession, method: str, path: str, **kwargs: Any) -> tuple[int, Any]:
    """The status and the JSON of an answer, or its bytes."""
    async with http.request(method, path, **kwargs) as response:
        is_json = response.content_type == "application/json"
        return response.status, await response.json() if is_json else await response.read()


async def order(http: aiohttp.ClientSession, route: str = "generations", **fields: Any) -> tuple[int, Any]:
    return await call(http, "POST", f"/v1/videos/{route}", json={**CLIP, **fields})


async def made(http: aiohttp.ClientSession, route: str = "generations", **fields: Any) -> str:
    status, data = await order(http, route, **fields)
    assert (status, set(data)) == (200, {"request_id"}), data
    return str(data["request_id"])


async def told(http: aiohttp.ClientSession, job_id: str) -> tuple[int, Any]:
    return await call(http, "GET", f"/v1/videos/{job_id}")


async def finished(sim: XaiSimulator, http: aiohttp.ClientSession, **fields: Any) -> str:
    """The address of a result."""
    job_id = await made(http, **fields)
    sim.finish(job_id)
    return str((await told(http, job_id))[1]["video"]["url"])


async def test_life(sim: XaiSimulator, http: aiohttp.ClientSession) -> None:
    """202 without a body, 202 with a progress, 200 with the result, whose address is public and on another origin."""
    job_id = await made(http, duration=5, aspect_ratio="16:9", resolution="720p", image=STILL)
    assert await told(http, job_id) == (202, b"")
    status, data = await told(http, job_id)
    assert (status, data["status"], 0 < data["progress"] < 100) == (202, "pending", True)
    status, data = await told(http, job_id)
    url = data["video"]["url"]
    assert (status, data) == (
        200,
        {
            "status": "done",
            "progress": 100,
            "model": NEWER,
            "video": {"url": url, "duration": 5, "respect_moderation": True},
            "usage": {"cost_in_usd_ticks": TICKS},
        },
    )
    assert url.startswith(sim.files_url)
    async with aiohttp.ClientSession() as bare:
        assert await call(bare, "GET", url) == (200, sim.video_bytes)
        sim.expire_results()
        assert (await call(bare, "GET", url))[0] == 404
    assert sim.paid == 1


async def test_waiting_by_hand(sim: XaiSimulator, http: aiohttp.ClientSession) -> None:
    """By hand a job goes from no progress over some to its end; a talkative one says its zero."""
    sim.automatic = False
    job_id = await made(http)
    assert await told(http, job_id) == (202, b"")
    sim.talkative = True
    assert await told(http, job_id) == (202, {"status": "pending", "progress": 0})
    sim.advance(job_id)
    assert await told(http, job_id) == (202, {"status": "pending", "progress": 40})
    sim.advance(job_id)
    assert (await told(http, job_id))[1]["status"] == "done"
    other = await made(http)
    sim.put(other, "daydreaming")
    assert await told(http, other) == (200, {"status": "daydreaming"})


async def test_ends(sim: XaiSimulator, http: aiohttp.ClientSession) -> None:
    """Moderation in two forms, an expired job, a result without an address, and one without a status."""
    told_of: dict[str, Any] = {}
    ends: dict[str, Callable[[str], None]] = {
        "moderated": sim.moderate,
        "expired": lambda job_id: sim.put(job_id, "expired", means="failed"),
        "blocked": sim.block,
        "lost": sim.lose,
        "forgotten": sim.forget,
    }
    for name, end in ends.items():
        job_id = await made(http)
        end(job_id)
        status, told_of[name] = await told(http, job_id)
        assert status == 200
    error = {"code": "invalid_argument", "message": "The content was rejected by moderation."}
    assert told_of["moderated"] == {"status": "failed", "error": error}
    assert told_of["expired"] == {"status": "expired"}
    assert told_of["blocked"]["status"] == told_of["lost"]["status"] == "done"
    assert told_of["blocked"]["video"] == {"url": "", "duration": 6, "respect_moderation": False}
    assert told_of["lost"]["video"] == {"url": "", "duration": 6, "respect_moderation": True}
    assert told_of["forgotten"]["status"] is None
    assert told_of["forgotten"]["video"]["url"]
    # What was blocked may be billed.
    assert sim.paid == 5


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (
            "object",
            {"error": {"message": "x", "type": "invalid_request_error", "param": None, "code": "invalid_argument"}},
        ),
        ("code", {"code": "invalid_argument", "error": "x"}),
        ("text", {"error": "x"}),
    ],
)
def test_three_shapes(shape: Literal["object", "code", "text"], expected: Any) -> None:
    """An error has one of three shapes."""
    simulator = XaiSimulator()
    simulator.shape = shape
    assert simulator.error(400, "x").json == expected


async def test_accounts(sim: XaiSimulator, http: aiohttp.ClientSession) -> None:
    """A wrong key is a 401, an account without credits a 403, and another account's job unknown."""
    job_id = await made(http)
    for headers, expected in (({}, 401), ({"Authorization": f"Key {KEY}"}, 401)):
        async with aiohttp.ClientSession(sim.base_url, headers=headers) as bare:
            assert (await order(bare))[0] == expected
    assert (await call(http, "GET", f"/v1/videos/{job_id}", headers={"Authorization": f"Bearer {OTHER}"}))[0] == 404
    sim.penniless = True
    assert (await order(http))[0] == 403
    assert (await call(http, "DELETE", f"/v1/videos/{job_id}"))[0] == 404
    assert sim.paid == 1


async def test_moderation_of_a_request(sim: XaiSimulator, http: aiohttp.ClientSession) -> None:
    """A prompt may be refused at once, with a status that nobody has written down."""
    sim.forbidden = "parachute"
    assert (await order(http, prompt="a parachute"))[0] == 400
    sim.moderation_status = 422
    status, data = await order(http, prompt="a parachute")
    assert (status, data["error"]["code"], "moderation" in data["error"]["message"]) == (422, "invalid_argument", True)
    assert sim.paid == 0


@pytest.mark.parametrize(
    "fields",
    [
        {"model": PLAIN},
        {"model": f"{NEWER}-preview"},
        {"model": f"{NEWER}-2026-05-30", "resolution": "1080p"},
        {"model": LITE, "resolution": "1080p", "last_frame": STILL},
        {"duration": 1, "aspect_ratio": "3:2", "resolution": "480p"},
        {"duration": 15, "aspect_ratio": "2:3", "generate_audio": False, "user": "u"},
        {"image": STILL, "last_frame": {"url": "https://cdn.example.com/a.png"}},
        {"prompt": None, "image": {"file_id": "file_1"}},
        {"keyframes": [{"image": STILL, "timestamp_s": 1.5}] * 4},
        {"reference_images": [STILL] * 7, "resolution": "720p"},
        {"reference_images": [STILL], "reference_audios": [{"voice_id": "eve"}, {"url": "https://a.example/b.mp3"}]},
        {"storage_options": {"filename": "a.mp4", "expires_after": 2_592_000, "public_url": True}},
        {"storage_options": {"filename": "a.mp4", "public_url": {"expires_after": 3600}}},
    ],
)
async def test_what_is_taken(sim: XaiSimulator, http: aiohttp.ClientSession, fields: dict[str, Any]) -> None:
    """Everything that the sheet lists is taken, up to its bounds."""
    sim.files["file_1"] = picture("WEBP")
    await made(http, **fields)
    assert sim.latest.facts["ignored"] == []


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"model": "grok-2-video"}, (404, "model")),
        ({"model": None}, (422, "model")),
        ({"prompt": ""}, (400, "prompt")),
        ({"prompt": 7}, (422, "prompt")),
        ({"duration": 0}, (400, "duration")),
        ({"duration": 16}, (400, "duration")),
        ({"duration": "5"}, (422, "duration")),
        ({"duration": True}, (422, "duration")),
        ({"aspect_ratio": "21:9"}, (400, "aspect_ratio")),
        ({"resolution": "4k"}, (400, "resolution")),
        ({"model": PLAIN, "resolution": "1080p"}, (400, "resolution")),
        ({"reference_images": [STILL], "resolution": "1080p"}, (400, "resolution")),
        ({"model": PLAIN, "last_frame": STILL}, (400, "last_frame")),
        ({"model": PLAIN, "keyframes": []}, (400, "keyframes")),
        ({"keyframes": [{"image": STILL, "timestamp_s": 1}] * 5}, (400, "keyframes")),
        ({"keyframes": [{"image": STILL}]}, (422, "keyframes")),
        ({"reference_images": []}, (400, "reference_images")),
        ({"reference_images": [STILL] * 8}, (400, "reference_images")),
        ({"reference_images": [URI]}, (422, "reference_images")),
        ({"reference_audios": [{"voice_id": "a"}] * 4}, (400, "reference_audios")),
        ({"reference_audios": [{}]}, (422, "reference_audios")),
        ({"generate_audio": "no"}, (422, "generate_audio")),
        ({"user": 7}, (422, "user")),
        ({"storage_options": {}}, (422, "storage_options")),
        ({"storage_options": {"filename": "a", "expires_after": 2_592_001}}, (400, "expires_after")),
        ({"storage_options": {"filename": "a", "public_url": "yes"}}, (422, "storage_options")),
        ({"image": URI}, (400, "image")),
        ({"image": {"url": "data:image/png;base64,AAAA"}}, (400, "image")),
        ({"image": {"url": "data:image/png;base64,?"}}, (400, "image")),
        ({"image": {"url": "http://127.0.0.1/a.png"}}, (400, "image")),
        ({"image": {"url": "https://[a/"}}, (400, "image")),
        ({"image": {"url": URI, "file_id": "file_1"}}, (400, "image")),
        ({"image": {"file_id": "nothing"}}, (400, "image")),
        ({"reference_images": [STILL, {}]}, (400, "reference_images.1")),
        ({"seed": 4}, (400, "seed")),
        ({"fps": 24}, (400, "fps")),
        ({"n": 2}, (400, "n")),
    ],
)
async def test_what_is_refused(
    sim: XaiSimulator, http: aiohttp.ClientSession, fields: dict[str, Any], expected: tuple[int, str]
) -> None:
    """What is out of its set, of another kind, or not there at all is refused with the field to blame."""
    status, data = await order(http, **fields)
    assert (status, data["error"]["param"]) == expected
    assert sim.paid == 0


async def test_knobs(sim: XaiSimulator, http: aiohttp.ClientSession) -> None:
    """What nobody has written down is as a test wants it."""
    sim.strict = False
    await made(http, seed=4, n=2)
    assert sim.latest.facts["ignored"] == ["n", "seed"]
    sim.lite_is_1_5 = False
    assert (await order(http, model=LITE, resolution="1080p"))[0] == 400
    assert (await call(http, "POST", "/v1/videos/generations", data=b"{}"))[0] == 400


async def test_edits_and_extensions(sim: XaiSimulator, http: aiohttp.ClientSession) -> None:
    """Both take the address of a result or a film, each within its seconds; the routes have few fields."""
    url = await finished(sim, http, duration=8)
    film = f"data:video/mp4;base64,{base64.b64encode(sim.video_bytes).decode()}"
    await made(http, "edits", video={"url": url})
    assert (sim.latest.kind, sim.latest.facts["seconds"]) == ("edit", 8)
    await made(http, "edits", video={"url": film}, user="u")
    await made(http, "extensions", video={"url": url}, duration=10)
    assert (sim.latest.kind, sim.latest.facts["seconds"]) == ("extend", 18)
    await made(http, "extensions", video={"url": film})
    assert sim.latest.facts["seconds"] == 8
    await made(http, "extensions", video={"url": "https://cdn.example.com/a.mp4"})
    assert [sim.calls(name) for name in ("remix", "extend")] == [sim.calls("edit"), sim.calls("extend")]
    assert sim.paid == 6


@pytest.mark.parametrize(
    ("route", "seconds", "fields", "param"),
    [
        ("edits", 9, {}, "video"),
        ("extensions", 1, {}, "video"),
        ("edits", 5, {"duration": 5}, "duration"),
        ("edits", 5, {"aspect_ratio": "16:9"}, "aspect_ratio"),
        ("edits", 5, {"resolution": "480p"}, "resolution"),
        ("extensions", 5, {"resolution": "480p"}, "resolution"),
        ("extensions", 5, {"duration": 11}, "duration"),
        ("extensions", 5, {"duration": 0}, "duration"),
        ("edits", 5, {"prompt": ""}, "prompt"),
        ("edits", 5, {"video": {}}, "video"),
        ("edits", 5, {"video": "https://cdn.example.com/a.mp4"}, "video"),
        ("edits", 5, {"video": STILL}, "video"),
        ("edits", 5, {"video": {"url": "http://10.0.0.1/a.mp4"}}, "video"),
    ],
)
async def test_what_cannot_be_derived(
    sim: XaiSimulator, http: aiohttp.ClientSession, route: str, seconds: int, fields: dict[str, Any], param: str
) -> None:
    """A source that is too long, too short or none, and fields of other routes, are refused."""
    url = await finished(sim, http, duration=seconds)
    status, data = await order(http, route, **{"video": {"url": url}, **fields})
    assert (status in (400, 422), data["error"]["param"]) == (True, param)
    assert sim.paid == 1


async def test_a_dead_link_is_no_source(sim: XaiSimulator, http: aiohttp.ClientSession) -> None:
    """The address of a result is a source while it lives."""
    url = await finished(sim, http)
    sim.expire_results()
    assert (await order(http, "edits", video={"url": url}))[0] == 400


async def test_a_long_chain_ends(sim: XaiSimulator, http: aiohttp.ClientSession) -> None:
    """Extensions add up until the source has more than thirty seconds."""
    url = await finished(sim, http, duration=15)
    for expected in (200, 200, 400):
        status, _ = await order(http, "extensions", video={"url": url}, duration=10)
        assert status == expected
        sim.finish(sim.latest.id)
        url = sim.link(sim.latest)


async def test_storage(sim: XaiSimulator, http: aiohttp.ClientSession) -> None:
    """What is to be stored is shown as a file, with a public address where one was asked for."""
    plain = {"filename": "a.mp4"}
    for storage in (plain, {**plain, "public_url": True, "expires_after": 3600}):
        job_id = await made(http, storage_options=storage)
        sim.finish(job_id)
        output = (await told(http, job_id))[1]["video"]["file_output"]
        assert output["filename"] == "a.mp4"
        assert ("public_url" in output, "expires_at" in output) == (storage is not plain, storage is not plain)
    sim.lose(job_id)
    assert "storage_error" in (await told(http, job_id))[1]["video"]
