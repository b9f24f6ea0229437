"""plugins/openai.py beside the official SDK: the same requests for the same values, the same paths for odd ids."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import openai
import openai.types
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yarl import URL

from plugins.openai import video_path
from proxy import Clip, UpstreamError, UpstreamJob
from tests.plugins.openai_oracle import JOB, KEY, PNG, PROMPT, Call, Recorder, opened, picture, recording, request


@pytest.fixture
async def recorder() -> AsyncIterator[Recorder]:
    async with recording() as recorder:
        yield recorder


@pytest.fixture
def clip(tmp_path: Path) -> Clip:
    file = tmp_path / "clip.mp4"
    file.write_bytes(b"\0\0\0\x18ftypmp42" + bytes(range(256)) * 64)
    return Clip(file, "video/mp4", "clip.mp4")


def shape(call: Call) -> tuple[str, str, dict[str, Any], list[Any]]:
    """What a server reads out of a request: its text fields are the same in JSON and multipart."""
    return call.method, unquote(call.target), call.json or call.fields, call.files


async def by_sdk(recorder: Recorder, do: Callable[[openai.OpenAI], Any]) -> Call:
    """The request that the official SDK makes in `do`."""

    def run() -> None:
        with openai.OpenAI(base_url=f"{recorder.base_url}/v1", api_key=KEY, max_retries=0) as client:
            do(client)

    await asyncio.to_thread(run)
    return recorder.last


async def test_requests_equal_the_sdks(recorder: Recorder, tmp_path: Path, clip: Clip) -> None:
    """For the same values, every request has the method, path, fields and files that the official SDK sends."""
    values: dict[str, Any] = {"prompt": PROMPT, "model": "sora-2", "seconds": "8", "size": "1280x720"}
    image = ("image.png", PNG, "image/png")
    upload = (clip.filename, await asyncio.to_thread(clip.path.read_bytes), clip.media_type)
    by_id = {"video": {"id": "video_up_1"}}
    as_json = {"Content-Type": "application/json"}
    async with opened(recorder.base_url, tmp_path) as channel:

        async def content(variant: Any) -> None:
            await channel.upstream.get((await channel.content(JOB, variant)).url.removeprefix(recorder.base_url))

        pairs: list[tuple[Callable[[openai.OpenAI], Any], Callable[[], Any]]] = [
            (lambda sdk: sdk.videos.create(**values), lambda: channel.create(request())),
            (
                lambda sdk: sdk.videos.create(**values, extra_headers=as_json),
                lambda: channel.create(request()),
            ),
            (
                lambda sdk: sdk.videos.create(**values, input_reference=image),
                lambda: channel.create(request(images=(picture(),))),
            ),
            (
                lambda sdk: sdk.videos.create(
                    **values, extra_body={"characters": [{"id": "char_1"}]}, extra_headers=as_json
                ),
                lambda: channel.create(request(characters=("char_1",))),
            ),
            (lambda sdk: sdk.videos.retrieve(JOB.id), lambda: channel.fetch(JOB)),
            (lambda sdk: sdk.videos.remix(JOB.id, prompt=PROMPT), lambda: channel.remix(request(), JOB)),
            (
                lambda sdk: sdk.post("/videos/edits", body={"prompt": PROMPT, **by_id}, cast_to=openai.types.Video),
                lambda: channel.edit(request(), JOB),
            ),
            (
                lambda sdk: sdk.videos.edit(prompt=PROMPT, video=upload),
                lambda: channel.edit(request(video=clip, model=""), None),
            ),
            (
                lambda sdk: sdk.videos.extend(prompt=PROMPT, seconds="8", video=upload),
                lambda: channel.extend(request(video=clip), None),
            ),
            (
                lambda sdk: sdk.videos.create_character(name="Mira", video=upload),
                lambda: channel.character("Mira", clip),
            ),
            (lambda sdk: sdk.videos.download_content(JOB.id), lambda: content("video")),
            (
                lambda sdk: sdk.videos.download_content(JOB.id, variant="thumbnail"),
                lambda: content("thumbnail"),
            ),
            (
                lambda sdk: sdk.videos.download_content(JOB.id, variant="spritesheet"),
                lambda: content("spritesheet"),
            ),
            (lambda sdk: sdk.videos.delete(JOB.id), lambda: channel.delete(JOB)),
        ]
        for by_theirs, by_ours in pairs:
            theirs = shape(await by_sdk(recorder, by_theirs))
            await by_ours()
            assert shape(recorder.last) == theirs
            assert recorder.last.headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("odd", ["a/b", "a?b#c", "v1..2", "a%2Fb", "x y", "ünï", "e30=:;@", "x%2e%2ey", "a\\b"])
async def test_odd_ids_stay_one_segment(recorder: Recorder, tmp_path: Path, odd: str) -> None:
    """An upstream id is one percent-encoded path segment, byte for byte as the SDK encodes it."""
    theirs = await by_sdk(recorder, lambda sdk: sdk.videos.remix(odd, prompt="x"))
    job = UpstreamJob(odd)
    async with opened(recorder.base_url, tmp_path) as channel:
        await channel.remix(request(prompt="x"), job)
        assert unquote(recorder.last.target) == unquote(theirs.target) == f"/v1/videos/{odd}/remix"
        assert recorder.last.target.count("/") == 4
        assert "?" not in recorder.last.target
        await channel.fetch(job)
        assert (unquote(recorder.last.target), recorder.last.target.count("/")) == (f"/v1/videos/{odd}", 3)
        await channel.delete(job)
        assert (unquote(recorder.last.target), recorder.last.target.count("/")) == (f"/v1/videos/{odd}", 3)
        url = (await channel.content(job, "thumbnail")).url
        assert url is not None
        assert URL(url, encoded=True).raw_path.count("/") == 4
        assert URL(url, encoded=True).path == f"/v1/videos/{odd}/content"


@pytest.mark.parametrize("dots", [".", "..", "../models", "x/../../files", "..\\x"])
async def test_dot_ids_reach_no_path(recorder: Recorder, tmp_path: Path, dots: str) -> None:
    """An id that a URL parser could resolve to another path is refused, and nothing is sent."""
    async with opened(recorder.base_url, tmp_path) as channel:
        for call in (channel.fetch, channel.delete):
            with pytest.raises(UpstreamError, match="path"):
                await call(UpstreamJob(dots))
        with pytest.raises(UpstreamError, match="path"):
            await channel.content(UpstreamJob(dots), "video")
    assert recorder.calls == []


@settings(deadline=None, max_examples=200)
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda text: text not in (".", "..")))
def test_any_id_is_one_segment(odd: str) -> None:
    """Whatever characters an id has, its path decodes to it and has no separator of its own."""
    path = video_path(UpstreamJob(odd))
    assert path.startswith("/v1/videos/")
    assert unquote(path.removeprefix("/v1/videos/")) == odd
    assert not set("/?#\\ \r\n\0") & set(path.removeprefix("/v1/videos/"))
    assert path.isascii()
