"""Forms: what field names spell, what texts mean, and how parts arrive whatever the network does to them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import errno
import hashlib
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import FormData
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.api.fieldnames import MAX_PARTS, Tree, read_text
from proxy.api.parts import FilePart, PartReader
from proxy.errors import InvalidRequest
from tests.api.conftest import Surface

NAMES = st.text("abcxyz_-é ", min_size=1, max_size=5)
# What reads back as itself: texts that look like JSON values are those values.
LEAVES = st.one_of(
    st.booleans(),
    st.integers(-(10**14), 10**14),
    st.text(max_size=8).filter(lambda text: "\0" not in text and read_text("k", text) == text),
)
ROWS = st.lists(NAMES, min_size=1, max_size=3, unique=True).flatmap(
    lambda names: st.lists(st.fixed_dictionaries(dict.fromkeys(names, LEAVES)), min_size=1, max_size=4)
)
VALUES = st.recursive(
    LEAVES | st.lists(LEAVES, min_size=1, max_size=4) | ROWS,
    lambda inner: st.dictionaries(NAMES, inner, min_size=1, max_size=3),
    max_leaves=6,
)


def spell(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """The parts that openai-node makes of a value."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from spell(f"{name}[{key}]", item)
    elif isinstance(value, list):
        for item in value:
            yield from spell(f"{name}[]", item)
    else:
        yield name, {True: "true", False: "false"}.get(value, str(value)) if isinstance(value, bool) else str(value)


def grouped(parts: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The order in which openai-python sends the same parts."""
    by_name: dict[str, list[str]] = {}
    for name, text in parts:
        by_name.setdefault(name, []).append(text)
    return [(name, text) for name, texts in by_name.items() for text in texts]


def read(parts: list[tuple[str, str]]) -> dict[str, Any]:
    tree = Tree()
    for name, text in parts:
        tree.put_text(name, text)
    return tree.take()


@settings(deadline=None, max_examples=200)
@given(st.dictionaries(NAMES, VALUES, max_size=3))
def test_what_the_sdks_flatten_comes_back(value: dict[str, Any]) -> None:
    """Objects, lists and lists of like objects survive both SDKs' ways of spelling them."""
    parts = [part for name, item in value.items() for part in spell(name, item)]
    assert read(parts) == value
    assert read(grouped(parts)) == value


@settings(deadline=None, max_examples=300)
@given(st.lists(st.tuples(st.text('ab[]0 "é\n', max_size=12), st.text('ab{}[]1,:" ', max_size=12)), max_size=8))
def test_any_names_are_read_or_refused(parts: list[tuple[str, str]]) -> None:
    """No field name and no text breaks the reader: it answers, or refuses by an error of ours."""
    with contextlib.suppress(InvalidRequest):
        assert isinstance(read(parts), dict)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("prompt", "true", "true"),
        ("prompt", '{"a":1}', '{"a":1}'),
        ("prompt", "null", "null"),
        ("model", "5", "5"),
        ("seconds", "8", "8"),
        ("seconds", "null", None),
        ("size", "16:9", "16:9"),
        ("input_reference", '{"file_id":"f"}', {"file_id": "f"}),
        ("images", '["a","b"]', ["a", "b"]),
        ("metadata", '{"a":[1]}', {"a": [1]}),
        ("metadata", "{broken", "{broken"),
        ("metadata[k]", "1.5", 1.5),
        ("metadata[k]", "007", "007"),
        ("metadata[k]", "12345678901234567890", "12345678901234567890"),
        ("metadata[k]", "1e5", "1e5"),
        ("metadata[k]", "NaN", "NaN"),
        ("metadata[k]", "True", "True"),
        ("extra", "false", False),
        ("extra", "-3", -3),
        ("extra", "", ""),
        ("extra", "[1, 2", "[1, 2"),
    ],
)
def test_texts_mean(name: str, text: str, value: Any) -> None:
    """Texts of extension fields become the JSON values that they spell; prompts and names stay as they are."""
    read_value = read_text(name, text)
    assert (read_value, type(read_value)) == (value, type(value))


