"""Raw HTTP against the routes of uploaded files: refusals, tenants, expiry, content."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from aiohttp import FormData

from proxy.config.rules import InputLimits
from tests.api.filing import MIB, Desk, animation, opened_desk, picture

KEYS = {
    *("id", "object", "bytes", "created_at", "expires_at", "filename", "purpose", "status", "status_details"),
}
UNKNOWN = "file_" + "0" * 32


def steady(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers that two answers to the same request have in common."""
    return {name.lower(): text for name, text in headers.items() if name.lower() not in ("date", "x-request-id")}


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with opened_desk(tmp_path) as made:
        yield made


# ---------------------------------------------------------------- what is taken


@pytest.mark.parametrize(
    ("kind", "purpose", "media_type"),
    [
        ("PNG", "vision", "image/png"),
        ("JPEG", "vision", "image/jpeg"),
        ("WEBP", "vision", "image/webp"),
        ("WEBP", "user_data", "image/webp"),
        (b"\0\0\0\x20ftypisom" + bytes(50), "user_data", "video/mp4"),
        (b"\0\0\0\x14ftypqt  " + bytes(50), "user_data", "video/quicktime"),
        (b"\x1aE\xdf\xa3\x9fB\x86\x81\x01B\x82\x84webm" + bytes(50), "user_data", "video/webm"),
        (b"\0\0\0\x20ftypheic" + bytes(50), "user_data", "application/octet-stream"),
        (b"<script>alert(1)</script>", "user_data", "application/octet-stream"),
        (b"%", "user_data", "application/octet-stream"),
    ],
)
async def test_the_bytes_tell_the_type(desk: Desk, kind: str | bytes, purpose: str, media_type: str) -> None:
    """A file is served as what its bytes are, whatever its name says: picture, video, or just bytes; as an attachment
    that no browser runs."""
    data = picture(kind) if isinstance(kind, str) else kind
    made = await desk.made(data, purpose=purpose, filename="page.html")
    assert (made["bytes"], made["purpose"], made["filename"]) == (len(data), purpose, "page.html")
    status, body, headers = await desk.call("GET", f"/v1/files/{made['id']}/content")
    assert (status, body) == (200, data)
    assert headers["Content-Type"] == media_type
    assert headers["Content-Disposition"] == 'attachment; filename="page.html"'
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("a.png", "a.png"),
        ("飞机 ü.png", "飞机 ü.png"),
        ("../../etc/passwd", "passwd"),
        ("C:\\pictures\\a.png", "a.png"),
        ("folder/", "upload"),
        ("x" * 300 + ".png", "x" * 251 + ".png"),
        ("a\tb.png", "a_b.png"),
    ],
)
async def test_names(desk: Desk, sent: str, shown: str) -> None:
    """A name is shown as it was sent, but without folders, control characters and excess."""
    assert (await desk.made(filename=sent))["filename"] == shown


async def test_the_object(desk: Desk) -> None:
    """A file has OpenAI's nine keys, on creation, when it is looked at and in lists, with and without `/v1`."""
    made = await desk.made()
    assert set(made) == KEYS
    assert made == {
        **made,
        "object": "file",
        "bytes": 10,
        "created_at": int(desk.now),
        "expires_at": int(desk.now) + 7 * 86_400,
        "status": "processed",
        "status_details": None,
    }
    for prefix in ("", "/v1"):
        assert (await desk.call("GET", f"{prefix}/files/{made['id']}"))[1] == made
        assert (await desk.call("GET", f"{prefix}/files"))[1] == {
            "object": "list",
            "data": [made],
            "first_id": made["id"],
            "last_id": made["id"],
            "has_more": False,
        }
    assert (await desk.call("GET", "/v1/files", who="bert"))[1] == {
        "object": "list",
        "data": [],
        "first_id": None,
        "last_id": None,
        "has_more": False,
    }


