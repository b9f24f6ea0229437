"""A picture for the end of a video: who takes one gets it, who does not is not asked, and nothing is stored in vain."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any

import pytest
from aiohttp import FormData

from proxy.inputs import PictureForm
from tests.conftest import Launch, Product
from tests.media.looks import ALIKE, far, file_of, look, motif, opened

PLUGINS = (Path(__file__).parent / "plugins",)
BOTH = """
server: {{{server}}}
channels:
  - {{name: plain, type: easel, models: [m], priority: 9{plain}}}
  - {{name: ends, type: ends, models: [m, n]{ends}}}
"""
PNG = file_of(motif(160, 90))
TURNED = file_of(motif(160, 90), "JPEG", 6)


def text(server: str = "", plain: str = "", ends: str = "") -> str:
    return BOTH.format(server=server, plain=plain, ends=ends)


def uri(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def form(**parts: str | bytes) -> FormData:
    made = FormData({"prompt": "p", "model": "m", "size": "160x90"})
    for name, value in parts.items():
        more = {"filename": "upload", "content_type": "application/octet-stream"} if isinstance(value, bytes) else {}
        made.add_field(name, value, **more)
    return made


async def stored(product: Product, data: Path) -> tuple[int, int]:
    """How many videos and how many input files there are."""
    status, page, _ = await product.call("GET", "/v1/videos")
    assert status == 200
    files = await asyncio.to_thread(lambda: [path for path in (data / "inputs").rglob("*") if path.is_file()])
    return len(page["data"]), len(files)


async def test_it_reaches_the_channel_that_takes_one(launch: Launch) -> None:
    """However it is spelt, on either route, it goes to the channel that takes one, in its form and the video's size."""
    product = await launch(text(), plugins=PLUGINS)
    plain, ends = product.channel("plain"), product.channel("ends")
    bodies: list[dict[str, Any]] = [
        {"json": {"prompt": "p", "model": "m", "size": "160x90", "last_frame": last}}
        for last in (uri(PNG), base64.b64encode(PNG).decode(), {"image_url": uri(PNG)}, {"url": uri(PNG)},
                     {"image_url": {"url": uri(TURNED)}})
    ]  # fmt: skip
    bodies += [{"data": form(last_frame=TURNED)}, {"data": form(**{"last_frame[image_url]": uri(PNG)})}]
    for path in ("/v1/videos", "/v1/video/generations"):
        for body in bodies[:1] if path.endswith("generations") else bodies:
            status, answer, _ = await product.call("POST", path, **body)
            assert status == 200, answer
            request = ends.asked[-1]
            assert request.images == ()
            made = request.last_frame
            assert (made.media_type, made.width, made.height) == ("image/jpeg", 160, 90)
            assert far(look(opened(made.data)), look(motif(160, 90))) <= ALIKE
    assert len(ends.asked) == len(bodies) + 1
    assert plain.asked == []
    await product.create(model="m", size="160x90", image=uri(PNG))
    assert len(plain.asked) == 1
    assert plain.asked[0].last_frame is None
    assert plain.asked[0].image.data == PNG


async def test_start_and_end_do_not_change_places(launch: Launch) -> None:
    """The first picture is the first, the last frame the last, also where both are the same picture."""
    product = await launch(text(), plugins=PLUGINS)
    other = file_of(motif(160, 90).rotate(180))
    for image, last in ((PNG, other), (other, PNG), (PNG, PNG)):
        await product.create(model="n", size="160x90", input_reference={"image_url": uri(image)}, last_frame=uri(last))
        request = product.channel("ends").asked[-1]
        for made, sent in ((request.image, image), (request.last_frame, last)):
            assert far(look(opened(made.data)), look(opened(sent))) <= ALIKE
    await product.create(model="n", size="160x90", last_frame=uri(file_of(motif(100, 100))))
    made = product.channel("ends").asked[-1].last_frame
    assert opened(made.data).size == (made.width, made.height) == (160, 90)