def test_lists_of_unlike_objects_are_refused() -> None:
    """Where a form does not say which value belongs to which object, it is refused, not guessed."""
    with pytest.raises(InvalidRequest) as caught:
        read([("camera[][move]", "left"), ("camera[][move]", "up"), ("camera[][by]", "2")])
    assert caught.value.param == "camera"
    with pytest.raises(InvalidRequest) as caught:
        read([("camera[][a][b]", "1"), ("camera[][a][b]", "2"), ("camera[][a][c]", "3")])
    assert caught.value.param == "camera"


def test_lists_of_objects_of_objects() -> None:
    """`k[][x][y]` is a list of objects that hold an object, in either SDK's order; JSON in a field is one value."""
    rows = [{"image_url": {"url": "a", "detail": "b"}}, {"image_url": {"url": "c", "detail": "d"}}]
    parts = [part for row in rows for part in spell("images[]", row)]
    assert read(parts) == read(grouped(parts)) == {"images": rows}
    assert read([("k[][x]", '{"a":1}'), ("k[][x]", '{"b":2}')]) == {"k": [{"x": {"a": 1}}, {"x": {"b": 2}}]}
    with pytest.raises(InvalidRequest):
        read([("k[][x][]", "1")])


def test_pictures_of_different_kinds() -> None:
    """Each picture of `images` has one key, so that openai-node's `images[][file_id]` and `images[][image_url]` are two
    pictures; JSON that names both in one object stays the client's mistake."""
    parts = [("images[][file_id]", "f"), ("images[][image_url]", "https://h/a.png"), ("images[][file_id]", "g")]
    assert read(parts) == {"images": [{"file_id": "f"}, {"image_url": "https://h/a.png"}, {"file_id": "g"}]}
    both = [("images", '[{"file_id": "f", "image_url": "https://h/a.png"}]')]
    assert read(both) == {"images": [{"file_id": "f", "image_url": "https://h/a.png"}]}
    with pytest.raises(InvalidRequest):
        read([("images[][image_url][url]", "https://h/a.png"), ("images[][file_id]", "f")])


async def pieces(body: bytes, cuts: list[int]) -> AsyncIterator[bytes]:
    ends = sorted({cut % (len(body) + 1) for cut in cuts} | {len(body)})
    start = 0
    for end in ends:
        if end > start:
            yield body[start:end]
        start = end


@settings(deadline=None, max_examples=60)
@given(
    texts=st.lists(st.text(max_size=40), max_size=4),
    files=st.lists(st.binary(max_size=200).map(lambda data: data + b"\r\n--b\r"), max_size=3),
    cuts=st.lists(st.integers(0, 5000), max_size=12),
)
def test_parts_do_not_depend_on_how_they_are_cut(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], files: list[bytes], cuts: list[int]
) -> None:
    """However a body is cut into chunks, texts and files arrive whole, with the hash of their bytes."""
    folder = tmp_path_factory.mktemp("parts")
    body = b""
    for number, text in enumerate(texts):
        body += b'--bound\r\nContent-Disposition: form-data; name="prompt[%d]"\r\n\r\n%b\r\n' % (number, text.encode())
    for number, data in enumerate(files):
        body += b'--bound\r\nContent-Disposition: form-data; name="image[%d]"; filename="f"\r\n\r\n%b\r\n' % (
            number,
            data,
        )
    body += b"--bound--\r\n"

    async def run() -> None:
        reader = PartReader("multipart/form-data; boundary=bound", folder, files={"image"})
        fields = await reader.read(pieces(body, cuts))
        assert list(fields.get("prompt", {}).values()) == texts
        parts: list[FilePart] = list(fields.get("image", {}).values())
        assert [part.path.read_bytes() for part in parts] == files
        assert [part.digest for part in parts] == [hashlib.sha256(data).digest() for data in files]
        assert [part.size for part in parts] == [len(data) for data in files]
        await reader.discard()
        assert list(folder.iterdir()) == []

    asyncio.run(run())


@settings(deadline=None, max_examples=200)
@given(body=st.binary(max_size=300) | st.text('-b\r\n:; ="namefilContent-Disposition', max_size=300).map(str.encode))
def test_any_bytes_are_a_form_or_a_400(tmp_path_factory: pytest.TempPathFactory, body: bytes) -> None:
    """No body of a form breaks the reader."""
    folder = tmp_path_factory.mktemp("parts")

    async def run() -> None:
        reader = PartReader("multipart/form-data; boundary=b", folder, files={"f"})
        with contextlib.suppress(InvalidRequest):
            await reader.read(pieces(b"--b\r\n" + body, [10, 50]))
        await reader.discard()
        assert list(folder.iterdir()) == []

    asyncio.run(run())


