"""Upstreams that fetch pictures themselves: the client's own address where it serves, else a signed link to us."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any

import pytest
from aiohttp import FormData

from proxy.errors import UpstreamTimeout
from proxy.inputs import Picture
from proxy.models import VideoRequest
from tests.conftest import Launch, Product
from tests.media.looks import ALIKE, far, file_of, look, motif, opened
from tests.media.test_every_way import URL, Web
from tests.media.videos import clip

PLUGINS = (Path(__file__).parent / "plugins",)
PUBLIC = "https://reelgate.example/under"
CHANNELS = """
channels:
  - {name: gallery, type: gallery, models: [m], max_running: 2}
"""
TEXT = f"server: {{public_url: {PUBLIC}}}\n{CHANNELS}"
PNG = file_of(motif())
JPEG = file_of(motif(), "JPEG")
PAGE = b"<html><script>alert(1)</script>"


def uri(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


async def fetch(product: Product, url: str, method: str = "GET", **headers: str) -> tuple[int, bytes, dict[str, str]]:
    """What the upstream gets that was handed `url`: it has no key of ours, and does not follow redirects."""
    assert url.startswith(f"{PUBLIC}/v1/inputs/video_")
    asked = product.url + url.removeprefix(PUBLIC)
    async with product.session.request(method, asked, headers=headers, allow_redirects=False) as response:
        found = response.status, await response.read(), {name.lower(): text for name, text in response.headers.items()}
    # On the same connection, so that the answer before has ended on the server's side too.
    await product.call("GET", "/healthz", key=None)
    return found


def one(product: Product, place: int = -1) -> VideoRequest:
    request = product.channel("gallery").asked[place]
    assert isinstance(request, VideoRequest)
    return request


async def test_a_link_serves_the_formed_picture(launch: Launch) -> None:
    """Whoever has the link gets these bytes with their type, whole or in part, until the video is made."""
    product = await launch(TEXT, plugins=PLUGINS)
    video = await product.create(model="m", image=uri(JPEG), last_frame=uri(PNG + PAGE))
    request = one(product)
    assert request.last_frame is not None
    assert request.last_frame.data == PNG + PAGE
    for picture in (request.image, request.last_frame):
        assert isinstance(picture, Picture)
        assert picture.url is not None
        status, body, headers = await fetch(product, picture.url)
        assert (status, body) == (200, picture.data)
        assert far(look(opened(body)), look(motif())) <= ALIKE
        assert headers["content-type"] == "image/png"
        assert headers["content-length"] == str(len(body))
        assert headers["x-content-type-options"] == "nosniff"
        status, empty, head = await fetch(product, picture.url, "HEAD")
        assert (status, empty, head["content-length"]) == (200, b"", str(len(body)))
        status, part, headers = await fetch(product, picture.url, Range="bytes=5-9")
        assert (status, part, headers["content-range"]) == (206, body[5:10], f"bytes 5-9/{len(body)}")
        assert (await fetch(product, picture.url, Range=f"bytes={len(body)}-"))[0] == 416
    product.channel("gallery").__dict__["status"] = "completed"
    await product.done(video["id"])
    assert (await fetch(product, str(request.last_frame.url)))[0] == 404


async def test_a_link_opens_nothing_else(launch: Launch) -> None:
    """A link that was changed, cut or borrowed for another file is a 401, with and without a key."""
    product = await launch(TEXT, plugins=PLUGINS)
    for data in (PNG, JPEG):
        await product.create(model="m", image=uri(data))
    first, second = (str(one(product, place).images[0].url) for place in (0, 1))
    path, _, query = first.partition("?")
    for url in (path, f"{path}?", f"{path}?{query}x", f"{path}?{query.replace('exp=', 'exp=9')}",
                f"{second.partition('?')[0]}?{query}", path.replace(".png", ".jpg") + f"?{query}",
                path.rpartition("/")[0] + f"/..%2f..%2freelgate.db?{query}"):  # fmt: skip
        status, body, _ = await fetch(product, url)
        assert (status, b"PNG" in body) == (401, False), url
        status, *_ = await product.call("GET", url.removeprefix(PUBLIC))
        assert status == 401
    assert (await fetch(product, first))[0] == 200


@pytest.mark.parametrize(
    ("data", "own"), [(PNG, True), (JPEG, False), (file_of(motif(), "PNG", 6), False)], ids=["as is", "other", "turned"]
)
async def test_the_clients_own_address_goes_on(launch: Launch, data: bytes, own: bool) -> None:
    """An address whose picture needs no change is passed on; where it needs one, the link leads to the changed one."""
    product = await launch(TEXT, plugins=PLUGINS)
    product.core.inputs._http = Web(data)
    await product.create(model="m", image=URL)
    picture = one(product).images[0]
    assert picture.url is not None
    if own:
        assert (picture.url, picture.data) == (URL, data)
    else:
        assert (await fetch(product, picture.url))[:2] == (200, picture.data)
        assert picture.data != data


@pytest.mark.parametrize("full", [False, True])
async def test_without_an_address_of_our_own(launch: Launch, tmp_path: Path, full: bool) -> None:
    """A server that the world cannot reach refuses bytes, and addresses that need a change, before anything is stored,
    also where the channel has no room now; an address that needs none is passed on."""
    product = await launch(CHANNELS, plugins=PLUGINS)
    videos = 0
    if full:
        videos = len([await product.create(model="m") for _ in range(2)])
    for body, fetched in (
        ({"image": uri(PNG)}, PNG), ({"last_frame": uri(JPEG)}, PNG), ({"image": URL}, JPEG),
        ({"image": uri(PNG), "last_frame": URL}, PNG),
    ):  # fmt: skip
        product.core.inputs._http = Web(fetched)
        status, answer, _ = await product.call("POST", "/v1/videos", json={"prompt": "p", "model": "m", **body})
        assert status == 400
        assert answer["error"]["param"] in ("last_frame", "image")
        assert "gallery takes pictures by public address only" in answer["error"]["message"]
    assert len((await product.call("GET", "/v1/videos"))[1]["data"]) == videos
    assert await asyncio.to_thread(_files, tmp_path / "data" / "inputs") == []
    product.core.inputs._http = Web(PNG)
    await product.create(model="m", image=URL)
    if not full:
        assert one(product).images[0].url == URL


async def test_a_look_up_has_the_same_request(launch: Launch) -> None:
    """What a channel is asked to look up is, link by link and byte by byte, what it was asked to make."""
    product = await launch(TEXT, plugins=PLUGINS)
    gallery = product.channel("gallery")
    create = gallery.create

    async def lost(request: VideoRequest) -> Any:
        await create(request)
        raise UpstreamTimeout("no answer")

    gallery.create = lost
    await product.create(model="m", image=uri(JPEG), last_frame=uri(PNG))
    async with asyncio.timeout(30):
        while len(gallery.asked) < 2:
            await asyncio.sleep(0.01)
    assert gallery.asked[0] == gallery.asked[1]
    assert gallery.asked[0].images[0].url is not None


async def test_files_of_the_client_are_inputs(launch: Launch) -> None:
    """What was uploaded to /files is named by its id: pictures for creates, videos for edits, with links; only its
    owner can."""
    product = await launch(TEXT, plugins=PLUGINS)
    film = clip(frames=5)
    ids = []
    for data, purpose in ((PNG, "vision"), (film, "user_data")):
        form = FormData({"purpose": purpose})
        form.add_field("file", data, filename="mine.bin")
        status, file, _ = await product.call("POST", "/v1/files", data=form)
        assert status == 200, file
        ids.append(file["id"])
    bracketed = FormData({"prompt": "p", "model": "m", "input_reference[file_id]": ids[0]})
    create: dict[str, Any] = {"json": {"prompt": "p", "model": "m", "image": {"file_id": ids[0]}}}
    edit: dict[str, Any] = {"json": {"prompt": "p", "model": "m", "video": {"file_id": ids[1]}}}
    other = await product.key("other")
    for path, body, param in (("/v1/videos", create, "image"), ("/v1/videos/edits", edit, "video")):
        status, answer, _ = await product.call("POST", path, key=other, **body)
        assert (status, answer["error"]["param"]) == (400, f"{param}.file_id"), answer
    assert (await product.call("POST", "/v1/videos", data=bracketed))[0] == 200
    assert one(product).images[0].data == PNG
    assert (await product.call("POST", "/v1/videos/edits", **edit))[0] == 200
    video = one(product).video
    assert video is not None
    for file_id in ids:
        assert (await product.call("DELETE", f"/v1/files/{file_id}"))[0] == 200
    status, body, headers = await fetch(product, str(video.url))
    assert (status, body == film, headers["content-type"], video.filename) == (200, True, "video/mp4", "mine.bin")
    status, answer, _ = await product.call("POST", "/v1/videos/edits", **edit)
    assert (status, answer["error"]["param"]) == (400, "video.file_id")


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def test_a_video_deleted_in_between_leaves_nothing(
    launch: Launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A picture that is published while its video is deleted does not outlive it."""
    product = await launch(TEXT, plugins=PLUGINS)
    inputs, gallery = product.core.inputs, product.channel("gallery")
    publish, deleted = inputs.publish, []

    async def delete_first(picture: Picture, *, owner: str, now: float) -> str | None:
        if await product.core.newest(owner) is not None:
            deleted.append((await product.call("DELETE", f"/v1/videos/{owner}"))[0])
        return await publish(picture, owner=owner, now=now)

    first = [await product.create(model="m") for _ in range(2)]
    waits = await product.create(model="m", image=uri(JPEG))
    monkeypatch.setattr(inputs, "publish", delete_first)
    gallery.__dict__["status"] = "completed"
    for video in first:
        await product.done(video["id"])
    async with asyncio.timeout(30):
        while not deleted or f"place {waits['id']}" in {task.get_name() for task in asyncio.all_tasks()}:
            await asyncio.sleep(0)
    assert (deleted, len(gallery.asked)) == ([200], 2)
    assert not await asyncio.to_thread((tmp_path / "data" / "inputs" / waits["id"]).exists)