async def test_json_text_says_when_a_file_expires(desk: Desk) -> None:
    """`expires_after` may also come as JSON in one part; without it the server's own lifetime counts."""
    desk.settings(file_ttl=5000)
    text = '{"anchor": "created_at", "seconds": 2592000}'
    assert (await desk.made(expires_after=text))["expires_at"] == int(desk.now) + 2_592_000
    assert (await desk.made(expires_after="null"))["expires_at"] == int(desk.now) + 5000


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("texts", "param", "code", "word"),
    [
        ({"purpose": None}, "purpose", "missing_required_parameter", "purpose"),
        ({"purpose": ""}, "purpose", "invalid_value", "purpose"),
        ({"purpose": "assistants"}, "purpose", "invalid_value", "'vision' and 'user_data'"),
        ({"purpose": "7"}, "purpose", "invalid_value", "string"),
        ({"data": b""}, "file", "invalid_value", "empty"),
        ({"colour": "red"}, "colour", "invalid_value", "colour"),
        ({"expires_after": "soon"}, "expires_after", "invalid_value", "object"),
        ({"expires_after[seconds]": "3600"}, "expires_after.anchor", "missing_required_parameter", "anchor"),
        ({"expires_after[anchor]": "created_at"}, "expires_after.seconds", "missing_required_parameter", "seconds"),
    ],
)
async def test_bad_forms(desk: Desk, texts: dict[str, Any], param: str, code: str, word: str) -> None:
    """Bad input is a 400 that names the field, and nothing is kept of it."""
    status, body = await desk.upload(**texts)
    assert (status, body["error"]["param"], body["error"]["code"]) == (400, param, code), body
    assert word in body["error"]["message"]
    assert await desk.on_disk() == set()


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"seconds": "3599"}, "seconds"),
        ({"seconds": "2592001"}, "seconds"),
        ({"seconds": "-1"}, "seconds"),
        ({"seconds": "3600.0"}, "seconds"),
        ({"seconds": "true"}, "seconds"),
        ({"seconds": "an hour"}, "seconds"),
        ({"anchor": "last_active_at"}, "anchor"),
        ({"anchor": "7"}, "anchor"),
        ({"days": "3"}, "days"),
    ],
)
async def test_bad_lifetimes(desk: Desk, change: dict[str, str], param: str) -> None:
    """A lifetime is 3,600 to 2,592,000 whole seconds after the creation; anything else is a 400 that names what."""
    given = {"anchor": "created_at", "seconds": "3600", **change}
    status, body = await desk.upload(**{f"expires_after[{name}]": text for name, text in given.items()})
    assert (status, body["error"]["param"]) == (400, f"expires_after.{param}"), body
    assert await desk.on_disk() == set()


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (picture("GIF"), "GIF"),
        (b"hello", "not a picture"),
        (b"\0\0\0\x20ftypisom" + bytes(50), "a video"),
        (animation(), "animated"),
        (picture("JPEG", (200, 200))[:-200], "decoded"),
        (picture("PNG")[:60], "decoded"),
        (picture("PNG", (400, 300)), "400x300 pixels"),
        (picture("BMP", (300, 300)), "more than 200000 bytes"),
    ],
)
async def test_vision_takes_only_usable_pictures(desk: Desk, data: bytes, word: str) -> None:
    """A picture that no video could be made with is refused at once, blaming `file`, and not kept; as any other file it
    would be taken."""
    desk.settings(inputs=InputLimits(max_bytes=200_000, max_pixels=100_000))
    status, body = await desk.upload(data, purpose="vision", filename="a.png")
    assert (status, body["error"]["param"], body["error"]["code"]) == (400, "file", "invalid_value"), body
    assert word in body["error"]["message"]
    assert await desk.on_disk() == set()
    await desk.made(data, purpose="user_data")


