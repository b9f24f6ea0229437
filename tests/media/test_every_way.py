"""Whatever way a picture comes in, and whatever form its upstream wants, it is the same picture."""

from __future__ import annotations

import asyncio
import base64
import json
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.api import asks, documents
from proxy.api.fieldnames import Tree
from proxy.api.parts import PartReader
from proxy.inputs import Picture, PictureForm
from proxy.media import forms
from proxy.media.inputs import Inputs
from proxy.records import Ask, StoredFile
from tests.media.looks import ALIKE, far, file_of, look, motif, opened

TENANT = "anna"
URL = "https://pictures.example/a?b=c"
FIELDS = ("input_reference", "image", "images", "last_frame")


class Web:
    """Everything that is fetched is this picture."""

    status, content_length = 200, None

    def __init__(self, data: bytes) -> None:
        self._left = [data, b""]
        self.content = self

    def fetch(self, url: str, *, timeout: object) -> AbstractAsyncContextManager[Any]:
        assert url == URL
        return nullcontext(self)

    async def readany(self) -> bytes:
        return self._left.pop(0)


class Shelf:
    """Anna has one file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def file(self, file_id: str, tenant: str) -> StoredFile | None:
        assert (file_id, tenant) == ("file_1", TENANT)
        return StoredFile(
            id=file_id, tenant=tenant, key_id="", filename="a", purpose="vision", media_type="", size=0,
            created_at=0, expires_at=0,
        )  # fmt: skip

    def path(self, stored: StoredFile) -> Path:
        return self._path


def part(name: str, data: bytes, more: str = "") -> bytes:
    return f'--b\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + data + b"\r\n"


Way = Callable[[str, bytes], "tuple[str, bytes] | dict[str, Any] | list[tuple[str, str]]"]


def upload(filename: str, media_type: str) -> Way:
    more = f'; filename="{filename}"' + (f"\r\nContent-Type: {media_type}" if media_type else "")
    return lambda field, data: ("multipart", part(field, data, more))


def bracketed(name: str, say: Callable[[bytes], str]) -> Way:
    return lambda field, data: ("multipart", part(name.format(field), say(data).encode()))


def packed(data: bytes) -> str:
    return base64.b64encode(data).decode()


def uri(data: bytes) -> str:
    # The type that it says is never believed.
    return f"data:image/gif;base64,{packed(data)}"


SAID: dict[str, Callable[[bytes], Any]] = {
    "base64": packed,
    "a data URI": uri,
    "a URL": lambda data: URL,
    "an image_url": lambda data: {"image_url": URL},
    "data in an image_url": lambda data: {"image_url": uri(data)},
    "a url": lambda data: {"url": URL},
    "data in a url": lambda data: {"url": uri(data)},
    "an image_url of a chat": lambda data: {"image_url": {"url": uri(data)}},
    "a file_id": lambda data: {"file_id": "file_1"},
    "a list": lambda data: [{"image_url": {"url": URL}}],
}
WAYS: dict[str, Way] = {
    "a file": upload("cat.png", "image/png"),
    "bytes named upload": upload("upload", "application/octet-stream"),
    "a file with a wrong name": upload("cat.txt", "text/html"),
    "a file without a name": upload("", "image/webp"),
    **{name: (lambda field, data, say=say: {field: say(data)}) for name, say in SAID.items()},
    "a part of text": bracketed("{}", uri),
    "a part of JSON": bracketed("{}", lambda data: json.dumps({"image_url": uri(data)})),
    "[image_url]": bracketed("{}[image_url]", lambda data: URL),
    "[url]": bracketed("{}[url]", uri),
    "[image_url][url]": bracketed("{}[image_url][url]", packed),
    "[file_id]": bracketed("{}[file_id]", lambda data: "file_1"),
    "[][image_url][url]": bracketed("images[][image_url][url]", uri),
    "[0][url]": bracketed("images[0][url]", uri),
    "a URL-encoded [image_url][url]": lambda field, data: [(f"{field}[image_url][url]", URL)],
}
LISTS = ("a list", "[][image_url][url]", "[0][url]")
WANTED = (
    PictureForm(),
    PictureForm(media_types=("image/jpeg",)),
    PictureForm(media_types=("image/png",)),
    PictureForm(max_bytes=4_000),
    PictureForm(max_side=80),
)


async def asked(body: Any, folder: Path) -> Ask:
    """What the surface makes of a body."""
    match body:
        case ("multipart", bytes(form)):
            reader = PartReader("multipart/form-data; boundary=b", folder, files=asks.PICTURE_FILES)

            async def whole() -> AsyncIterator[bytes]:
                yield part("prompt", b"p") + form + b"--b--\r\n"

            return asks.create(await reader.read(whole()))
        case dict():
            return asks.create(documents.fields(json.dumps({"prompt": "p", **body}).encode()))
    tree = Tree()
    for name, text in parse_qsl(urlencode([("prompt", "p"), *body])):
        tree.put_text(name, text)
    return asks.create(tree.take())


async def received(way: str, field: str, data: bytes, form: PictureForm, folder: Path) -> Picture:
    """What an upstream that wants `form` gets of a picture that comes in `way`."""
    if way in LISTS:
        field = "images"
    (folder / "kept").write_bytes(data)
    ask = await asked(WAYS[way](field, data), folder / "parts")
    uploads = [*ask.images, ask.last_frame] if field != "last_frame" else [ask.last_frame, *ask.images]
    assert [upload is None for upload in uploads] == ([False, True] if field != "last_frame" else [False])
    assert uploads[0] is not None
    assert uploads[0].param == field
    inputs = Inputs(folder / "inputs", Web(data), library=Shelf(folder / "kept"))
    stored = await inputs.picture(uploads[0], owner="video_1", tenant=TENANT)
    return await forms.formed(await inputs.load_picture(stored), form)


@settings(deadline=None, max_examples=120)
@given(
    way=st.sampled_from(sorted(WAYS)),
    field=st.sampled_from(FIELDS),
    kind=st.sampled_from(["PNG", "JPEG", "WEBP"]),
    orientation=st.sampled_from([1, 1, 1, 3, 6]),
    size=st.sampled_from([(60, 40), (120, 80), (160, 400)]),
    form=st.sampled_from(WANTED),
)
def test_every_way_into_every_form(
    way: str, field: str, kind: str, orientation: int, size: tuple[int, int], form: PictureForm
) -> None:
    """What arrives shows what was sent, and has its very bytes where nothing forces a change."""
    image = motif(*size)
    data = file_of(image, kind, orientation)
    with tempfile.TemporaryDirectory() as folder:
        picture = asyncio.run(received(way, field, data, form, Path(folder)))
    untouched = (
        orientation == 1
        and f"image/{kind.lower()}" in form.media_types
        and len(data) <= (form.max_bytes or 10**6)
        and max(size) <= (form.max_side or 10**6)
    )
    assert (picture.data == data) is untouched
    assert picture.url in ((URL, None) if untouched else (None,))
    scheme, _, text = picture.data_uri.partition(",")
    assert scheme == f"data:{picture.media_type};base64"
    assert base64.b64decode(text) == base64.b64decode(picture.base64) == picture.data
    assert far(look(opened(picture.data)), look(image)) <= ALIKE


def test_every_way_is_the_same_request() -> None:
    """The same bytes have the same fingerprint, whatever way they come, and so has the same address."""
    data = file_of(motif())

    async def run() -> None:
        for field in ("image", "last_frame"):
            prints: dict[object, set[bytes]] = {}
            with tempfile.TemporaryDirectory() as folder:
                for name, way in WAYS.items():
                    if name in LISTS:
                        continue
                    ask = await asked(way(field, data), Path(folder))
                    assert (ask.last_frame is None) is (field == "image")
                    upload = ask.last_frame or ask.images[0]
                    where = upload.url or upload.file_id or "bytes"
                    prints.setdefault(where, set()).add(ask.fingerprint)
            assert {where: len(found) for where, found in prints.items()} == {URL: 1, "file_1": 1, "bytes": 1}

    asyncio.run(run())
