"""`/admin/api/channels`: how the channels stand and did lately; switching them off and on, and trying them."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from proxy import money
from proxy.api import render
from proxy.api.admin import asked
from proxy.api.auth import operator
from proxy.api.context import API
from proxy.errors import NotFound
from proxy.store import channel_stats
from proxy.store.channel_stats import ChannelStats

if TYPE_CHECKING:
    from proxy.engine.reports import ChannelReport

DAY: Final = 86_400.0


async def page(request: web.Request) -> web.StreamResponse:
    """`GET /admin/api/channels`: how the channels stand."""
    await operator(request)
    configured, gone = await request.app[API].engine.reports.channels()
    stats = await _stats(request)
    data = [_channel(report, stats.get(report.name, ChannelStats())) for report in configured]
    data += [
        {"name": name, "object": "channel", "configured": False, "running": running} for name, running in gone.items()
    ]
    return render.response({"object": "list", "data": data})


async def enable(request: web.Request) -> web.StreamResponse:
    """`POST /admin/api/channels/{name}/enable`: over what the file says."""
    return await _switch(request, True)


async def disable(request: web.Request) -> web.StreamResponse:
    """`POST /admin/api/channels/{name}/disable`: no new videos; those that its upstream has go on."""
    return await _switch(request, False)


async def follow_file(request: web.Request) -> web.StreamResponse:
    """`POST /admin/api/channels/{name}/follow_file`: go by `enabled` in the file again."""
    return await _switch(request, None)


async def test(request: web.Request) -> web.StreamResponse:
    """`POST /admin/api/channels/{name}/test`: ask its upstream something that costs nothing."""
    await operator(request)
    await asked.fields(request)
    name = request.match_info["name"]
    found = await request.app[API].engine.switches.probe(name)
    return render.response(
        {
            "object": "channel.test",
            "name": name,
            "verdict": found.verdict,
            "message": found.said,
            "seconds": round(found.seconds, 3),
        }
    )


async def _switch(request: web.Request, enabled: bool | None) -> web.StreamResponse:
    key = await operator(request)
    await asked.fields(request)
    engine, name = request.app[API].engine, request.match_info["name"]
    await engine.switches.switch(name, enabled, key)
    configured, _ = await engine.reports.channels()
    for report in configured:
        if report.name == name:
            stats = await _stats(request)
            return render.response(_channel(report, stats.get(name, ChannelStats())))
    raise NotFound("The channel has just left channels.yaml.")


async def _stats(request: web.Request) -> dict[str, ChannelStats]:
    since = time.time() - DAY
    return await request.app[API].engine.reports.read(partial(channel_stats.by_channel, since=since))


def _channel(report: ChannelReport, stats: ChannelStats) -> dict[str, Any]:
    return {
        "name": report.name,
        "object": "channel",
        "configured": True,
        "type": report.type,
        "enabled": report.enabled,
        "switched": None if report.switched is None else "on" if report.switched else "off",
        "priority": report.priority,
        "weight": report.weight,
        "max_running": report.max_running,
        "running": report.running,
        "waiting": stats.waiting,
        "throttled_for": report.throttled_for,
        "breaker": {"state": report.breaker, "why": report.why, "open_for": report.open_for},
        "models": [
            {
                "id": offer.public,
                "upstream": offer.upstream,
                "price_per_second": offer.limits.price,
                "prices_per_second": dict(offer.limits.prices),
            }
            for offer in report.offers
        ],
        "can": list(report.can),
        "last_24_hours": _lately(stats),
    }


def _lately(stats: ChannelStats) -> dict[str, Any]:
    return {
        "videos": stats.videos,
        "completed": stats.completed,
        "failed": stats.failed,
        "success_rate": None if stats.success is None else round(stats.success, 4),
        "median_seconds": stats.median,
        "spent": {"value": float(money.dollars(stats.amount)), "currency": "usd"},
    }
