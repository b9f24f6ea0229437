"""Inputs that were uploaded before, and inputs that are handed out by a link."""

from __future__ import annotations

import asyncio
import errno
import os
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.errors import InvalidRequest, Unauthorized
from proxy.inputs import Picture
from proxy.media.input_links import LIFE, InputLinks
from proxy.media.inputs import Inputs
from proxy.records import StoredFile, Upload
from tests.media.looks import file_of, motif
from tests.media.videos import clip

OWNER = "video_0123"
PNG = file_of(motif())
NOW = 1_000_000.0
SECRET = b"s" * 32


class Shelf:
    """The files of one tenant, in a folder, by their ids."""

    def __init__(self, folder: Path, tenant: str = "anna") -> None:
        self.folder = folder
        self.tenant = tenant
        self.gone = False

    async def file(self, file_id: str, tenant: str) -> StoredFile | None:
        assert isinstance(tenant, str)
        if tenant != self.tenant or not await asyncio.to_thread((self.folder / file_id).exists):
            return None
        found = StoredFile(
            id=file_id, tenant=tenant, key_id="", filename=f"{file_id}.bin", purpose="vision", media_type="",
            size=0, created_at=0, expires_at=0,
        )  # fmt: skip
        if self.gone:
            # It is deleted between this answer and the first look at it.
            await asyncio.to_thread(self.path(found).unlink)
        return found

    def path(self, stored: StoredFile) -> Path:
        return self.folder / stored.id


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "file_picture").write_bytes(PNG)
    (folder / "file_clip").write_bytes(clip(frames=5))
    return Shelf(folder)


@pytest.fixture
def inputs(tmp_path: Path, shelf: Shelf) -> Inputs:
    links = InputLinks(SECRET, "https://reelgate.example")
    return Inputs(tmp_path / "inputs", None, library=shelf, links=links)  # type: ignore[arg-type]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


# ---------------------------------------------------------------- files uploaded before


async def test_a_file_is_an_input_that_outlives_it(inputs: Inputs, shelf: Shelf, tmp_path: Path) -> None:
    """Pictures and videos are taken by their id, with their own names, and stay when the file is deleted."""
    picture = await inputs.picture(Upload(param="image", file_id="file_picture"), owner=OWNER, tenant="anna")
    video = await inputs.clip(Upload(param="video", file_id="file_clip"), owner=OWNER, tenant="anna")
    assert (picture.filename, video.filename) == ("file_picture.bin", "file_clip.bin")
    data = (shelf.folder / "file_clip").read_bytes()
    assert len(names(shelf.folder)) == 2
    for path in list(shelf.folder.iterdir()):
        path.unlink()
    assert (await inputs.load_picture(picture)).data == PNG
    assert inputs.load_clip(video).path.read_bytes() == data
    assert names(tmp_path / "inputs") == sorted([picture.file.partition("/")[2], video.file.partition("/")[2]])


@pytest.mark.parametrize("cause", [errno.EXDEV, errno.EPERM, errno.EMLINK])
async def test_a_video_is_copied_where_it_cannot_be_shared(
    inputs: Inputs, shelf: Shelf, monkeypatch: pytest.MonkeyPatch, cause: int
) -> None:
    """Where the file system has no second name for a file, the video is copied, and the file stays as it is."""

    def link(source: object, target: object) -> None:
        raise OSError(cause, "no second name")

    monkeypatch.setattr(os, "link", link)
    video = await inputs.clip(Upload(param="video", file_id="file_clip"), owner=OWNER, tenant="anna")
    assert inputs.load_clip(video).path.read_bytes() == (shelf.folder / "file_clip").read_bytes()
    assert (shelf.folder / "file_clip").stat().st_nlink == 1


async def test_unknown_foreign_and_vanished_files_are_one_error(inputs: Inputs, shelf: Shelf, tmp_path: Path) -> None:
    """A file that is not there, somebody else's, and one that is deleted at this moment: the same 400."""
    said = set()

    async def refused(work: Any) -> None:
        with pytest.raises(InvalidRequest) as caught:
            await work
        assert caught.value.param == "image.file_id"
        said.add(re.sub("file_[a-z]+", "ID", caught.value.message))

    for work in (inputs.picture, inputs.clip):
        for file_id, tenant in (("file_none", "anna"), ("file_picture", "bert"), ("file_picture", None)):
            await refused(work(Upload(param="image", file_id=file_id), owner=OWNER, tenant=tenant))
    shelf.gone = True
    await refused(inputs.picture(Upload(param="image", file_id="file_picture"), owner=OWNER, tenant="anna"))
    await refused(inputs.clip(Upload(param="image", file_id="file_clip"), owner=OWNER, tenant="anna"))
    assert said == {"No such file: 'ID'. Send it to POST /v1/files first; files expire."}
    assert names(tmp_path / "inputs") == []


async def test_a_file_is_what_its_bytes_are(inputs: Inputs, shelf: Shelf, tmp_path: Path) -> None:
    """A video is no picture and a picture no video, whatever they were uploaded as; the file stays, nothing is kept."""
    with pytest.raises(InvalidRequest, match="is a video"):
        await inputs.picture(Upload(param="image", file_id="file_clip"), owner=OWNER, tenant="anna")
    with pytest.raises(InvalidRequest, match="is not a video"):
        await inputs.clip(Upload(param="video", file_id="file_picture"), owner=OWNER, tenant="anna")
    assert names(shelf.folder) == ["file_clip", "file_picture"]
    assert names(tmp_path / "inputs") == []