async def test_a_file_is_a_part_with_a_name(desk: Desk) -> None:
    """No file, a text, a list of files and two files are 400s that name `file`."""
    for parts, code in (
        ([("file", b"", "")], "missing_required_parameter"),
        ([("file", "text", None)], "invalid_value"),
        ([("file[]", b"x", "a")], "invalid_value"),
        ([("file", b"x", "a"), ("file", b"y", "b")], "invalid_value"),
    ):
        form = FormData(default_to_multipart=True)
        form.add_field("purpose", "user_data")
        for name, data, filename in parts:
            form.add_field(name, data, filename=filename, content_type="text/plain")
        status, body, _ = await desk.call("POST", "/v1/files", data=form)
        assert (status, body["error"]["param"], body["error"]["code"]) == (400, "file", code), body
    assert await desk.on_disk() == set()


async def test_only_forms(desk: Desk) -> None:
    """JSON is a 415 and a body beyond the server's bound a 413; both in OpenAI's envelope."""
    status, body, _ = await desk.call("POST", "/v1/files", json={"purpose": "user_data", "file": "x"})
    assert (status, body["error"]["code"]) == (415, "unsupported_media_type")
    status, body = await desk.upload(bytes(5 * MIB))
    assert (status, body["error"]["code"]) == (413, "body_too_large")
    assert await desk.on_disk() == set()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/files"),
        ("GET", "/files"),
        ("GET", f"/files/{UNKNOWN}"),
        ("DELETE", f"/files/{UNKNOWN}"),
        ("GET", f"/files/{UNKNOWN}/content"),
    ],
)
async def test_a_key_is_needed(desk: Desk, method: str, path: str) -> None:
    """Every route wants a key."""
    for prefix in ("", "/v1"):
        status, body, _ = await desk.call(method, prefix + path, who=None)
        assert (status, body["error"]["code"]) == (401, "invalid_api_key")


@pytest.mark.parametrize("query", ["limit=0", "limit=10001", "limit=x", "order=up", "after=a%2F1", "purpose=holiday"])
async def test_bad_queries(desk: Desk, query: str) -> None:
    """A query value that cannot be used is a 400 that names it."""
    status, body, _ = await desk.call("GET", f"/v1/files?{query}")
    assert (status, body["error"]["param"]) == (400, query.partition("=")[0])


async def test_the_default_limit(desk: Desk) -> None:
    """A list without a limit has more files than a page of videos has."""
    for _ in range(21):
        await desk.add()
    _, page, _ = await desk.call("GET", "/v1/files")
    assert (len(page["data"]), page["has_more"]) == (21, False)


# ---------------------------------------------------------------- whose it is, and how long


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("DELETE", ""), ("GET", "/content"), ("HEAD", "/content")])
async def test_foreign_expired_and_unknown_are_the_same(desk: Desk, method: str, path: str) -> None:
    """Someone else's file, an expired one, a deleted one and one that never was answer byte for byte the same but for
    the id; and somebody else's stays."""
    expired = await desk.made()
    deleted = await desk.made()
    assert (await desk.call("DELETE", f"/v1/files/{deleted['id']}"))[0] == 200
    desk.now = expired["expires_at"]
    foreign = await desk.made(who="bert")
    answers = []
    for file_id in (UNKNOWN, foreign["id"], expired["id"], deleted["id"], "a" * 37):
        status, body, headers = await desk.call(method, f"/v1/files/{file_id}{path}")
        answers.append((status, str(body).replace(file_id, "ID"), steady(headers)))
    assert answers[0][0] == 404
    assert answers[1:] == answers[:1] * 4
    assert (await desk.call("GET", f"/v1/files/{foreign['id']}", who="bert"))[1] == foreign


async def test_expiry(desk: Desk) -> None:
    """A file lives until the second before it expires, and is in no list afterwards."""
    made = await desk.made(**{"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"})
    assert made["expires_at"] == made["created_at"] + 3600
    desk.now = made["expires_at"] - 1
    assert (await desk.call("GET", f"/v1/files/{made['id']}"))[0] == 200
    assert len((await desk.call("GET", "/v1/files"))[1]["data"]) == 1
    desk.now = made["expires_at"]
    assert (await desk.call("GET", f"/v1/files/{made['id']}"))[0] == 404
    assert (await desk.call("GET", "/v1/files"))[1]["data"] == []


