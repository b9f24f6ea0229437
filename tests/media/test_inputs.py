"""Inputs: every form of upload, what is kept of it, and for how long."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import sys
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from PIL import Image

from proxy.config.rules import InputLimits
from proxy.errors import InvalidRequest
from proxy.media import files
from proxy.media.inputs import Inputs
from proxy.records import Upload
from proxy.upstream.http import Http
from tests.media.videos import clip, sound
from tests.media.wire import Exchange, RawUpstream

OWNER = "video_0123"


def picture(kind: str = "PNG", size: tuple[int, int] = (64, 48)) -> bytes:
    file = BytesIO()
    Image.new("RGB", size, "teal").save(file, kind)
    return file.getvalue()


PNG = picture()


class PlainFetcher:
    """A fetcher without a guard."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session
        self.timeouts: list[aiohttp.ClientTimeout] = []

    def fetch(self, url: str, *, timeout: aiohttp.ClientTimeout) -> Any:
        self.timeouts.append(timeout)
        return self.session.get(url, auto_decompress=False)


@pytest.fixture
async def fetcher() -> AsyncIterator[PlainFetcher]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(sock_read=0.2)) as session:
        yield PlainFetcher(session)


@pytest.fixture
def inputs(tmp_path: Path, fetcher: PlainFetcher) -> Inputs:
    return Inputs(tmp_path / "inputs", fetcher)


def kept(tmp_path: Path) -> list[str]:
    root = tmp_path / "inputs"
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def answering(body: bytes, status: str = "200 OK", length: int | None = None) -> Any:
    async def script(exchange: Exchange) -> None:
        await exchange.head(status, Content_Length=len(body) if length is None else length, Content_Type="text/plain")
        await exchange.body(body)

    return script


async def refused(work: Any, param: str = "image") -> str:
    with pytest.raises(InvalidRequest) as caught:
        await work
    assert caught.value.param == param
    return caught.value.message


# ---------------------------------------------------------------- pictures


async def test_each_form_of_upload_keeps_the_same_file(inputs: Inputs, upstream: RawUpstream, tmp_path: Path) -> None:
    """A part on disk, bytes and an address end as the same file with the same facts; the part stays where it is."""
    upstream.script = answering(PNG)
    part = tmp_path / "part"
    part.write_bytes(PNG)
    name = f"{OWNER}/{hashlib.sha256(PNG).hexdigest()}.png"
    for upload in (
        Upload(param="image", path=part, filename="cat.gif"),
        Upload(param="image", data=PNG),
        Upload(param="image", url=upstream.url),
    ):
        stored = await inputs.picture(upload, owner=OWNER)
        assert (stored.file, stored.media_type, stored.width, stored.height) == (name, "image/png", 64, 48)
        assert (stored.url, stored.filename) == (upload.url, upload.filename)
        assert kept(tmp_path) == [name]
        loaded = await inputs.load_picture(stored)
        assert (loaded.data, loaded.media_type, loaded.width, loaded.height) == (PNG, "image/png", 64, 48)
        assert loaded.url == upload.url
    assert part.read_bytes() == PNG


async def test_what_is_refused_is_not_kept(inputs: Inputs, tmp_path: Path) -> None:
    """A bad picture leaves no file behind, and its own parameter is blamed."""
    assert "is a GIF" in await refused(inputs.picture(Upload(param="image", data=picture("GIF")), owner=OWNER))
    part = tmp_path / "part"
    part.write_bytes(PNG[:-30])
    assert "cannot be decoded" in await refused(inputs.picture(Upload(param="image", path=part), owner=OWNER))
    assert kept(tmp_path) == []


async def test_bytes_and_pixels_are_limited(tmp_path: Path, fetcher: PlainFetcher, upstream: RawUpstream) -> None:
    """Each form is refused beyond the limits; an address is read no further than them, whatever length it tells."""
    inputs = Inputs(tmp_path / "inputs", fetcher, limits=InputLimits(max_bytes=2**20, max_pixels=64 * 48 - 1))
    large = b"\x89PNG" + bytes(2**20)
    part = tmp_path / "part"
    part.write_bytes(large)
    for upload in (Upload(param="image", path=part), Upload(param="image", data=large)):
        assert "larger than 1 MiB" in await refused(inputs.picture(upload, owner=OWNER))

    async def endless(exchange: Exchange) -> None:
        await exchange.head(Connection="close")
        while True:
            await exchange.body(bytes(2**16))

    for upstream.script in (answering(large), endless):
        upload = Upload(param="image", url=upstream.url)
        assert "larger than 1 MiB" in await refused(inputs.picture(upload, owner=OWNER))
        await upstream.exchanges[-1].finished.wait()
    assert "64x48" in await refused(inputs.picture(Upload(param="image", data=PNG), owner=OWNER))
    assert kept(tmp_path) == []
    inputs.limits = InputLimits(max_bytes=len(PNG) - 1)
    assert f"than {len(PNG) - 1} bytes" in await refused(inputs.picture(Upload(param="image", data=PNG), owner=OWNER))
    inputs.limits = InputLimits(max_bytes=len(PNG))
    assert (await inputs.picture(Upload(param="image", data=PNG), owner=OWNER)).width == 64


