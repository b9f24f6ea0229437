"""openai-videos.md §8, 35, 40 to 47, 52, 82, 83 and 86: the bytes of a video."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import openai
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from yarl import URL

from proxy.models import Source
from proxy.testing import Answer
from tests.checklist.desk import Desk, envelope, with_sdk
from tests.conftest import ADMIN_KEY, Product


async def content(desk: Desk, video: dict[str, Any], query: str = "", **kwargs: Any) -> tuple[int, Any, dict[str, str]]:
    return await desk.call("GET", f"/v1/videos/{video['id']}/content{query}", **kwargs)


async def test_035_content_too_early(desk: Desk) -> None:
    """Before completion the content is a 404, never a 409 that the SDKs would repeat; nothing is asked upstream."""
    video = await desk.product.create()
    path = f"/v1/videos/{video['id']}/content"
    error = await desk.refused("GET", path, 404, code="video_not_ready")
    assert "not ready yet" in error["message"]
    desk.sim.advance(desk.sim.latest.id)
    await desk.product.until(video["id"], "in_progress")
    for query in ("", "?variant=thumbnail"):
        await desk.refused("GET", path + query, 404, code="video_not_ready")
    assert desk.sim.calls("content") == []

    def load(client: openai.OpenAI) -> None:
        with pytest.raises(openai.NotFoundError):
            client.videos.download_content(video["id"])

    await desk.sdk(load, max_retries=2)


@pytest.mark.parametrize("accept", ["application/binary", "video/mp4", "image/png", "application/json", "*/*", None])
async def test_040_accept(desk: Desk, accept: str | None) -> None:
    """The content is video/mp4 whatever the client says that it takes."""
    video = await desk.completed()
    status, body, headers = await content(desk, video, headers={"Accept": accept} if accept else {})
    assert (status, headers["content-type"]) == (200, "video/mp4")
    assert body == desk.sim.video_bytes


async def test_041_content_length(desk: Desk) -> None:
    """Content-Length is the number of bytes, of the whole, of a part and of a HEAD."""
    video = await desk.completed()
    size = len(desk.sim.video_bytes)
    status, body, headers = await content(desk, video)
    assert (status, int(headers["content-length"]), len(body)) == (200, size, size)
    status, body, headers = await desk.call("HEAD", f"/v1/videos/{video['id']}/content")
    assert (status, int(headers["content-length"]), body) == (200, size, b"")
    status, body, headers = await content(desk, video, headers={"Range": "bytes=5-9"})
    assert (status, int(headers["content-length"]), len(body)) == (206, 5, 5)


@pytest.mark.parametrize("honours", [True, False])
@pytest.mark.parametrize("lengths", [True, False])
async def test_042_range(desk: Desk, honours: bool, lengths: bool) -> None:
    """A range is a 206 with its Content-Range, whatever the upstream makes of ranges and lengths."""
    desk.sim.honours_range, desk.sim.sends_length = honours, lengths
    video = await desk.completed()
    data = desk.sim.video_bytes
    size = len(data)
    for wish, first, last in (
        ("bytes=0-99", 0, 99),
        ("bytes=100-", 100, size - 1),
        ("bytes=-50", size - 50, size - 1),
        (f"bytes=0-{size + 5}", 0, size - 1),
    ):
        status, body, headers = await content(desk, video, headers={"Range": wish})
        assert (status, headers["content-range"]) == (206, f"bytes {first}-{last}/{size}"), wish
        assert body == data[first : last + 1]

    def load(client: openai.OpenAI) -> bytes:
        return client.videos.download_content(video["id"], extra_headers={"Range": "bytes=0-99"}).read()

    assert await desk.sdk(load) == data[:100]


async def variant_is_a_picture(desk: Desk, variant: str, media_type: str) -> None:
    """What tests 43 and 44 have in common."""
    video = await desk.completed()
    status, body, headers = await content(desk, video, f"?variant={variant}")
    assert (status, headers["content-type"]) == (200, media_type)
    assert b"ftyp" not in body[:16]
    # Upstreams that know no variants, and say so or send the video all the same: the picture is made here.
    for answer in (
        Answer(status=400, json={"detail": "variant is not supported"}),
        Answer(status=404, json={"error": {"message": "Not found."}}),
        Answer(body=desk.sim.video_bytes, headers={"Content-Type": "video/mp4"}),
        Answer(body=desk.sim.video_bytes, headers={"Content-Type": media_type}),
    ):
        video = await desk.completed()
        desk.sim.then(answer, on="content")
        status, body, headers = await content(desk, video, f"?variant={variant}")
        assert (status, headers["content-type"], body[4:8] == b"ftyp") == (200, media_type, False)


async def test_043_thumbnail(desk: Desk) -> None:
    """A thumbnail is a picture, the upstream's or our own; never an MP4."""
    await variant_is_a_picture(desk, "thumbnail", "image/webp")