@pytest.mark.parametrize(
    ("server", "plain", "ends", "body", "param", "words"),
    [
        ("", "", ", enabled: false", {"last_frame": uri(PNG)}, "last_frame", "'m' takes no picture for the end"),
        ("", "", "", {"model": "n", "images": [uri(PNG)] * 2 + [uri(TURNED), uri(file_of(motif(10, 9))), uri(file_of(
            motif(11, 9)))]}, "images", "at most 3 input pictures, and there are 4"),
        ("inputs: {max_count: 2}", "", "", {"model": "n", "image": uri(PNG), "input_reference": uri(TURNED),
         "last_frame": uri(PNG)}, "last_frame", "at most 2 input pictures, and there are 3"),
        ("", "", "", {"last_frame": uri(b"GIF89a" + bytes(40))}, "last_frame", "last_frame is a GIF"),
        ("", "", "", {"last_frame": {"file_id": "file_1"}}, "last_frame.file_id", "No such file: 'file_1'"),
        ("", "", "", {"last_frame": [uri(PNG)]}, "last_frame", "but got an array"),
        ("", "", "", {"last_frame": {"image_url": {"url": "x", "detail": "low"}}}, "last_frame", "image_url.detail"),
        ("", "", "", {"last_frame": {"image_url": {}}}, "last_frame", "exactly one of 'url'"),
        ("", "", "", {"last_frame": {"url": uri(PNG), "file_id": "f"}}, "last_frame", "exactly one of"),
        ("", "", ", fit: exact", {"last_frame": uri(PNG), "size": "90x160"}, "last_frame", "Inpaint image must match"),
        ("inputs: {max_bytes: 50}", "", "", {"last_frame": uri(PNG)}, "last_frame", "larger than 50 bytes"),
        ("inputs: {max_pixels: 14399}", "", "", {"last_frame": uri(PNG)}, "last_frame", "160x90 pixels"),
    ],
)  # fmt: skip
async def test_refusals_come_before_anything_is_stored(
    launch: Launch, tmp_path: Path, server: str, plain: str, ends: str, body: dict[str, Any], param: str, words: str
) -> None:
    """What no channel takes, and what is no picture, is a 400 that blames its field; no video and no file is left."""
    product = await launch(text(server, plain, ends), plugins=PLUGINS)
    status, answer, _ = await product.call("POST", "/v1/videos", json={"prompt": "p", "model": "m", **body})
    assert (status, answer["error"]["param"]) == (400, param), answer
    assert words in answer["error"]["message"]
    assert await stored(product, tmp_path / "data") == (0, 0)


async def test_it_belongs_to_creates(launch: Launch) -> None:
    """A remix, an edit and an extension have no last frame of their own."""
    product = await launch(text(), plugins=PLUGINS)
    for path in ("/v1/videos/video_1/remix", "/v1/videos/edits", "/v1/videos/extensions"):
        body = {"prompt": "p", "video": {"id": "video_1"}, "seconds": 4, "last_frame": uri(PNG)}
        if path.endswith("remix"):
            del body["video"]
        status, answer, _ = await product.call("POST", path, json=body)
        assert (status, answer["error"]["param"]) == (400, "last_frame")


async def test_the_limits_follow_the_file(launch: Launch) -> None:
    """A reload changes how many pictures are taken, without a restart."""
    product = await launch(text("inputs: {max_count: 1}"), plugins=PLUGINS)
    body = {"prompt": "p", "model": "n", "image": uri(PNG), "last_frame": uri(PNG)}
    assert (await product.call("POST", "/v1/videos", json=body))[0] == 400
    await product.reload(text("inputs: {max_count: 2}"))
    assert (await product.call("POST", "/v1/videos", json=body))[0] == 200
    await product.reload(text("inputs: {max_bytes: 50}"))
    assert (await product.call("POST", "/v1/videos", json=body))[0] == 400


async def test_a_waiting_one_keeps_it(launch: Launch) -> None:
    """A video that waits for a place goes, with its last frame, only to a channel that takes one."""
    product = await launch(text(ends=", max_running: 1"), plugins=PLUGINS)
    ends = product.channel("ends")
    first = await product.create(model="n")
    second = await product.create(model="m", size="160x90", last_frame=uri(PNG))
    assert len(ends.asked) == 1
    ends.__dict__["status"] = "completed"
    await product.done(first["id"])
    await product.done(second["id"])
    assert product.channel("plain").asked == []
    assert ends.asked[1].last_frame is not None


async def test_the_size_of_the_video_goes_before_the_form(launch: Launch, tmp_path: Path) -> None:
    """A picture that cannot have both the video's size and a form that the channel takes is refused, not shrunk."""
    product = await launch(text(), plugins=PLUGINS)
    ends = product.channel("ends")
    ends.__dict__["picture_form"] = PictureForm(media_types=("image/jpeg",), max_bytes=800)
    body = {"prompt": "p", "model": "n", "size": "160x90", "last_frame": uri(PNG)}
    status, answer, _ = await product.call("POST", "/v1/videos", json=body)
    assert (status, answer["error"]["param"]) == (400, "last_frame"), answer
    assert "must have the size of the video, 160x90" in answer["error"]["message"]
    assert (ends.asked, await stored(product, tmp_path / "data")) == ([], (0, 0))


async def test_who_waits_for_another_channel_holds_up_nobody(launch: Launch) -> None:
    """A video that waits with a last frame, or with many pictures, is not in the way of one like it without them."""
    product = await launch(text(ends=", max_running: 1"), plugins=PLUGINS)
    await product.create(model="n")
    waits = await product.create(model="m", size="160x90", last_frame=uri(PNG))
    assert (await product.create(model="m", size="160x90"))["id"] != waits["id"]
    assert len(product.channel("plain").asked) == 1
