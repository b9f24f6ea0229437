"""plugins/dashscope.py: what it sends and what it reads out of answers, good and bad ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from plugins._dashscope_models import MODELS, SIZES
from plugins.dashscope import DashScope, DashScopeOptions
from proxy import (
    ApiError,
    Clip,
    InvalidRequest,
    Outcome,
    UnsupportedOperation,
    UpstreamError,
)
from tests.plugins.dashscope_wire import (
    FILM,
    KEY,
    ORDERS,
    OTHER,
    OTHER_URI,
    PICTURE,
    TASK,
    URI,
    opened,
    request,
    source,
    taking,
    task,
)
from tests.plugins.openai_oracle import PROMPT, Recorder, recording

USUAL = {"prompt_extend": True, "watermark": False, "duration": 5}
BOTH = {"images": (PICTURE,), "last_frame": OTHER}
TWO = {"images": (PICTURE, OTHER)}
ENDS = [{"type": "first_frame", "url": URI}, {"type": "last_frame", "url": OTHER_URI}]
REFERENCES = [{"type": "reference_image", "url": uri} for uri in (URI, OTHER_URI)]


@pytest.fixture
async def recorder() -> AsyncIterator[Recorder]:
    async with taking() as recorder:
        yield recorder


async def sent(recorder: Recorder, options: dict[str, Any] | None = None, **changes: Any) -> tuple[str, Any, Any]:
    """The route, the input and the parameters of a creation."""
    async with opened(recorder, **(options or {})) as channel:
        channel.check(request(**changes))
        job = await channel.create(request(**changes))
    assert (job.id, job.status) == (TASK, "queued")
    call = recorder.last
    assert (call.method, call.headers["authorization"]) == ("POST", f"Bearer {KEY}")
    assert call.headers["x-dashscope-async"] == "enable"
    assert call.json.keys() == {"model", "input", "parameters"}
    assert call.json["input"].pop("prompt") == PROMPT
    route = call.target.removeprefix(f"{ORDERS}/").removesuffix("/video-synthesis")
    return route, call.json["input"], call.json["parameters"]


# ---------------------------------------------------------------- creations


@pytest.mark.parametrize(
    ("model", "changes", "given", "shape"),
    [
        ("wan2.6-t2v", {}, {}, {"size": "1280*720"}),
        ("wanx2.1-t2v-turbo", {"size": "480x832"}, {}, {"size": "480*832"}),
        ("wan2.6-i2v", {"images": (PICTURE,)}, {"img_url": URI}, {"resolution": "720P"}),
        ("wan2.5-i2v-preview", {"images": (PICTURE,), "size": "624x624"}, {"img_url": URI}, {"resolution": "480P"}),
        ("wan2.6-r2v", TWO, {"reference_urls": [URI, OTHER_URI]}, {"size": "1280*720"}),
        ("wan2.7-t2v", {"size": "1088x832"}, {}, {"resolution": "720P", "ratio": "4:3"}),
        ("wan2.7-t2v-2026-04-03", {"size": "1440x1440"}, {}, {"resolution": "1080P", "ratio": "1:1"}),
        ("wan2.7-i2v", BOTH, {"media": ENDS}, {"resolution": "720P"}),
        ("wan2.7-i2v", {"images": (PICTURE,), "size": "960x960"}, {"media": ENDS[:1]}, {"resolution": "720P"}),
        ("wan2.7-r2v", TWO, {"media": REFERENCES}, {"resolution": "720P", "ratio": "16:9"}),
        ("wan3.0-video", {"size": "832x480"}, {}, {"resolution": "480P", "ratio": "16:9"}),
        ("wan3.0-video", {"size": "2048x2048", **TWO}, {"media": REFERENCES}, {"resolution": "1080P", "ratio": "1:1"}),
        ("wan2.1-vace-plus", {"size": "864x480", **TWO}, {"reference_urls": [URI, OTHER_URI]}, {"size": "864*480"}),
    ],
)
async def test_creations(recorder: Recorder, model: str, changes: Any, given: Any, shape: Any) -> None:
    """Older models have a size with an asterisk and fields for pictures, newer ones a resolution and media; where the
    picture decides on the shape there is no ratio."""
    assert await sent(recorder, model=model, **changes) == ("video-generation", given, {**USUAL, **shape})
    assert recorder.last.json["model"] == model


@pytest.mark.parametrize("model", ["wan2.2-kf2v-flash", "wanx2.1-kf2v-plus"])
async def test_two_ends_have_a_path_of_their_own(recorder: Recorder, model: str) -> None:
    """Models for a first and a last frame are on image2video."""
    ends = {"first_frame_url": URI, "last_frame_url": OTHER_URI}
    assert await sent(recorder, model=model, **BOTH) == ("image2video", ends, {**USUAL, "resolution": "720P"})


async def test_happyhorse(recorder: Recorder) -> None:
    """HappyHorse has media and ratios as Wan 2.7, and no prompt_extend."""
    usual = {"watermark": False, "duration": 5, "resolution": "720P"}
    for kind, given, fields, shape in (
        ("t2v", {}, {}, {"ratio": "16:9"}),
        ("i2v", {"images": (PICTURE,)}, {"media": ENDS[:1]}, {}),
        ("r2v", TWO, {"media": REFERENCES}, {"ratio": "16:9"}),
    ):
        found = await sent(recorder, model=f"happyhorse-1.0-{kind}", **given)
        assert found == ("video-generation", fields, {**usual, **shape})


async def test_wishes_metadata_and_options(recorder: Recorder) -> None:
    """Seed, sound and negative prompt have their places; metadata is input or parameters, and below our own."""
    metadata = {"audio_url": "https://a.example/a.mp3", "shot_type": "multi", "size": "1*1", "prompt": "no", "seed": 1}
    wishes = {"seed": 7, "audio": False, "negative_prompt": "rain", "metadata": {**metadata, "watermark": True}}
    _, given, parameters = await sent(recorder, {"prompt_extend": False, "workspace": "ws-1"}, **wishes)
    assert given == {"audio_url": "https://a.example/a.mp3", "negative_prompt": "rain"}
    more = {"shot_type": "multi", "seed": 7, "audio": False, "size": "1280*720", "prompt": "no"}
    assert parameters == {"prompt_extend": False, "watermark": True, "duration": 5, **more}
    assert recorder.last.headers["x-dashscope-workspace"] == "ws-1"
    _, _, parameters = await sent(recorder, {"watermark": True}, model="wan2.2-t2v-plus", audio=False)
    assert parameters == {**USUAL, "watermark": True, "size": "1280*720"}
    assert "x-dashscope-workspace" not in recorder.last.headers


async def test_stored_inputs_are_announced(recorder: Recorder) -> None:
    """Metadata that names an oss:// address, which the operator allowed, has the header that it needs."""
    for url in ("https://a.example/a.mp3", "oss://dashscope-instant/1/a.mp3"):
        await sent(recorder, metadata={"audio_url": url})
        assert ("x-dashscope-ossresourceresolve" in recorder.last.headers) == url.startswith("oss:")


