"""`reelgate keys`: API keys of clients, and what they may do."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING

import click

from proxy.commands.stores import store_file, with_store
from proxy.commands.terminal import Failed, Group, config_file, demo_stands_in, moment, placed, print_table, tick

if TYPE_CHECKING:
    from proxy.accounts.administration import Administration, KeyReport
    from proxy.records import Key, KeyLimits
    from proxy.store import Store

PAGE = 500


@click.group(cls=Group)
@placed
def keys() -> None:
    """API keys of clients."""


@keys.command("create")
@placed
@click.argument("name", required=False)
@click.option("--name", "named", metavar="NAME", help="Another way to give the name.")
@click.option("--user", metavar="USER", help="Whose key it is; keys of one user share their videos.")
@click.option("--admin", is_flag=True, help="It may use the admin API.")
@click.option("--choose-channel", is_flag=True, help="Its requests may name their channel (metadata.channel).")
@click.option("--models", default="", metavar="A,B", help="The only models that it may use.")
@click.option("--channels", default="", metavar="A,B", help="The only channels that make its videos.")
@click.option("--expires", default="", metavar="WHEN", help="30d (or h, w), 2027-01-31, or unix seconds.")
@click.option("--rpm", default="", metavar="N", help="Requests per minute.")
@click.option("--max-running", default="", metavar="N", help="Unfinished videos at once.")
@click.option("--budget", default="", metavar="DOLLARS", help="What its videos may cost in all, or per --period.")
@click.option("--period", default="", metavar="PERIOD", help="Of the budget: day, month or total; total.")
@click.option("--addresses", default="", metavar="NET,NET", help="Where it may be used from, such as 10.0.0.0/8.")
def create_key(
    name: str | None,
    named: str | None,
    user: str | None,
    admin: bool,
    choose_channel: bool,
    models: str,
    channels: str,
    expires: str,
    rpm: str,
    max_running: str,
    budget: str,
    period: str,
    addresses: str,
) -> None:
    """Make a key and print it, once."""
    label = (named or name or "").strip()
    if not label or (name and named and name != named):
        raise click.UsageError("give one name for the key: reelgate keys create NAME")
    if not label.isprintable() or len(label) > 100:
        raise click.UsageError("the name of a key has at most 100 printable characters")
    if period and not budget:
        raise click.UsageError("--period is that of a budget: give --budget too")
    from proxy.accounts import terms
    from proxy.accounts.administration import COMMAND_LINE

    limits = terms.read(
        models=models,
        channels=channels,
        expires=expires,
        requests_per_minute=rpm,
        max_running=max_running,
        budget=budget,
        period=period,
        addresses=addresses,
    )

    async def create(store: Store) -> tuple[str, Key]:
        return await _administration(store).create_key(
            label,
            actor=COMMAND_LINE,
            user=user or None,
            limits=limits,
            chooses_channel=choose_channel,
            admin=admin,
            strict=False,
        )

    plain, key = asyncio.run(with_store(store_file(), create))
    for warning in _unknown(limits):
        click.echo(f"warning: {warning}", err=True)
    click.echo(f"Key {key.name} ({key.id}) is ready; it is shown this once:", err=True)
    click.echo(plain)


@keys.command("list")
@placed
def list_keys() -> None:
    """List the keys, what they may do and what they spent; never their secrets."""
    rows = [
        (
            *(report.key.id, report.key.name, report.key.tenant, tick(report.key.admin or report.key.chooses_channel)),
            *(moment(report.key.created_at), moment(report.key.last_used_at)),
            *(_spent(report), _limits(report.key.limits), moment(report.key.revoked_at)),
        )
        for report in asyncio.run(with_store(store_file(), _all, create=False))
    ]
    head = ("ID", "NAME", "TENANT", "CHOOSES CHANNEL", "CREATED", "LAST USED", "SPENT", "LIMITS", "REVOKED")
    print_table(head, rows)


@keys.command("revoke")
@placed
@click.argument("name")
def revoke_key(name: str) -> None:
    """End a key, by its NAME or its id."""
    from proxy.accounts.administration import COMMAND_LINE
    from proxy.errors import NotFound

    now = int(time.time())
    try:
        key: Key = asyncio.run(
            with_store(
                store_file(),
                lambda store: _administration(store).revoke_key(name, actor=COMMAND_LINE),
                create=False,
            )
        )
    except NotFound:
        raise Failed(f"there is no key with the name or id {name!r}; see reelgate keys list") from None
    if key.revoked_at is not None and key.revoked_at < now:
        click.echo(f"Key {key.name} ({key.id}) was revoked before, at {moment(key.revoked_at)}.", err=True)
    else:
        click.echo(f"Key {key.name} ({key.id}) is revoked.", err=True)
    if key.admin:
        click.echo("A key in a server's REELGATE_ADMIN_KEY stays good as long as the server has it.", err=True)


def _administration(store: Store) -> Administration:
    from proxy.accounts.administration import Administration
    from proxy.accounts.users import Users

    return Administration(store, Users(store))


async def _all(store: Store) -> list[KeyReport]:
    """Oldest first."""
    from proxy.accounts.administration import COMMAND_LINE

    administration = _administration(store)
    found: list[KeyReport] = []
    has_more = True
    while has_more:
        after = found[-1].id if found else None
        page, has_more = await administration.keys(actor=COMMAND_LINE, after=after, limit=PAGE)
        found += page
    return found[::-1]


def _spent(report: KeyReport) -> str:
    from proxy import money

    of = "" if report.key.limits.budget is None else f" of ${money.shown(report.key.limits.budget)}"
    period = {"day": "today", "month": "this month", "total": "in all"}[report.period]
    return f"${money.shown(report.spent)}{of} {period}"


def _limits(limits: KeyLimits) -> str:
    words = [
        *(
            f"{noun} {','.join(named)}"
            for noun, named in (("models", limits.models), ("channels", limits.channels))
            if named
        ),
        *([f"until {moment(limits.expires_at)}"] if limits.expires_at is not None else []),
        *([f"{limits.requests_per_minute}/min"] if limits.requests_per_minute else []),
        *([f"{limits.running} running"] if limits.running else []),
        *([f"from {','.join(limits.addresses)}"] if limits.addresses else []),
    ]
    return "; ".join(words) or "-"


def _unknown(limits: KeyLimits) -> list[str]:
    """What the limits name that channels.yaml has not, as far as that can be read here."""
    if limits.models is None and limits.channels is None:
        return []
    from proxy import plans as planned
    from proxy.accounts import terms

    file, demo = config_file(), demo_stands_in()
    if not (file.exists() or demo):
        return []
    plans = planned.survey(file, os.environ, (), demo=demo).plans
    models = {public for plan in plans for public in plan.offers}
    return terms.unknown(limits, models=models, channels={plan.entry.name for plan in plans})
