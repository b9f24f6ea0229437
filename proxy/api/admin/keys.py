"""`/admin/api/keys`: API keys, what they may do and what they spent. A key itself is in one answer only, to its
making."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import msgspec
from aiohttp import web

from proxy import money
from proxy.accounts import terms
from proxy.accounts.administration import MAX_NAME
from proxy.api import bodies, queries, render, values
from proxy.api.admin import asked
from proxy.api.auth import operator
from proxy.api.context import API
from proxy.api.values import invalid_type, shown
from proxy.errors import InvalidRequest, NotFound
from proxy.ids import ID_PATTERN
from proxy.records import UNLIMITED, KeyLimits, Period

if TYPE_CHECKING:
    from proxy.accounts.administration import KeyReport

_LIMITS: Final = (
    *("allowed_models", "allowed_channels", "allowed_addresses", "expires_at"),
    *("requests_per_minute", "max_running", "budget"),
)
_FIRST_KEY: Final = "admin"
"""The id of the admin key of the first start, unlike any other."""


async def page(request: web.Request) -> web.StreamResponse:
    """`GET /admin/api/keys`: newest first, revoked ones too; of one tenant with `tenant`."""
    key = await operator(request)
    reports, has_more = await request.app[API].administration.keys(
        actor=key,
        tenant=asked.word(request, "tenant"),
        after=asked.after(request, "a key"),
        limit=queries.limit(request),
    )
    return render.response(render.listing([_object(report) for report in reports], has_more))


async def create(request: web.Request) -> web.StreamResponse:
    """`POST /admin/api/keys`: the only answer that has the key itself."""
    key = await operator(request)
    administration = request.app[API].administration
    fields = await asked.fields(request, "name", "user", "admin", "chooses_channel", *_LIMITS)
    name = values.required_text(fields, "name", MAX_NAME)
    user = values.text(fields, "user", asked.MAX_WORD)
    admin = values.boolean(fields, "admin")
    chooses = values.boolean(fields, "chooses_channel")
    plain, made = await administration.create_key(
        name,
        actor=key,
        user=user,
        admin=bool(admin),
        chooses_channel=bool(chooses),
        limits=_changed(UNLIMITED, fields),
    )
    report = await administration.key(made.id, actor=key)
    return _answer(request, report, {"key": plain})


async def retrieve(request: web.Request) -> web.StreamResponse:
    """`GET /admin/api/keys/{id}`."""
    key = await operator(request)
    report = await request.app[API].administration.key(_id(request), actor=key)
    return render.response(_object(report))


async def change(request: web.Request) -> web.StreamResponse:
    """`POST /admin/api/keys/{id}`: what is left out stays, null takes a limit away."""
    key = await operator(request)
    administration = request.app[API].administration
    key_id = _id(request)
    fields = await asked.fields(request, "name", "chooses_channel", *_LIMITS)
    name = values.text(fields, "name", MAX_NAME)
    chooses = values.boolean(fields, "chooses_channel")
    await administration.change_key(
        key_id, actor=key, name=name, chooses_channel=chooses, limits=lambda before: _changed(before, dict(fields))
    )
    return _answer(request, await administration.key(key_id, actor=key), {})


async def revoke(request: web.Request) -> web.StreamResponse:
    """`DELETE /admin/api/keys/{id}`: for good. Its videos stay."""
    key = await operator(request)
    revoked = await request.app[API].administration.revoke_key(_id(request), actor=key)
    return render.response({"id": revoked.id, "object": "api_key.revoked", "revoked_at": revoked.revoked_at})


def _id(request: web.Request) -> str:
    found = request.match_info["id"]
    if found != _FIRST_KEY and ID_PATTERN.fullmatch(found) is None:
        raise NotFound("There is no such API key.")
    return found


def _answer(request: web.Request, report: KeyReport, more: dict[str, Any]) -> web.Response:
    configured = request.app[API].engine.reports.offered()
    told = terms.unknown(report.key.limits, models=configured.models, channels=configured.channels)
    return render.response(_object(report) | more | {"warnings": told}, {"Cache-Control": "no-store"})


def _changed(before: KeyLimits, fields: bodies.Fields) -> KeyLimits:
    """The limits with what the fields say of them in its place."""
    changes: dict[str, Any] = {}
    for name, ours in (
        *(("allowed_models", "models"), ("allowed_channels", "channels")),
        ("allowed_addresses", "addresses"),
    ):
        if name in fields:
            changes[ours] = asked.array(fields, name)
    if "expires_at" in fields:
        changes["expires_at"] = values.integer(fields, "expires_at")
    for name, ours in (("requests_per_minute", "requests_per_minute"), ("max_running", "running")):
        if name in fields:
            changes[ours] = asked.number(fields, name)
    if "budget" in fields:
        changes["budget"], changes["period"] = _budget(fields.pop("budget"))
    return msgspec.structs.replace(before, **changes)


def _budget(value: Any) -> tuple[int | None, Period]:
    if value is None:
        return None, "total"
    if not isinstance(value, dict):
        raise invalid_type("budget", "an object", value)
    for name in value:
        if name not in ("value", "currency", "period"):
            raise InvalidRequest(f"Unknown parameter: 'budget.{shown(name)}'.", param="budget")
    dollars, period = value.get("value"), value.get("period", "total")
    if isinstance(dollars, bool) or not isinstance(dollars, int | float | str):
        raise invalid_type("budget.value", "a number", dollars)
    if value.get("currency", "usd") != "usd":
        raise InvalidRequest("Invalid 'budget': its currency can only be 'usd'.", param="budget")
    return terms.dollars(dollars), terms.period_of(str(period))


def _object(report: KeyReport) -> dict[str, Any]:
    key, limits = report.key, report.key.limits
    budget = None
    if limits.budget is not None:
        budget = {**_money(limits.budget), "period": limits.period}
    return {
        "id": key.id,
        "object": "api_key",
        "name": key.name,
        "state": report.state(time.time()),
        "tenant": key.tenant,
        "user": None if report.user is None else {"id": report.user.id, "name": report.user.name},
        "admin": key.admin,
        "chooses_channel": key.chooses_channel,
        "created_at": key.created_at,
        "last_used_at": key.last_used_at,
        "revoked_at": key.revoked_at,
        "expires_at": limits.expires_at,
        "allowed_models": limits.models,
        "allowed_channels": limits.channels,
        "allowed_addresses": limits.addresses,
        "requests_per_minute": limits.requests_per_minute or None,
        "max_running": limits.running or None,
        "budget": budget,
        "spent": {**_money(report.spent), "period": report.period},
        "left": None if report.left is None else _money(report.left),
    }


def _money(amount: int) -> dict[str, Any]:
    return {"value": float(money.dollars(amount)), "currency": "usd"}
