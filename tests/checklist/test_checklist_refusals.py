"""openai-videos.md §8, 1 to 29 without the list: what is refused, and in which words."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from aiohttp import FormData

from tests.checklist.desk import UNKNOWN_ID, Desk, envelope, form, parts, png

IDS = (UNKNOWN_ID, "video_unknown", "x")


async def test_001_unknown_video(desk: Desk) -> None:
    """GET of an unknown video is a 404 with the full envelope, which the SDK reads as NotFoundError."""
    for video_id in IDS:
        error = await desk.refused("GET", f"/v1/videos/{video_id}", 404, code="video_not_found")
        assert error["type"] == "invalid_request_error"
        assert video_id in error["message"]

    def look(client: openai.OpenAI) -> None:
        with pytest.raises(openai.NotFoundError) as caught:
            client.videos.retrieve(UNKNOWN_ID)
        assert (caught.value.code, caught.value.type) == ("video_not_found", "invalid_request_error")
        assert caught.value.request_id

    await desk.sdk(look)


async def test_002_content_of_an_unknown_id(desk: Desk) -> None:
    """Its content is the same 404."""
    for video_id in IDS:
        _, plain, _ = await desk.call("GET", f"/v1/videos/{video_id}")
        for variant in ("", "?variant=video", "?variant=thumbnail", "?variant=spritesheet"):
            status, body, _ = await desk.call("GET", f"/v1/videos/{video_id}/content{variant}")
            assert (status, body) == (404, plain)


async def test_003_delete_of_an_unknown_id(desk: Desk) -> None:
    """DELETE with a JSON type and no body, as the SDKs send it, is the same 404 and no parse error."""
    for video_id in IDS:
        headers = {"Content-Type": "application/json", "Content-Length": "0"}
        await desk.refused("DELETE", f"/v1/videos/{video_id}", 404, code="video_not_found", headers=headers)


@pytest.mark.parametrize("credential", [None, "", "Basic eDp5", "Bearer", "Bearer  ", "sk-without-a-scheme"])
async def test_004_missing_authorization(desk: Desk, credential: str | None) -> None:
    """Without a Bearer key every route is a 401 in the envelope."""
    headers = {} if credential is None else {"Authorization": credential}
    for method, path in (
        ("POST", "/v1/videos"),
        ("GET", "/v1/videos"),
        ("GET", f"/v1/videos/{UNKNOWN_ID}"),
        ("DELETE", f"/v1/videos/{UNKNOWN_ID}"),
        ("GET", f"/v1/videos/{UNKNOWN_ID}/content"),
        ("POST", f"/v1/videos/{UNKNOWN_ID}/remix"),
        ("POST", "/v1/videos/edits"),
        ("POST", "/v1/videos/extensions"),
        ("POST", "/v1/videos/characters"),
        ("GET", "/v1/videos/characters/x"),
        ("GET", "/v1/videos/models"),
        ("GET", "/v1/models"),
    ):
        status, body, answered = await desk.call(method, path, key=None, headers=headers)
        assert status == 401, (method, path, body)
        assert envelope(body, answered)["type"] == "invalid_request_error"
    assert desk.sim.requests == []


async def test_005_wrong_key(desk: Desk) -> None:
    """A wrong key is a 401 with the code invalid_api_key, and is not repeated in the answer."""
    wrong = "sk-wrong-0123456789"
    status, body, headers = await desk.call("POST", "/v1/videos", key=wrong, json={"prompt": "x"})
    assert (status, envelope(body, headers)["code"]) == (401, "invalid_api_key")
    assert wrong not in json.dumps(body)

    def look(client: openai.OpenAI) -> None:
        with pytest.raises(openai.AuthenticationError):
            client.videos.list()

    await desk.sdk(look, api_key=wrong)


async def test_006_json_without_a_prompt(desk: Desk) -> None:
    """JSON without a prompt, or with null for one, blames the prompt."""
    for body in ({}, {"prompt": None}, {"model": "sora-2"}):
        await desk.refused("POST", "/v1/videos", 400, param="prompt", code="missing_required_parameter", json=body)
    assert desk.sim.requests == []


async def test_007_empty_prompt(desk: Desk) -> None:
    """An empty prompt is a 400, in JSON and in a form."""
    await desk.refused("POST", "/v1/videos", 400, param="prompt", json={"prompt": ""})
    await desk.refused("POST", "/v1/videos", 400, param="prompt", data=form(prompt=""))
    assert desk.sim.requests == []


async def test_008_prompt_too_long(desk: Desk) -> None:
    """A prompt of 32,001 characters is a 400, of 32,000 it is not; characters count, not bytes."""
    for letter in ("x", "窗", "🛶"):
        await desk.refused("POST", "/v1/videos", 400, param="prompt", json={"prompt": letter * 32_001})
        await desk.refused("POST", "/v1/videos", 400, param="prompt", data=form(prompt=letter * 32_001))
        assert (await desk.product.create(prompt=letter * 32_000))["prompt"] == letter * 32_000


async def test_009_unknown_model(desk: Desk) -> None:
    """A model that no channel serves is model_not_found."""
    for body in ({"json": {"prompt": "x", "model": "sora-9"}}, {"data": form(prompt="x", model="sora-9")}):
        await desk.refused("POST", "/v1/videos", 400, 404, param="model", code="model_not_found", **body)
    assert desk.sim.requests == []


@pytest.mark.parametrize("size", ["7x", "1280", "x720", "1280*720", "0x0", "-1x720", "16:", "1280x720x1", ""])
async def test_010_malformed_size(desk: Desk, size: str) -> None:
    """A size of no form blames size."""
    await desk.refused("POST", "/v1/videos", 400, param="size", json={"prompt": "x", "size": size})
    await desk.refused("POST", "/v1/videos", 400, param="size", data=form(prompt="x", size=size))
    assert desk.sim.requests == []


async def test_011_unsupported_seconds(desk: Desk) -> None:
    """Seconds that the upstream does not make blame seconds, also where only the upstream knows."""
    for seconds in ("5", "99", "3600", 7):
        await desk.refused("POST", "/v1/videos", 400, param="seconds", json={"prompt": "x", "seconds": seconds})
    for seconds in ("0", "-4", "4.5", "four", 3601):
        before = len(desk.sim.requests)
        await desk.refused("POST", "/v1/videos", 400, param="seconds", json={"prompt": "x", "seconds": seconds})
        assert len(desk.sim.requests) == before


@pytest.mark.parametrize("body", [b"{", b"{'prompt': 'x'}", b'{"prompt": "x",}', b"[1]", b'"x"', b"", b"prompt=x"])
async def test_012_malformed_json(desk: Desk, body: bytes) -> None:
    """What is no JSON object is a 400 in the envelope."""
    await desk.refused("POST", "/v1/videos", 400, data=body, headers={"Content-Type": "application/json"})
    assert desk.sim.requests == []


@pytest.mark.parametrize("media_type", ["text/plain", "application/xml", "application/octet-stream", "image/png"])
async def test_013_unsupported_content_type(desk: Desk, media_type: str) -> None:
    """Another content type is a 400 or 415 in the envelope."""
    await desk.refused("POST", "/v1/videos", 400, 415, data=b'{"prompt": "x"}', headers={"Content-Type": media_type})
    assert desk.sim.requests == []


async def test_014_both_kinds_of_reference(desk: Desk) -> None:
    """image_url together with file_id, or neither of them, is a 400; in JSON and in a form."""
    for reference in ({"image_url": "https://example.com/a.png", "file_id": "file-1"}, {}, {"image_url": None}):
        await desk.refused(
            "POST", "/v1/videos", 400, param="input_reference", json={"prompt": "x", "input_reference": reference}
        )
    data = parts(
        ("prompt", "x"),
        ("input_reference[image_url]", "https://example.com/a.png"),
        ("input_reference[file_id]", "file-1"),
    )
    await desk.refused("POST", "/v1/videos", 400, param="input_reference", data=data)
    assert desk.sim.requests == []


async def test_015_unknown_file_id(desk: Desk) -> None:
    """A file id that nobody uploaded is a 4xx."""
    reference = {"file_id": "file-unknown"}
    body = {"prompt": "x", "input_reference": reference}
    await desk.refused("POST", "/v1/videos", *range(400, 500), param="input_reference.file_id", json=body)
    assert desk.sim.requests == []


@pytest.mark.parametrize(
    "host",
    [
        *("169.254.169.254", "127.0.0.1", "10.0.0.1", "192.168.1.1", "[::1]", "[fd00::1]", "localhost", "2130706433"),
        *("0x7f.1", "0.0.0.0", "[::ffff:127.0.0.1]", "metadata.google.internal", "127.1", "user@127.0.0.1"),
    ],
)
async def test_016_private_addresses(desk: Desk, host: str) -> None:
    """A picture's address that is link-local, private or our own is refused, and never asked."""
    port = desk.sim.base_url.rsplit(":", 1)[1]
    for body in (
        {"input_reference": {"image_url": f"http://{host}:{port}/v1/videos"}},
        {"image": f"http://{host}:{port}/v1/videos"},
        {"input_reference": {"image_url": f"https://{host}/latest/meta-data/"}},
    ):
        error = await desk.refused("POST", "/v1/videos", *range(400, 500), json={"prompt": "x", **body})
        assert (error["param"] or "").partition(".")[0] == next(iter(body)), error
    assert desk.sim.requests == []