@pytest.mark.parametrize("file_id", ["file_1", "a%2Fb", "..%2f..", "%00", "x" * 300, "..%2Freelgate.db"])
async def test_odd_ids(desk: Desk, file_id: str) -> None:
    """What cannot be an id is an unknown one, on every route."""
    for method, path in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
        status, body, _ = await desk.call(method, f"/v1/files/{file_id}{path}")
        assert (status, body["error"]["code"]) == (404, "not_found")


async def test_room(desk: Desk) -> None:
    """Beyond its bytes a tenant is told to delete or wait, and may upload again once it did; others are not touched;
    what could never fit is a 413."""
    desk.settings(files_per_key=100)
    first = await desk.made(bytes(60))
    status, body = await desk.upload(bytes(41))
    assert (status, body["error"]["param"], body["error"]["code"]) == (400, "file", "invalid_value")
    for word in ("41 bytes", "100 bytes", "Delete", "expire"):
        assert word in body["error"]["message"]
    assert await desk.on_disk() == {first["id"]}
    await desk.made(bytes(100), who="bert")
    second = await desk.made(bytes(40))
    assert (await desk.upload(b"x"))[0] == 400
    await desk.call("DELETE", f"/v1/files/{second['id']}")
    third = await desk.made(bytes(40))
    desk.now = third["expires_at"]
    await desk.made(bytes(100))
    status, body = await desk.upload(bytes(101))
    assert (status, body["error"]["param"], body["error"]["code"]) == (413, "file", "body_too_large")


async def test_room_holds_when_many_come_at_once(desk: Desk) -> None:
    """Of eight uploads at once, just those that fit are taken, and nothing is left of the others."""
    desk.settings(files_per_key=1000)
    answers = await asyncio.gather(*(desk.upload(bytes(300)) for _ in range(8)))
    assert sorted(status for status, _ in answers) == [200] * 3 + [400] * 5
    assert await desk.on_disk() == {body["id"] for status, body in answers if status == 200}


# ---------------------------------------------------------------- the bytes


async def test_content(desk: Desk) -> None:
    """A megabyte comes back as it was sent; HEAD says so without it; ranges, ETag and `If-None-Match` work."""
    data = bytes(range(256)) * 4096
    made = await desk.made(data, filename="飞机.bin")
    path = f"/v1/files/{made['id']}/content"
    status, body, headers = await desk.call("GET", path)
    assert (status, body == data, headers["Content-Length"]) == (200, True, str(MIB))
    assert headers["Content-Disposition"].startswith('attachment; filename="')
    assert "%E9%A3%9E" in headers["Content-Disposition"]
    assert headers["Cache-Control"].startswith("private")
    status, body, head = await desk.call("HEAD", path)
    assert (status, body) == (200, b"")
    assert steady(head) == steady(headers)
    for asked, part in (("bytes=10-19", data[10:20]), ("bytes=-7", data[-7:]), ("bytes=1048570-", data[1048570:])):
        status, body, headers = await desk.call("GET", path, headers={"Range": asked})
        assert (status, body) == (206, part)
        assert headers["Content-Range"].endswith(f"/{MIB}")
    status, body, headers = await desk.call("GET", path, headers={"Range": f"bytes={MIB}-"})
    assert (status, body["error"]["code"], headers["Content-Range"]) == (416, "range_not_satisfiable", f"bytes */{MIB}")
    status, body, _ = await desk.call("GET", path, headers={"If-None-Match": head["ETag"]})
    assert (status, body) == (304, b"")


async def test_lost_bytes_are_an_unknown_file(desk: Desk) -> None:
    """A file whose bytes vanish just before they are sent is unknown, and no answer speaks of a video."""
    made = await desk.made()
    await asyncio.to_thread((desk.folder / made["id"]).unlink)
    answer = await desk.call("GET", f"/v1/files/{made['id']}/content")
    unknown = await desk.call("GET", f"/v1/files/{UNKNOWN}/content")
    assert answer[0] == 404
    assert str(answer[1]).replace(made["id"], UNKNOWN) == str(unknown[1])
