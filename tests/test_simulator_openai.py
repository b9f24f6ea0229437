"""The OpenAI simulator is held to the official SDK and to the documents, so that other tests may lean on it."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import openai
import pytest
from openai import AsyncOpenAI
from openai.types import Video, VideoDeleteResponse
from PIL import Image

from proxy.testing import SimulatorServer
from tests.simulators.openai import NOT_READY, OpenAISimulator

KEY, OTHER = "sk-first-account", "sk-second-account"
EVERY_KEY = {*Video.model_fields, "quality"}


def png(width: int, height: int, form: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), (200, 30, 60)).save(file, form)
    return file.getvalue()


@pytest.fixture
async def sim() -> AsyncIterator[OpenAISimulator]:
    async with SimulatorServer(OpenAISimulator(keys={KEY, OTHER})) as simulator:
        yield simulator


@pytest.fixture
async def sdk(sim: OpenAISimulator) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{sim.base_url}/v1", api_key=KEY, max_retries=0) as client:
        yield client


@pytest.fixture
async def http(sim: OpenAISimulator) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(sim.base_url, headers={"Authorization": f"Bearer {KEY}"}) as session:
        yield session


async def post(http: aiohttp.ClientSession, path: str, **kwargs: Any) -> tuple[int, dict[str, Any]]:
    async with http.post(path, **kwargs) as response:
        return response.status, await response.json()


async def refused(http: aiohttp.ClientSession, path: str = "/v1/videos", **kwargs: Any) -> dict[str, Any]:
    status, data = await post(http, path, **kwargs)
    assert status == 400
    assert set(data["error"]) == {"message", "type", "param", "code"}
    assert data["error"]["type"] == "invalid_request_error"
    return data["error"]


# ---------------------------------------------------------------- the official SDK


async def test_create_and_poll(sim: OpenAISimulator, sdk: AsyncOpenAI) -> None:
    """The SDK renders a video: queued, in progress, completed; one job is billed."""
    video = await sdk.videos.create_and_poll(prompt='a "red" balloon\nüber 東京', seconds="8", poll_interval_ms=1)
    assert (video.status, video.progress, video.seconds, video.size) == ("completed", 100, "8", "720x1280")
    assert video.expires_at > video.completed_at >= video.created_at
    assert video.prompt == 'a "red" balloon\nüber 東京'
    assert re.fullmatch("video_[0-9a-f]{48}", video.id)
    assert sim.paid == 1
    assert [call.operation for call in sim.requests] == ["create", "fetch", "fetch", "fetch"]


async def test_objects_fit_the_sdk_types(sim: OpenAISimulator, sdk: AsyncOpenAI) -> None:
    """A finished, failed and remixed object passes the SDK's own types, strictly, and has no key beside `quality`."""
    done = await sdk.videos.create_and_poll(prompt="p", poll_interval_ms=1)
    remix = await sdk.videos.remix(done.id, prompt="q")
    sim.moderate(remix.id)
    for video in (done, await sdk.videos.retrieve(remix.id)):
        data = video.to_dict(mode="json")
        assert set(data) == EVERY_KEY
        Video.model_validate(data, strict=True)
    assert VideoDeleteResponse.model_validate(await sdk.videos.delete(done.id), strict=True, from_attributes=True)


async def test_pending_objects_leave_null_keys_out(http: aiohttp.ClientSession) -> None:
    """Queued objects look like OpenAI's examples: `quality`, and none of the keys that would be null."""
    _, data = await post(http, "/v1/videos", json={"prompt": "p"})
    shown = {"id", "object", "created_at", "status", "model", "progress", "seconds", "size", "quality"}
    assert set(data) == shown
    assert (data["quality"], data["progress"], data["model"]) == ("standard", 0, "sora-2")


async def test_list_pages(sim: OpenAISimulator, sdk: AsyncOpenAI) -> None:
    """Three pages give each id once, newest first, and nobody else's."""
    ids = [(await sdk.videos.create(prompt=str(number))).id for number in range(5)]
    await sdk.with_options(api_key=OTHER).videos.create(prompt="foreign")
    assert [video.id async for video in sdk.videos.list(limit=2)] == ids[::-1]
    assert len(sim.calls("list")) == 3
    assert [video.id async for video in sdk.videos.list(order="asc", limit=2)] == ids