async def test_017_upload_that_is_no_image(desk: Desk) -> None:
    """A file that is no picture is a 400, whatever it is called."""
    for content in (b"not a picture", b"", b"\x89PNG\r\n\x1a\n" + b"\0" * 64, png()[:200], b"GIF89a" + b"\0" * 32):
        data = FormData({"prompt": "x"})
        data.add_field("input_reference", content, filename="picture.png", content_type="image/png")
        await desk.refused("POST", "/v1/videos", 400, param="input_reference", data=data)
    assert desk.sim.requests == []


@pytest.mark.parametrize(
    "path", ["/v1/nothing", "/nothing", "/v1", "/v1/", "/v1/videos/a/b", "/v1/videos/a/content/b", "/v2/videos"]
)
async def test_018_unknown_route(desk: Desk, path: str) -> None:
    """An unknown route is a 404 in the envelope, never HTML, with any method."""
    for method in ("GET", "POST", "DELETE", "PUT"):
        status, body, headers = await desk.call(method, path)
        assert status == 404, (method, path, body)
        assert "Invalid URL" in envelope(body, headers)["message"]


async def test_019_wrong_method(desk: Desk) -> None:
    """A method that a route has not is a 404 or 405 in the envelope."""
    for method, path in (
        ("PUT", "/v1/videos"),
        ("DELETE", "/v1/videos"),
        ("PATCH", f"/v1/videos/{UNKNOWN_ID}"),
        ("POST", f"/v1/videos/{UNKNOWN_ID}"),
        ("POST", f"/v1/videos/{UNKNOWN_ID}/content"),
        ("GET", f"/v1/videos/{UNKNOWN_ID}/remix"),
        ("GET", "/v1/videos/edits"),
        ("GET", "/v1/videos/extensions"),
        ("DELETE", "/v1/videos/characters/x"),
        ("POST", "/v1/models"),
    ):
        status, body, headers = await desk.call(method, path)
        assert status in (404, 405), (method, path, body)
        envelope(body, headers)


