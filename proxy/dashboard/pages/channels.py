"""`/dashboard/channels`: how the channels stand and do, and the switches of an operator."""

from __future__ import annotations

import math
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from aiohttp import web

from proxy.dashboard.forms import Form
from proxy.dashboard.routing import Pages
from proxy.dashboard.view import View
from proxy.engine.probing import Probe
from proxy.errors import InvalidRequest
from proxy.store import channel_stats
from proxy.store.channel_stats import ChannelStats

if TYPE_CHECKING:
    from proxy.engine.reports import ChannelReport
    from proxy.plans import Offer

pages = Pages("channels", admin=True)

HERE: Final = "/dashboard/channels"
DAY: Final = 86_400

_SWITCHES: Final[dict[str, bool | None]] = {"on": True, "off": False, "file": None}


class Tried(NamedTuple):
    """What came of trying the channel of this name."""

    channel: str
    probe: Probe


class Ability(NamedTuple):
    """A model of a channel, and what of remixing, editing and extending the channel does with it by itself."""

    offer: Offer
    does: list[str]


@pages.show(HERE)
async def show(view: View) -> web.StreamResponse:
    """The page."""
    return await _page(view)


@pages.take(HERE + "/switch")
async def switch(view: View, form: Form) -> web.StreamResponse:
    """Switch `channel` on, off, or let it follow the file (`to`)."""
    name, to = form.exact("channel"), form.text("to")
    if to not in _SWITCHES:
        raise InvalidRequest("Choose whether the channel is on, off, or follows the file.")
    await view.site.engine.switches.switch(name, _SWITCHES[to], view.key)
    said = {
        "on": view.say("{name} takes new videos again.", name=name),
        "off": view.say("{name} takes no new videos. What it has begun goes on.", name=name),
        "file": view.say("{name} follows channels.yaml again.", name=name),
    }
    return view.go(HERE, notice=said[to])


@pages.take(HERE + "/test")
async def test(view: View, form: Form) -> web.StreamResponse:
    """Ask the upstream of `channel` something that costs nothing."""
    name = form.exact("channel")
    return await _page(view, Tried(name, await view.site.engine.switches.probe(name)))


async def _page(view: View, tried: Tried | None = None) -> web.Response:
    configured, gone = await view.site.engine.reports.channels()
    stats = await view.site.store.read(partial(channel_stats.by_channel, since=time.time() - DAY))
    return view.render(
        "channels.html",
        channels=[_described(report, stats.get(report.name, ChannelStats())) for report in configured],
        gone=[(name, running, stats.get(name, ChannelStats()).waiting) for name, running in gone.items()],
        tried=tried,
    )


def _described(report: ChannelReport, stats: ChannelStats) -> dict[str, Any]:
    success = stats.success
    return {
        "report": report,
        "stats": stats,
        # Never 100 % where something failed, nor 0 % where something went well.
        "success": None if success is None else math.floor(success * 100) or math.ceil(success),
        "abilities": [Ability(offer, _does(report, offer)) for offer in report.offers],
    }


def _does(report: ChannelReport, offer: Offer) -> list[str]:
    native = offer.limits.native
    return [one for one in ("remix", "edit", "extend") if one in report.can and (native is None or one in native)]
