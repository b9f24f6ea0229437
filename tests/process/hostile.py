"""Bad input as a client could send it: the bytes, and what their refusal must blame."""

from __future__ import annotations

import base64
import bz2
import gzip
import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from tests.process.hostile_pictures import MIB, pictures

JSON: Final = "application/json"
FORM: Final = "multipart/form-data; boundary=b"
URLENCODED: Final = "application/x-www-form-urlencoded"
END: Final = b"--b--\r\n"
BIG: Final = 100 * MIB
DEEP: Final = 100_000
DIGITS: Final = b"9" * 100_000
LONG_ID: Final = "x" * 10_000

Body = Callable[[], Iterable[bytes]]


@dataclass(frozen=True)
class Hostile:
    """One request. `param` is what the refusal must blame: a name, None for nothing, "*" where either will do.

    `length` is the Content-Length to tell, None for chunks.
    """

    name: str
    method: str
    path: str
    body: Body | None = None
    length: int | None = None
    media_type: str | None = JSON
    headers: dict[str, str] = field(default_factory=dict)
    param: str | None = "*"


def part(name: bytes, value: bytes, more: bytes = b"") -> bytes:
    return b'--b\r\nContent-Disposition: form-data; name="' + name + b'"' + more + b"\r\n\r\n" + value + b"\r\n"


PROMPT: Final = part(b"prompt", b"p")


def whole(body: bytes) -> dict[str, Any]:
    """The arguments for a body of known length."""
    return {"body": lambda: (body,), "length": len(body)}


