"""What is wrong with the machine that Reelgate runs on, and with what its environment says."""

from __future__ import annotations

import errno
import http.client
import importlib.util
import json
import os
import queue
import shutil
import socket
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Final
from urllib.parse import urlsplit

from proxy.accounts.keys import is_weak
from proxy.accounts.passwords import MIN_LENGTH
from proxy.accounts.secret import FILE as SECRET_FILE
from proxy.accounts.secret import SHORTEST
from proxy.config import Server
from proxy.data_folder import problem as problem_of
from proxy.doctor.findings import Finding
from proxy.media.archive import problem
from proxy.plans import Plan
from proxy.upstream.guard import is_public

LEAST: Final = 256 * 2**20
"""Bytes of free space below which a store soon cannot be written."""
SKEW: Final = 60.0
"""Seconds of a wrong clock from which signed requests and tokens are refused by some providers."""
WITHIN: Final = 3.0
"""Seconds that a server on the port has to answer."""

_PROXIES: Final = ("http_proxy", "https_proxy", "all_proxy")


def data_folder(data: Path) -> Iterator[Finding]:
    """Whether `data` can be written, and is for us alone. Blocks."""
    if (said := problem_of(data)) is not None:
        yield Finding("wrong", "data folder", said)
    elif not data.exists():
        yield Finding("ok", "data folder", f"{data} is not there yet: the first start makes it")
    elif data.stat().st_mode & 0o077:
        yield Finding("?", "data folder", f"other users of this machine may look into {data}: chmod 700 {data}")
    else:
        yield Finding("ok", "data folder", f"{data} can be written")


def space(data: Path, server: Server, archived: int) -> Iterator[Finding]:
    """Whether what may still be written has room; `archived` bytes are in the archive already. Blocks."""
    wanted = {"the media cache (server.media_cache)": max(server.media_cache - size_of(data / "kept"), 0)}
    archive = None if server.archive is None or "://" in server.archive else Path(server.archive)
    here = existing(data)
    if (
        archive is not None
        and server.archive_max_bytes is not None
        and existing(archive).stat().st_dev == here.stat().st_dev
    ):
        wanted["the archive (server.archive_max_bytes)"] = max(server.archive_max_bytes - archived, 0)
    free = shutil.disk_usage(here).free
    if free < LEAST:
        yield Finding(
            "wrong", "space", f"{shown(free)} left for {data}: make room, or the store cannot be written soon"
        )
    elif free < sum(wanted.values()):
        names = " and ".join(name for name, size in wanted.items() if size)
        said = f"{shown(free)} left for {data}, but {names} may still grow by {shown(sum(wanted.values()))}: lower it"
        yield Finding("?", "space", said)
    else:
        yield Finding("ok", "space", f"{shown(free)} left for {data}")


def size_of(folder: Path) -> int:
    """Bytes of all files in `folder`. Blocks."""
    sizes = 0
    for place, _, files in os.walk(folder):
        for name in files:
            try:
                sizes += os.lstat(os.path.join(place, name)).st_size
            except OSError:
                # Gone meanwhile: a server may be at work.
                continue
    return sizes


def clock(seen: Sequence[float]) -> Iterator[Finding]:
    """Whether the clock is right, by that of the upstreams: `seen` says by how many seconds each is before ours."""
    if not seen:
        return
    off = median(seen)
    if abs(off) > SKEW:
        way = "behind" if off > 0 else "ahead"
        said = f"is {abs(off):.0f} s {way} of what the upstreams say: set it (NTP), or signed requests are refused"
        yield Finding("wrong", "clock", said)
    else:
        yield Finding("ok", "clock", f"agrees with that of {len(seen)} upstream{'' if len(seen) == 1 else 's'}")


def media() -> Iterator[Finding]:
    """Whether films can be decoded."""
    if importlib.util.find_spec("av") is None:
        said = "is missing: no thumbnails, no remixes from a first frame, no demo; pip install 'reelgate[media]'"
        yield Finding("?", "PyAV", said)
    else:
        yield Finding("ok", "PyAV", "is installed")


