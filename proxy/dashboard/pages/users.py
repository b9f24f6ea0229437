"""`/dashboard/users` (admins): who may log in, and as what."""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from aiohttp import web

from proxy.accounts import passwords
from proxy.accounts.limits import since
from proxy.accounts.passwords import MAX_LENGTH, MIN_LENGTH, BadPassword
from proxy.accounts.users import LastAdmin, NameTaken
from proxy.dashboard.forms import Form
from proxy.dashboard.languages import text
from proxy.dashboard.routing import Pages
from proxy.dashboard.view import View
from proxy.errors import InvalidRequest, NotFound
from proxy.ids import ID_PATTERN
from proxy.records import Role, User
from proxy.store import keys as key_rows
from proxy.store.usage import Usage, totals

if TYPE_CHECKING:
    from collections.abc import Awaitable

pages = Pages("users", admin=True)

HERE: Final = "/dashboard/users"
ONE: Final = HERE + "/{id}"
NOT_THERE: Final = text("There is no such user.")


class Account(NamedTuple):
    """A user with the number of its live keys, and what it ordered and spent this month (UTC)."""

    user: User
    keys: int
    videos: int
    spent: int


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody typed of a new user; a password is never shown again."""

    name: str = ""
    role: Role = "member"


@pages.show(HERE)
async def show(view: View) -> web.StreamResponse:
    """All users, oldest first."""
    users = await view.site.accounts.administration.users(actor=view.key)
    counted = await view.site.store.read(partial(_counted, began=since("month", time.time())))
    accounts = [Account(user, *counted(user.tenant)) for user in users]
    return view.render("users.html", accounts=accounts)


@pages.show(HERE + "/new")
async def ask_new(view: View) -> web.StreamResponse:
    """The form for a new user."""
    return _new(view, Wish(), {})


@pages.take(HERE + "/new")
async def create(view: View, form: Form) -> web.StreamResponse:
    """Make a user; a password that was made here is shown in the answer, this once."""
    wish = Wish(form.text("name"), _role(form))
    given = form.exact("password")
    password = given or passwords.generate()
    try:
        user = await view.site.accounts.administration.create_user(wish.name, password, actor=view.key, role=wish.role)
    except NameTaken:
        return _new(view, wish, {"name": view.say("There is a user of that name already: take another one.")})
    except BadPassword:
        return _new(view, wish, {"password": _lengths(view)})
    except InvalidRequest:
        words = view.say(
            "A name has 1 to 64 letters (a to z), digits or . _ - @ + and begins with a letter or a digit."
        )
        return _new(view, wish, {"name": words})
    if given:
        return view.go(f"{HERE}/{user.id}", notice=view.say("The user {name} was made.", name=user.name))
    return view.render("user_password.html", user=user, password=password, fresh=True)


@pages.show(ONE)
async def show_one(view: View) -> web.StreamResponse:
    """One user."""
    return await _one(view, await _user(view))


@pages.take(ONE + "/role")
async def change_role(view: View, form: Form) -> web.StreamResponse:
    """Make somebody an admin or a member."""
    user, role = await _user(view), _role(form)
    refused = await _changed(
        view, user, view.site.accounts.administration.change_user(user.id, actor=view.key, role=role)
    )
    if refused is not None:
        return refused
    words = view.say("{name} is an admin now.", name=user.name)
    if role == "member":
        words = view.say("{name} is a member now.", name=user.name)
    # Who has just given it up cannot look at this page any more.
    gone = user.id == view.user.id and role == "member"
    return view.go("/dashboard" if gone else f"{HERE}/{user.id}", notice=words)


@pages.take(ONE + "/disable")
async def disable(view: View, form: Form) -> web.StreamResponse:
    """Log somebody out and in no more, once it was agreed to."""
    user = await _user(view)
    if not form.ticked("sure"):
        return view.render(
            "sure.html",
            title=view.say("Disable {name}?", name=user.name),
            words=view.say(
                "The user is logged out everywhere and cannot log in, and its API keys are refused. "
                "Admin keys stay good until you revoke them."
            ),
            label=view.say("Disable"),
            back=f"{HERE}/{user.id}",
        )
    work = view.site.accounts.administration.change_user(user.id, actor=view.key, disabled=True)
    refused = await _changed(view, user, work)
    if refused is not None:
        return refused
    return view.go(f"{HERE}/{user.id}", notice=view.say("{name} cannot log in any more.", name=user.name))


@pages.take(ONE + "/enable")
async def enable(view: View, form: Form) -> web.StreamResponse:
    """Let somebody log in again."""
    user = await _user(view)
    await view.site.accounts.administration.change_user(user.id, actor=view.key, disabled=False)
    return view.go(f"{HERE}/{user.id}", notice=view.say("{name} can log in again.", name=user.name))


@pages.take(ONE + "/password")
async def set_password(view: View, form: Form) -> web.StreamResponse:
    """Give somebody another password, or have one made, which the answer shows, this once."""
    user = await _user(view)
    given = form.exact("password")
    password = given or passwords.generate()
    keep = view.session.id if user.id == view.user.id else None
    try:
        await view.site.accounts.administration.change_user(user.id, actor=view.key, password=password, keep=keep)
    except BadPassword:
        return await _one(view, user, {"password": _lengths(view)})
    if given:
        words = view.say("The password of {name} was changed, and its sessions ended.", name=user.name)
        return view.go(f"{HERE}/{user.id}", notice=words)
    return view.render("user_password.html", user=user, password=password, fresh=False)


@pages.take(ONE + "/log-out")
async def log_out(view: View, form: Form) -> web.StreamResponse:
    """End all sessions of somebody."""
    user = await _user(view)
    await view.site.accounts.administration.log_out(user.id, actor=view.key)
    return view.go(f"{HERE}/{user.id}", notice=view.say("{name} was logged out everywhere.", name=user.name))


# ---------------------------------------------------------------- the rest


def _role(form: Form) -> Role:
    return "admin" if form.text("role") == "admin" else "member"


def _lengths(view: View) -> str:
    return view.say("A password has {least} to {most} characters.", least=MIN_LENGTH, most=MAX_LENGTH)


async def _user(view: View) -> User:
    user_id = view.request.match_info["id"]
    if ID_PATTERN.fullmatch(user_id) is None:
        raise NotFound(NOT_THERE)
    return await view.site.accounts.administration.user(user_id, actor=view.key)


async def _changed(view: View, user: User, change: Awaitable[User]) -> web.Response | None:
    """The page that tells why the change cannot be; None where it was made."""
    try:
        await change
    except LastAdmin:
        words = view.say(
            "{name} is the only admin who can log in. Make another user an admin first, or nobody could manage the "
            "users any more.",
            name=user.name,
        )
        return await _one(view, user, {"": words})
    return None


def _counted(db: sqlite3.Connection, began: float) -> Callable[[str], tuple[int, int, int]]:
    """Tenant -> number of live keys, and of videos ordered since `began` (unix seconds), and what those cost."""
    keys = Counter(key.tenant for key in key_rows.all_keys(db) if key.revoked_at is None)
    found = {str(row.group[0]): row for row in totals(db, since=began, until=time.time() + 1, by=("tenant",))}
    nothing = Usage((), 0, 0, 0, 0, 0)

    def of(tenant: str) -> tuple[int, int, int]:
        row = found.get(tenant, nothing)
        return keys[tenant], row.videos, row.amount

    return of


def _new(view: View, wish: Wish, errors: dict[str, str]) -> web.Response:
    status = 422 if errors else 200
    return view.render("user_new.html", status=status, wish=wish, errors=errors, least=MIN_LENGTH, most=MAX_LENGTH)


async def _one(view: View, user: User, errors: dict[str, str] | None = None) -> web.Response:
    counted = await view.site.store.read(partial(_counted, began=since("month", time.time())))
    sessions = await view.site.accounts.sessions.of_user(user.id)
    return view.render(
        "user.html",
        status=422 if errors else 200,
        account=Account(user, *counted(user.tenant)),
        sessions=len(sessions),
        errors=errors or {},
        least=MIN_LENGTH,
        most=MAX_LENGTH,
    )
