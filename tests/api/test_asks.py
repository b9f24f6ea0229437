"""Fields -> asks, fuzzed: whatever JSON a client sends, it is an ask or a 4xx, and the ask says what was sent."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.api import asks, documents
from proxy.errors import ApiError
from proxy.records import Ask

KNOWN = [
    "prompt", "model", "seconds", "size", "input_reference", "image", "images", "last_frame", "characters",
    "video", "seed", "negative_prompt", "audio", "generate_audio", "metadata", "task_id", "video_id", "duration",
    "width", "height",
]  # fmt: skip
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from(["4", "16:9", "1280x720", "https://h/a.png", "data:image/png;base64,AAAA", "A" * 64, "video_1"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["id", "image_url", "file_id", "url", "0", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)
FIELDS = st.dictionaries(st.sampled_from(KNOWN) | st.text(max_size=6), JSON, max_size=6)
READERS = [asks.create, asks.generation, asks.edit, asks.extension, lambda fields: asks.remix(fields, "video_1")]


def read(reader: Any, body: bytes) -> Ask | None:
    try:
        return reader(documents.fields(body))  # type: ignore[no-any-return]
    except ApiError as error:
        refusal = error
    assert 400 <= refusal.status < 500
    assert refusal.message.isprintable()
    msgspec.json.encode([refusal.message, refusal.param, refusal.code])
    return None


@settings(deadline=None, max_examples=500)
@given(fields=FIELDS, prompt=st.booleans(), reader=st.sampled_from(READERS))
def test_any_object_is_an_ask_or_a_4xx(fields: dict[str, Any], prompt: bool, reader: Any) -> None:
    """No JSON object makes the reader fail, and what it accepts can be stored."""
    body = json.dumps({**fields, "prompt": "p"} if prompt else fields).encode()
    ask = read(reader, body)
    if ask is not None:
        assert len(ask.fingerprint) == 32
        msgspec.json.encode([ask.metadata, ask.extra])
        again = read(reader, body)
        assert again is not None
        assert again.fingerprint == ask.fingerprint


@settings(deadline=None, max_examples=300)
@given(body=st.binary(max_size=200) | st.text('{}[]":,ptrue1.e-\\u', max_size=60).map(str.encode))
def test_any_bytes_are_an_object_or_a_4xx(body: bytes) -> None:
    """No bytes make the reader fail."""
    read(asks.create, body)


@settings(deadline=None, max_examples=200)
@given(extra=st.dictionaries(st.text(min_size=1, max_size=6).filter(lambda name: name not in KNOWN), JSON, max_size=4))
def test_unknown_fields_arrive_or_are_refused(extra: dict[str, Any]) -> None:
    """Nothing that a client sent is dropped, but null."""
    ask = read(asks.create, json.dumps({"prompt": "p", **extra, "task_id": "t", "video_id": "v"}).encode())
    if ask is not None:
        assert ask.extra == {name: value for name, value in extra.items() if value is not None}


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "q"},
        {"model": "m"},
        {"seconds": 5},
        {"size": "16:9"},
        {"image": "https://h/a.png"},
        {"input_reference": {"file_id": "file-1"}},
        {"images": ["https://h/b.png"]},
        {"last_frame": "https://h/a.png"},
        {"characters": [{"id": "c"}]},
        {"audio": False},
        {"seed": 0},
        {"negative_prompt": "n"},
        {"metadata": {}},
        {"metadata": {"a": 1}},
        {"other": 1},
    ],
)
def test_every_field_is_in_the_fingerprint(change: dict[str, Any]) -> None:
    """Two requests that differ in one field are two requests."""
    plain = asks.create({"prompt": "p"})
    assert asks.create({"prompt": "p", **change}).fingerprint != plain.fingerprint


def test_fingerprints_that_are_stored_stay_good() -> None:
    """A request without the newer fields has the fingerprint that it always had: it may be sent again after an
    upgrade."""
    ask = asks.create({"prompt": "p", "seconds": 4, "image": "https://h/a.png"})
    assert ask.fingerprint.hex() == "ae9b91df6f2b8f73630173ae117b36252db09c65b2fa8488d8499d93656efee5"
    assert asks.create({"prompt": "p", "seconds": 4, "last_frame": "https://h/a.png"}).fingerprint != ask.fingerprint


def test_the_kind_and_the_source_are_in_the_fingerprint() -> None:
    """The same body on another route, or for another source, is another request."""
    made = [
        asks.create({"prompt": "p"}),
        asks.remix({"prompt": "p"}, "video_1"),
        asks.remix({"prompt": "p"}, "video_2"),
        asks.edit({"prompt": "p", "video": {"id": "video_1"}}),
        asks.extension({"prompt": "p", "video": {"id": "video_1"}, "seconds": 4}),
    ]
    assert len({ask.fingerprint for ask in made}) == len(made)


def test_a_large_document_keeps_its_pictures() -> None:
    """Pictures and prompts may be large where nothing else may."""
    picture = "A" * 2_000_000
    body = {"prompt": "ü" * 32_000, "images": [picture, None, {"image_url": f"data:;base64,{picture[:-4]}"}]}
    ask = asks.create(documents.fields(json.dumps(body).encode()))
    assert [len(upload.data or b"") for upload in ask.images] == [1_500_000, 1_499_997]
    for field in ("image", "input_reference"):
        ask = asks.create(documents.fields(json.dumps({"prompt": "p", field: picture}).encode()))
        assert [upload.param for upload in ask.images] == [field]
