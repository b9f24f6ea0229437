"""`reelgate users`: who may log in to the dashboard."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import click

from proxy.commands.stores import store_file, with_store
from proxy.commands.terminal import Failed, Group, moment, placed, print_table

if TYPE_CHECKING:
    from proxy.accounts.users import Users
    from proxy.records import Key, Role, User
    from proxy.store import Store

T = TypeVar("T")

PASSWORD = click.option(
    "--password",
    metavar="P",
    help="Others can see it while the command runs; without it you are asked, or without a terminal one is made.",
)


@click.group(cls=Group)
@placed
def users() -> None:
    """Users of the dashboard."""


@users.command("create")
@placed
@click.argument("name")
@PASSWORD
@click.option("--role", type=click.Choice(["member", "admin"]), help="member, but admin for the user `admin`.")
def create_user(name: str, password: str | None, role: Role | None) -> None:
    """Make a user."""
    from proxy.accounts.users import ADMIN_NAME, check_name

    check_name(name)
    made: Role = role or ("admin" if name.lower() == ADMIN_NAME else "member")
    chosen, generated = _password(password)
    user = _on_users(lambda users: users.create(name, chosen, made), create=True)
    click.echo(f"User {user.name} ({user.id}) is ready, with the role {user.role}.", err=True)
    _show(generated)


@users.command("list")
@placed
def list_users() -> None:
    """List the users."""
    rows = [
        (
            *(user.name, user.role, user.tenant, moment(user.created_at)),
            *(moment(user.last_login_at), moment(user.disabled_at)),
        )
        for user in _on_users(lambda users: users.all())
    ]
    print_table(("NAME", "ROLE", "TENANT", "CREATED", "LAST LOGIN", "DISABLED"), rows)


@users.command("passwd")
@placed
@click.argument("name")
@PASSWORD
def change_password(name: str, password: str | None) -> None:
    """Give a user another password, and log it out everywhere."""
    _on_users(lambda users: _known(users, name))
    chosen, generated = _password(password)

    async def change(users: Users) -> User:
        return await users.set_password((await _known(users, name)).id, chosen)

    user = _on_users(change)
    click.echo(f"User {user.name} has a new password and is logged out everywhere.", err=True)
    if user.disabled_at is not None:
        click.echo(f"It is disabled, and cannot log in before reelgate users enable {user.name}", err=True)
    _show(generated)


@users.command("disable")
@placed
@click.argument("name")
def disable_user(name: str) -> None:
    """Log a user out everywhere, and refuse it and its API keys until it is enabled."""

    async def disable(store: Store) -> tuple[User, list[Key]]:
        users = _users(store)
        user = await users.disable((await _known(users, name)).id)
        keys = [key for key in await store.keys() if key.tenant == user.tenant and key.revoked_at is None]
        return user, [key for key in keys if key.admin]

    user, admins = asyncio.run(with_store(store_file(), disable, create=False))
    click.echo(f"User {user.name} is disabled and logged out everywhere; its API keys are refused.", err=True)
    for key in admins:
        click.echo(f"The admin key {key.name} stays good: end it with reelgate keys revoke {key.id}", err=True)


@users.command("enable")
@placed
@click.argument("name")
def enable_user(name: str) -> None:
    """Let a user log in again, and its API keys work."""

    async def enable(users: Users) -> User:
        return await users.enable((await _known(users, name)).id)

    click.echo(f"User {_on_users(enable).name} can log in again.", err=True)


def _password(given: str | None) -> tuple[str, str | None]:
    """The password to set: the one given or typed; else one of chance, which the second value shows."""
    from proxy.accounts import passwords

    if given is None and not sys.stdin.isatty():
        made = passwords.generate()
        return made, made
    chosen: str = given if given is not None else _asked()
    passwords.check(chosen)
    return chosen, None


def _asked() -> str:
    answer: str = click.prompt("Password", hide_input=True, confirmation_prompt="Once more", err=True)
    return answer


def _show(generated: str | None) -> None:
    if generated is not None:
        click.echo("Its password is shown this once:", err=True)
        click.echo(generated)


def _users(store: Store) -> Users:
    from proxy.accounts.users import Users

    return Users(store)


def _on_users(use: Callable[[Users], Awaitable[T]], *, create: bool = False) -> T:
    async def on_store(store: Store) -> T:
        return await use(_users(store))

    return asyncio.run(with_store(store_file(), on_store, create=create))


async def _known(users: Users, name: str) -> User:
    user = await users.find(name)
    if user is None:
        raise Failed(f"there is no user {name!r}; see reelgate users list")
    return user
