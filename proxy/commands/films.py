"""`reelgate videos create` and `reelgate videos download`: from a prompt to a file."""

from __future__ import annotations

import json
import mimetypes
import os
import secrets
import shlex
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import click

from proxy.commands import complete
from proxy.commands.terminal import Failed, placed, plain

if TYPE_CHECKING:
    from proxy.commands.remote import Remote, Told
    from proxy.commands.waiting import Meter

PATIENCE: Final = 60.0
"""Seconds for which an order is repeated of which nobody knows whether it arrived; it has an Idempotency-Key."""
NOT_FOUND: Final = 404
INTERRUPTED: Final = 130
"""The exit code of a command that Ctrl-C has ended."""
ENDINGS: Final = {"video": "mp4", "thumbnail": "webp", "spritesheet": "jpg"}

OUTPUT = click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="The file, or the folder to put it in."
)
FORCE = click.option("--force", is_flag=True, help="Write over a file that is there.")


@click.command("create")
@placed
@click.argument("prompt")
@click.option("-m", "--model", metavar="MODEL", shell_complete=complete.models, help="The model; sora-2.")
@OUTPUT
@click.option("--seconds", metavar="N", help="The length; the model's own.")
@click.option("--size", metavar="WxH", help="Width and height, or a ratio such as 16:9; the model's own.")
@click.option("--image", metavar="FILE|URL", help="The first frame.", type=click.Path())
@click.option("--seed", type=int, metavar="N", help="For models that can repeat themselves.")
@click.option("--no-wait", is_flag=True, help="Print the id and leave.")
@FORCE
@click.option("--json", "as_json", is_flag=True, help="Print the video as JSON, with the file that it went to.")
@click.pass_context
def create_video(
    ctx: click.Context,
    prompt: str,
    model: str | None,
    output: Path | None,
    seconds: str | None,
    size: str | None,
    image: str | None,
    seed: int | None,
    no_wait: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Make a video of PROMPT, wait for it, and print the name of the file that it is in."""
    from proxy.commands.remote import Remote
    from proxy.commands.transfer import check_place
    from proxy.commands.waiting import Meter

    remote = Remote.from_environment()
    if not no_wait:
        check_place(output, force)
    fields = {"model": model, "prompt": prompt, "seconds": seconds, "size": size, "seed": seed}
    body, headers = _body({name: value for name, value in fields.items() if value is not None}, image)
    meter = Meter()
    try:
        told = _ordered(remote, body, headers, meter)
    except KeyboardInterrupt:
        meter.note("Interrupted; the order may have been taken all the same: reelgate videos list shows it.")
        ctx.exit(INTERRUPTED)
    video = remote.video(told)
    if adjusted := told.headers.get("x-reelgate-adjusted"):
        meter.note(f"The channel makes something near what was asked: {plain(adjusted)}")
    if no_wait:
        click.echo(json.dumps(video, indent=2) if as_json else plain(video["id"]))
        return
    with _going_on(ctx, video["id"], output, None, force, meter):
        _finish(remote, told, output, None, force, as_json, meter)


@click.command("download")
@placed
@click.argument("video_id", shell_complete=complete.videos)
@OUTPUT
@click.option("--variant", type=click.Choice(["video", "thumbnail", "spritesheet"]), help="video.")
@click.option("--wait", "waits", is_flag=True, help="Wait for it where it is not finished.")
@FORCE
@click.option("--json", "as_json", is_flag=True, help="Print the video as JSON, with the file that it went to.")
@click.pass_context
def download_video(
    ctx: click.Context,
    video_id: str,
    output: Path | None,
    variant: str | None,
    waits: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Bring a finished video into a file, and print its name. What broke off goes on where it did."""
    from proxy.commands.remote import Remote
    from proxy.commands.transfer import check_place
    from proxy.commands.waiting import ENDED, Meter

    remote = Remote.from_environment()
    check_place(output, force)
    told = remote.ask(_path(video_id))
    video = remote.video(told)
    if video["status"] not in ENDED and not waits:
        raise Failed(f"the video is {plain(video['status'])}, {video['progress']}%: add --wait, or come back later")
    meter = Meter()
    with _going_on(ctx, video["id"], output, variant, force, meter):
        _finish(remote, told, output, variant, force, as_json, meter)


@contextmanager
def _going_on(
    ctx: click.Context, video_id: str, output: Path | None, variant: str | None, force: bool, meter: Meter
) -> Iterator[None]:
    """Says at Ctrl-C, and where the server or the disk fails, how to go on: the video does so by itself."""
    from proxy.commands.remote import Refused, Unanswered
    from proxy.commands.transfer import Unwritten

    words = ["reelgate", "videos", "download", video_id, *(["-o", str(output)] if output else [])]
    words += [*(["--variant", variant] if variant else []), "--wait", *(["--force"] if force else [])]
    how = f"The video goes on without this command; to have it: {shlex.join(words)}"
    try:
        yield
    except KeyboardInterrupt:
        meter.note(how)
        ctx.exit(INTERRUPTED)
    except (Unanswered, Refused, Unwritten) as error:
        meter.clear()
        if isinstance(error, Refused) and error.status == NOT_FOUND:
            # Somebody has deleted it.
            raise
        raise Failed(f"{error}\n{how}") from error


def _finish(
    remote: Remote, told: Told, output: Path | None, variant: str | None, force: bool, as_json: bool, meter: Meter
) -> None:
    from proxy.commands.transfer import Transfer, check_place, name_of, place
    from proxy.commands.waiting import wait

    path = _path(remote.video(told)["id"])
    video = wait(remote, path, told, meter)
    if video["status"] == "failed":
        raise Failed(f"{plain(video['error']['code'])}: {plain(video['error']['message'])}")
    target = place(output, name_of(video["id"], video.get("prompt"), ENDINGS[variant or "video"]))
    check_place(target, force)
    Transfer(remote, f"{path}/content", target, meter, variant=variant).run(force)
    click.echo(json.dumps({**video, "file": str(target)}, indent=2) if as_json else str(target))


# ---------------------------------------------------------------- the order


def _ordered(remote: Remote, body: bytes, headers: Mapping[str, str], meter: Meter) -> Told:
    """The answer to the order. It carries a name of its own, so that it can be repeated and is paid for once."""
    from proxy.commands.remote import Refused, Unanswered
    from proxy.commands.waiting import pause_of

    named = {**headers, "Idempotency-Key": str(uuid.uuid4())}
    until = time.monotonic() + PATIENCE
    tries = 0
    taken = ""
    while True:
        otherwise = 0.25 * 2 ** min(tries, 6)
        try:
            return remote.send("/v1/videos", body, named)
        except Unanswered as error:
            if error.lost:
                taken = " The order may have been taken all the same: reelgate videos list shows it."
            # One that did not even begin is an address or a server that is not there.
            if not error.again or not (error.lost or tries) or time.monotonic() + otherwise > until:
                raise Failed(f"{error}{taken}") from error
            wait, why = otherwise, "the connection broke: the same order once more"
        except Refused as error:
            wait, why = pause_of(error.headers, otherwise), str(error)
            if not _repeatable(error) or time.monotonic() + wait > until:
                raise _better(remote, error) from error
        tries += 1
        meter.pause(wait, "ordering", 0.0, plain(why))


def _repeatable(error: Any) -> bool:
    return error.status in (429, 500, 502, 503, 504) and error.headers.get("x-should-retry") != "false"


def _better(remote: Remote, error: Any) -> Exception:
    """The error, with the models that there are where the one that was asked for is not."""
    if error.code != "model_not_found":
        return Failed(plain(error))
    from proxy.errors import ReelgateError

    try:
        names = ", ".join(plain(model["id"]) for model in remote.get("/v1/models")["data"])
    except (ReelgateError, KeyError, TypeError):
        return Failed(plain(error))
    return Failed(f"{plain(error)} There are: {names or 'none'}")


def _body(fields: Mapping[str, Any], image: str | None) -> tuple[bytes, dict[str, str]]:
    """The body of the order, and its headers: JSON, or with a picture from the disk multipart as the SDKs send it."""
    for key, value in fields.items():
        try:
            str(value).encode()
        except UnicodeEncodeError:
            said = f"the {key} has bytes that are no UTF-8: check the encoding of the terminal, or of the script"
            raise Failed(said) from None
    if image is None or image.startswith(("http://", "https://", "data:")):
        given = {**fields, **({"input_reference": {"image_url": image}} if image else {})}
        return json.dumps(given).encode(), {"Content-Type": "application/json"}
    file = Path(image)
    try:
        data = file.read_bytes()
    except OSError as error:
        raise Failed(f"--image: {file} cannot be read ({error.strerror}): name a picture, or its address") from error
    boundary = secrets.token_hex(16)
    name = quote(os.fsencode(file.name), safe=" ").replace('"', "%22")
    kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    parts = [f'form-data; name="{key}"\r\n\r\n{value}\r\n'.encode() for key, value in fields.items()]
    head = f'form-data; name="input_reference"; filename="{name}"\r\nContent-Type: {kind}\r\n\r\n'
    parts.append(head.encode() + data + b"\r\n")
    lines = b"".join(b"--%b\r\nContent-Disposition: %b" % (boundary.encode(), part) for part in parts)
    return lines + f"--{boundary}--\r\n".encode(), {"Content-Type": f"multipart/form-data; boundary={boundary}"}


def _path(video_id: str) -> str:
    return f"/v1/videos/{quote(video_id, safe='')}"
