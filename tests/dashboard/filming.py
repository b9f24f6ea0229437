"""What the tests of the pages about videos share: ordering in the dashboard, and reading pages."""

from __future__ import annotations

import asyncio
import html
import re
from typing import Any

from proxy.errors import UpstreamTimeout
from tests.dashboard.conftest import PASSWORD, Browser, Desk

_REQUEST = re.compile(r"req_[0-9a-f]+")
_MEANT_FOR_ONE = re.compile(r'(?:name="once" value|data-csrf|name="csrf" value)="[^"]*"')
_MARKUP = re.compile(r"<(script|style)\b.*?</\1>|<[^>]*>", re.DOTALL)
_ROW = re.compile(r'<tr id="row-(video_[0-9a-f]{32})"')
_LINK = {"older": re.compile(r'rel="next" href="([^"]*)"'), "newer": re.compile(r'rel="prev" href="([^"]*)"')}


async def order(browser: Browser, prompt: str = "a paper plane", **body: Any) -> str:
    """The id of a video that is ordered as the Studio's script does."""
    headers = {"Origin": browser.url, "x-csrf-token": await browser.token(), "Accept": "application/json"}
    body = {"model": "sora-2", "prompt": prompt, **body}
    async with browser.session.post(f"{browser.url}/dashboard/api/videos", json=body, headers=headers) as response:
        video = await response.json()
        assert response.status == 200, video
        return str(video["id"])


async def doubtful(desk: Desk, browser: Browser, channel: str = "a", prompt: str = "a lamp", **body: Any) -> str:
    """The id of a video whose outcome is unknown."""
    desk.product.channel(channel).then("create", UpstreamTimeout("The line <b>broke</b>."))
    return await order(browser, prompt, **body)


async def ended(desk: Desk, video_id: str, *stages: str) -> Any:
    """The video once it is in one of the stages; without any, once it has ended."""
    async with asyncio.timeout(60):
        while True:
            video = await desk.product.core.newest(video_id)
            assert video is not None
            if video.stage in (stages or ("ended",)):
                return video
            await asyncio.sleep(0.01)


async def member(desk: Desk, name: str) -> Browser:
    """Another member, logged in."""
    await desk.accounts.users.create(name, PASSWORD)
    return await desk.logged_in(name)


def words(text: str) -> str:
    """What a page says, without its markup."""
    return " ".join(html.unescape(_MARKUP.sub(" ", text)).split())


def listed(text: str) -> list[str]:
    """The ids of the videos in a list, from the top."""
    return _ROW.findall(text)


def link(text: str, which: str) -> str | None:
    """Where the pager leads."""
    found = _LINK[which].search(text)
    return None if found is None else html.unescape(found[1])


def anonymous(text: str, *ids: str) -> str:
    """A page without what differs from request to request, and without these ids."""
    for one in ids:
        text = text.replace(one, "ID")
    return _MEANT_FOR_ONE.sub("", _REQUEST.sub("", text))