@pytest.mark.parametrize("prefix", ["", "/api/v1"])
async def test_base_urls(recorder: Recorder, prefix: str) -> None:
    """The origin and the address that DashScope's documents give mean the same."""
    await sent(recorder, {"base_url": f"{recorder.base_url}{prefix}"})
    assert recorder.last.target == f"{ORDERS}/video-generation/video-synthesis"


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"seed": -1}, "seed"),
        ({"seed": 2**31}, "seed"),
        ({"model": "wan2.7-videoedit"}, "model"),
        ({"model": "happyhorse-1.0-video-edit"}, "model"),
        ({"model": "wan2.8-t2v", "images": (PICTURE,)}, "input_reference"),
        ({"model": "wan2.6-i2v"}, "input_reference"),
        ({"model": "wan2.6-i2v", **TWO}, "input_reference"),
        ({"model": "wan2.6-r2v"}, "input_reference"),
        ({"model": "wan2.7-i2v", "last_frame": OTHER}, "input_reference"),
        ({"model": "wan2.2-kf2v-flash", "images": (PICTURE,)}, "last_frame"),
        ({"model": "happyhorse-1.0-i2v", **BOTH}, "last_frame"),
        ({"model": "wan2.6-i2v", **BOTH}, "last_frame"),
        ({"model": "wan2.7-r2v", **BOTH}, "last_frame"),
        ({"model": "wan3.0-video", **TWO, "last_frame": OTHER}, "last_frame"),
    ],
)
async def test_what_cannot_be_made_is_refused_before(recorder: Recorder, changes: Any, param: str) -> None:
    """What DashScope would refuse is refused with the field to blame, and nothing is sent."""
    async with opened(recorder) as channel:
        with pytest.raises(InvalidRequest) as caught:
            channel.check(request(**changes))
        channel.check(request(kind="edit", model="wan2.7-videoedit", seed=2**31 - 1))
        channel.check(request(model="wan2.6-r2v", metadata={"reference_video_urls": [FILM]}))
        channel.check(request(model="wanx2.1-kf2v-plus", images=(PICTURE,), metadata={"template": "hanfu-1"}))
    assert (caught.value.param, recorder.calls) == (param, [])


