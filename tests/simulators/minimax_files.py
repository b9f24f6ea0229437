"""What MiniMax's simulator does with files: input media, results behind signed links, and callbacks."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any, Final

import aiohttp

from proxy.testing import Answer, Call, Job, Simulator, operation
from tests.simulators.media import measure
from tests.simulators.minimax_models import is_address, unpack

HOUR: Final = 3600
NINE_HOURS: Final = 9 * HOUR
LARGEST_PICTURE: Final = 20 * 1024 * 1024


class MinimaxFiles(Simulator):
    """Links of results, and what is read out of a request."""

    def __init__(self, *, keys: Collection[str]) -> None:
        super().__init__(keys=keys)
        self.bounds_sides = True
        self.fresh_links = True
        self.link_seconds = HOUR
        """How long the links of V2 are good."""
        self.patience = 3.0
        """Seconds that a receiver of callbacks may think about the challenge."""
        self.files: set[str] = set()
        """Ids of uploaded files, which V2 takes as `mm_file://…`."""
        self._links: dict[str, tuple[str, float]] = {}

    def link(self, job: Job) -> str:
        """A public address of the result, with a signature that runs out."""
        if self.fresh_links or "link" not in job.facts:
            life = self.link_seconds if job.facts["version"] == "v2" else NINE_HOURS
            ends, token = int(time.time()) + life, secrets.token_urlsafe(24)
            self._links[token] = (job.id, ends)
            folder = f"{datetime.fromtimestamp(job.created_at, UTC):%Y/%m/%d}"
            job.facts["link"] = f"{self.files_url}/video/{folder}/output.mp4?Expires={ends}&Signature={token}"
        return str(job.facts["link"])

    def expire_links(self) -> None:
        """Let every address of a result that was handed out run out."""
        self._links.clear()
        for job in self.jobs.values():
            job.facts.pop("link", None)

    @operation("content", "GET", "/video/{year}/{month}/{day}/output.mp4", open=True)
    async def content(self, call: Call) -> Answer:
        """As an object store gives a result: to anybody who has the link, while it lives."""
        job_id, ends = self._links.get(call.query.get("Signature", ""), ("", 0.0))
        if not call.elsewhere or ends < time.time():
            return denied("AccessDenied")
        return self.serve(call, self.content_of(self.jobs[job_id]))

    async def wrong_medium(self, call: Call, kind: str, url: str) -> str:
        """Why a picture, film or sound cannot be used; empty where it can. Addresses outside are not fetched."""
        if url.startswith("mm_file://") and call.path.startswith("/v2/"):
            return "" if url.removeprefix("mm_file://") in self.files else "is no file of the account"
        if is_address(url):
            return ""
        data = unpack(url, kind)
        if not data:
            return "is neither an https address nor a data URI"
        if kind != "image":
            return ""
        size = await asyncio.to_thread(measure, data)
        if size is None or len(data) >= LARGEST_PICTURE:
            return "is no JPG, PNG or WebP of less than 20 MB"
        short, long = sorted(map(int, size.split("x")))
        outside = short <= 300 or 5 * short < 2 * long
        return "has sides that are out of bounds" if self.bounds_sides and outside else ""

    async def call_back(self, url: str, body: Any) -> Any:
        """What a receiver answers to `body`; None where it does not."""
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=self.patience)) as http,
                http.post(url, json=body) as response,
            ):
                return await response.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return None


def denied(code: str) -> Answer:
    """What the other origin says, where results are."""
    page = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code></Error>'
    return Answer(status=403, body=page.encode(), headers={"Content-Type": "application/xml"})
