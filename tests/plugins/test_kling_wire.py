"""plugins/kling.py: what it sends, with which token, and what it refuses to send."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from plugins._kling_token import FRESH, LIFE, Tokens, token
from plugins.kling import Kling, KlingOptions
from proxy import (
    Clip,
    InvalidRequest,
    Model,
    Picture,
    UnsupportedOperation,
    UpstreamJob,
    UpstreamRefused,
)
from tests.plugins.kling_wire import (
    ACCESS,
    FILM,
    KEY,
    OTHER,
    PICTURE,
    SECRET,
    TASK,
    opened,
    parts,
    request,
    taking,
    task,
)
from tests.plugins.openai_oracle import PNG, PROMPT, Recorder

NOW = 1_767_225_600
VECTOR = (
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJha19URVNUXzEyMzQ1Njc4OTBhYmNkZWYiLCJleHAiOjE3NjcyMjc0MDAsIm5iZiI6"
    "MTc2NzIyNTU5NX0.Gk86T6e3jbEWH2zkURYtDXHrnmx9uNpXznW_awzciTk"
)
COMMON = {"model_name": "kling-v1-6", "prompt": PROMPT, "duration": "5", "mode": "std", "external_task_id": "attempt_1"}
WIDE = {"aspect_ratio": "16:9"}
FIRST, LAST = PICTURE.base64, OTHER.base64


@pytest.fixture
async def recorder() -> AsyncIterator[Recorder]:
    async with taking() as recorder:
        yield recorder


async def sent(recorder: Recorder, **changes: Any) -> tuple[str, Any]:
    """The kind and the body of a creation."""
    async with opened(recorder) as channel:
        channel.check(request(**changes))
        job = await channel.create(request(**changes))
    kind = recorder.last.target.removeprefix("/v1/videos/")
    assert (job.id, job.status, job.facts) == (TASK, "queued", {"kind": kind, "model": request(**changes).model})
    assert recorder.last.method == "POST"
    return kind, recorder.last.json


# ---------------------------------------------------------------- tokens


def test_the_sheets_token() -> None:
    """The sheet's pair and moment give the sheet's token, letter for letter."""
    assert token(ACCESS, SECRET, NOW) == VECTOR
    assert parts(VECTOR) == ({"alg": "HS256", "typ": "JWT"}, {"iss": ACCESS, "exp": NOW + 1800, "nbf": NOW - 5})


def test_tokens_are_kept_and_renewed() -> None:
    """One token serves until it is no longer fresh, also after a clock was set back; one can be given up at once."""
    now = float(NOW)
    tokens = Tokens(ACCESS, SECRET, clock=lambda: now)
    assert tokens.current() == VECTOR
    now = NOW + FRESH - 0.5
    assert tokens.current() == VECTOR
    now = NOW + FRESH
    assert tokens.current() == token(ACCESS, SECRET, NOW + FRESH)
    now = NOW - 3600
    assert tokens.current() == token(ACCESS, SECRET, NOW - 3600)
    tokens.forget()
    now = NOW - 3590.2
    assert tokens.current() == token(ACCESS, SECRET, NOW - 3591)
    assert FRESH < LIFE


@pytest.mark.parametrize("options", [{"api_key": KEY}, {"access_key": ACCESS, "secret_key": SECRET}])
async def test_a_pair_signs(recorder: Recorder, options: dict[str, str]) -> None:
    """Both ways to write a pair give a token of now; no call carries the secret key."""
    async with opened(recorder, **options) as channel:
        await channel.create(request())
        await channel.fetch(UpstreamJob(TASK, facts={"kind": "text2video"}))
    first, second = (call.headers["authorization"] for call in recorder.calls)
    assert first == second
    head, claims = parts(first.removeprefix("Bearer "))
    assert (head["alg"], claims["iss"], claims["exp"] - claims["nbf"]) == ("HS256", ACCESS, 1805)
    assert abs(claims["exp"] - time.time() - 1800) < 60
    assert first == f"Bearer {token(ACCESS, SECRET, claims['exp'] - 1800)}"
    assert not any(SECRET in f"{call.headers} {call.body!r}" for call in recorder.calls)


@pytest.mark.parametrize("key", ["kling-one-key-0123456789", "sk-0123456789abcdef"])
async def test_one_key_goes_as_it_is(recorder: Recorder, key: str) -> None:
    """A key without a separator is the token, also that of a gateway in front."""
    async with opened(recorder, api_key=key) as channel:
        await channel.create(request())
    assert recorder.last.headers["authorization"] == f"Bearer {key}"


@pytest.mark.parametrize("code", [1003, 1004])
async def test_a_token_that_the_clock_spoilt_is_given_up(recorder: Recorder, code: int) -> None:
    """After Kling found a token too young or too old, the next call has one of its own moment."""
    async with opened(recorder) as channel:
        recorder.say({"code": code, "message": "Authorization token expired", "request_id": "r"}, 401)
        assert channel._tokens is not None
        channel._tokens._token, channel._tokens._made = "old", int(time.time())
        with pytest.raises(UpstreamRefused):
            await channel.create(request())
        recorder.say(task("submitted"))
        await channel.create(request())
    assert recorder.calls[0].headers["authorization"] == "Bearer old"
    assert recorder.last.headers["authorization"].startswith("Bearer eyJ")


@pytest.mark.parametrize(
    "mistake",
    [
        {"access_key": ACCESS},
        {"secret_key": SECRET},
        {"api_key": KEY, "access_key": ACCESS, "secret_key": SECRET},
        {"api_key": f"{ACCESS}|"},
        {"api_key": f"| {SECRET}"},
        {"secret": SECRET},
        {"api_key": KEY, "edit_model": "kling-v1"},
        {"api_key": KEY, "edit_model": ""},
    ],
)
def test_options_are_checked(mistake: dict[str, str]) -> None:
    """Half a pair, two ways at once, a model that edits nothing and an unknown option are mistakes, which do not repeat
    the keys."""
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert(mistake, KlingOptions)
    assert SECRET not in str(caught.value)
    assert ACCESS not in str(caught.value)


# ---------------------------------------------------------------- creations


@pytest.mark.parametrize(
    ("changes", "kind", "fields"),
    [
        ({}, "text2video", WIDE),
        ({"images": (PICTURE,)}, "image2video", {"image": FIRST}),
        (
            {"images": (PICTURE,), "last_frame": OTHER, "size": "1920x1080"},
            "image2video",
            {"image": FIRST, "image_tail": LAST, "mode": "pro"},
        ),
        (
            {"model": "kling-v1-5", "last_frame": OTHER, "size": "1920x1080"},
            "image2video",
            {"model_name": "kling-v1-5", "image_tail": LAST, "mode": "pro"},
        ),
        (
            {"images": (PICTURE, OTHER)},
            "multi-image2video",
            {"image_list": [{"image": FIRST}, {"image": LAST}], **WIDE},
        ),
        (
            {"seconds": 10, "negative_prompt": "rain"},
            "text2video",
            {"duration": "10", "negative_prompt": "rain", **WIDE},
        ),
        ({"audio": False, "seed": 7}, "text2video", WIDE),
        (
            {"metadata": {"cfg_scale": 0.7, "prompt": "no", "external_task_id": "no", "mode": "pro", "duration": "10"}},
            "text2video",
            {"cfg_scale": 0.7, **WIDE},
        ),
    ],
)
async def test_creations(recorder: Recorder, changes: dict[str, Any], kind: str, fields: dict[str, Any]) -> None:
    """Pictures choose the kind and go as bare base64; durations are texts; metadata goes below our own; no seed."""
    assert await sent(recorder, **changes) == (kind, {**COMMON, **fields})


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({}, WIDE),
        ({"images": (PICTURE,)}, {"image_list": [{"image_url": FIRST, "type": "first_frame"}]}),
        (
            {"images": (PICTURE,), "last_frame": OTHER},
            {
                "image_list": [
                    {"image_url": FIRST, "type": "first_frame"},
                    {"image_url": LAST, "type": "end_frame"},
                ]
            },
        ),
        (
            {"images": (PICTURE, OTHER), "negative_prompt": "rain"},
            {"image_list": [{"image_url": FIRST}, {"image_url": LAST}], **WIDE},
        ),
        ({"audio": True, "size": "2160x3840"}, {"sound": "on", "mode": "4k", "aspect_ratio": "9:16"}),
        ({"audio": False, "size": "1080x1080"}, {"sound": "off", "mode": "pro", "aspect_ratio": "1:1"}),
    ],
)
async def test_omni(recorder: Recorder, changes: dict[str, Any], fields: dict[str, Any]) -> None:
    """The omni models have one kind, another word for a picture, and no negative prompt."""
    kind, body = await sent(recorder, model="kling-v3-omni", seconds=3, **changes)
    assert (kind, body) == ("omni-video", {**COMMON, "model_name": "kling-v3-omni", "duration": "3", **fields})


@pytest.mark.parametrize(
    ("model", "size", "shape"),
    [
        ("kling-v1-6", "720x1280", ("9:16", "std")),
        ("kling-v1-6", "720x720", ("1:1", "std")),
        ("kling-v1-6", "1920x1080", ("16:9", "pro")),
        ("kling-v1", "1280x720", ("16:9", None)),
        ("kling-v2-master", "1280x720", ("16:9", None)),
        ("kling-v2-1-master", "1080x1920", ("9:16", None)),
        ("kling-v3", "3840x2160", ("16:9", "4k")),
        ("kling-v9", "1024x768", ("1:1", "pro")),
    ],
)
async def test_sizes(recorder: Recorder, model: str, size: str, shape: tuple[str, str | None]) -> None:
    """A size is a ratio and a mode; models of one resolution are sent no mode, which would only cost more."""
    _, body = await sent(recorder, model=model, size=size)
    assert (body["aspect_ratio"], body.get("mode")) == shape


NARROW = Picture(PNG, "image/png", 300, 1000)


@pytest.mark.parametrize(
    ("changes", "kind", "param"),
    [
        ({"prompt": "x" * 2501}, InvalidRequest, "prompt"),
        ({"negative_prompt": "x" * 2501}, InvalidRequest, "negative_prompt"),
        ({"images": (PICTURE, NARROW)}, InvalidRequest, "input_reference"),
        ({"last_frame": NARROW, "size": "1920x1080"}, InvalidRequest, "last_frame"),
        ({"images": (PICTURE, OTHER), "last_frame": OTHER}, UnsupportedOperation, "last_frame"),
        ({"images": (PICTURE,), "last_frame": OTHER}, InvalidRequest, "size"),
        ({"model": "kling-v1-5"}, InvalidRequest, "input_reference"),
        ({"model": "kling-v2-1"}, InvalidRequest, "input_reference"),
        ({"model": "kling-v1", "last_frame": OTHER, "seconds": 10}, InvalidRequest, "seconds"),
        ({"model": "kling-v2-6", "audio": True}, InvalidRequest, "audio"),
        ({"model": "kling-v2-6", "audio": True, "last_frame": OTHER, "size": "1920x1080"}, InvalidRequest, "audio"),
        ({"model": "kling-video-o1", "last_frame": OTHER}, UnsupportedOperation, "last_frame"),
        ({"model": "kling-v9", "images": (PICTURE,) * 5}, InvalidRequest, "input_reference"),
        ({"kind": "edit", "video": Clip(Path("clip.mp4"))}, UnsupportedOperation, "video"),
        ({"kind": "extend", "video": Clip(Path("clip.mp4"), url=FILM)}, UnsupportedOperation, "video"),
    ],
)
async def test_what_models_cannot_say(
    recorder: Recorder, changes: dict[str, Any], kind: type[InvalidRequest], param: str
) -> None:
    """What the sheet excludes beyond seconds, sizes and numbers is refused with the name of its field; nothing is
    sent."""
    async with opened(recorder) as channel:
        with pytest.raises(kind) as caught:
            channel.check(request(**changes))
    assert (type(caught.value), caught.value.param, recorder.calls) == (kind, param, [])


def test_what_models_can_do() -> None:
    """Seconds, sizes, inputs, follow-ups and prices are those of the sheet, a unit being 14 cents."""

    def prices(name: str, *sizes: str, audio: bool | None = None) -> list[float | None]:
        return [Kling.models[name].price_of(size, audio=audio) for size in sizes]

    sizes = ("1280x720", "1080x1920", "3840x2160")
    assert prices("kling-v1-6", *sizes[:2]) == [0.056, 0.098]
    assert prices("kling-v1", sizes[0]) == [0.028]
    assert prices("kling-v2-6", *sizes[:2], audio=False) == [0.042, 0.07]
    assert prices("kling-v2-6", sizes[1], audio=True) == [0.14]
    assert prices("kling-v3", *sizes, audio=False) == [0.084, 0.112, 0.42]
    assert prices("kling-v3-omni", *sizes, audio=True) == [0.126, 0.168, 0.42]
    assert prices("kling-video-o1", *sizes[:2]) == [0.084, 0.112]
    models: dict[str, Model] = dict(Kling.models)
    assert {name for name, model in models.items() if "extend" in (model.native or ())} == {
        "kling-v1",
        "kling-v1-5",
        "kling-v1-6",
    }
    assert {name for name, model in models.items() if model.seconds == (5, 10)} == {
        name for name in models if name.startswith(("kling-v1", "kling-v2"))
    }
    assert models["kling-v1-6"].lengths("extend") == (5,)
    assert models["kling-v3"].seconds == tuple(range(3, 16))
    assert (models["kling-video-o1"].seconds[-1], models["kling-video-o1"].sizes[0]) == (10, "1920x1080")
    assert {"callback_url", "external_task_id", "model_name", "sound", "mode", "duration"} <= Kling.priced_metadata
