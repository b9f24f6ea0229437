"""Bad input: every line of the table is a 4xx envelope that names what is wrong, and nothing is ordered."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
from typing import Any

import pytest
from aiohttp import FormData

from tests.api.conftest import Surface

JSON = "application/json"
FORM = "multipart/form-data; boundary=b"

LONG = "x" * 32_001
NESTED = b"[" * 100_000
DEEP = b'{"a":' * 100_000


def part(name: str, value: bytes, more: str = "") -> bytes:
    return f'--b\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + value + b"\r\n"


PROMPT = part("prompt", b"p")
END = b"--b--\r\n"

BODIES: list[tuple[str, str | None, bytes, int, str | None]] = [
    ("malformed JSON", JSON, b'{"prompt": ', 400, None),
    ("empty body", JSON, b"", 400, None),
    ("empty body without a type", None, b"", 400, None),
    ("two documents", JSON, b'{"prompt":"p"} {}', 400, None),
    ("an array", JSON, b'["p"]', 400, None),
    ("a text", JSON, b'"p"', 400, None),
    ("null", JSON, b"null", 400, None),
    ("NaN", JSON, b'{"prompt":"p","seed":NaN}', 400, None),
    ("infinity", JSON, b'{"prompt":"p","seed":1e999}', 400, "seed"),
    ("nested arrays", JSON, b'{"prompt":"p","metadata":{"a":' + NESTED, 400, None),
    ("closed nested arrays", JSON, b'{"prompt":"p","n":' + NESTED + b"]" * 100_000 + b"}", 400, None),
    ("nested objects", JSON, b'{"prompt":"p","metadata":' + DEEP + b"1" + b"}" * 100_001, 400, None),
    ("nested 100 deep", JSON, b'{"prompt":"p","metadata":{"a":' + b"[" * 100 + b"]" * 100 + b"}}", 400, "metadata.a"),
    ("a number of 100,000 digits", JSON, b'{"prompt":"p","seed":' + b"9" * 100_000 + b"}", 400, "seed"),
    ("a number of 30 digits", JSON, b'{"prompt":"p","seed":' + b"9" * 30 + b"}", 400, "seed"),
    ("a metadata number of 30 digits", JSON, b'{"prompt":"p","metadata":{"k":' + b"9" * 30 + b"}}", 400, "metadata.k"),
    ("invalid UTF-8", JSON, b'{"prompt":"\xff\xfe"}', 400, "prompt"),
    ("invalid UTF-8 in a name", JSON, b'{"\xff":1}', 400, None),
    ("invalid UTF-8 in metadata", JSON, b'{"prompt":"p","metadata":{"a":"\xff"}}', 400, "metadata"),
    ("a lone surrogate", JSON, b'{"prompt":"\\ud800"}', 400, None),
    ("UTF-16", JSON, '{"prompt":"p"}'.encode("utf-16"), 400, None),
    ("many unknown fields", JSON, json.dumps({f"k{n}": n for n in range(100_000)}).encode(), 400, None),
    ("a large unknown field", JSON, json.dumps({"prompt": "p", "junk": [[]] * 50_000}).encode(), 400, "junk"),
    ("large metadata", JSON, json.dumps({"prompt": "p", "metadata": {"a": "x" * 70_000}}).encode(), 400, "metadata"),
    ("a large list as a picture", JSON, json.dumps({"prompt": "p", "image": [[]] * 300_000}).encode(), 400, "image"),
    ("many pictures", JSON, json.dumps({"prompt": "p", "images": ["https://h/a"] * 50_000}).encode(), 400, "images"),
    ("a form called JSON", JSON, PROMPT + END, 400, None),
    ("JSON called a form", FORM, b'{"prompt":"p"}', 400, None),
    ("no boundary", "multipart/form-data", PROMPT + END, 400, "Content-Type"),
    ("an endless boundary", f"multipart/form-data; boundary={'b' * 300}", PROMPT + END, 400, "Content-Type"),
    ("a boundary that is not ASCII", "multipart/form-data; boundary=é€", PROMPT + END, 400, "Content-Type"),
    ("a truncated form", FORM, PROMPT, 400, None),
    ("a form cut in its headers", FORM, b'--b\r\nContent-Disposition: form-da', 400, None),
    ("an empty form", FORM, END, 400, "prompt"),
    ("an empty form body", FORM, b"", 400, None),
    ("a part without a name", FORM, b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n" + END, 400, None),
    ("a part without headers", FORM, b"--b\r\n\r\nx\r\n" + END, 400, None),
    ("a part with many headers", FORM, b"--b\r\n" + b"A: b\r\n" * 100 + b"\r\nx\r\n" + END, 400, None),
    ("a part with a huge header", FORM, b"--b\r\nA: " + b"b" * 10_000 + b"\r\n\r\nx\r\n" + END, 400, None),
    ("a name that is not UTF-8", FORM, b'--b\r\nContent-Disposition: form-data; name="\xff"\r\n\r\n' + END, 400, None),
    ("a text that is not UTF-8", FORM, part("prompt", b"\xff") + END, 400, "prompt"),
    ("a transfer encoding", FORM, b"--b\r\nContent-Disposition: form-data; name=prompt\r\nContent-Transfer-Encoding: "
     b"base64\r\n\r\ncA==\r\n" + END, 400, "prompt"),
    ("the prompt as a file", FORM, part("prompt", b"p", '; filename="p.txt"') + END, 400, "prompt"),
    ("an unknown file", FORM, PROMPT + part("junk", b"x", '; filename="x"') + END, 400, "junk"),
    ("a huge text part", FORM, part("prompt", b"p" * (2**20 + 1)) + END, 400, "prompt"),
    ("one part per byte", FORM, b"".join(part(f"input_reference[{n}]", b"137") for n in range(3000)) + END, 400,
     "input_reference"),
    ("few parts, one per byte", FORM, PROMPT + b"".join(part(f"input_reference[{n}]", b"137") for n in range(5)) + END,
     400, "input_reference"),
    ("a field twice", FORM, PROMPT + PROMPT + END, 400, "prompt"),
    ("a value and an object", FORM, PROMPT + part("k", b"1") + part("k[a]", b"2") + END, 400, "k"),
    ("a broken name", FORM, PROMPT + part("k[a", b"1") + END, 400, "k[a"),
    ("a deep name", FORM, PROMPT + part("k" + "[a]" * 50, b"1") + END, 400, "k"),
    ("a URL-encoded body that is not UTF-8", "application/x-www-form-urlencoded", b"prompt=%ff", 400, None),
    ("a URL-encoded body of many fields", "application/x-www-form-urlencoded", b"a=1&" * 5000, 400, None),
    ("JSON called URL-encoded", "application/x-www-form-urlencoded", b'{"prompt":"p"}', 400, None),
    ("a text type", "text/plain", b"prompt", 415, "Content-Type"),
    ("bytes", "application/octet-stream", b"prompt", 415, "Content-Type"),
    ("XML", "application/xml", b"<prompt/>", 415, "Content-Type"),
    ("a body that is too large", JSON, b" " * (3 * 2**20), 413, None),
]  # fmt: skip

FIELDS: list[tuple[dict[str, Any], str]] = [
    ({"prompt": None}, "prompt"),
    ({"prompt": ""}, "prompt"),
    ({"prompt": LONG}, "prompt"),
    ({"prompt": "x" * 400_000}, "prompt"),
    ({"prompt": "a\0b"}, "prompt"),
    ({"prompt": 1}, "prompt"),
    ({"prompt": ["p"]}, "prompt"),
    ({"prompt": {"text": "p"}}, "prompt"),
    ({"prompt": True}, "prompt"),
    ({"model": ""}, "model"),
    ({"model": 2}, "model"),
    ({"model": "m" * 257}, "model"),
    ({"model": "a\nb"}, "model"),
    ({"model": "no-such-model"}, "model"),
    ({"seconds": "abc"}, "seconds"),
    ({"seconds": "5.0"}, "seconds"),
    ({"seconds": 5.0}, "seconds"),
    ({"seconds": "0"}, "seconds"),
    ({"seconds": 0}, "seconds"),
    ({"seconds": -4}, "seconds"),
    ({"seconds": 3601}, "seconds"),
    ({"seconds": "9999"}, "seconds"),
    ({"seconds": 10**18}, "seconds"),
    ({"seconds": True}, "seconds"),
    ({"seconds": ["4"]}, "seconds"),
    ({"seconds": "٤"}, "seconds"),
    ({"seconds": " 4"}, "seconds"),
    ({"seconds": ""}, "seconds"),
    ({"size": "auto"}, "size"),
    ({"size": "1280"}, "size"),
    ({"size": "1280X720"}, "size"),
    ({"size": "0x0"}, "size"),
    ({"size": "-1x720"}, "size"),
    ({"size": "1280x720x2"}, "size"),
    ({"size": "1280x720\n"}, "size"),
    ({"size": 720}, "size"),
    ({"size": ""}, "size"),
    ({"input_reference": {}}, "input_reference"),
    ({"input_reference": {"image_url": "https://h/a.png", "file_id": "file-1"}}, "input_reference"),
    ({"input_reference": {"image_url": None}}, "input_reference"),
    ({"input_reference": {"image_url": 5}}, "input_reference.image_url"),
    ({"input_reference": {"image_url": "https://h/a.png", "junk": 1}}, "input_reference"),
    ({"input_reference": {"file_id": "a b"}}, "input_reference"),
    ({"input_reference": 5}, "input_reference"),
    ({"input_reference": True}, "input_reference"),
    ({"input_reference": ""}, "input_reference"),
    ({"image": "not a picture"}, "image"),
    ({"image": "https://"}, "image"),
    ({"image": "https://h/a b"}, "image"),
    ({"image": "https://h/" + "a" * 9000}, "image"),
    ({"image": "ftp://h/a.png"}, "image"),
    ({"image": "file:///etc/passwd"}, "image"),
    ({"image": "data:image/png,abc"}, "image"),
    ({"image": "data:image/png;base64,!!!!"}, "image"),
    ({"image": "data:image/png;base64,"}, "image"),
    ({"image": "data:"}, "image"),
    ({"image": "A" * 41}, "image"),
    ({"image": "A" * 40 + "=A"}, "image"),
    ({"image": "ü" * 40}, "image"),
    ({"images": "https://h/" + "a" * 9000}, "images"),
    ({"images": [1]}, "images"),
    ({"images": ["https://h/a"] * 17}, "images"),
    ({"images": [["https://h/a"]]}, "images"),
    ({"characters": "c"}, "characters"),
    ({"characters": [{"id": "a"}, {"id": "b"}, {"id": "c"}]}, "characters"),
    ({"characters": [{"name": "a"}]}, "characters"),
    ({"characters": [{"id": "../a"}]}, "characters"),
    ({"characters": ["a"]}, "characters"),
    ({"seed": "x"}, "seed"),
    ({"seed": 1.5}, "seed"),
    ({"seed": True}, "seed"),
    ({"negative_prompt": 5}, "negative_prompt"),
    ({"negative_prompt": LONG}, "negative_prompt"),
    ({"audio": "yes"}, "audio"),
    ({"generate_audio": 1}, "generate_audio"),
    ({"audio": True, "generate_audio": False}, "generate_audio"),
    ({"metadata": "text"}, "metadata"),
    ({"metadata": [1]}, "metadata"),
    ({"metadata": 5}, "metadata"),
]

QUERIES = [
    ("limit=101", "limit"),
    ("limit=-1", "limit"),
    ("limit=abc", "limit"),
    ("limit=", "limit"),
    ("limit=1e1", "limit"),
    ("limit=%D9%A1", "limit"),
    ("limit=" + "9" * 5000, "limit"),
    ("order=sideways", "order"),
    ("order=", "order"),
    ("order=DESC", "order"),
    ("after=", "after"),
    ("after=..%2f", "after"),
    ("after=video_%00", "after"),
    ("after=%ff", "after"),
    ("after=" + "x" * 10_000, "after"),
]


def check(answer: Any, param: str | None) -> None:
    assert set(answer) == {"error"}, answer
    error = answer["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param, error
    assert isinstance(error["code"], str)
    assert 0 < len(error["message"]) < 400
    assert error["message"].isprintable()


@pytest.mark.parametrize(
    ("media_type", "body", "status", "param"), [row[1:] for row in BODIES], ids=[row[0] for row in BODIES]
)
async def test_bad_bodies(
    surface: Surface, media_type: str | None, body: bytes, status: int, param: str | None
) -> None:
    """A body that cannot be read is refused in words, with its length told and in chunks."""

    async def in_chunks() -> Any:
        for start in range(0, len(body), 50_000):
            yield body[start : start + 50_000]

    for data in (io.BytesIO(body), in_chunks()):
        headers = {"Content-Type": media_type} if media_type else {}
        got, answer, _ = await surface.call(
            "POST", "/v1/videos", data=data, headers=headers, skip_auto_headers=["Content-Type"]
        )
        assert got == status, answer
        if param is None and got == 400 and not body:
            param = answer["error"]["param"]
        check(answer, param)
    assert surface.engine.received == []


@pytest.mark.parametrize(("fields", "param"), FIELDS, ids=[f"{param}-{n}" for n, (_, param) in enumerate(FIELDS)])
async def test_bad_fields(surface: Surface, fields: dict[str, Any], param: str) -> None:
    """A field of the wrong form is named, in JSON on both routes that create."""
    for path in ("/v1/videos", "/v1/video/generations"):
        status, answer, _ = await surface.call("POST", path, json={"prompt": "p", **fields})
        assert 400 <= status < 500
        if path.endswith("generations"):
            assert set(answer) == {"code", "message", "data", "error"}
            assert answer["data"] is None
            assert answer["message"] == answer["error"]["message"]
        check({"error": answer["error"]}, param)
    assert surface.engine.videos_by_id == {}


async def test_missing_parameters_have_their_code(surface: Surface) -> None:
    """What is missing is told apart from what is wrong."""
    for path, body, param in (
        ("/v1/videos", {}, "prompt"),
        ("/v1/videos/x/remix", {}, "prompt"),
        ("/v1/videos/edits", {"prompt": "p"}, "video"),
        ("/v1/videos/extensions", {"prompt": "p", "video": {"id": "x"}}, "seconds"),
        ("/v1/video/generations", {"prompt": "p", "width": 10}, "height"),
    ):
        status, answer, _ = await surface.call("POST", path, json=body)
        assert (status, answer["error"]["code"], answer["error"]["param"]) == (400, "missing_required_parameter", param)


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/v1/videos/x/remix", {"input_reference": "https://h/a.png"}, "input_reference"),
        ("/v1/videos/x/remix", {"characters": [{"id": "a"}]}, "characters"),
        ("/v1/videos/extensions", {"video": {"id": "x"}, "seconds": 4, "image": "https://h/a.png"}, "image"),
        ("/v1/videos/edits", {"video": "video_1"}, "video"),
        ("/v1/videos/edits", {"video": {}}, "video"),
        ("/v1/videos/edits", {"video": {"id": 5}}, "video"),
        ("/v1/videos/edits", {"video": {"id": "x", "junk": 1}}, "video"),
        ("/v1/videos/edits", {"video": [{"id": "x"}]}, "video"),
        ("/v1/video/generations", {"duration": "x"}, "duration"),
        ("/v1/video/generations", {"duration": 5, "seconds": "4"}, "duration"),
        ("/v1/video/generations", {"width": 100, "height": 200, "size": "1x1"}, "size"),
        ("/v1/video/generations", {"width": 1.5, "height": 200}, "width"),
        ("/v1/video/generations", {"width": -1280, "height": 720}, "size"),
    ],
)
async def test_fields_that_do_not_belong(surface: Surface, path: str, body: dict[str, Any], param: str) -> None:
    """Each operation refuses what is not its own, instead of dropping it."""
    status, answer, _ = await surface.call("POST", path, json={"prompt": "p", **body})
    assert (status, answer["error"]["param"]) == (400, param), answer
    assert surface.engine.received == []


@pytest.mark.parametrize(("query", "param"), QUERIES, ids=[query[:20] for query, _ in QUERIES])
async def test_bad_queries(surface: Surface, query: str, param: str) -> None:
    """Unknown values of known query names are refused."""
    async with surface.session.get(
        f"{surface.url}/v1/videos?{query}", headers={"Authorization": "Bearer anna-secret"}
    ) as response:
        assert response.status == 400
        check(await response.json(), param)


async def test_bad_values_beside_an_id(surface: Surface) -> None:
    """Variants and force have their words."""
    video = surface.engine.finish(surface.engine.add().id)
    for variant in ("zip", "", "VIDEO", "video%00"):
        status, answer, _ = await surface.call("GET", f"/v1/videos/{video.id}/content?variant={variant}")
        assert (status, answer["error"]["param"]) == (400, "variant")
    status, answer, _ = await surface.call("DELETE", f"/v1/videos/{video.id}?force=maybe")
    assert (status, answer["error"]["param"]) == (400, "force")


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "x-unknown", "identity, gzip"])
async def test_compressed_bodies_are_refused(surface: Surface, coding: str) -> None:
    """A compressed body is a 415, whatever it would inflate to."""
    body = gzip.compress(b'{"prompt":"p","metadata":{"a":"' + b"x" * 50_000_000 + b'"}}')
    head = (
        f"POST /v1/videos HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer anna-secret\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Encoding: {coding}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", surface.port)
    writer.write(head.encode() + body)
    answer = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    assert answer.startswith(b"HTTP/1.1 415 "), answer[:200]
    assert b'"param":"Content-Encoding"' in answer


@pytest.mark.parametrize(
    "body", [b"zz\r\n{}\r\n0\r\n\r\n", b"5\r\n{\r\n", b"-1\r\n\r\n", b"ffffffffffffffffffff\r\n{}"]
)
async def test_broken_chunks_are_refused(surface: Surface, body: bytes) -> None:
    """A body whose chunks are malformed is a 4xx, never a 5xx and never an order."""
    reader, writer = await asyncio.open_connection("127.0.0.1", surface.port)
    writer.write(
        b"POST /v1/videos HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer anna-secret\r\n"
        b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n" + body
    )
    writer.write_eof()
    answer = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400 "), answer
    assert surface.engine.received == []


async def test_characters_take_forms_only(surface: Surface) -> None:
    """A character in JSON is a 415; without a file or with a bad name it is a 400."""
    status, answer, _ = await surface.call("POST", "/v1/videos/characters", json={"name": "a"})
    assert (status, answer["error"]["param"]) == (415, "Content-Type")

    def form(name: str, video: bytes | None) -> FormData:
        data = FormData({"name": name}, default_to_multipart=True)
        if video is not None:
            data.add_field("video", video, filename="a.mp4")
        return data

    for name, video, param in (
        ("", b"v", "name"),
        ("n" * 81, b"v", "name"),
        ("n", None, "video"),
        ("n", b"", "video"),
    ):
        status, answer, _ = await surface.call("POST", "/v1/videos/characters", data=form(name, video))
        assert (status, answer["error"]["param"]) == (400, param)
    status, answer, _ = await surface.call("GET", "/v1/videos/characters/a%2Fb")
    assert (status, answer["error"]["code"]) == (404, "not_found")
