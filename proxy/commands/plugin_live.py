"""`reelgate plugins test --live`: one order of the real provider, followed to its film as the engine follows it.

It goes through the product's own way out: the channel of the entry, its guarded `Upstream`, the engine's rules for
submissions and polls. Each order is sent once, whatever comes of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from proxy import config as configuration
from proxy.channels import Channels, LiveChannel
from proxy.commands.plugin_order import NAMES, Order
from proxy.commands.terminal import plain
from proxy.engine import paces
from proxy.engine.polling import ERROR_WAIT_MOST, GONE_SECONDS, GONE_TIMES
from proxy.engine.probing import probe
from proxy.engine.requests import Submittable, fetch, submit
from proxy.engine.states import merged
from proxy.errors import ApiError, Outcome, Throttled, UnsupportedOperation, UpstreamGone
from proxy.ids import new_id
from proxy.inputs import Picture
from proxy.media import forms, pictures, stills
from proxy.media.ranges import Span
from proxy.media.sources import opened
from proxy.models import STATUSES, Absent, JobError, Kind, Source, UpstreamJob, VideoRequest
from proxy.reply import Reply
from proxy.upstream import Http
from proxy.upstream.redact import Redactor

Say = Callable[[str, str, Sequence[str]], None]
"""Told of each law: "ok", "FAIL" or "skip", the law in words, and why."""

PROMPT: Final = "A paper boat on a calm lake at dawn"
AGAIN: Final = "The same at night"
PART: Final = 1024
"""Bytes of the part of the film that is asked for by itself."""
COMPLETED: Final = "It is completed."
LONGEST: Final = 600
"""Characters that are shown of an answer of the provider's."""
LOOKS: Final = 3
"""How often an order of unknown outcome is looked up, at the pace of polls: an upstream's own list may lag behind."""


class Stop(Exception):
    """A broken law after which nothing can be tried."""