async def test_044_spritesheet(desk: Desk) -> None:
    """A sprite sheet is a picture, the upstream's or our own; never an MP4."""
    await variant_is_a_picture(desk, "spritesheet", "image/jpeg")


async def test_043_of_a_plugin_without_variants(puppet: Product) -> None:
    """A plugin that gives its MP4 for every variant is a 4xx, too."""
    channel = puppet.channel("p")

    async def film(job: Any, variant: str) -> Source:
        return Source(data=b"\x00\x00\x00\x18ftypmp42" + b"x" * 100)

    channel.content = film
    video = await puppet.done((await puppet.create())["id"])
    status, body, headers = await puppet.call("GET", f"/v1/videos/{video['id']}/content?variant=thumbnail")
    assert 400 <= status < 500
    assert envelope(body, headers)["param"] == "variant"


async def test_045_unknown_variant(desk: Desk) -> None:
    """Another variant is a 400."""
    video = await desk.completed()
    for variant in ("zip", "VIDEO", "", "video%00"):
        await desk.refused("GET", f"/v1/videos/{video['id']}/content?variant={variant}", 400, param="variant")
    assert desk.sim.calls("content") == []


async def test_046_content_without_a_key(desk: Desk) -> None:
    """Without a key the content is a 401; a signed link needs none, and a broken one is a 401 too."""
    video = await desk.completed()
    path = f"/v1/videos/{video['id']}/content"
    for query in ("", "?exp=9999999999", "?sig=x", "?exp=9999999999&sig=x"):
        await desk.refused("GET", path + query, 401, code="invalid_api_key", key=None)
    assert desk.sim.calls("content") == []
    status, body, _ = await desk.call("GET", video["video_url"].removeprefix(desk.url), key=None)
    assert (status, body) == (200, desk.sim.video_bytes)


async def test_052_after_a_delete(desk: Desk) -> None:
    """After DELETE the video and its content are 404, with a key and with the link that was given before."""
    video = await desk.completed()
    assert (await desk.call("DELETE", f"/v1/videos/{video['id']}"))[0] == 200
    for path in (f"/v1/videos/{video['id']}", f"/v1/videos/{video['id']}/content"):
        await desk.refused("GET", path, 404, code="video_not_found")
    await desk.refused("GET", video["video_url"].removeprefix(desk.url), 404, code="video_not_found", key=None)
    await desk.refused("DELETE", f"/v1/videos/{video['id']}", 404, code="video_not_found")
    assert await desk.listed() == []


async def test_078_create_and_poll(desk: Desk, tmp_path: Path) -> None:
    """The SDK's create_and_poll ends with completed, and its download writes the file that the upstream made."""
    desk.sim.automatic = True
    file = tmp_path / "film.mp4"

    def run(client: openai.OpenAI) -> openai.types.Video:
        video = client.videos.create_and_poll(prompt="a boat", seconds="4", poll_interval_ms=20)
        client.videos.download_content(video.id).write_to_file(file)
        return video

    video = await desk.sdk(run)
    assert (video.status, video.progress, video.error) == ("completed", 100, None)
    assert await asyncio.to_thread(file.read_bytes) == desk.sim.video_bytes
    assert desk.sim.paid == 1


