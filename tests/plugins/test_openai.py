"""plugins/openai.py: the laws of every channel, and what it sends."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import ClassVar

import msgspec
import pytest

import plugins.openai
from plugins._openai_jobs import STATUS
from plugins.openai import OpenAIOptions
from proxy import Clip, InvalidRequest, UnsupportedOperation, UpstreamJob
from proxy.testing import ChannelContract
from proxy.testing.bench import failure_of, law
from tests.plugins.openai_oracle import JOB, KEY, PNG, PROMPT, Recorder, opened, picture, recording, request, video
from tests.simulators.openai import OpenAISimulator


class TestOpenAI(ChannelContract):
    plugin = "openai"
    plugin_file = Path(plugins.openai.__file__)
    simulator = OpenAISimulator
    entry: ClassVar = {"api_key": KEY, "models": ["sora-2"]}
    states = STATUS
    cancels_running = False

    @law
    async def test_cancel_stops_the_job(self, tmp_path: Path) -> None:
        """OpenAI's own dialect cannot cancel, which is said without a call."""
        async with self.bench(tmp_path) as bench:
            job = await bench.submit()
            calls = len(bench.sim.requests)
            assert isinstance(await failure_of(bench.channel.cancel(job)), UnsupportedOperation)
            assert len(bench.sim.requests) == calls

    @law
    @pytest.mark.parametrize("kind", ["reset_after_taking"])
    async def test_recover_tells_the_truth(self, tmp_path: Path, kind: str) -> None:
        """OpenAI's own dialect has no look-up: nobody knows, and nobody is asked."""
        async with self.bench(tmp_path) as bench:
            bench.sim.fault(kind, on="create")
            await failure_of(bench.submit())
            calls = len(bench.sim.requests)
            assert await bench.channel.recover(bench.request()) is None
            assert len(bench.sim.requests) == calls


@pytest.fixture
async def recorder() -> AsyncIterator[Recorder]:
    async with recording() as recorder:
        yield recorder


@pytest.fixture
def clip(tmp_path: Path) -> Clip:
    file = tmp_path / "clip.mp4"
    file.write_bytes(b"\0\0\0\x18ftypmp42" + bytes(range(256)) * 64)
    return Clip(file, "video/mp4", "clip.mp4")


async def test_create_without_a_file_is_json(recorder: Recorder, tmp_path: Path) -> None:
    """A create without a picture sends exactly prompt, model, seconds (a string) and size, as JSON."""
    async with opened(recorder.base_url, tmp_path) as channel:
        job = await channel.create(request(metadata={"n": 4}, seed=7, audio=False, negative_prompt="rain"))
    assert (recorder.last.method, recorder.last.target) == ("POST", "/v1/videos")
    assert recorder.last.json == {"prompt": PROMPT, "model": "sora-2", "seconds": "8", "size": "1280x720"}
    assert (job.id, job.status) == ("video_up_1", "queued")


async def test_create_with_a_file_is_multipart(recorder: Recorder, tmp_path: Path) -> None:
    """A create with a picture sends text parts and the file with its own type, byte for byte."""
    async with opened(recorder.base_url, tmp_path) as channel:
        await channel.create(request(images=(picture("image/jpeg"),)))
    assert recorder.last.fields == {"prompt": PROMPT, "model": "sora-2", "seconds": "8", "size": "1280x720"}
    assert recorder.last.files == [("input_reference", "image.jpg", "image/jpeg", PNG)]


async def test_characters_travel_as_json(recorder: Recorder, tmp_path: Path) -> None:
    """Characters are a JSON array of objects; a picture beside them is a data URI in `input_reference`."""
    async with opened(recorder.base_url, tmp_path) as channel:
        await channel.create(request(characters=("char_1", "char_2")))
        plain = recorder.last.json
        await channel.create(request(characters=("char_1",), images=(picture(),)))
    assert plain["characters"] == [{"id": "char_1"}, {"id": "char_2"}]
    assert "input_reference" not in plain
    address = recorder.last.json["input_reference"].pop("image_url")
    assert recorder.last.json["input_reference"] == {}
    assert base64.b64decode(address.removeprefix("data:image/png;base64,")) == PNG


