"""Submissions whose outcome is in doubt, made to order, and an operator's answers to them."""

import asyncio
from pathlib import Path
from typing import Any

from proxy.app import WIRING
from proxy.engine import Core, Engine
from proxy.engine.inbox import Answer, Resolution
from proxy.engine.reports import Doubt
from proxy.errors import UpstreamTimeout
from proxy.models import UpstreamJob
from proxy.records import Attempt, Key, Video
from tests.conftest import Product

PLUGINS = (Path(__file__).parent / "plugins",)
KEY = Key(id="admin", name="admin", tenant="admin", admin=True)
PENDING = """
server: {unknown_grace: 3600}
channels: [{name: a, type: puppet, models: [sora-2], poll_every: 0.01, price: {per_second: 0.25}}]
"""
BRIEF = PENDING.replace("3600", "0.05")
LOOKUP = PENDING.replace("type: puppet", "type: lookup")
UNSURE = UpstreamTimeout("slow")


def engine_of(product: Product) -> Engine:
    engine = product.server.app[WIRING].engine
    assert engine is not None
    return engine


def core_of(product: Product) -> Core:
    return engine_of(product)._core


async def doubts(product: Product) -> list[Doubt]:
    return (await engine_of(product).reports.doubts(after=None, limit=100))[0]


async def stored(product: Product, video_id: str) -> Video:
    video = await core_of(product).newest(video_id)
    assert video is not None
    return video


async def pending(product: Product, **body: Any) -> str:
    """The id of a video whose outcome is unknown, and that may still be settled by a look-up."""
    product.channel("a").then("create", UNSURE)
    video = await product.create(**body)
    assert (await stored(product, video["id"])).stage == "unknown"
    return str(video["id"])


async def failed(product: Product, **body: Any) -> str:
    """The id of a video that failed because its outcome stayed unknown."""
    product.channel("a").then("create", UNSURE)
    video = await product.done((await product.create(**body))["id"])
    assert video["error"]["code"] == "outcome_unknown"
    return str(video["id"])


async def late(product: Product) -> str:
    """The id of a video whose owner deleted it while its upstream took it, as the job `paid`."""
    word: asyncio.Future[UpstreamJob] = asyncio.get_running_loop().create_future()
    product.channel("a").then("create", word)
    ordering = asyncio.create_task(product.create())
    async with asyncio.timeout(10):
        while not product.channel("a").asked("create"):
            await asyncio.sleep(0)
    ((video,), _) = await engine_of(product).videos(KEY, after=None, limit=1, order="desc")
    assert (await product.call("DELETE", f"/v1/videos/{video.id}?force=true"))[0] == 200
    word.set_result(UpstreamJob(id="paid", status="in_progress"))
    await ordering
    return video.id


async def resolve(
    product: Product, video_id: str, word: str, upstream_id: str | None = None, **more: Any
) -> Resolution:
    answer = Answer(word=word, upstream_id=upstream_id, **more)  # type: ignore[arg-type]
    return await engine_of(product).inbox.resolve(video_id, answer, KEY)


async def audited(product: Product) -> list[tuple[str, str, str, dict[str, Any]]]:
    """Every row of the audit, oldest first, without its number and time."""
    rows, _ = await engine_of(product).reports.audit(after=None, limit=100)
    return [(row.actor, row.action, row.subject, row.details) for row in reversed(rows)]


async def only_attempt(product: Product, video_id: str) -> Attempt:
    (attempt,) = await core_of(product).store.attempts(video_id)
    return attempt