async def test_020_remix_of_an_unknown_id(desk: Desk) -> None:
    """A remix of an unknown video is a 404."""
    for video_id in IDS:
        path = f"/v1/videos/{video_id}/remix"
        await desk.refused("POST", path, 404, code="video_not_found", json={"prompt": "x"})
    assert desk.sim.requests == []


async def test_021_edit_of_an_unknown_id(desk: Desk) -> None:
    """An edit of an unknown video is a 4xx, in JSON and in a form."""
    for video_id in IDS:
        body: dict[str, Any] = {"prompt": "x", "video": {"id": video_id}}
        await desk.refused("POST", "/v1/videos/edits", 404, code="video_not_found", json=body)
        data = parts(("prompt", "x"), ("video[id]", video_id))
        await desk.refused("POST", "/v1/videos/edits", 404, code="video_not_found", data=data)
    assert desk.sim.requests == []


async def test_022_extension_of_an_unknown_id(desk: Desk) -> None:
    """An extension of an unknown video is a 4xx, in JSON and in a form."""
    for video_id in IDS:
        body: dict[str, Any] = {"prompt": "x", "seconds": "4", "video": {"id": video_id}}
        await desk.refused("POST", "/v1/videos/extensions", 404, code="video_not_found", json=body)
        data = parts(("prompt", "x"), ("seconds", "4"), ("video[id]", video_id))
        await desk.refused("POST", "/v1/videos/extensions", 404, code="video_not_found", data=data)
    assert desk.sim.requests == []


async def test_023_the_character_route(desk: Desk) -> None:
    """GET /videos/characters/x asks for a character, not for a video of that name."""
    error = await desk.refused("GET", "/v1/videos/characters/x", 404, code="not_found")
    assert "Character with id 'x' not found" in error["message"]
    assert desk.sim.requests == []


async def test_029_request_ids(desk: Desk) -> None:
    """Every answer has an x-request-id of its own: successes, errors, content and its parts, HEAD, unknown routes."""
    video = await desk.completed()
    one = f"/v1/videos/{video['id']}"
    expected = [
        ("GET", one, {}, 200),
        ("HEAD", one, {}, 200),
        ("GET", "/v1/videos", {}, 200),
        ("GET", f"{one}/content", {}, 200),
        ("HEAD", f"{one}/content", {}, 200),
        ("GET", f"{one}/content", {"Range": "bytes=0-9"}, 206),
        ("GET", f"{one}/content", {"Range": "bytes=99999999-"}, 416),
        ("GET", f"{one}/content", {"If-None-Match": "*"}, 304),
        ("GET", "/v1/models", {}, 200),
        ("GET", f"/v1/videos/{UNKNOWN_ID}", {}, 404),
        ("GET", "/v1/nothing", {}, 404),
        ("PUT", "/v1/videos", {}, 405),
        ("POST", "/v1/videos", {"Content-Type": "text/plain"}, 415),
        ("POST", "/v1/videos", {"Expect": "tomorrow"}, 417),
        ("GET", "/healthz", {}, 200),
        ("DELETE", one, {}, 200),
    ]
    seen = set()
    for method, path, headers, wanted in expected:
        status, body, answered = await desk.call(method, path, headers=headers)
        assert status == wanted, (method, path, body)
        seen.add(answered["x-request-id"])
    status, _, answered = await desk.call("GET", "/v1/videos", key=None)
    seen.add(answered["x-request-id"])
    assert status == 401
    assert len(seen) == len(expected) + 1