async def test_list_envelope(http: aiohttp.ClientSession) -> None:
    """An empty list has null ends; the query values are checked."""
    async with http.get("/v1/videos") as response:
        empty = {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}
        assert await response.json() == empty
    for query, param in (
        ("limit=101", "limit"),
        ("limit=-1", "limit"),
        ("limit=x", "limit"),
        ("order=sideways", "order"),
        ("after=video_x", "after"),
    ):
        async with http.get(f"/v1/videos?{query}") as response:
            assert (response.status, (await response.json())["error"]["param"]) == (400, param)


async def test_remix(sim: OpenAISimulator, sdk: AsyncOpenAI) -> None:
    """A remix takes the source's settings, is queued, and names its source; an unfinished source is refused."""
    source = await sdk.videos.create(prompt="p", model="sora-2-pro", seconds="12", size="1792x1024")
    with pytest.raises(openai.BadRequestError):
        await sdk.videos.remix(source.id, prompt="q")
    sim.finish(source.id)
    remix = await sdk.videos.remix(source.id, prompt="q")
    assert remix.remixed_from_video_id == source.id
    assert (remix.status, remix.model, remix.seconds, remix.size) == ("queued", "sora-2-pro", "12", "1792x1024")
    assert sim.latest.facts["prompt"] == "q"
    assert sim.paid == 2


async def test_edit_and_extend_by_file(sim: OpenAISimulator, sdk: AsyncOpenAI) -> None:
    """An uploaded film can be edited where the model is named, and extended: its own two seconds are added."""
    film = ("clip.mp4", sim.video_bytes, "video/mp4")
    with pytest.raises(openai.BadRequestError) as caught:
        await sdk.videos.edit(prompt="p", video=film)
    assert caught.value.param == "model"
    edited = await sdk.videos.edit(prompt="p", video=film, extra_body={"model": "sora-2"})
    assert (edited.status, sim.latest.kind) == ("queued", "edit")
    extended = await sdk.videos.extend(prompt="p", seconds="8", video=film)
    assert (extended.seconds, sim.latest.kind) == ("10", "extend")
    assert sim.latest.call.form["video"].data == sim.video_bytes


async def test_edit_and_extend_by_id(sim: OpenAISimulator, sdk: AsyncOpenAI, http: aiohttp.ClientSession) -> None:
    """`video[id]` parts and {video: {id}} both name a source; an extension shows the stitched seconds, six times."""
    source = await sdk.videos.create(prompt="p", seconds="4")
    sim.finish(source.id)
    form = aiohttp.FormData({"prompt": "q", "video[id]": source.id}, default_to_multipart=True)
    status, edited = await post(http, "/v1/videos/edits", data=form)
    assert (status, edited["seconds"]) == (200, "4")
    last = source.id
    for number in range(1, 7):
        body = {"prompt": "q", "seconds": "4", "video": {"id": last}}
        status, data = await post(http, "/v1/videos/extensions", json=body)
        assert (status, data["seconds"]) == (200, str(4 + 4 * number))
        last = data["id"]
        sim.finish(last)
    await refused(http, "/v1/videos/extensions", json={"prompt": "q", "seconds": "4", "video": {"id": last}})


async def test_extensions_end_at_120_seconds(sim: OpenAISimulator, http: aiohttp.ClientSession) -> None:
    """Twenty seconds six times over twenty would be 140: the last one is refused."""
    _, data = await post(http, "/v1/videos", json={"prompt": "p", "seconds": "20"})
    for number in range(6):
        sim.finish(data["id"])
        body = {"prompt": "q", "seconds": "20", "video": {"id": data["id"]}}
        status, data = await post(http, "/v1/videos/extensions", json=body)
        assert status == (200 if number < 5 else 400)