async def test_follow_ups_of_a_source_are_json(recorder: Recorder, tmp_path: Path) -> None:
    """Remix, edit and extension of a video name the upstream's id and send no field beside their own."""
    source = UpstreamJob("video_src", "completed")
    async with opened(recorder.base_url, tmp_path) as channel:
        await channel.remix(request(kind="remix"), source)
        await channel.edit(request(kind="edit"), source)
        await channel.extend(request(kind="extend", seconds=12), source)
    assert [(call.method, call.target, call.json) for call in recorder.calls] == [
        ("POST", "/v1/videos/video_src/remix", {"prompt": PROMPT}),
        ("POST", "/v1/videos/edits", {"prompt": PROMPT, "video": {"id": "video_src"}}),
        ("POST", "/v1/videos/extensions", {"prompt": PROMPT, "seconds": "12", "video": {"id": "video_src"}}),
    ]


async def test_follow_ups_of_an_upload_are_multipart(recorder: Recorder, tmp_path: Path, clip: Clip) -> None:
    """An uploaded clip goes as the file part `video`; an edit of one names its model, where there is one."""
    data = await asyncio.to_thread(clip.path.read_bytes)
    recorder.say(video(id="char_up"))
    async with opened(recorder.base_url, tmp_path) as channel:
        await channel.edit(request(kind="edit", video=clip), None)
        await channel.edit(request(kind="edit", video=clip, model=""), None)
        await channel.extend(request(kind="extend", video=clip), None)
        assert await channel.character("Мира", clip) == "char_up"
    assert [(call.target, call.fields) for call in recorder.calls] == [
        ("/v1/videos/edits", {"prompt": PROMPT, "model": "sora-2"}),
        ("/v1/videos/edits", {"prompt": PROMPT}),
        ("/v1/videos/extensions", {"prompt": PROMPT, "seconds": "8"}),
        ("/v1/videos/characters", {"name": "Мира"}),
    ]
    assert all(call.files == [("video", "clip.mp4", "video/mp4", data)] for call in recorder.calls)


async def test_content_names_the_variant(recorder: Recorder, tmp_path: Path) -> None:
    """Content is asked for at the channel's own host with its key; the video without a word, the others by variant."""
    async with opened(recorder.base_url, tmp_path) as channel:
        sources = [await channel.content(JOB, variant) for variant in ("video", "thumbnail", "spritesheet")]
    base = f"{recorder.base_url}/v1/videos/video_up_1/content"
    assert [(source.url, source.media_type) for source in sources] == [
        (base, "video/mp4"),
        (f"{base}?variant=thumbnail", "image/webp"),
        (f"{base}?variant=spritesheet", "image/jpeg"),
    ]
    assert all(source.headers == {"Authorization": f"Bearer {KEY}"} for source in sources)
    assert KEY not in repr(sources)


async def test_delete(recorder: Recorder, tmp_path: Path) -> None:
    """A delete goes to the video's path without a body; a refusal is told."""
    async with opened(recorder.base_url, tmp_path) as channel:
        recorder.say({"id": "video_up_1", "object": "video.deleted", "deleted": True})
        await channel.delete(JOB)
        assert (recorder.last.method, recorder.last.target, recorder.last.body) == (
            "DELETE",
            "/v1/videos/video_up_1",
            b"",
        )
        recorder.say({"error": {"message": "It is running.", "code": "video_not_deletable"}}, 400)
        with pytest.raises(InvalidRequest, match="cannot stop it now"):
            await channel.delete(JOB)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"authorization": f"Bearer {KEY}"}),
        ({"auth": "api-key"}, {"api-key": KEY}),
        ({"api_key": ""}, {}),
        ({"api_key": "", "auth": "api-key"}, {}),
        (
            {"organization": "org-1", "project": "proj_1"},
            {"authorization": f"Bearer {KEY}", "openai-organization": "org-1", "openai-project": "proj_1"},
        ),
    ],
)
async def test_credentials(
    recorder: Recorder, tmp_path: Path, options: dict[str, str], expected: dict[str, str]
) -> None:
    """The key goes as a bearer or as Azure's `api-key`, never as both; without a key no header pretends to one."""
    async with opened(recorder.base_url, tmp_path, **options) as channel:
        await channel.fetch(JOB)
    names = ("authorization", "api-key", "openai-organization", "openai-project")
    assert {name: recorder.last.headers[name] for name in names if name in recorder.last.headers} == expected


@pytest.mark.parametrize(
    ("options", "mistake"),
    [
        ({}, "missing required field `base_url`"),
        ({"base_url": ""}, "base_url is empty"),
        ({"base_url": "http://x", "dialect": "klingon"}, "dialect"),
    ],
)
def test_options_are_checked(options: dict[str, str], mistake: str) -> None:
    """An entry without an address is a mistake (there is no default upstream), and so is an unknown dialect."""
    with pytest.raises(msgspec.ValidationError, match=mistake):
        msgspec.convert(options, OpenAIOptions)