@dataclass(slots=True)
class LiveTrial:
    """One run. `say` hears of each law, `talk` what an operator wants to know meanwhile. `jobs` are the upstream's ids
    of what was taken, and `doubt` the attempt of which nobody knows whether it was: what must not be lost."""

    order: Order
    say: Say
    talk: Callable[[str], None]
    keep: Path | None = None
    broken: int = 0
    jobs: list[str] = field(default_factory=list)
    doubt: str | None = None
    _errors: list[str] = field(default_factory=list)
    _last: Reply | None = None
    _redactor: Redactor = field(default_factory=Redactor)

    async def run(self) -> None:
        """Carry the order out and try the laws."""
        self._redactor = Redactor(configuration.secrets(self.order.config))
        async with AsyncExitStack() as stack:
            folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="reelgate-live-"))
            stack.push_async_callback(asyncio.to_thread, shutil.rmtree, folder, ignore_errors=True)
            log = stack.enter_context(_listening())
            http = Http()
            await http.start()
            stack.push_async_callback(http.close)
            channels = Channels(http=http, data=folder, redactor=self._redactor)
            stack.push_async_callback(channels.close)
            await channels.apply([self.order.plan])
            live = channels.get(self.order.plan.entry.name)
            assert live is not None
            self._listen(live)
            with contextlib.suppress(Stop):
                await self._credential(live)
                await self._orders(live, folder)
            self._discretion(log)

    async def _orders(self, live: LiveChannel, folder: Path) -> None:
        source: UpstreamJob | None = None
        film = folder / "create.mp4"
        for kind in self.order.settled:
            request = self._request(live, kind, film)
            job = await self._submitted(live, request, source)
            job = await self._followed(live, job)
            await self._film(live, job, kind, folder / f"{kind}.mp4")
            if kind == "create":
                source = job
                await self._plays(film, request)
                await self._again(live, job)
                if live.channel.can("recover"):
                    await self._recovered(live, request, job)

    # -- before anything is paid ---------------------------------------------------------------------------------------

    async def _credential(self, live: LiveChannel) -> None:
        words = "The provider answers what costs nothing, and takes the credential."
        found = await probe(live)
        if found.error is not None:
            self._heard(found.error)
        if found.verdict != "answers":
            raise self._end(words, found.said, "Nothing was ordered.")
        self.say("ok" if found.looked else "skip", words, () if found.looked else (found.said,))

    def _request(self, live: LiveChannel, kind: Kind, film: Path) -> VideoRequest:
        async def frame(which: Literal["first", "last"]) -> Picture:
            data = await stills.frame(film, last=which == "last")
            return await forms.formed(await pictures.inspect(data, param="video"), live.channel.picture_form)

        settled = self.order.settled[kind]
        request = VideoRequest(
            prompt=PROMPT if kind == "create" else AGAIN,
            model=self.order.offer.upstream,
            seconds=settled.seconds,
            size=settled.size,
            attempt_id=new_id("att"),
            kind=kind,
            source_frame=frame,
        )
        try:
            live.channel.check(request)
        except ApiError as error:
            raise self._end(
                _taken_words(kind), f"The plugin's own check refuses it: {self._heard(error)}", "Nothing was ordered."
            ) from error
        return request

    # -- what is paid --------------------------------------------------------------------------------------------------

    async def _submitted(self, live: LiveChannel, request: VideoRequest, source: UpstreamJob | None) -> UpstreamJob:
        words = _taken_words(request.kind)
        self.doubt = request.attempt_id
        self._last = None
        try:
            job = await submit(live, Submittable(request, source))
        except ApiError as error:
            said = self._heard(error)
            if error.outcome is Outcome.UNKNOWN:
                return await self._looked_up(live, request, said)
            self.doubt = None
            when = [f"It may be tried again in {error.retry_after:.0f} s."] if _has_moment(error) else []
            raise self._end(words, f"It was certainly not taken: {said}", "Nothing was paid for it.", *when) from error
        self._has(job)
        if job.status == "failed":
            raise self._end(words, f"It was taken and has failed at once: {self._why(job)}")
        self.say("ok", words, ())
        return job

    async def _looked_up(self, live: LiveChannel, request: VideoRequest, said: str) -> UpstreamJob:
        """The job of a submission of unknown outcome, which is never sent again."""
        words = _taken_words(request.kind)
        reasons = [f"Nobody knows whether it was taken: {said}"]
        found: UpstreamJob | Absent | None = None
        for _ in range(LOOKS if live.channel.can("recover") else 0):
            await asyncio.sleep(paces.pace(live, None))
            try:
                found = await live.channel.recover(request)
            except Exception as error:
                self.talk(f"recover() could not look it up: {self._heard(error)}")
                continue
            if isinstance(found, UpstreamJob):
                self._has(found)
                self.say("ok", words, (*reasons, "recover() has found it."))
                return found
        if isinstance(found, Absent):
            self.doubt = None
            raise self._end(words, *reasons, "recover() has proved that it was not: nothing was paid for it.")
        raise self._end(
            words, *reasons, "It is not sent again. Look at the provider's own list: it may be running and paid for."
        )

    async def _followed(self, live: LiveChannel, job: UpstreamJob) -> UpstreamJob:
        """The job at its end, polled as the engine polls: no answer that fails ends it."""
        path = [job.status]
        until = time.monotonic() + live.entry.poll_timeout
        misses = gone = 0
        gone_since = 0.0
        while job.status not in ("completed", "failed"):
            pace = paces.pace(live, job.poll_after)
            await asyncio.sleep(paces.after_misses(pace, misses, ERROR_WAIT_MOST, None) if misses else pace)
            if time.monotonic() > until:
                raise self._end(COMPLETED, "It takes longer than the poll_timeout of the entry.")
            try:
                told = merged(job, await fetch(live, job))
            except ApiError as error:
                misses += 1
                self.talk(f"poll without an answer: {self._heard(error)}")
                gone = gone + 1 if isinstance(error, UpstreamGone) else 0
                gone_since = time.monotonic() if gone == 1 else gone_since
                if gone >= GONE_TIMES and time.monotonic() - gone_since >= GONE_SECONDS:
                    raise self._end(COMPLETED, "The provider no longer knows its own job.") from error
                continue
            misses = gone = 0
            if told.status != path[-1]:
                path.append(told.status)
            if (told.status, told.progress) != (job.status, job.progress):
                self.talk(f"{told.status} {told.progress}%")
            job = told
        self._verdict(path == sorted(path, key=STATUSES.index), "Its states only move forward.", " → ".join(path))
        if job.status == "failed":
            raise self._end(COMPLETED, self._why(job))
        self.say("ok", COMPLETED, ())
        return job

    # -- what came of it -----------------------------------------------------------------------------------------------

    async def _film(self, live: LiveChannel, job: UpstreamJob, kind: Kind, file: Path) -> None:
        words = "Its film arrives whole, and a part of it is what stands there in the whole."
        try:
            source = await live.channel.content(job, "video")
            size = await _written(source, live, file)
            if kind == "create":
                await self._kept(file)
            middle = Span(size // 2, min(size // 2 + PART, size) - 1)
            source = await live.channel.content(job, "video")
            part = file.with_suffix(".part")
            await _written(source, live, part, wish=middle, size=size)
        except Exception as error:
            raise self._end(words, self._heard(error)) from error
        whole = (await asyncio.to_thread(file.read_bytes))[size // 2 :][:PART]
        self._verdict(await asyncio.to_thread(part.read_bytes) == whole, words, f"{size} bytes")

    async def _kept(self, film: Path) -> None:
        """Put the film where it was asked for, before anything else is tried with it: it is paid for."""
        if self.keep is None:
            return
        try:
            await asyncio.to_thread(_copy, film, self.keep)
        except OSError as error:
            self._verdict(False, "The film is kept.", f"{self.keep} cannot be written: {error.strerror or error}.")
        else:
            self.talk(f"The film is {self.keep}.")

    async def _plays(self, film: Path, request: VideoRequest) -> None:
        words = "The film plays, from its first frame to its last."
        try:
            await stills.require()
        except UnsupportedOperation:
            self.say("skip", words, ["PyAV is not installed here: pip install 'reelgate[media]'."])
            return
        try:
            await stills.frame(film, last=False)
            await stills.frame(film, last=True)
            seen = await stills.look(film)
        except Exception as error:
            self._verdict(False, words, self._heard(error))
            return
        found = f"{seen.width}x{seen.height}" if seen else request.size
        self.say("ok", words, [] if found == request.size else [f"It is {found}; {request.size} was ordered."])

    async def _again(self, live: LiveChannel, job: UpstreamJob) -> None:
        words = "A finished job stays finished, and its address is told anew."
        try:
            told = await fetch(live, job)
        except ApiError as error:
            self._verdict(False, words, self._heard(error))
            return
        kept = told.status == "completed" and told.id == job.id
        self._verdict(kept, words, "" if kept else f"It became {told.status}.")

    async def _recovered(self, live: LiveChannel, request: VideoRequest, job: UpstreamJob) -> None:
        words = "recover() finds the order again."
        try:
            found = await live.channel.recover(request)
        except Exception as error:
            self._verdict(False, words, self._heard(error))
            return
        if found is None:
            self.say("skip", words, ["It answers that it cannot tell."])
            return
        same = isinstance(found, UpstreamJob) and found.id == job.id
        self._verdict(same, words, "It says that the order was never taken." if isinstance(found, Absent) else "")

    def _discretion(self, log: list[str]) -> None:
        words = "The credential stands in no error and no line of the log."
        said = "\n".join([*self._errors, *log])
        self._verdict(self._redactor.secrets(said) == said, words)

    # -- telling -------------------------------------------------------------------------------------------------------

    def _has(self, job: UpstreamJob) -> None:
        """Tell at once what must not be lost."""
        self.doubt = None
        self.jobs.append(job.id)
        self.talk(f"The provider's id of it: {job.id}")

    def _heard(self, error: Exception) -> str:
        """What an error says, for the operator; it is kept for the law about the credential."""
        self._errors.append(f"{error} {error!r} {error.__cause__!r}")
        words = str(error) if isinstance(error, ApiError) else f"the plugin raised {type(error).__name__}: {error}"
        return self._redactor.secrets(words)

    def _why(self, job: UpstreamJob) -> str:
        return self._redactor.secrets(job.error.message) if isinstance(job.error, JobError) else "it does not say why"

    def _verdict(self, kept: bool, words: str, *reasons: str) -> None:
        self.broken += not kept
        self.say("ok" if kept else "FAIL", words, [reason for reason in reasons if reason])

    def _end(self, words: str, *reasons: str) -> Stop:
        """Tell of a broken law, and what the provider said last; the answer is to be raised."""
        self._verdict(False, words, *reasons, self._answer())
        return Stop(words)

    def _listen(self, live: LiveChannel) -> None:
        upstream = live.channel.upstream
        meant = upstream.refusal

        def heard(status: int, reply: Reply) -> ApiError | None:
            self._last = reply
            return meant(status, reply)

        upstream.refusal = heard

    def _answer(self) -> str:
        """The provider's last answer as it came, which an author can make more of than a client could."""
        if self._last is None:
            return ""
        text = self._last.text
        if self._last.data is not None:
            text = json.dumps(self._last.data, ensure_ascii=False, default=str)
        text = self._redactor.secrets(text)
        rest = " …" if len(text) > LONGEST else ""
        return f"The provider's last answer: HTTP {self._last.status} {plain(text[:LONGEST])}{rest}".rstrip()


def _taken_words(kind: Kind) -> str:
    return f"One order of {NAMES[kind]} is taken, and gives a job with an id."


def _has_moment(error: ApiError) -> bool:
    return isinstance(error, Throttled) and error.retry_after is not None


def _copy(film: Path, place: Path) -> None:
    """Never over a file that came there while the video was made."""
    with film.open("rb") as source, place.open("xb") as target:
        shutil.copyfileobj(source, target)


async def _written(
    source: Source, live: LiveChannel, file: Path, *, wish: Span | None = None, size: int | None = None
) -> int:
    """Put the bytes of `source`, or the part of them that `wish` means, into `file`; answers how many."""
    count = 0
    stream = await asyncio.to_thread(file.open, "wb")
    try:
        async with opened(source, live.channel.upstream, wish=wish, size=size) as body:
            while chunk := await body.read():
                count += await asyncio.to_thread(stream.write, chunk)
    finally:
        await asyncio.to_thread(stream.close)
    return count


@contextlib.contextmanager
def _listening() -> Iterator[list[str]]:
    """The lines that the product logs meanwhile."""
    lines: list[str] = []
    formatter = logging.Formatter("%(message)s")

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(formatter.format(record))

    listener = Listener()
    log = logging.getLogger("reelgate")
    level = log.level
    log.addHandler(listener)
    log.setLevel(logging.DEBUG)
    try:
        yield lines
    finally:
        log.removeHandler(listener)
        log.setLevel(level)
