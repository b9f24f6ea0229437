"""`/admin/api/users`: who may log in to the dashboard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from proxy.accounts.passwords import MAX_LENGTH
from proxy.api import bodies, render, values
from proxy.api.admin import asked
from proxy.api.auth import operator
from proxy.api.context import API
from proxy.api.values import shown
from proxy.errors import InvalidRequest, NotFound
from proxy.ids import ID_PATTERN
from proxy.records import Role

if TYPE_CHECKING:
    from proxy.records import User

ROLES: Final[tuple[Role, ...]] = ("admin", "member")


async def page(request: web.Request) -> web.StreamResponse:
    """`GET /admin/api/users`: all of them, oldest first, the disabled ones too."""
    key = await operator(request)
    users = await request.app[API].administration.users(actor=key)
    return render.response(render.listing([_object(user) for user in users], False))


async def create(request: web.Request) -> web.StreamResponse:
    """`POST /admin/api/users`."""
    key = await operator(request)
    fields = await asked.fields(request, "name", "password", "role")
    name = values.required_text(fields, "name", asked.MAX_WORD)
    password = values.required_text(fields, "password", MAX_LENGTH)
    role = _role(fields)
    user = await request.app[API].administration.create_user(name, password, actor=key, role=role or "member")
    return render.response(_object(user))


async def retrieve(request: web.Request) -> web.StreamResponse:
    """`GET /admin/api/users/{id}`."""
    key = await operator(request)
    return render.response(_object(await request.app[API].administration.user(_id(request), actor=key)))


async def change(request: web.Request) -> web.StreamResponse:
    """`POST /admin/api/users/{id}`: what is left out stays. A new password or disabling logs out everywhere."""
    key = await operator(request)
    user_id = _id(request)
    fields = await asked.fields(request, "role", "disabled", "password")
    role = _role(fields)
    disabled = values.boolean(fields, "disabled")
    password = values.text(fields, "password", MAX_LENGTH)
    user = await request.app[API].administration.change_user(
        user_id, actor=key, role=role, disabled=disabled, password=password
    )
    return render.response(_object(user))


async def log_out(request: web.Request) -> web.StreamResponse:
    """`DELETE /admin/api/users/{id}/sessions`: log the user out everywhere."""
    key = await operator(request)
    user_id = _id(request)
    ended = await request.app[API].administration.log_out(user_id, actor=key)
    return render.response({"id": user_id, "object": "user.logged_out", "sessions": ended})


def _id(request: web.Request) -> str:
    found = request.match_info["id"]
    if ID_PATTERN.fullmatch(found) is None:
        raise NotFound("There is no such user.")
    return found


def _role(fields: bodies.Fields) -> Role | None:
    text = values.text(fields, "role", asked.MAX_WORD)
    for known in ROLES:
        if text == known:
            return known
    if text is None:
        return None
    raise InvalidRequest(f"Invalid value: '{shown(text)}'. Supported values are: 'admin' and 'member'.", param="role")


def _object(user: User) -> dict[str, Any]:
    return {
        "id": user.id,
        "object": "user",
        "name": user.name,
        "role": user.role,
        "tenant": user.tenant,
        "created_at": user.created_at,
        "password_changed_at": user.password_at,
        "last_login_at": user.last_login_at,
        "disabled": user.disabled_at is not None,
        "disabled_at": user.disabled_at,
    }