async def test_an_address_that_gives_no_picture_is_the_clients_fault(
    inputs: Inputs, fetcher: PlainFetcher, upstream: RawUpstream, tmp_path: Path
) -> None:
    """Statuses, cuts, silence, pages and dead addresses are a 400 that blames the field, within the time limits."""

    async def silent(exchange: Exchange) -> None:
        await exchange.hung_up()

    async def reset(exchange: Exchange) -> None:
        exchange.reset()

    for upstream.script, words in (
        (answering(b"", "404 Not Found"), "answered 404"),
        (answering(b"", "500 Oops"), "answered 500"),
        (answering(b"", "204 Empty"), "answered 204"),
        (answering(b"<html>"), "is an HTML page"),
        (answering(b""), "is empty"),
        (answering(PNG, length=len(PNG) + 1), "connection to its address failed"),
        (reset, "connection to its address failed"),
        (silent, "did not answer in time"),
    ):
        message = await refused(inputs.picture(Upload(param="image", url=upstream.url), owner=OWNER))
        assert words in message
        assert "127.0.0.1" not in message
    assert {(timeout.total, timeout.sock_connect) for timeout in fetcher.timeouts} == {(60, 10)}
    assert kept(tmp_path) == []


async def test_the_guard_speaks_for_the_field(tmp_path: Path, upstream: RawUpstream) -> None:
    """With the real client a private address and an odd one are refused before anything is sent."""
    http = Http()
    await http.start()
    try:
        inputs = Inputs(tmp_path / "inputs", http)
        for url in (upstream.url, "ftp://example.com/a.png", "http://user:pw@example.com/"):
            message = await refused(inputs.picture(Upload(param="input_reference.image_url", url=url), owner=OWNER),
                                    "input_reference.image_url")  # fmt: skip
            assert "could not be fetched" in message
        assert upstream.exchanges == []
    finally:
        await http.close()


async def test_a_file_id_names_no_file(inputs: Inputs) -> None:
    """Where there are no files, each id is unknown."""
    for param, blamed in (("input_reference", "input_reference.file_id"), ("image.file_id", "image.file_id")):
        for work in (inputs.picture, inputs.clip):
            message = await refused(work(Upload(param=param, file_id="file-abc"), owner=OWNER), blamed)
            assert "No such file: 'file-abc'" in message


async def test_a_lost_input_is_said(inputs: Inputs, tmp_path: Path) -> None:
    """A picture that vanished from the folder is an error that says so."""
    stored = await inputs.picture(Upload(param="image", data=PNG), owner=OWNER)
    await inputs.discard(OWNER)
    with pytest.raises(InvalidRequest, match="no longer on the server"):
        await inputs.load_picture(stored)


# ---------------------------------------------------------------- clips


@pytest.mark.parametrize(
    ("kind", "media_type", "suffix"),
    [("mp4", "video/mp4", ".mp4"), ("mov", "video/quicktime", ".mov"), ("webm", "video/webm", ".webm")],
)
async def test_clips_are_told_by_their_bytes(
    inputs: Inputs, tmp_path: Path, kind: str, media_type: str, suffix: str
) -> None:
    """MP4, MOV and WebM are taken whatever their name; the part is moved, bytes are written."""
    data = clip(kind, frames=5)
    part = tmp_path / "part"
    part.write_bytes(data)
    for upload in (
        Upload(param="video", path=part, filename="holiday.txt"),
        Upload(param="video", data=data, filename="holiday.txt"),
    ):
        stored = await inputs.clip(upload, owner=OWNER)
        assert (stored.media_type, stored.width, stored.height) == (media_type, 64, 48)
        assert kept(tmp_path) == [f"{OWNER}/{hashlib.sha256(data).hexdigest()}{suffix}"]
        loaded = inputs.load_clip(stored)
        assert (loaded.path.read_bytes(), loaded.media_type, loaded.filename) == (data, media_type, "holiday.txt")
    assert not part.exists()
    assert inputs.load_clip(await inputs.clip(Upload(param="video", data=data), owner=OWNER)).filename == (
        "video" + suffix
    )


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (PNG, "is not a video"),
        (b"", "is not a video"),
        (b"\x00\x00\x00\x18ftypheic" + bytes(100), "is not a video"),
        (b"\x1aE\xdf\xa3" + bytes(100), "is not a video"),
        (b"\x00\x00\x00\x18ftypisom" + bytes(1000), "cannot be decoded"),
        (clip()[:700], "cannot be decoded"),
        (sound(), "cannot be decoded"),
    ],
    ids=["png", "empty", "heic", "no webm", "rubbish", "cut", "sound"],
)
async def test_what_is_no_clip_is_refused(inputs: Inputs, tmp_path: Path, data: bytes, words: str) -> None:
    """Pictures, rubbish, cut files and sound are refused; the part stays the caller's, nothing is kept."""
    part = tmp_path / "part"
    part.write_bytes(data)
    assert words in await refused(inputs.clip(Upload(param="video", path=part), owner=OWNER), "video")
    assert words in await refused(inputs.clip(Upload(param="video", data=data), owner=OWNER), "video")
    assert part.exists()
    assert kept(tmp_path) == []


