"""plugins/fal.py: its table of endpoints, and clips that clients upload."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import plugins.fal
from plugins._fal_models import MODELS, PICTURED, TABLE
from proxy import ApiError, Clip, InvalidRequest, Outcome, UpstreamError, UpstreamJob
from proxy.engine.limits import default_seconds, default_size, settle
from proxy.testing import SimulatorServer
from tests.plugins.fal_wire import FILM, JOB, KEY, PICTURE, opened, request, say_in_turn, taking
from tests.plugins.openai_oracle import Recorder, picture_file, recording
from tests.simulators.fal import FalSimulator

OMNI = "google/gemini-omni-flash"


@pytest.fixture
async def recorder() -> AsyncIterator[Recorder]:
    async with taking() as recorder:
        yield recorder


def test_the_table_is_whole() -> None:
    """Every endpoint that another one names is described, and a model's own default is among what it takes."""
    for name, fields in TABLE.items():
        siblings = [getattr(fields, field) for field in fields.__struct_fields__ if field.endswith("_endpoint")]
        assert not {sibling for sibling in siblings if sibling} - TABLE.keys(), name
    for name, model in MODELS.items():
        assert default_seconds(model) in model.seconds or model.seconds == (8,), name
        assert settle(None, None, model, "strict").size == default_size(model), name
        assert model.image, name
    assert set(MODELS) > PICTURED


def test_what_models_can_do() -> None:
    """Prices are those of the sheet; inputs and follow-ups are those of the endpoints that stand beside a model."""
    seedance = MODELS["bytedance/seedance-2.0/text-to-video"]
    assert [seedance.price_of(size) for size in ("854x480", "1280x720", "1920x1080", "3840x2160")] == [
        0.1346,
        0.3034,
        0.682,
        1.5552,
    ]
    h3 = MODELS["minimax/h3/text-to-video"]
    assert [h3.price_of(size) for size in ("1366x768", "2560x1440")] == [0.06, 0.13]
    veo, lite = MODELS["fal-ai/veo3.1"], MODELS["fal-ai/veo3.1/lite"]
    assert (veo.max_images, veo.last_frame, veo.native, veo.extend_seconds) == (3, True, ("extend",), (7,))
    assert (lite.max_images, lite.last_frame, lite.native) == (1, True, ())
    assert "3840x2160" in veo.sizes
    assert "3840x2160" not in lite.sizes


@pytest.mark.parametrize("name", MODELS)
async def test_what_models_promise_is_taken(name: str) -> None:
    """Each size and duration of a model, with and without pictures, passes the simulator's rules, and so do its
    follow-ups."""
    model = MODELS[name]
    data = await asyncio.to_thread(picture_file, 64, 64)
    image = type(PICTURE)(data, "image/png", 64, 64)
    wishes = {"model": name, "prompt": "a kite", "seed": 7, "negative_prompt": "rain", "audio": model.audio}
    sizes = [settle(None, size, model, "strict").size for size in model.sizes] or [default_size(model)]
    pictures: list[dict[str, Any]] = [{}, {"images": (image,)}, {"images": (image,) * (model.max_images or 3)}]
    pictures += [{"images": (image,), "last_frame": image}] if model.last_frame else []
    refused: set[str | None] = set()
    async with SimulatorServer(FalSimulator(keys={KEY})) as sim, opened(sim) as channel:
        # It has what the sheet names; the table has some siblings of these from the same source.
        sim.any_endpoint = True
        for given in pictures:
            orders = [{"size": size, "seconds": default_seconds(model)} for size in sizes]
            orders += [{"size": sizes[0], "seconds": seconds} for seconds in model.seconds]
            for order in orders:
                wanted = request(**wishes, **given, **order)
                try:
                    channel.check(wanted)
                except InvalidRequest as error:
                    refused.add(error.param)
                else:
                    await channel.create(wanted)
        assert sim.paid
        assert refused <= ({"seconds", "input_reference", "last_frame"} if name in PICTURED else {"seconds"})
        source = UpstreamJob(JOB, "completed", url=FILM)
        for kind in model.native or ():
            paid = sim.paid
            seconds = (model.extend_seconds or model.seconds)[-1] if kind == "extend" else model.seconds[0]
            await getattr(channel, kind)(
                request(**{**wishes, "kind": kind, "seconds": seconds, "size": sizes[0]}), source
            )
            assert sim.paid == paid + 1


# ---------------------------------------------------------------- clips


def clip(folder: Path, size: int) -> Clip:
    file = folder / "clip.mp4"
    file.write_bytes(bytes(range(256)) * (size // 256))
    return Clip(file, "video/mp4", "clip.mp4")


async def test_a_clip_goes_within_the_body(recorder: Recorder, tmp_path: Path) -> None:
    """An uploaded clip is a data URI."""
    film = await asyncio.to_thread(clip, tmp_path, 4096)
    async with opened(recorder) as channel:
        await channel.edit(request(kind="edit", model=OMNI, video=film), None)
    head, _, data = recorder.last.json["video_url"].partition(",")
    assert (head, base64.b64decode(data)) == ("data:video/mp4;base64", bytes(range(256)) * 16)


async def test_a_large_clip_is_uploaded(recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large clip goes to the storage that fal names, without the key; only the service that names it has that."""
    monkeypatch.setattr(plugins.fal, "LARGEST_INLINE", 4095)
    film = await asyncio.to_thread(clip, tmp_path, 4096)
    async with SimulatorServer(FalSimulator(keys={KEY})) as sim, opened(sim, upload_url=sim.files_url) as channel:
        wanted = request(kind="extend", seconds=7, video=film)
        await channel.extend(wanted, None)
        (upload,) = sim.uploads.values()
        assert upload.data == bytes(range(256)) * 16
        puts = [call for call in sim.requests if call.method == "PUT"]
        assert [call.headers.get("authorization") for call in puts] == [None]
        assert sim.calls("extend")[0].json["video_url"].startswith(sim.files_url)
        assert sim.paid == 1


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ({"upload_url": "http://127.0.0.1:9/x", "file_url": FILM}, UpstreamError),
        ({"upload_url": "file:///etc/passwd", "file_url": FILM}, UpstreamError),
        ({"upload_url": 7, "file_url": FILM}, UpstreamError),
        ({"upload_url": FILM, "file_url": ["x"]}, UpstreamError),
        ({}, UpstreamError),
        ((503, b"<html>"), UpstreamError),
        ((401, {"detail": "Bad key"}), UpstreamError),
        ((422, {"detail": "Bad type"}), InvalidRequest),
    ],
)
async def test_a_bad_place_for_an_upload_orders_nothing(
    recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Any, kind: type[ApiError]
) -> None:
    """A place for an upload that is private, odd or refused leaves nothing ordered, and the error says so."""
    monkeypatch.setattr(plugins.fal, "LARGEST_INLINE", 4095)
    film = await asyncio.to_thread(clip, tmp_path, 4096)
    async with recording() as store, opened(recorder, upload_url=store.base_url) as channel:
        say_in_turn(store, answer)
        with pytest.raises(kind) as caught:
            await channel.edit(request(kind="edit", model=OMNI, video=film), None)
        (call,) = store.calls
    assert caught.value.outcome is not Outcome.UNKNOWN
    assert call.target == "/storage/upload/initiate?storage_type=fal-cdn-v3"
    assert call.json == {"file_name": "clip.mp4", "content_type": "video/mp4"}
    assert call.headers["authorization"] == f"Key {KEY}"
    assert recorder.calls == []