def pieces(head: bytes, middle: bytes, count: int, tail: bytes) -> Body:
    """`middle` `count` times between `head` and `tail`, never in memory as a whole."""

    def give() -> Iterator[bytes]:
        yield head
        block = middle * max(1, 65_536 // len(middle))
        for _ in range(count * len(middle) // len(block)):
            yield block
        yield middle * (count * len(middle) % len(block) // len(middle)) + tail

    return give


def post(name: str, body: bytes, param: str | None = "*", media_type: str = JSON, path: str = "/videos") -> Hostile:
    return Hostile(name, "POST", path, **whole(body), media_type=media_type, param=param)


def fields(path: str = "/videos", param: str | None = "*", **body: Any) -> Hostile:
    body = {"prompt": "p", **body}
    return post(f"{path} {str(body)[:60]}", json.dumps(body).encode(), param, path=path)


# ---------------------------------------------------------------- bodies


def malformed() -> Iterator[Hostile]:
    """What is no document at all, or one under a wrong name."""
    for body in (
        b'{"prompt": ',
        b"",
        b"{'prompt': 'p'}",
        b'{"prompt":"p"} {}',
        b'["p"]',
        b'"p"',
        b"null",
        b"\0",
        b"{{",
    ):
        yield post(f"JSON {body!r}", body, None)
    yield post("NaN", b'{"prompt":"p","seed":NaN}', None)
    yield post("UTF-16", '{"prompt":"p"}'.encode("utf-16"), None)
    yield post("invalid UTF-8 in the prompt", b'{"prompt":"\xff\xfe"}', "prompt")
    yield post("invalid UTF-8 in a name", b'{"prompt":"p","\xff":1}', None)
    yield post("invalid UTF-8 in metadata", b'{"prompt":"p","metadata":{"a":"\xc3("}}', "metadata")
    yield post("a lone surrogate", b'{"prompt":"\\ud800"}', "*")
    yield post("invalid UTF-8 in a form", part(b"prompt", b"\xff") + END, "prompt", FORM)
    yield post("invalid UTF-8 in a part's name", part(b"\xff", b"p") + END, None, FORM)
    yield post("invalid UTF-8 in a filename", PROMPT + part(b"image", b"p", b'; filename="\xff"') + END, "image", FORM)
    yield post("invalid UTF-8 in a URL-encoded body", b"prompt=%ff", None, URLENCODED)
    for path in ("/videos", "/videos/edits", "/videos/extensions", "/video/generations", "/videos/video_x/remix"):
        yield post(f"a form called JSON at {path}", PROMPT + END, None, path=path)
        yield post(f"JSON called a form at {path}", b'{"prompt":"p"}', None, FORM, path)
    yield post("a form without a boundary", PROMPT + END, "Content-Type", "multipart/form-data")
    yield post("a truncated form", PROMPT, None, FORM)
    yield post("a form cut in a header", b"--b\r\nContent-Disposition: form-da", None, FORM)
    yield post("a part without a name", b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n" + END, None, FORM)
    for media_type in ("text/plain", "application/octet-stream", "application/xml", "multipart/mixed; boundary=b"):
        yield post(media_type, b'{"prompt":"p"}', "Content-Type", media_type)


def many_and_large() -> Iterator[Hostile]:
    """Thousands of parts, 100 MB with and without a length, texts beyond their limit."""
    for name, more, value in (
        (b"input_reference[%d]", b"", b"137"),
        (b"f%d", b"", b"1"),
        (b"images", b'; filename="a.png"', b"x"),
        (b"metadata[k%d]", b"", b"1"),
    ):
        body = b"".join(part(name.replace(b"%d", b"%d" % number), value, more) for number in range(20_000)) + END
        yield post(f"20,000 parts {name!r}", PROMPT + body, "*", FORM)
    yield post("20,000 pairs", b"a=1&" * 20_000, None, URLENCODED)
    yield post("100,000 fields", json.dumps({f"k{number}": 1 for number in range(100_000)}).encode(), None)
    for path in ("/videos", "/videos/edits", "/videos/characters", "/video/generations"):
        file = b"image" if path in ("/videos", "/video/generations") else b"video"
        for name, media_type, head, tail in (
            ("text", JSON, b'{"prompt":"', b'"}'),
            ("a file", FORM, PROMPT + part(file, b"", b'; filename="f"')[:-2], b"\r\n" + END),
            ("a text part", FORM, part(b"prompt", b"")[:-2], b"\r\n" + END),
            ("pairs", URLENCODED, b"prompt=", b""),
        ):
            body = pieces(head, b"x", BIG, tail)
            for length in (len(head) + BIG + len(tail), None):
                told = "with" if length else "without"
                yield Hostile(
                    f"100 MB of {name} {told} a length at {path}", "POST", path, body, length, media_type, param="*"
                )
    for name, head, middle, count, tail in (
        ("a prompt of 60 MB", b'{"prompt":"', b"x", 60 * MIB, b'"}'),
        ("a picture of 60 MB", b'{"prompt":"p","image":"', b"AAAA", 15 * MIB, b'"}'),
        ("twenty million lists", b'{"prompt":"p","images":[', b"[],", 20 * MIB, b"1]}"),
        ("objects in an unknown field", b'{"prompt":"p","x":[', b"{},", 20 * MIB, b"1]}"),
        ("sixty million spaces", b"", b" ", 60 * MIB, b"{}"),
        ("escapes", b'{"prompt":"', b"\\u0041", 10 * MIB, b'"}'),
    ):
        yield Hostile(name, "POST", "/videos", pieces(head, middle, count, tail))
    yield Hostile(
        "100 MB that nobody waits for", "POST", "/videos", None, BIG, headers={"Expect": "100-continue"}, param="*"
    )
    for letter in ("x", "窗"):
        for path in ("/videos", "/videos/video_x/remix", "/video/generations"):
            yield fields(path, "prompt", prompt=letter * 32_001)
        yield post("a long prompt", part(b"prompt", (letter * 32_001).encode()) + END, "prompt", FORM)
    yield fields(param="metadata", metadata={"a": "x" * 70_000})
    yield fields(param="junk", junk=[[]] * 50_000)


def compressed() -> Iterator[Hostile]:
    """Compressed bodies, bombs among them, with and without saying so."""
    bomb = b'{"prompt":"p","metadata":{"a":"' + b"x" * (64 * MIB) + b'"}}'
    raw = zlib.compressobj(wbits=-15)
    for coding, body in (
        ("gzip", gzip.compress(bomb)),
        ("deflate", zlib.compress(bomb)),
        ("deflate", raw.compress(bomb) + raw.flush()),
        ("gzip", gzip.compress(b'{"prompt":"p"}')),
        ("br", b"\x0b\x06\x80{}\x03"),
        ("zstd", b"\x28\xb5\x2f\xfd"),
        ("identity, gzip", gzip.compress(bomb)),
        ("bzip2", bz2.compress(bomb)),
    ):
        for media_type in (JSON, FORM):
            yield Hostile(
                f"{coding} {media_type}",
                "POST",
                "/videos",
                **whole(body),
                media_type=media_type,
                headers={"Content-Encoding": coding},
                param="Content-Encoding",
            )
        yield post(f"{coding} that does not say so", body, None)


def nested_and_long() -> Iterator[Hostile]:
    """JSON 100,000 deep, numbers of 100,000 digits."""
    lists, objects = b"[" * DEEP + b"]" * DEEP, b'{"a":' * DEEP + b"1" + b"}" * DEEP
    for deep in (lists, objects, b"[" * DEEP, b'{"a":' * DEEP):
        yield post("a deep body", deep, None)
        for name in (
            b"metadata",
            b"prompt",
            b"images",
            b"image",
            b"video",
            b"junk",
            b"characters",
            b"size",
            b"seconds",
        ):
            yield post(f"a deep {name!r}", b'{"prompt":"p","' + name + b'":' + deep + b"}", "*")
        for name in (b"metadata", b"junk", b"images", b"characters"):
            yield post(f"a deep {name!r} in a form", PROMPT + part(name, deep) + END, "*", FORM)
    yield post("a deep name", PROMPT + part(b"k" + b"[a]" * 80, b"1") + END, "k", FORM)
    for name in (b"seconds", b"seed", b"prompt", b"size", b"junk", b"model", b"image", b"duration", b"width"):
        yield post(
            f"a long number {name!r}",
            b'{"prompt":"p","' + name + b'":' + DIGITS + b"}",
            "*",
            path="/video/generations",
        )
        if name not in (b"duration", b"width"):
            yield post(f"a long {name!r}", b'{"prompt":"p","' + name + b'":-' + DIGITS + b"}")
    yield post("a long number in metadata", b'{"prompt":"p","metadata":{"a":' + DIGITS + b"}}", "*")
    yield post("an exponent", b'{"prompt":"p","seed":1e' + DIGITS + b"}", "*")
    for name in (b"seconds", b"size", b"audio", b"seed"):
        yield post(f"long digits {name!r}", PROMPT + part(name, DIGITS) + END, name.decode(), FORM)


WRONG: Final[dict[str, tuple[Any, ...]]] = {
    "prompt": (None, "", 5, 1.5, True, [], ["p"], {}, {"text": "p"}, "a\0b"),
    "model": ("", 5, 1.5, False, [], ["sora-2"], {}, "a\nb", "m" * 300),
    "seconds": ("", 1.5, True, [], ["4"], {}, "four", "4.0", "-4", 0, -1, 10**30, "٤", "4\0"),
    "size": ("", 720, 1.5, True, [], [720, 1280], {}, "big", "0x0", "1280X720", "1280x720\0"),
    "input_reference": (
        "",
        5,
        1.5,
        True,
        {},
        {"x": 1},
        {"image_url": 5},
        {"file_id": {}},
        {"image_url": ""},
        [5],
        [[]],
    ),
    "image": ("", 5, 1.5, True, {}, {"x": 1}, "picture", [5], "file:///etc/passwd", "data:,x", "gopher://h/", "a\0"),
    "images": (5, 1.5, True, {"x": 1}, [5], [None, 1], [["x"]], [{}], ["x"] * 5000),
    "characters": ("c", 5, True, {}, [5], ["c"], [{}], [{"id": 5}], [{"id": "c", "x": 1}], [{"id": "../c"}]),
    "seed": ("s", 1.5, True, [], {}, 2**63, -(2**63) - 1),
    "audio": ("yes", 5, [], {}),
    "generate_audio": ("yes", 5, [], {}),
    "negative_prompt": (5, True, [], {}, "x" * 32_001, "a\0b"),
    "metadata": ("m", 5, 1.5, True, [], [{}], {"n": 5}, {"a": 2**80}),
    "n": (1, 5, "5", [], {}),
    "Idempotency": ({"fps": 5},),
}


def wrong_types() -> Iterator[Hostile]:
    """Every field with values of the wrong type or form, wherever it is taken."""
    for name, wrong in WRONG.items():
        for value in wrong:
            for path in ("/videos", "/video/generations"):
                yield fields(path, name, **{name: value})
    for path in ("/videos/edits", "/videos/extensions"):
        for value in (
            None,
            "",
            "video_x",
            5,
            True,
            [],
            {},
            {"id": 5},
            {"id": None},
            {"id": "x", "y": 1},
            [{"id": "x"}],
        ):
            yield fields(path, "video", video=value, seconds="4")
    for name in ("input_reference", "image", "images", "characters"):
        yield fields("/videos/video_x/remix", name, **{name: "x"})
    for name in ("duration", "width", "height"):
        for value in ("x", 1.5, True, [], {}, -1):
            yield fields("/video/generations", "*", **{name: value})
    for name in ("prompt", "model", "size", "seconds", "metadata"):
        body = PROMPT * (name != "prompt") + part(name.encode(), b"x", b'; filename="x"') + END
        yield post(f"{name} as a file", body, name, FORM)
    yield post("a field twice", PROMPT + PROMPT + END, "prompt", FORM)
    yield post("a value and an object", PROMPT + part(b"k", b"1") + part(b"k[a]", b"2") + END, "k", FORM)


# ---------------------------------------------------------------- paths, queries, pictures

IDS: Final = ("a%2Fb", "%2e%2e", "..%2f..%2fmodels", "a%5cb", "%00", "video_%00", "a.b", ".", "%0d%0aX:%20y", LONG_ID)
MORE_IDS: Final = ("%ff", "%F0%9F%9B%B6", "video_x%20", "'%20OR%201=1--", "%25", "%7B%7D")


def paths_and_queries() -> Iterator[Hostile]:
    """Ids that are none, and values that a query does not know."""
    body = b'{"prompt":"p"}'
    for odd in (*IDS, *MORE_IDS):
        for method, path in (
            ("GET", f"/videos/{odd}"),
            ("DELETE", f"/videos/{odd}"),
            ("GET", f"/videos/{odd}/content"),
            ("GET", f"/videos/characters/{odd}"),
            ("GET", f"/video/generations/{odd}"),
            ("GET", f"/models/{odd}"),
        ):
            yield Hostile(f"{method} {path[:60]}", method, path, media_type=None)
        yield Hostile(f"remix of {odd[:60]}", "POST", f"/videos/{odd}/remix", **whole(body))
        yield Hostile(f"after {odd[:60]}", "GET", f"/videos?after={odd}", media_type=None, param="after")
    for odd in ("a/b", "../x", "a\0b", "x" * 10_000, "", "ü", "a\nb"):
        yield fields("/videos/edits", "*", video={"id": odd})
        yield fields("/videos/extensions", "*", video={"id": odd}, seconds="4")
        yield fields(param="characters", characters=[{"id": odd}])
        yield fields(param="*", input_reference={"file_id": odd})
    for name, values in (
        ("limit", ("101", "-1", "abc", "", "1e1", "9" * 10_000, "%00", "%D9%A3", "1.0")),
        ("order", ("sideways", "", "ASC", "%00", "x" * 10_000)),
        ("after", ("", "x", "%00", "1")),
    ):
        for value in values:
            yield Hostile(f"{name}={value[:40]}", "GET", f"/videos?{name}={value}", media_type=None, param=name)


def bad_pictures() -> Iterator[Hostile]:
    """Each of them as a file, a data URI and bare base64; the addresses that are not to be fetched."""
    for name, data in pictures():
        file = part(b"input_reference", data, b'; filename="a.png"\r\nContent-Type: image/png')
        yield post(f"{name} as a file", PROMPT + file + END, "input_reference", FORM)
        text = base64.b64encode(data).decode()
        yield fields(param="image", image=f"data:image/png;base64,{text}")
        if len(text) > 40:
            yield fields(param="image", image=text)
    yield post("an empty file", PROMPT + part(b"image", b"", b'; filename="a"') + END, "image", FORM)
    for url in ("http://127.0.0.1:1/", "http://169.254.169.254/", "http://[::1]/", "http://localhost/", "https://"):
        yield fields(param="image", image=url)
        yield fields(param="*", input_reference={"image_url": url})
    film = part(b"video", b"\0\0\0\x18ftypmp42" + b"x" * 1000, b'; filename="a.mp4"')
    for path, more in (
        ("/videos/edits", PROMPT),
        ("/videos/extensions", PROMPT + part(b"seconds", b"4")),
        ("/videos/characters", part(b"name", b"Mira")),
    ):
        yield post(f"a film that is none at {path}", more + film + END, "video", FORM, path)


ALL: Final = (
    malformed,
    many_and_large,
    compressed,
    nested_and_long,
    wrong_types,
    paths_and_queries,
    bad_pictures,
)