async def test_characters(sim: OpenAISimulator, sdk: AsyncOpenAI, http: aiohttp.ClientSession) -> None:
    """A character is made by multipart only, read back by its own account only, and cast at most twice."""
    made = await sdk.videos.create_character(name="Mossy", video=("c.mp4", sim.video_bytes))
    assert (await sdk.videos.get_character(made.id)).to_dict() == made.to_dict()
    assert set(made.to_dict()) == {"id", "name", "created_at"}
    with pytest.raises(openai.NotFoundError):
        await sdk.with_options(api_key=OTHER).videos.get_character(made.id)
    with pytest.raises(openai.BadRequestError):
        await sdk.videos.create_character(name="n" * 81, video=("c.mp4", sim.video_bytes))
    await refused(http, "/v1/videos/characters", json={"name": "n", "video": "v"})
    status, _ = await post(http, "/v1/videos", json={"prompt": "p", "characters": [{"id": made.id}] * 2})
    assert (status, sim.latest.facts["characters"]) == (200, [made.id] * 2)
    await refused(http, json={"prompt": "p", "characters": [{"id": made.id}] * 3})
    await refused(http, json={"prompt": "p", "characters": [{"id": "char_unknown"}]})
    form = aiohttp.FormData({"prompt": "p", "characters[][id]": made.id}, default_to_multipart=True)
    status, _ = await post(http, "/v1/videos", data=form)
    assert (status, sim.latest.facts["characters"]) == (200, [made.id])


async def test_content(sim: OpenAISimulator, sdk: AsyncOpenAI) -> None:
    """Content is a 404 with OpenAI's sentence until completion, then the exact bytes and both stills."""
    video = await sdk.videos.create(prompt="p")
    with pytest.raises(openai.NotFoundError, match=re.escape(NOT_READY)):
        await sdk.videos.download_content(video.id)
    sim.finish(video.id)
    content = await sdk.videos.download_content(video.id)
    assert content.response.headers["content-type"] == "video/mp4"
    assert content.read() == sim.video_bytes
    assert sim.video_bytes[4:8] == b"ftyp"
    thumbnail = (await sdk.videos.download_content(video.id, variant="thumbnail")).read()
    assert thumbnail[8:12] == b"WEBP"
    assert (await sdk.videos.download_content(video.id, variant="spritesheet")).read()[:3] == b"\xff\xd8\xff"
    with pytest.raises(openai.BadRequestError):
        await sdk.videos.download_content(video.id, variant="zip")  # type: ignore[arg-type]
    sim.expire(video.id)
    with pytest.raises(openai.NotFoundError):
        await sdk.videos.download_content(video.id)
    assert (await sdk.videos.retrieve(video.id)).status == "completed"


async def test_delete(sim: OpenAISimulator, sdk: AsyncOpenAI) -> None:
    """Only an ended video can be deleted; afterwards it is unknown."""
    video = await sdk.videos.create(prompt="p")
    with pytest.raises(openai.BadRequestError):
        await sdk.videos.delete(video.id)
    sim.finish(video.id)
    gone = await sdk.videos.delete(video.id)
    assert gone.to_dict() == {"id": video.id, "object": "video.deleted", "deleted": True}
    with pytest.raises(openai.NotFoundError, match=re.escape(f"Video with id '{video.id}' not found.")):
        await sdk.videos.retrieve(video.id)


async def test_failed_job(sim: OpenAISimulator, sdk: AsyncOpenAI) -> None:
    """A moderated job fails with OpenAI's code and sentence, and has no content."""
    video = await sdk.videos.create(prompt="p")
    sim.moderate(video.id)
    video = await sdk.videos.retrieve(video.id)
    assert (video.status, video.error.code) == ("failed", "moderation_blocked")
    assert video.error.message == "Your request was blocked by our moderation system."
    with pytest.raises(openai.NotFoundError):
        await sdk.videos.download_content(video.id)


async def test_accounts(sim: OpenAISimulator, sdk: AsyncOpenAI) -> None:
    """A job belongs to the account that made it: for every operation another account sees the 404 of an unknown id."""
    video = await sdk.videos.create(prompt="p")
    sim.finish(video.id)
    other = sdk.with_options(api_key=OTHER).videos
    body = {"video": {"id": video.id}, "prompt": "q"}
    path = "/videos/edits"
    for call in (
        other.retrieve(video.id),
        other.delete(video.id),
        other.download_content(video.id),
        other.remix(video.id, prompt="q"),
        sdk.with_options(api_key=OTHER).post(path, body=body, cast_to=object),
    ):
        with pytest.raises(openai.NotFoundError) as caught:
            await call
        assert caught.value.body == {
            "message": f"Video with id '{video.id}' not found.",
            "type": "invalid_request_error",
            "param": None,
            "code": None,
        }
        assert caught.value.request_id