def test_what_models_can_do() -> None:
    """Durations, sizes, inputs and prices are those of the sheet."""
    seconds = {"wan2.7-t2v": tuple(range(2, 16)), "wan2.6-i2v-flash": (5, 10, 15), "wan2.5-t2v-preview": (5, 10)}
    seconds |= {"wan2.2-i2v-flash": (5,), "wanx2.1-i2v-turbo": (3, 4, 5), "happyhorse-1.0-r2v": tuple(range(3, 16))}
    assert {name: MODELS[name].seconds for name in seconds} == seconds
    assert MODELS["wanx2.1-t2v-plus"].sizes == SIZES["720P"] + SIZES["480P"]
    assert MODELS["wan2.7-r2v"].sizes == SIZES["720P"] + SIZES["1080P"]
    assert [name for name, model in MODELS.items() if model.last_frame] == [
        *("wan2.7-i2v", "wan2.2-kf2v-flash", "wanx2.1-kf2v-plus")
    ]
    horse = MODELS["happyhorse-1.0-t2v"]
    assert [horse.price_of(size) for size in ("1280x720", "960x960", "1632x1248")] == [0.14, 0.14, 0.24]
    assert {"media", "resolution", "duration", "audio", "reference_video_urls"} <= DashScope.priced_metadata


def test_what_edits_and_extends_is_an_option() -> None:
    """Without a model to edit or extend with, only those that can do so themselves do."""
    none = DashScopeOptions(edit_model="", extend_model="")
    for name, able, own in (
        ("wan2.6-t2v", ("remix", "edit", "extend"), ()),
        ("wan2.7-i2v-2026-04-25", ("remix", "edit", "extend"), ("extend",)),
        ("happyhorse-1.0-i2v", ("remix", "edit", "extend"), ()),
        ("happyhorse-1.0-video-edit", ("remix", "edit", "extend"), ("remix", "edit")),
    ):
        full, bare = DashScope.limits(DashScopeOptions(), name), DashScope.limits(none, name)
        assert full is not None
        assert bare is not None
        assert (full.native, bare.native) == (able, own)
    assert full.seconds == MODELS["happyhorse-1.0-video-edit"].seconds
    assert full.lengths("extend") == tuple(range(1, 14))