async def test_082_redirect_to_a_signed_link(desk: Desk) -> None:
    """A 302 from another origin to a signed link works with the SDK, which drops its key on the way."""
    video = await desk.completed()
    seen: list[str | None] = []

    async def onward(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization"))
        raise web.HTTPFound(video["video_url"])

    app = web.Application()
    app.router.add_get("/v1/videos/{id}/content", onward)
    async with TestServer(app) as front:
        base = str(front.make_url("/v1"))
        data = await with_sdk(base, lambda client: client.videos.download_content(video["id"]).read())
        headers = {"Range": "bytes=0-9"}
        part = await with_sdk(
            base, lambda client: client.videos.download_content(video["id"], extra_headers=headers).read()
        )
    assert data == desk.sim.video_bytes
    assert part == data[:10]
    assert len(seen) == 2


@pytest.mark.parametrize(
    "odd",
    ["a%2Fb", "..%2Fmodels", "%2e%2e", "%2e%2e%2fmodels", "characters%2Fx", "a%00b", "a%5Cb", "a%0d%0ab", "x" * 8000],
)
async def test_083_percent_encoded_ids(desk: Desk, odd: str) -> None:
    """An id with an encoded separator is an unknown id on every route, and reaches no other one."""

    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/content"), ("POST", "/remix")):
        # As it is given: yarl would normalise it.
        url = URL(f"{desk.url}/v1/videos/{odd}{path}", encoded=True)
        body = {"prompt": "x"} if method == "POST" else None
        headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
        async with desk.product.session.request(method, url, json=body, headers=headers) as response:
            error = envelope(await response.json())
            assert response.status in (400, 404), error
            if len(odd) < 1000:
                assert (response.status, error["code"]) == (404, "video_not_found")
    assert desk.sim.requests == []


async def test_083_in_the_sdk(desk: Desk) -> None:
    """The SDK encodes an id with a slash, and gets NotFoundError."""

    def look(client: openai.OpenAI) -> None:
        for odd in ("a/b", "../models", "characters/x"):
            with pytest.raises(openai.NotFoundError) as caught:
                client.videos.retrieve(odd)
            assert caught.value.code == "video_not_found"

    await desk.sdk(look)


@pytest.mark.parametrize("status", [404, 410])
async def test_086_expired(desk: Desk, status: int) -> None:
    """Expired bytes are a 404 `expired` by date and by the upstream's word, while the video stays readable."""
    desk.sim.mangle(lambda body: {**body, "expires_at": 1_000_000_000}, on="fetch", times=None)
    video = await desk.completed()
    for path in (f"/v1/videos/{video['id']}/content", video["video_url"].removeprefix(desk.url)):
        await desk.refused("GET", path, 404, code="expired")
    assert desk.sim.calls("content") == []
    assert (await desk.call("GET", f"/v1/videos/{video['id']}"))[1]["status"] == "completed"
    desk.sim.calm()

    video = await desk.completed()
    path = f"/v1/videos/{video['id']}/content"
    for method, headers in (("GET", {}), ("GET", {"Range": "bytes=0-9"}), ("GET", {"Range": "bytes=-9"}), ("HEAD", {})):
        # The second time it is the address that it was asked for anew.
        desk.sim.then(desk.sim.error(status, "The assets of this video have expired."), on="content", times=2)
        got, body, answered = await desk.call(method, path, headers=headers)
        assert got == 404, body
        assert "accept-ranges" not in answered
        if method == "GET":
            assert envelope(body, answered)["code"] == "expired"
            assert "x-should-retry" not in answered
    assert (await desk.call("GET", f"/v1/videos/{video['id']}"))[1] == video