async def test_files_are_known_by_their_content(surface: Surface) -> None:
    """The same bytes as a file, a data URI or bare base64 are the same request; other bytes are another."""
    picture, other = b"P" * 60, b"Q" * 60
    packed = base64.b64encode(picture).decode()

    def form(data: bytes, filename: str) -> FormData:
        made = FormData({"prompt": "p"})
        made.add_field("input_reference", data, filename=filename)
        return made

    for body in (form(picture, "a.png"), form(picture, "b"), form(other, "a.png")):
        assert (await surface.call("POST", "/v1/videos", data=body))[0] == 200
    for text in (packed, f"data:image/png;base64,{packed}", f"data:;base64,{packed[:30]}\n {packed[30:]}"):
        for body in ({"image": text}, {"input_reference": {"image_url": text}}, {"image": text, "images": [text]}):
            assert (await surface.call("POST", "/v1/videos", json={"prompt": "p", **body}))[0] == 200
            assert [upload.data for upload in surface.engine.received[-1].ask.images] == [picture]
    prints = [received.ask.fingerprint for received in surface.engine.received]
    assert prints[0] == prints[1]
    assert set(prints[3:]) == {prints[0]}
    assert prints[2] != prints[0]


async def test_chunked_forms_and_many_pictures(surface: Surface) -> None:
    """A form without a length, with repeated files and repeated texts, is read in order."""
    form = FormData({"prompt": "p"})
    for number in range(4):
        form.add_field("images", bytes([number]) * 10, filename=f"{number}.png")
    form.add_field("images[]", "https://h/a.png")
    form.add_field("characters[][id]", "char_1")
    payload = form()

    async def in_chunks() -> AsyncIterator[bytes]:
        body = await payload.as_bytes()
        for start in range(0, len(body), 7):
            yield body[start : start + 7]

    status, answer, _ = await surface.call(
        "POST", "/v1/videos", data=in_chunks(), headers={"Content-Type": payload.content_type}
    )
    assert status == 200, answer
    ask = surface.engine.received[-1].ask
    assert [upload.filename for upload in ask.images] == ["0.png", "1.png", "2.png", "3.png", ""]
    assert ask.characters == ("char_1",)


async def test_an_empty_file_field_is_no_file(surface: Surface) -> None:
    """A browser's form whose file was not chosen is a form without one."""
    body = (
        b'--b\r\nContent-Disposition: form-data; name="prompt"\r\n\r\np\r\n'
        b'--b\r\nContent-Disposition: form-data; name="input_reference"; filename=""\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n\r\n--b--\r\n"
    )
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    assert (await surface.call("POST", "/v1/videos", data=body, headers=headers))[0] == 200
    assert surface.engine.received[-1].ask.images == ()


async def test_a_form_may_have_just_so_many_parts(surface: Surface) -> None:
    """The last part that is allowed is read, the next is refused."""
    for more, expected in ((MAX_PARTS - 1, 200), (MAX_PARTS, 400)):
        parts = b"".join(
            b'--b\r\nContent-Disposition: form-data; name="k%d"\r\n\r\nv\r\n' % number for number in range(more)
        )
        body = b'--b\r\nContent-Disposition: form-data; name="prompt"\r\n\r\np\r\n' + parts + b"--b--\r\n"
        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        assert (await surface.call("POST", "/v1/videos", data=body, headers=headers))[0] == expected
    assert not await asyncio.to_thread(_files, surface.uploads)


def _files(folder: Path) -> list[Path]:
    return list(folder.glob("*"))


async def test_a_full_disk_is_told_as_such(surface: Surface, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that cannot be written is a 503 that may be sent again."""

    def full(part: FilePart, data: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(FilePart, "write", full)
    form = FormData({"prompt": "p"})
    form.add_field("image", b"bytes", filename="cat.png")
    status, answer, headers = await surface.call("POST", "/v1/videos", data=form)
    assert (status, "No space left" in answer["error"]["message"]) == (503, True)
    assert headers.get("x-should-retry") != "false"