# ---------------------------------------------------------------- links


async def test_a_published_picture_can_be_had(inputs: Inputs, tmp_path: Path) -> None:
    """A link leads to exactly these bytes, kept once, with their type, as long as the owner's inputs are there."""
    picture = Picture(PNG, "image/png", 96, 64)
    stored = await inputs.picture(Upload(param="image", data=PNG), owner=OWNER)
    assert inputs.links is not None
    link = await inputs.publish(picture, owner=OWNER, now=NOW)
    assert link == await inputs.publish(picture, owner=OWNER, now=NOW) == inputs.links.link(stored.file, now=NOW)
    assert link.startswith(f"https://reelgate.example/v1/inputs/{stored.file}?exp={int(NOW) + LIFE}&sig=")
    other = Picture(file_of(motif(), "JPEG"), "image/jpeg", 96, 64)
    await inputs.publish(other, owner=OWNER, now=NOW)
    first, second = sorted(names(tmp_path / "inputs"), key=lambda name: name.endswith(".jpg"))
    for name, data, media_type in ((first, PNG, "image/png"), (second, other.data, "image/jpeg")):
        served = await inputs.served(OWNER, name)
        assert served is not None
        assert (served.path.read_bytes(), served.media_type) == (data, media_type)
    await inputs.discard(OWNER)
    assert await inputs.served(OWNER, first) is None


async def test_without_an_address_there_is_no_link(inputs: Inputs, tmp_path: Path) -> None:
    """A server without a public address publishes nothing, and writes nothing for it; the address can change."""
    picture = Picture(PNG, "image/png", 96, 64)
    video = await inputs.clip(Upload(param="video", file_id="file_clip"), owner=OWNER, tenant="anna")
    links = inputs.links
    assert links is not None
    assert inputs.load_clip(video, now=NOW).url == links.link(video.file, now=NOW)
    links.public_url = None
    for inputs.links in (links, None):
        assert await inputs.publish(picture, owner=OWNER, now=NOW) is None
        assert inputs.load_clip(video).url is None
    assert [name for name in names(tmp_path / "inputs") if name.endswith(".png")] == []


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (OWNER, "0" * 64 + ".png"),
        (OWNER, "0" * 64 + ".exe"),
        (OWNER, "0" * 64),
        (OWNER, ".0123456789abcdef"),
        (OWNER, "../secret"),
        (OWNER, "upload"),
        (OWNER, "lure.png"),
        (OWNER, "../" + "0" * 64 + ".png"),
        ("..", "0" * 64 + ".png"),
        ("", "0" * 64 + ".png"),
    ],
)
async def test_only_inputs_are_served(inputs: Inputs, tmp_path: Path, owner: str, name: str) -> None:
    """Nothing that is not an input of that owner is found, also where a file of such a name is there."""
    (tmp_path / "inputs" / OWNER).mkdir(parents=True)
    for lure in ("secret", "upload", "lure.png", ".0123456789abcdef", "0" * 64, "0" * 64 + ".exe"):
        (tmp_path / "inputs" / OWNER / lure).write_bytes(b"x")
    (tmp_path / "inputs" / "secret").write_bytes(b"x")
    (tmp_path / "inputs" / ("0" * 64 + ".png")).write_bytes(b"x")
    (tmp_path / ("0" * 64 + ".png")).write_bytes(b"x")
    assert await inputs.served(owner, name) is None


@settings(deadline=None, max_examples=50)
@given(
    name=st.text(min_size=1, max_size=20),
    change=st.sampled_from(["name", "exp", "sig", "later", "secret", "none", "odd"]),
    life=st.integers(0, LIFE),
)
def test_a_link_is_good_for_one_file_and_one_hour(name: str, change: str, life: int) -> None:
    """A link is good for its hour and its file; any other name, date, signature and secret is refused."""
    links = InputLinks(SECRET, "https://h")
    link = links.link(name, now=NOW)
    assert link is not None
    query = dict(item.split("=", 1) for item in link.rpartition("?")[2].split("&"))
    links.check(name, query, now=NOW + life)
    asked, now = name, NOW + life
    match change:
        case "name":
            asked += "x"
        case "exp":
            query["exp"] = str(int(query["exp"]) + 1)
        case "sig":
            query["sig"] = query["sig"][:-2] + ("AA" if query["sig"][-2:] != "AA" else "BB")
        case "later":
            now = NOW + LIFE + 1
        case "secret":
            links = InputLinks(b"t" * 32, "https://h")
        case "none":
            query = {}
        case "odd":
            query["sig"] = "\ud800"
    with pytest.raises(Unauthorized):
        links.check(asked, query, now=now)


def test_other_signed_links_are_no_links_to_inputs() -> None:
    """What the same secret signs for content opens no input."""
    from proxy.api import links as content_links

    query = content_links.sign(SECRET, "video_1", "video", ttl=3600, now=NOW)
    with pytest.raises(Unauthorized):
        InputLinks(SECRET, None).check("video_1", dict(item.split("=", 1) for item in query.split("&")), now=NOW)