@pytest.mark.parametrize(
    ("option", "names"),
    [
        ("edit_model", ("wan2.6-t2v", "wan2.7-i2v", "wan2.1-vace-plus")),
        ("extend_model", ("wan2.6-i2v", "wan2.7-t2v", "wan2.7-videoedit", "happyhorse-1.0-i2v")),
    ],
)
def test_a_model_that_cannot_is_a_mistake(option: str, names: tuple[str, ...]) -> None:
    """An option that names a model which cannot do what it is for says so, and what to write."""
    for name in names:
        with pytest.raises(msgspec.ValidationError, match=rf"{option}: {name} cannot .*; write wan2\.7"):
            msgspec.convert({option: name}, DashScopeOptions)
    for name in ("", "wan2.7-videoedit-2026-04-03" if option == "edit_model" else "wan2.8-i2v", "wan3.0-video"):
        assert getattr(msgspec.convert({option: name}, DashScopeOptions), option) == name


# ---------------------------------------------------------------- edits and extensions


async def derived(recorder: Recorder, kind: Any, **changes: Any) -> tuple[str, Any, Any]:
    """The model, the input and the parameters of what was made of a film."""
    async with opened(recorder) as channel:
        job = await getattr(channel, kind)(request(kind=kind, **changes), source())
    assert (job.id, recorder.last.target) == (TASK, f"{ORDERS}/video-generation/video-synthesis")
    body = recorder.last.json
    assert body["input"].pop("prompt") == PROMPT
    return body["model"], body["input"], body["parameters"]


async def test_edits(recorder: Recorder) -> None:
    """A remix or an edit is of wan2.7-videoedit, or of the source's own model, by the film's address; the length is
    that of the film."""
    film = [{"type": "video", "url": FILM}]
    usual = {"prompt_extend": True, "watermark": False, "resolution": "720P"}
    assert await derived(recorder, "remix") == ("wan2.7-videoedit", {"media": film}, usual)
    found = await derived(recorder, "edit", size="832x480", seed=7)
    assert found == ("wan2.7-videoedit", {"media": film}, {**usual, "seed": 7})
    found = await derived(recorder, "edit", model="happyhorse-1.0-video-edit", size="1080x1920")
    assert found == ("happyhorse-1.0-video-edit", {"media": film}, {"watermark": False, "resolution": "1080P"})


async def test_extensions(recorder: Recorder) -> None:
    """An extension is of wan2.7-i2v, and its duration that of the whole; beyond 15 seconds it is refused."""
    clip = [{"type": "first_clip", "url": FILM}]
    usual = {"prompt_extend": True, "watermark": False, "resolution": "720P", "duration": 15}
    assert await derived(recorder, "extend", seconds=10) == ("wan2.7-i2v", {"media": clip}, usual)
    calls = len(recorder.calls)
    with pytest.raises(InvalidRequest, match="16 seconds") as caught:
        await derived(recorder, "extend", seconds=11)
    assert (caught.value.param, len(recorder.calls)) == ("seconds", calls)


@pytest.mark.parametrize("kind", ["remix", "extend"])
async def test_switched_off(recorder: Recorder, kind: Any) -> None:
    """Without a model for it nothing is edited or extended, and nothing is sent."""
    async with opened(recorder, edit_model="", extend_model="") as channel:
        with pytest.raises(UnsupportedOperation):
            await getattr(channel, kind)(request(kind=kind), source())
    assert recorder.calls == []


@pytest.mark.parametrize("kind", ["remix", "extend"])
@pytest.mark.parametrize(
    ("changes", "data"),
    [
        ({"url_expires_at": 1}, task("UNKNOWN")),
        ({"url": None}, task("RUNNING")),
        ({"url": None}, task("SUCCEEDED")),
        ({"url": None}, {"code": "Throttling", "message": "Later"}),
    ],
)
async def test_a_source_without_an_address_orders_nothing(
    recorder: Recorder, kind: Any, changes: Any, data: Any
) -> None:
    """Where the source's address cannot be had, nothing was ordered, and the error says so."""
    recorder.say(data, 429 if "code" in data else 200)
    async with opened(recorder) as channel:
        with pytest.raises(UpstreamError) as caught:
            await getattr(channel, kind)(request(kind=kind), source(**changes))
    assert (caught.value.outcome, [call.method for call in recorder.calls]) == (Outcome.REFUSED, ["GET"])