async def test_typed_errors(sim: OpenAISimulator, sdk: AsyncOpenAI, http: aiohttp.ClientSession) -> None:
    """Each status arrives as the SDK's own class, with code and type."""
    with pytest.raises(openai.AuthenticationError) as wrong:
        await sdk.with_options(api_key="sk-wrong").videos.list()
    assert wrong.value.code == "invalid_api_key"
    sim.max_running = 1
    await sdk.videos.create(prompt="p")
    with pytest.raises(openai.RateLimitError, match="Too many running tasks") as busy:
        await sdk.videos.create(prompt="p")
    assert busy.value.type == "video_generation_user_error"
    for status, kind in ((403, openai.PermissionDeniedError), (503, openai.InternalServerError)):
        sim.then(sim.error(status, "no"), on="fetch")
        with pytest.raises(kind):
            await sdk.videos.retrieve("video_x")
    async with http.get("/v1/videos", headers={"Authorization": ""}) as response:
        assert response.status == 401
    async with http.put("/v1/videos/x") as response:
        assert (response.status, (await response.json())["error"]["message"]) == (404, "Invalid URL (PUT /v1/videos/x)")


# ---------------------------------------------------------------- what a create may say


@pytest.mark.parametrize(
    ("change", "param", "code"),
    [
        ({"prompt": None}, "prompt", "missing_required_parameter"),
        ({"prompt": ""}, "prompt", "invalid_value"),
        ({"prompt": "x" * 32_001}, "prompt", "invalid_value"),
        ({"prompt": 7}, "prompt", "invalid_type"),
        ({"model": "sora-9"}, "model", "model_not_found"),
        ({"seconds": 8}, "seconds", "invalid_type"),
        ({"seconds": "5"}, "seconds", "invalid_value"),
        ({"size": "1792x1024"}, "size", "invalid_value"),
        ({"size": "16:9"}, "size", "invalid_value"),
        ({"n": 2}, "n", "unknown_parameter"),
        ({"metadata": {}}, "metadata", "unknown_parameter"),
        ({"input_reference": "https://pictures.example/a.png"}, "input_reference", "invalid_type"),
        ({"input_reference": {"image_url": "https://a", "file_id": "f"}}, "input_reference", "invalid_value"),
        ({"input_reference": {}}, "input_reference", "invalid_value"),
        ({"input_reference": {"image_url": "ftp://a"}}, "input_reference.image_url", "invalid_value"),
        ({"input_reference": {"image_url": "data:image/png;base64,%"}}, "input_reference.image_url", "invalid_value"),
    ],
    ids=str,
)
async def test_json_create_is_strict(
    sim: OpenAISimulator, http: aiohttp.ClientSession, change: dict[str, Any], param: str, code: str
) -> None:
    """Each wrong field is a 400 that names it, and nothing is billed."""
    error = await refused(http, json={"prompt": "p", **change})
    assert (error["param"], error["code"]) == (param, code)
    assert sim.paid == 0


async def test_integer_seconds_text(http: aiohttp.ClientSession) -> None:
    """JSON integer seconds are refused with OpenAI's sentence, for the longer list."""
    error = await refused(http, json={"prompt": "p", "seconds": 8})
    expected = "expected one of '4', '8', '12', '16', or '20', but got an integer instead."
    assert error["message"] == f"Invalid type for 'seconds': {expected}"


async def test_sizes_and_seconds(http: aiohttp.ClientSession) -> None:
    """All documented durations and the professional model's sizes are taken."""
    for seconds in ("4", "8", "12", "16", "20"):
        status, data = await post(http, "/v1/videos", json={"prompt": "p", "seconds": seconds})
        assert (status, data["seconds"]) == (200, seconds)
    for size in ("1024x1792", "1792x1024", "1080x1920", "1920x1080"):
        status, data = await post(http, "/v1/videos", json={"prompt": "p", "size": size, "model": "sora-2-pro"})
        assert (status, data["size"]) == (200, size)