def secrets(data: Path, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Whether what signs and opens could be guessed. Blocks."""
    found = []
    secret = environ.get("REELGATE_SECRET", "")
    if secret and len(secret.encode()) < SHORTEST:
        found.append(f"REELGATE_SECRET is short enough to be guessed from a link: use {SHORTEST} characters or more")
    if (key := environ.get("REELGATE_ADMIN_KEY", "")) and is_weak(key):
        found.append("REELGATE_ADMIN_KEY is short enough to be guessed: use 32 characters or more")
    if (password := environ.get("REELGATE_ADMIN_PASSWORD", "")) and len(password) < MIN_LENGTH:
        found.append(f"REELGATE_ADMIN_PASSWORD is short enough to be guessed: use {MIN_LENGTH} characters or more")
    file = data / SECRET_FILE
    try:
        if not secret and file.exists():
            if len(file.read_bytes().strip()) < SHORTEST:
                found.append(f"{file} is too short to be a secret: remove it, and the next start makes a new one")
            elif file.stat().st_mode & 0o077:
                found.append(f"other users of this machine may read {file}: chmod 600 {file}")
    except OSError as error:
        found.append(f"{file} cannot be read ({error.strerror}): check its owner")
    yield from (Finding("wrong", "secrets", said) for said in found)
    if not found:
        yield Finding("ok", "secrets", "none that is set is weak")


def public_url(server: Server, plans: Sequence[Plan], reached: Collection[str]) -> Iterator[Finding]:
    """Whether this server has an address for those who need one; `reached` is where its name leads."""
    needing = sorted(one.entry.name for one in plans if one.cls.picture_form.address)
    if server.public_url is None:
        if needing:
            said = f"is not set: {', '.join(needing)} take pictures by address only, so set server.public_url"
            yield Finding("wrong", "public_url", said)
        else:
            yield Finding(
                "ok", "public_url", "is not set, and no channel needs it; links go by the Host of each request"
            )
        return
    host = urlsplit(server.public_url).hostname or ""
    if not reached:
        yield Finding(
            "wrong", "public_url", f"no address is known for {host}: correct server.public_url, or the name servers"
        )
        return
    if needing and not all(map(is_public, reached)):
        said = f"{host} is a private address, where {', '.join(needing)} cannot fetch pictures: name a public one"
        yield Finding("?", "public_url", said)
    else:
        yield Finding("ok", "public_url", f"{host} has an address")


def archive(server: Server) -> Iterator[Finding]:
    """Whether the archive can be used. Blocks."""
    if server.archive is None:
        return
    said = problem(server.archive)
    yield Finding("ok", "archive", "nothing speaks against it") if said is None else Finding("wrong", "archive", said)


def port(host: str, number: int, served: bool) -> Iterator[Finding]:
    """Whether a server can listen there, or does already; `served`: whether one works on this store. Blocks."""
    subject = f"port {number}"
    if (ready := _reelgate(host, number)) is not None:
        if not ready:
            yield Finding("?", subject, "a Reelgate is there, but takes no requests: it starts or stops")
        else:
            yield Finding("ok", subject, "a Reelgate answers there")
        return
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as free:
            # As the server does: what an ended one leaves behind does not count.
            free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            free.bind((host, number))
            free.listen()
    except OSError as error:
        if error.errno == errno.EADDRINUSE and served:
            yield Finding("?", subject, "another program has it; the server of this store listens elsewhere")
            return
        if error.errno == errno.EADDRINUSE:
            said = "another program has it, or a Reelgate that does not answer: end it, or choose --port"
        else:
            said = f"cannot be listened on at {host} ({error.strerror}): choose another --host or --port"
        yield Finding("wrong", subject, said)
        return
    yield Finding("ok", subject, "is free" + ("; the server of this store listens elsewhere" if served else ""))


def _reelgate(host: str, number: int) -> bool | None:
    """Whether the Reelgate on the port takes requests; None where there is none."""
    told: queue.SimpleQueue[bool | None] = queue.SimpleQueue()
    # What sends a byte now and then keeps a connection busy for ever.
    threading.Thread(target=lambda: told.put(_ready(host, number)), daemon=True, name="reelgate-doctor").start()
    try:
        return told.get(timeout=WITHIN)
    except queue.Empty:
        return None


def _ready(host: str, number: int) -> bool | None:
    everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound
    connection = http.client.HTTPConnection(everywhere.get(host, host), number, timeout=WITHIN)
    try:
        connection.request("GET", "/readyz")
        told = json.loads(connection.getresponse().read(1000))["status"]
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return None
    finally:
        connection.close()
    return {"ready": True, "not ready": False}.get(told) if isinstance(told, str) else None


def proxies(environ: Mapping[str, str]) -> Iterator[Finding]:
    """The variables that name a proxy, which upstreams are not asked through."""
    named = sorted(name for name, value in environ.items() if name.lower() in _PROXIES and value)
    if named:
        said = "not used, upstreams are asked directly: where they cannot be reached so, put a gateway into base_url"
        yield Finding("?", ", ".join(named), said)


def existing(path: Path) -> Path:
    """`path`, or the folder that it will be made in."""
    whole = path.absolute()
    return next(place for place in (whole, *whole.parents) if place.exists())


def shown(size: float) -> str:
    """Bytes in words."""
    units = ["bytes", "KiB", "MiB", "GiB", "TiB"]
    while size >= 1024 and len(units) > 1:
        size /= 1024
        units.pop(0)
    return f"{size:.1f} {units[0]}"
