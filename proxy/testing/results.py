"""The laws about what is there in the end: the bytes, and what can be stopped, removed or reused."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from proxy.errors import ApiError, InvalidRequest, UnsupportedOperation, UpstreamGone
from proxy.inputs import Clip
from proxy.models import Source
from proxy.testing.bench import Kit, failure_of, law, same
from proxy.upstream.answers import LARGEST_BODY

DECADE: Final = 10 * 365 * 86_400
"""Seconds; a moment that is further away was told in other units."""


class ResultLaws(Kit):
    """Laws about `content`, `cancel`, `delete` and `character`."""

    @law
    async def test_content_is_exact(self, tmp_path: Path) -> None:
        """A completed job's content() gives exactly the bytes that the upstream made."""
        async with self.bench(tmp_path) as bench:
            job = await bench.completed()
            assert job.status == "completed"
            source = await bench.channel.content(job, "video")
            assert isinstance(source, Source)
            made = bench.sim.content_of(bench.sim.latest)
            assert same(await bench.read(source), made), "the content differs from what the upstream made"
            again = await bench.channel.content(job, "video")
            assert same(await bench.read(again), made), "the content can be read only once"
            size = source.size
            assert size in (None, len(made)), f"the Source says {size} bytes, but the content has {len(made)}"

    @law
    async def test_large_content_passes(self, tmp_path: Path) -> None:
        """A film that is larger than an answer may be is read whole too; within an answer that takes `spool=True`."""
        async with self.bench(tmp_path) as bench:
            bench.sim.video_bytes += bytes(LARGEST_BODY)
            job = await bench.completed()
            source = await bench.channel.content(job, "video")
            read = await bench.read(source)
            assert same(read, bench.sim.content_of(bench.sim.latest)), "the content differs from what the upstream made"

    @law
    async def test_parts_are_exact(self, tmp_path: Path) -> None:
        """A Source with `read` gives exactly the bytes that it is asked for, again and again."""
        async with self.bench(tmp_path) as bench:
            source = await bench.channel.content(await bench.completed(), "video")
            if source.read is None or source.size is None:
                pytest.skip("the content is no Source with read")
            made = bench.sim.content_of(bench.sim.latest)
            for first, length in ((0, 1), (0, 1000), (1000, 1000), (len(made) - 100, 100), (0, len(made))):
                part = b"".join([chunk async for chunk in source.read(first, length)])
                assert same(part, made[first : first + length]), f"read({first}, {length}) gave {len(part)} other bytes"

    @law
    async def test_film_of_a_poll_is_exact(self, tmp_path: Path) -> None:
        """The film that a poll brings with a completed job is exactly what the upstream made."""
        async with self.bench(tmp_path) as bench:
            job = await bench.completed()
            if job.film is None:
                pytest.skip("no poll brings the film itself")
            film = await bench.read(Source(spooled=job.film))
            assert same(film, bench.sim.content_of(bench.sim.latest)), "the film of the poll is another one"

    @law
    async def test_expired_address_is_asked_for_anew(self, tmp_path: Path) -> None:
        """fetch() of a completed job asks the upstream again, and content() gives the address that it says then."""
        async with self.bench(tmp_path) as bench:
            job = await bench.completed()
            source = await bench.channel.content(job, "video")
            if source.url is None or source.headers:
                pytest.skip("the content has no address that needs no key")
            now, latest = time.time(), time.time() + DECADE
            for moment in (job.url_expires_at, job.expires_at):
                assert moment is None or now < moment < latest, f"it expires at {moment}; say it in unix seconds"
            old, new = source.url, f"{source.url}?renewed=1"
            bench.sim.mangle(lambda answer: _replaced(answer, old, new), on="fetch")
            before = len(bench.sim.calls("fetch"))
            renewed = await bench.channel.fetch(job)
            assert len(bench.sim.calls("fetch")) > before, "the upstream was not asked for an address that is good"
            assert renewed.status == "completed", f"a completed job became {renewed.status}"
            found = (await bench.channel.content(renewed, "video")).url
            # A provider may also give a fresh address with each answer.
            assert found != old, "content() gives an address that has expired"

    @law
    async def test_content_without_length(self, tmp_path: Path) -> None:
        """An upstream that does not say how long its content is gives the same bytes."""
        async with self.bench(tmp_path) as bench:
            bench.sim.sends_length = False
            source = await bench.channel.content(await bench.completed(), "video")
            assert same(await bench.read(source), bench.sim.content_of(bench.sim.latest))

    @law
    @pytest.mark.parametrize("sends_length", [True, False])
    async def test_cut_content_breaks(self, tmp_path: Path, sends_length: bool) -> None:
        """Content that the upstream cuts in its middle raises; it never looks like a shorter video."""
        async with self.bench(tmp_path) as bench:
            job = await bench.completed()
            bench.sim.cut_content_at = 0.5
            bench.sim.sends_length = sends_length
            with pytest.raises((aiohttp.ClientError, ApiError, OSError)):
                await bench.read(await bench.channel.content(job, "video"))

    @law
    async def test_key_stays_at_its_origin(self, tmp_path: Path) -> None:
        """No credential goes to another origin than the channel's own, where a result may lie."""
        async with self.bench(tmp_path) as bench:
            await bench.read(await bench.channel.content(await bench.completed(), "video"))
            elsewhere = [call for call in bench.sim.requests if call.elsewhere]
            for call in elsewhere:
                heard = f"{call.headers} {call.query}"
                assert not any(secret in heard for secret in self.secrets()), f"the key went to {call.path}"

    @law
    @pytest.mark.parametrize("variant", ["thumbnail", "spritesheet"])
    async def test_stills_are_given_or_unsupported(self, tmp_path: Path, variant: str) -> None:
        """A thumbnail or spritesheet is a picture of its own, or UnsupportedOperation; never the video."""
        async with self.bench(tmp_path) as bench:
            job = await bench.completed()
            try:
                source = await bench.channel.content(job, variant)  # type: ignore[arg-type]
            except UnsupportedOperation:
                return
            assert not same(await bench.read(source), bench.sim.content_of(bench.sim.latest)), (
                f"the {variant} is the video"
            )

    @law
    async def test_cancel_stops_the_job(self, tmp_path: Path) -> None:
        """cancel() stops a job at the upstream: a running one, or a queued one where no running one can be."""
        self.needs("cancel")
        async with self.bench(tmp_path) as bench:
            job = await bench.submit()
            if self.cancels_running:
                bench.sim.advance(bench.sim.latest.id)
            await bench.channel.cancel(job)
            made = bench.sim.latest
            assert made.cancelled or made.removed, "the job still runs at the upstream"
            if not self.cancels_running:
                job = await bench.submit()
                bench.sim.advance(bench.sim.latest.id)
                error = await failure_of(bench.channel.cancel(job))
                assert isinstance(error, InvalidRequest), f"that it cannot be cancelled is not {error!r}"
                made = bench.sim.latest
                ended = made.cancelled or made.removed
                assert not ended, "it was cancelled nonetheless"

    @law
    async def test_delete_removes_the_result(self, tmp_path: Path) -> None:
        """delete() of a finished job removes it at the upstream; a second time it does nothing or says UpstreamGone."""
        self.needs("delete")
        async with self.bench(tmp_path) as bench:
            job = await bench.completed()
            await bench.channel.delete(job)
            assert bench.sim.latest.removed, "the job is still at the upstream"
            try:
                await bench.channel.delete(job)
            except UpstreamGone:
                return

    @law
    async def test_character_has_an_id(self, tmp_path: Path) -> None:
        """character() sends the clip once and answers the upstream's id."""
        self.needs("character")
        async with self.bench(tmp_path) as bench:
            clip = Clip(tmp_path / "clip.mp4")
            await asyncio.to_thread(clip.path.write_bytes, bench.sim.video_bytes)
            made = await bench.channel.character("Mossy", clip)
            assert isinstance(made, str)
            assert made
            (call,) = bench.sim.calls("character")
            assert bench.sim.video_bytes in call.body, "the clip did not arrive as it is"

    @law
    async def test_unsupported_is_said_so(self, tmp_path: Path) -> None:
        """What the channel does not override is UnsupportedOperation, and reaches no upstream."""
        cls = self.channel_class()
        async with self.bench(tmp_path) as bench:
            job = await bench.completed()
            before = len(bench.sim.requests)
            for operation in ("remix", "edit", "extend"):
                if not cls.can(operation):
                    error = await failure_of(bench.submit(operation, job))
                    assert isinstance(error, UnsupportedOperation)
            assert len(bench.sim.requests) == before


def _replaced(answer: Any, old: str, new: str) -> Any:
    """`answer` with the text `new` wherever it has `old`."""
    if isinstance(answer, dict):
        return {key: _replaced(value, old, new) for key, value in answer.items()}
    if isinstance(answer, list):
        return [_replaced(value, old, new) for value in answer]
    return new if answer == old else answer
