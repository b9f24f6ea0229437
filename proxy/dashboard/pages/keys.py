"""`/dashboard/keys`: making, limiting and ending API keys: one's own, and for admins everybody's."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from aiohttp import web

from proxy.accounts.administration import KeyReport
from proxy.accounts.keys import ADMIN
from proxy.dashboard import charts, key_forms, snippets
from proxy.dashboard.forms import Form
from proxy.dashboard.key_forms import Wish
from proxy.dashboard.languages import text
from proxy.dashboard.routing import Pages
from proxy.dashboard.view import View
from proxy.engine.routing import DEFAULT_MODEL
from proxy.errors import InvalidRequest, NotFound
from proxy.ids import ID_PATTERN
from proxy.records import Key, KeyLimits

pages = Pages("keys")

HERE: Final = "/dashboard/keys"
ONE: Final = HERE + "/{id}"
PAGE: Final = 50
NOT_THERE: Final = text("There is no such API key.")
NOBODY: Final = text("There is no such user.")

_EXAMPLE: Final = "YOUR_API_KEY"
_NAMED: Final = 3
_HOST: Final = re.compile(r"[A-Za-z0-9._:\[\]-]{1,300}", re.ASCII)


@pages.show(HERE)
async def show(view: View) -> web.StreamResponse:
    """The keys, newest first; an admin's `tenant` picks those of one owner."""
    tenant = view.request.query.get("tenant") or None
    users = await view.site.accounts.administration.users(actor=view.key) if view.is_admin else []
    owners = [(user.tenant, user.name) for user in users]
    if tenant is not None and tenant not in {view.user.tenant, *(known for known, _ in owners)}:
        raise NotFound(NOBODY)
    after = view.request.query.get("after", "")
    reports, more = await view.site.accounts.administration.keys(
        actor=view.key, tenant=tenant, after=after if _is_id(after) else None, limit=PAGE
    )
    return view.render(
        "keys.html",
        reports=[(report, limit_words(view, report.key), _percent(report)) for report in reports],
        owners=owners,
        tenant=tenant,
        now=time.time(),
        newest=view.address(after=None) if after else None,
        older=view.address(after=reports[-1].id) if more else None,
    )


@pages.show(HERE + "/new")
async def ask_new(view: View) -> web.StreamResponse:
    """The form for a new key."""
    return await _new(view, Wish(owner=view.user.name), {})


@pages.take(HERE + "/new")
async def create(view: View, form: Form) -> web.StreamResponse:
    """Make a key; the answer shows it, this once."""
    wish = key_forms.read(form, admin=view.is_admin)
    limits, errors = key_forms.limits_of(view, wish, await _known(view, None), None)
    if errors:
        return await _new(view, wish, errors)
    try:
        plain, key = await view.site.accounts.administration.create_key(
            wish.name,
            actor=view.key,
            user=wish.owner or None,
            limits=limits,
            chooses_channel=wish.chooses_channel,
            admin=wish.admin,
        )
    except InvalidRequest as wrong:
        return await _new(view, wish, key_forms.blamed(view, wrong))
    return view.render("key_made.html", key=key, plain=plain, snippets=_snippets(view, key, plain))


@pages.show(ONE)
async def show_one(view: View) -> web.StreamResponse:
    """One key and its limits."""
    report = await _report(view)
    return await _one(view, report, key_forms.of_key(report.key), {})


@pages.take(ONE)
async def change(view: View, form: Form) -> web.StreamResponse:
    """Change the name and the limits of a key."""
    report = await _report(view)
    before = report.key
    wish = replace(key_forms.read(form, admin=view.is_admin), owner="", admin=before.admin)
    limits, errors = key_forms.limits_of(view, wish, await _known(view, before), before.limits)
    if not errors:
        try:
            await view.site.accounts.administration.change_key(
                before.id,
                actor=view.key,
                name=wish.name,
                limits=lambda now: _keeping(now, limits, admin=view.is_admin),
                chooses_channel=wish.chooses_channel if view.is_admin else None,
            )
        except InvalidRequest as wrong:
            errors = key_forms.blamed(view, wrong)
    if errors:
        return await _one(view, report, wish, errors)
    return view.go(f"{HERE}/{before.id}", notice=view.say("The key was changed. It holds for the next request."))


