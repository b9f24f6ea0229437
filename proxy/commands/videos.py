"""`reelgate videos …`: a client of a running server. What it prints of others' making is free of control characters."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import click

from proxy.commands import complete
from proxy.commands.films import create_video, download_video
from proxy.commands.terminal import Failed, Group, moment, placed, plain, print_table, table

if TYPE_CHECKING:
    from proxy.commands.remote import Remote

HTTP_FORBIDDEN: Final = 403
PAGE: Final = 100
LIST_WIDTH: Final = 48
EVIDENCE_WIDTH: Final = 60
"""Characters of a prompt in a list of videos, and in the inbox."""
ANSWERS: Final = (
    "Settle each with `reelgate videos resolve VIDEO` and one of: --attach UPSTREAM_ID (the upstream has it under this "
    "id), --not-created (it certainly has not), --give-up."
)

AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, as the server says it.")


@click.group(cls=Group)
@placed
def videos() -> None:
    """Videos of a running server (REELGATE_URL, REELGATE_API_KEY)."""


videos.add_command(create_video)
videos.add_command(download_video)


@videos.command("list")
@placed
@click.option("--limit", type=click.IntRange(1, PAGE), default=20, show_default=True, help="How many at most.")
@AS_JSON
def list_videos(limit: int, as_json: bool) -> None:
    """List your videos, newest first."""
    page = _remote().get("/v1/videos", limit=limit)
    if as_json:
        _print_json(page)
        return
    rows = [
        (
            *(plain(video["id"]), plain(video["status"]), f"{video['progress']}%", plain(video["model"])),
            *(_ordered(video), moment(video["created_at"]), _cut(video["prompt"], LIST_WIDTH)),
        )
        for video in page["data"]
    ]
    print_table(("ID", "STATUS", "DONE", "MODEL", "ORDERED", "CREATED", "PROMPT"), rows)
    if page["has_more"]:
        click.echo(f"There are more: the newest {limit} are shown.", err=True)


@videos.command("get")
@placed
@click.argument("video_id", shell_complete=complete.videos)
@AS_JSON
def get_video(video_id: str, as_json: bool) -> None:
    """Show a video; with an admin key also where it was sent, why, and what came of it."""
    from proxy.commands.remote import Refused

    remote = _remote()
    try:
        story = remote.get(f"/admin/api/videos/{_path(video_id)}")
    except Refused as error:
        if error.status != HTTP_FORBIDDEN:
            raise
        story = {"video": remote.get(f"/v1/videos/{_path(video_id)}")}
    video = story.pop("video")
    if as_json:
        _print_json({**video, "operator": story} if story else video)
        return
    facts = [*_facts(video), *(_operators_facts(story) if story else ())]
    width = max(len(name) for name, _ in facts)
    for name, text in facts:
        click.echo(f"{name.ljust(width)}  {text}")
    for attempt in story.get("attempts", ()):
        for line in _attempt(attempt):
            click.echo(line)
    for row in story.get("audit", ()):
        click.echo(_audited(row))


@videos.command("unknown")
@placed
@AS_JSON
def unknown(as_json: bool) -> None:
    """List the submissions whose outcome is unknown, with the evidence of each (admin)."""
    doubts = list(_unknown(_remote(admin=True)))
    if as_json:
        _print_json(doubts)
        return
    if not doubts:
        click.echo("The outcome of every submission is known.", err=True)
        return
    now = time.time()
    head, *rows = table(
        ("VIDEO", "WHAT", "CHANNEL", "MODEL", "ORDERED", "PRICE", "CREATED"), [_row(doubt, now) for doubt in doubts]
    )
    click.echo(head)
    for row, doubt in zip(rows, doubts, strict=True):
        click.echo(row)
        for line in _evidence(doubt):
            click.echo(f"    {line}")
    click.echo(ANSWERS, err=True)


@videos.command("resolve")
@placed
@click.argument("video_id", shell_complete=complete.videos)
@click.option("--attach", "upstream_id", metavar="UPSTREAM_ID", help="The upstream has it, under this id: deliver it.")
@click.option("--not-created", is_flag=True, help="The upstream certainly has no such job: nothing was paid.")
@click.option("--give-up", is_flag=True, help="Nobody will find out.")
@click.option("--note", metavar="TEXT", help="How you know; kept in the audit.")
@click.option("--force", is_flag=True, help="Attach although the upstream says that it has no such job.")
def resolve(
    video_id: str, upstream_id: str | None, not_created: bool, give_up: bool, note: str | None, force: bool
) -> None:
    """Settle an unknown outcome by one of three answers (admin); prints the id of the video that goes on or ended."""
    from proxy.commands.remote import Refused

    if (upstream_id is not None) + not_created + give_up != 1:
        raise click.UsageError("give one answer: --attach UPSTREAM_ID, --not-created or --give-up")
    if force and upstream_id is None:
        raise click.UsageError("--force goes with --attach only")
    body: dict[str, Any] = {"answer": "not_created" if not_created else "give_up"}
    if upstream_id is not None:
        body = {"answer": "attach", "upstream_id": upstream_id, "force": force}
    if note:
        body["note"] = note
    try:
        answer = _remote(admin=True).post(f"/admin/api/videos/{_path(video_id)}/resolve", body)
    except Refused as error:
        raise Failed(str(error).replace('"force": true', "--force")) from error
    video, delivered_as = answer["video"], answer["delivered_as"]
    if delivered_as is None:
        click.echo(f"Settled. The video is {_status(video)}", err=True)
    elif delivered_as == video["id"]:
        click.echo(f"Settled. The video goes on from the upstream's job: {_status(video)}", err=True)
    else:
        click.echo("Settled. The video stays as it is; its job is delivered as a new one, linked to it:", err=True)
    click.echo(plain(delivered_as or video["id"]))


# ---------------------------------------------------------------- asking


def _remote(*, admin: bool = False) -> Remote:
    from proxy.commands.remote import Remote

    return Remote.from_environment(admin=admin)


def _unknown(remote: Remote) -> Iterator[dict[str, Any]]:
    after = None
    while True:
        page = remote.get("/admin/api/unknown", limit=PAGE, after=after)
        yield from page["data"]
        if not page["has_more"]:
            return
        after = page["last_id"]


def _path(video_id: str) -> str:
    return quote(video_id, safe="")


# ---------------------------------------------------------------- saying


def _print_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2))


def _row(doubt: dict[str, Any], now: float) -> tuple[str, ...]:
    video, price = doubt["video"], doubt["estimated_price"]
    return (
        plain(video["id"]),
        _what(doubt, now),
        plain(doubt["channel"]),
        plain(video["model"]),
        _ordered(video),
        "-" if price is None else f"${price:.2f}",
        moment(video["created_at"]),
    )


def _what(doubt: dict[str, Any], now: float) -> str:
    kind = "taken too late" if doubt["kind"] == "late" else "unknown"
    if doubt["grace_ends_at"] is not None:
        return f"{kind}, fails in {_span(doubt['grace_ends_at'] - now)}"
    if doubt["stage"] == "deleted":
        return f"{kind}, deleted by its owner"
    return f"{kind}, {plain(doubt['video']['status'])}"


def _evidence(doubt: dict[str, Any]) -> Iterator[str]:
    yield f"for {_owner(doubt)}"
    yield f"prompt: {_cut(doubt['video']['prompt'], EVIDENCE_WIDTH)}"
    for attempt in doubt["attempts"]:
        yield from _attempt(attempt)
    channel = plain(doubt["channel"])
    match doubt["recovers"]:
        case None:
            yield f"{channel} is not in channels.yaml at present"
        case False:
            yield f"{channel} cannot look submissions up: see the provider's own list of jobs"
        case _ if doubt["grace_ends_at"] is not None:
            yield f"{channel} can look submissions up, and is asked until then"
        case _:
            yield f"{channel} can look submissions up, and did not find it"


def _attempt(attempt: dict[str, Any]) -> Iterator[str]:
    sent = f"attempt {plain(attempt['id'])} on {plain(attempt['channel'])} at {moment(attempt['started_at'])}"
    state = plain(attempt["state"])
    if attempt["ended_at"] is not None:
        state += f" after {max(attempt['ended_at'] - attempt['started_at'], 0):.1f} s"
    if attempt["settled"] is not None:
        state += f", settled as {plain(attempt['settled'])}"
    yield f"{sent}: {state}" + (f" ({plain(attempt['note'])})" if attempt["note"] else "")
    if attempt["upstream_id"] is not None:
        yield f"    the upstream calls it {plain(attempt['upstream_id'])}"
    decision = attempt["decision"]
    if decision is not None:
        yield f"    why {plain(decision['chosen'])}: {plain(decision['because'])}"
        for name, reason in decision.get("others", {}).items():
            yield f"    why not {plain(name)}: {plain(reason)}"


def _facts(video: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "ID", plain(video["id"])
    yield "STATUS", _status(video)
    yield "MODEL", plain(video["model"])
    yield "ORDERED", _ordered(video)
    yield "CREATED", moment(video["created_at"])
    for name, key in (("COMPLETED", "completed_at"), ("EXPIRES", "expires_at")):
        if video[key] is not None:
            yield name, moment(video[key])
    yield "PROMPT", plain(video["prompt"])
    for name, key in (
        ("REMIXED FROM", "remixed_from_video_id"),
        ("REPLACES", "replaces_video_id"),
        ("REPLACED BY", "replaced_by_video_id"),
    ):
        if video.get(key) is not None:
            yield name, plain(video[key])


def _operators_facts(story: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "FOR", _owner(story)
    if story["channel"] is not None:
        yield "CHANNEL", f"{plain(story['channel'])}, as {plain(story['upstream_model'])}"
    yield "STAGE", plain(story["stage"])
    waits_for = story.get("waits_for")
    if waits_for == {}:
        yield "WAITS", "no channel that is enabled serves its model"
    for name, reason in (waits_for or {}).items():
        yield "WAITS", f"{plain(name)} {plain(reason)}"
    if story["upstream_id"] is not None:
        yield "UPSTREAM ID", plain(story["upstream_id"])


def _audited(row: dict[str, Any]) -> str:
    note = row["details"].get("note")
    said = f"{moment(row['at'])}: {plain(row['actor'])} answered {plain(row['action'])}"
    return f"{said} ({plain(note)})" if note else said


def _owner(of: dict[str, Any]) -> str:
    key = of["key"]
    # The operator's own key, REELGATE_ADMIN_KEY, has no record and so no name.
    name = plain(key["id"]) if key["name"] is None else f"{plain(key['name'])} ({plain(key['id'])})"
    return f"key {name}, tenant {plain(of['tenant'])}"


def _status(video: dict[str, Any]) -> str:
    if video["status"] == "failed":
        return f"failed ({plain(video['error']['code'])}): {plain(video['error']['message'])}"
    return f"{plain(video['status'])}, {video['progress']}%"


def _ordered(video: dict[str, Any]) -> str:
    return f"{plain(video['seconds'])} s, {plain(video['size'])}"


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{max(seconds, 0):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"


def _cut(text: str | None, width: int) -> str:
    whole = plain(text or "")
    return whole if len(whole) <= width else whole[: width - 1] + "…"