@pytest.mark.parametrize(
    "sent",
    [
        {"data": b"{", "headers": {"Content-Type": "application/json"}},
        {"data": b"[]", "headers": {"Content-Type": "application/json"}},
        {"data": b"--x\r\n", "headers": {"Content-Type": "application/json"}},
        {"data": b"prompt=p", "headers": {"Content-Type": "application/x-www-form-urlencoded"}},
        {"data": b"p", "headers": {"Content-Type": "text/plain"}},
    ],
    ids=["malformed", "no object", "multipart labelled JSON", "urlencoded", "text"],
)
async def test_other_bodies_are_refused(http: aiohttp.ClientSession, sent: dict[str, Any]) -> None:
    """A body that is neither a JSON object nor multipart is a 400 envelope."""
    await refused(http, **sent)


async def test_reference_upload(sim: OpenAISimulator, sdk: AsyncOpenAI) -> None:
    """JPEG, PNG and WebP of the video's size are taken, told by their bytes, whatever the part's type says."""
    for form in ("PNG", "JPEG", "WEBP"):
        await sdk.videos.create(prompt="p", size="1280x720", input_reference=png(1280, 720, form))
    part = sim.calls("create")[0].form["input_reference"]
    assert (part.filename, part.content_type, part.data) == ("upload", "application/octet-stream", png(1280, 720))
    with pytest.raises(
        openai.BadRequestError, match="Inpaint image must match the requested width and height"
    ) as wrong:
        await sdk.videos.create(prompt="p", size="1280x720", input_reference=png(720, 1280))
    assert (wrong.value.param, wrong.value.code) == (None, None)
    for data in (png(1280, 720, "GIF"), b"no picture", png(1280, 720)[:40]):
        with pytest.raises(openai.BadRequestError):
            await sdk.videos.create(prompt="p", size="1280x720", input_reference=("a.png", data, "image/png"))
    with pytest.raises(openai.BadRequestError):
        await sdk.videos.create(prompt="p", input_reference=[png(720, 1280)] * 2)  # type: ignore[arg-type]
    assert sim.paid == 3


async def test_reference_object(sim: OpenAISimulator, sdk: AsyncOpenAI, http: aiohttp.ClientSession) -> None:
    """The object form works as JSON, as bracketed parts, by data URI, by address and by file id."""
    uri = "data:image/png;base64," + base64.b64encode(png(720, 1280)).decode()
    for reference in ({"image_url": uri}, {"image_url": "https://pictures.example/a.png"}):
        assert (await post(http, "/v1/videos", json={"prompt": "p", "input_reference": reference}))[0] == 200
    await sdk.videos.create(prompt="p", extra_body={"input_reference": {"image_url": uri}})
    wrong = uri.replace(base64.b64encode(png(720, 1280)).decode(), base64.b64encode(png(64, 64)).decode())
    error = await refused(http, json={"prompt": "p", "input_reference": {"image_url": wrong}})
    assert error["message"] == "Inpaint image must match the requested width and height"
    with pytest.raises(openai.NotFoundError):
        await sdk.videos.create(prompt="p", extra_body={"input_reference": {"file_id": "file-1"}})
    sim.files["file-1"] = png(720, 1280)
    await sdk.videos.create(prompt="p", extra_body={"input_reference": {"file_id": "file-1"}})
    form = aiohttp.FormData({"prompt": "p", "input_reference": "https://a"}, default_to_multipart=True)
    error = await refused(http, data=form)
    assert (error["param"], error["code"]) == ("input_reference", "invalid_type")
    assert error["message"].endswith("expected a file, but got a string instead.")


async def test_chunked_multipart(sim: OpenAISimulator, http: aiohttp.ClientSession) -> None:
    """A form without a Content-Length, as the Node SDK streams it, is read."""

    async def pieces() -> AsyncIterator[bytes]:
        yield b'--edge\r\ncontent-disposition: form-data; name="prompt"\r\n\r\na boat\r\n--ed'
        yield b'ge\r\nContent-Disposition: form-data; name="input_reference"; filename="a.png"\r\n\r\n'
        yield png(720, 1280) + b"\r\n--edge--\r\n"

    headers = {"Content-Type": "multipart/form-data; boundary=edge"}
    status, _ = await post(http, "/v1/videos", data=pieces(), headers=headers)
    assert (status, sim.latest.facts["prompt"]) == (200, "a boat")
    assert "content-length" not in sim.calls("create")[0].headers