@pages.take(ONE + "/revoke")
async def revoke(view: View, form: Form) -> web.StreamResponse:
    """End a key for good, once it was agreed to."""
    key = (await _report(view)).key
    if not form.ticked("sure"):
        return view.render(
            "sure.html",
            title=view.say("Revoke “{name}”?", name=key.name),
            words=view.say("Whoever uses this key is refused from now on. Its videos stay. It cannot be taken back."),
            label=view.say("Revoke"),
            back=f"{HERE}/{key.id}",
        )
    await view.site.accounts.administration.revoke_key(key.id, actor=view.key)
    return view.go(HERE, notice=view.say("The key was revoked."))


def limit_words(view: View, key: Key) -> list[str]:
    """What a key may do, in words; members are not told of channels."""
    limits, said = key.limits, []
    if limits.models is not None:
        said.append(view.say("Only {names}", names=_few(limits.models)))
    if limits.channels is not None and view.is_admin:
        said.append(view.say("Only on {names}", names=_few(limits.channels)))
    if key.chooses_channel and view.is_admin:
        said.append(view.say("May choose its channel"))
    if limits.requests_per_minute:
        said.append(view.say("{number} requests a minute", number=limits.requests_per_minute))
    if limits.running:
        said.append(view.say("{number} videos at once", number=limits.running))
    if limits.addresses is not None:
        said.append(view.say("Only from {names}", names=_few(limits.addresses)))
    if limits.expires_at is not None:
        said.append(view.say("Until {day}", day=key_forms.last_day(limits.expires_at)))
    return said


# ---------------------------------------------------------------- the rest


def _few(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_NAMED])
    return shown if len(names) <= _NAMED else f"{shown} +{len(names) - _NAMED}"


def _percent(report: KeyReport) -> float | None:
    budget = report.key.limits.budget
    return None if budget is None else charts.filled(report.spent, budget)


def _keeping(before: KeyLimits, wished: KeyLimits, *, admin: bool) -> KeyLimits:
    """The wished limits; what a member neither sees nor sets stays."""
    if admin:
        return wished
    return KeyLimits(
        models=wished.models,
        channels=before.channels,
        expires_at=wished.expires_at,
        requests_per_minute=wished.requests_per_minute,
        running=wished.running,
        budget=wished.budget,
        period=wished.period,
        addresses=wished.addresses,
    )


def _is_id(word: str) -> bool:
    return word == ADMIN.id or ID_PATTERN.fullmatch(word) is not None


async def _report(view: View) -> KeyReport:
    key_id = view.request.match_info["id"]
    # The same for one that is somebody else's, that never was, and that cannot be.
    if not _is_id(key_id):
        raise NotFound(NOT_THERE)
    return await view.site.accounts.administration.key(key_id, actor=view.key)


async def _known(view: View, key: Key | None) -> key_forms.Known:
    """What can be ticked: what is there now, and what the key has of what is not."""
    had = KeyLimits() if key is None else key.limits
    models = {card.name: None for card in view.site.engine.models(view.key)}
    channels: dict[str, None] = {}
    if view.is_admin:
        configured, _ = await view.site.engine.reports.channels()
        channels = {report.name: None for report in configured}
        channels |= dict.fromkeys(had.channels or ())
    return key_forms.Known(tuple(models | dict.fromkeys(had.models or ())), tuple(channels))


async def _new(view: View, wish: Wish, errors: dict[str, str]) -> web.Response:
    users = await view.site.accounts.administration.users(actor=view.key) if view.is_admin else []
    return view.render(
        "key_new.html",
        status=422 if errors else 200,
        wish=wish,
        errors=errors,
        known=await _known(view, None),
        owners=[user.name for user in users],
    )


async def _one(view: View, report: KeyReport, wish: Wish, errors: dict[str, str]) -> web.Response:
    return view.render(
        "key.html",
        status=422 if errors else 200,
        report=report,
        key=report.key,
        state=report.state(time.time()),
        words=limit_words(view, report.key),
        percent=_percent(report),
        wish=wish,
        errors=errors,
        known=await _known(view, report.key),
        snippets=_snippets(view, report.key, _EXAMPLE),
    )


def _snippets(view: View, key: Key, plain: str) -> list[tuple[str, str]]:
    offered = [card.name for card in view.site.engine.models(key)]
    public_url, host = view.site.settings.public_url, view.request.host
    # A Host that is no text would spoil the one page that shows a new key.
    base = public_url or f"{'https' if view.secure else 'http'}://{host if _HOST.fullmatch(host) else 'localhost'}"
    model = offered[0] if offered and DEFAULT_MODEL not in offered else DEFAULT_MODEL
    return snippets.first_video(base, plain, model)