async def test_a_clip_is_no_address(inputs: Inputs) -> None:
    """A clip is uploaded, not fetched."""
    assert "as a file" in await refused(
        inputs.clip(Upload(param="video", url="https://a.example/"), owner=OWNER), "video"
    )


async def test_without_pyav_the_first_bytes_decide(
    inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the extra `media` a clip is told by its magic bytes alone."""
    monkeypatch.setitem(sys.modules, "av", None)
    stored = await inputs.clip(Upload(param="video", data=b"\x00\x00\x00\x18ftypisom" + bytes(99)), owner=OWNER)
    assert (stored.media_type, stored.width, stored.height) == ("video/mp4", 0, 0)
    assert "is not a video" in await refused(inputs.clip(Upload(param="video", data=PNG), owner=OWNER), "video")


# ---------------------------------------------------------------- how long


async def test_discard_removes_one_owner(inputs: Inputs, tmp_path: Path) -> None:
    """Only the owner's inputs go, also where another id begins with its id; none to remove is fine."""
    for owner in ("video_1", "video_12"):
        await inputs.picture(Upload(param="image", data=PNG), owner=owner)
    await inputs.discard("video_1")
    await inputs.discard("video_1")
    assert [name.partition("/")[0] for name in kept(tmp_path)] == ["video_12"]


async def test_sweep_keeps_who_is_waiting(inputs: Inputs, tmp_path: Path) -> None:
    """At the start everything goes that no waiting video owns, also what a crash left half written."""
    await inputs.sweep(["video_1"])
    for owner in ("video_1", "video_2"):
        await inputs.picture(Upload(param="image", data=PNG), owner=owner)
    (tmp_path / "inputs" / "video_2" / ".half").write_bytes(b"x")
    await inputs.sweep(["video_1", "video_9"])
    assert [name.partition("/")[0] for name in kept(tmp_path)] == ["video_1"]


@pytest.mark.parametrize("owner", ["", "..", "a/b", "/etc", "video.1", "v\x00", "x" * 200])
async def test_an_owner_is_an_id(inputs: Inputs, owner: str) -> None:
    """Nothing that leads out of the folder is an owner."""
    for work in (inputs.picture(Upload(param="image", data=PNG), owner=owner), inputs.discard(owner)):
        with pytest.raises(ValueError):
            await work


async def test_many_at_once(inputs: Inputs, tmp_path: Path) -> None:
    """Pictures of many requests at once are all kept, each with its own owner."""
    made = await asyncio.gather(
        *(inputs.picture(Upload(param="image", data=picture(size=(n, 9))), owner=f"video_{n}") for n in range(1, 30))
    )
    assert [stored.width for stored in made] == list(range(1, 30))
    assert len(kept(tmp_path)) == 29


def test_a_file_is_synced_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes are synced, then the name is given, then the folders are synced."""
    steps: list[str] = []
    sync, replace = files.os.fsync, Path.replace
    monkeypatch.setattr(files.os, "fsync", lambda handle: (steps.append("sync"), sync(handle))[1])
    monkeypatch.setattr(Path, "replace", lambda self, to: (steps.append("name"), replace(self, to))[1])
    files.keep(b"bytes", tmp_path / "a" / "b", "c")
    assert steps == ["sync", "name", "sync", "sync"]
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["c"]


def test_a_file_from_another_file_system_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a rename is impossible the bytes are copied and the original goes."""

    def across(self: Path, to: Path) -> Path:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(Path, "rename", across)
    (tmp_path / "part").write_bytes(b"bytes")
    files.take(tmp_path / "part", tmp_path / "kept", "c")
    assert (tmp_path / "kept" / "c").read_bytes() == b"bytes"
    assert not (tmp_path / "part").exists()