async def test_a_source_of_unknown_length_is_not_extended(recorder: Recorder) -> None:
    """Where no poll told the source's length, its extension is not ordered."""
    async with opened(recorder) as channel:
        with pytest.raises(UpstreamError, match="how long") as caught:
            await channel.extend(request(kind="extend"), source(facts={}))
    assert (caught.value.outcome, recorder.calls) == (Outcome.REFUSED, [])


def policy(store: Recorder, **changes: Any) -> dict[str, Any]:
    """What DashScope answers who wants to upload."""
    words = ("policy", "signature", "oss_access_key_id", "x_oss_object_acl", "x_oss_forbid_overwrite")
    place = {"upload_dir": "dashscope-instant/1", "upload_host": f"{store.base_url}/bucket", "max_file_size_mb": 100}
    return {"request_id": "r", "data": {**{word: f"the {word}" for word in words}, **place, **changes}}


async def uploading(recorder: Recorder, folder: Path, **changes: Any) -> Recorder:
    """An edit of a client's file; answers the store that it was put to."""
    film = folder / "clip.mp4"
    await asyncio.to_thread(film.write_bytes, b"film" * 300)
    async with recording() as store:
        taken = {"output": {"task_status": "PENDING", "task_id": TASK}}
        following = iter([policy(store, **changes), taken])
        recorder.answer = lambda: web.json_response(next(following))
        async with opened(recorder, allow_hosts=[store.base_url.partition("//")[2]]) as channel:
            await channel.edit(request(kind="edit", video=Clip(film, filename="../ä #1?.mp4")), None)
    return store


async def test_an_uploaded_clip_is_put_up_first(recorder: Recorder, tmp_path: Path) -> None:
    """A client's file goes where DashScope says, without the key and its own name; the order names its oss:// address
    and says so."""
    store = await uploading(recorder, tmp_path)
    first, second = recorder.calls
    assert first.target == "/api/v1/uploads?action=getPolicy&model=wan2.7-videoedit"
    assert second.headers["x-dashscope-ossresourceresolve"] == "enable"
    assert second.json["input"]["media"] == [{"type": "video", "url": "oss://dashscope-instant/1/video.mp4"}]
    (upload,) = store.calls
    assert (upload.method, upload.target, KEY in str(upload.headers)) == ("POST", "/bucket", False)
    assert upload.fields == {
        "OSSAccessKeyId": "the oss_access_key_id",
        "Signature": "the signature",
        "policy": "the policy",
        "x-oss-object-acl": "the x_oss_object_acl",
        "x-oss-forbid-overwrite": "the x_oss_forbid_overwrite",
        "key": "dashscope-instant/1/video.mp4",
        "success_action_status": "200",
    }
    assert (upload.parts[-1].name, upload.parts[-1].data) == ("file", b"film" * 300)


@pytest.mark.parametrize(
    ("changes", "kind", "outcome"),
    [
        ({"max_file_size_mb": 0.001}, InvalidRequest, Outcome.CLIENT),
        ({"upload_host": "http://127.0.0.1:9/bucket"}, UpstreamError, Outcome.REFUSED),
        ({"upload_host": 7}, UpstreamError, Outcome.REFUSED),
        ({"signature": None}, UpstreamError, Outcome.REFUSED),
    ],
)
async def test_a_clip_that_cannot_be_put_up_orders_nothing(
    recorder: Recorder, tmp_path: Path, changes: Any, kind: type[ApiError], outcome: Outcome
) -> None:
    """A file that is too large, and a place for it that is private, odd or broken, order nothing."""
    with pytest.raises(kind) as caught:
        await uploading(recorder, tmp_path, **changes)
    assert (caught.value.outcome, len(recorder.calls)) == (outcome, 1)
