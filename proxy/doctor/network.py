"""How far one gets on the way to an upstream: its name, its port, its certificate. Nothing is sent to it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeVar

from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from proxy.upstream.guard import is_public

T = TypeVar("T")

SOON: Final = 14 * 86_400
"""Seconds before its end from which a certificate is worth a word."""


class Sight(NamedTuple):
    """What was seen of the way to a host. `trouble` is why one does not get there, else None; `private` says whether
    any of its addresses is not public; `ends` when its certificate does, in unix seconds."""

    trouble: str | None = None
    private: bool = False
    ends: float | None = None


class DaemonResolver(AbstractResolver):
    """The system's name resolution on threads that nobody waits for: a name whose servers never answer must not hold up
    the end of the program, as the threads of the loop would."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await in_thread(
            lambda: socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
        )
        flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        return [
            ResolveResult(hostname=host, host=str(address[0]), port=port, family=kind, proto=protocol, flags=flags)
            for kind, _, protocol, _, address in found
        ]

    async def close(self) -> None:
        """There is nothing to let go of."""


async def in_thread(work: Callable[[], T]) -> T:
    """What `work` answers, on a thread that does not keep the program alive."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(set_it: Callable[[Any], None], value: Any) -> None:
        if not done.done():
            set_it(value)

    def run() -> None:
        try:
            outcome, value = done.set_result, work()
        except BaseException as error:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(settle, done.set_exception, error)
        else:
            # The loop is closed where this took longer than anybody waited.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(settle, outcome, value)

    threading.Thread(target=run, daemon=True, name="reelgate-doctor").start()
    return await done


async def look(address: str, within: float) -> Sight:
    """Go to the host of `address`, an http or https URL, and hang up; for `within` seconds at most."""
    url = URL(address)
    host, port = url.raw_host or "", url.port or 443
    place = f"{host}:{port}"
    late = f"the name servers here do not answer for {host} within {within:.0f} s: check them, and base_url"
    try:
        async with asyncio.timeout(within):
            try:
                found = [str(one["host"]) for one in await DaemonResolver().resolve(host, port)]
            except (OSError, UnicodeError) as error:
                return Sight(
                    f"no address is known for {host} ({_words(error)}): check base_url and the name servers here"
                )
            late = f"{place} did not let us connect within {within:.0f} s: check base_url and the firewalls between"
            private = not all(map(is_public, found))
            context = await asyncio.to_thread(ssl.create_default_context) if url.scheme == "https" else None
            trouble = f"{host} has no address that can be used: check base_url"
            for ip in dict.fromkeys(found):
                try:
                    return Sight(None, private, await _shake(ip, port, host, context))
                except ssl.SSLError as error:
                    return Sight(_tls(error, place), private)
                except OSError as error:
                    trouble = (
                        f"{place} cannot be connected to ({_words(error)}): check base_url, whether it runs there, "
                        "and the firewalls between"
                    )
            return Sight(trouble, private)
    except TimeoutError:
        return Sight(late)


async def _shake(ip: str, port: int, host: str, context: ssl.SSLContext | None) -> float | None:
    """Connect, and answer when the certificate ends."""
    _, writer = await asyncio.open_connection(
        ip, port, ssl=context, server_hostname=host.rstrip(".") if context is not None else None
    )
    try:
        certificate = writer.get_extra_info("peercert") or {}
        ends = certificate.get("notAfter")
        return None if ends is None else float(ssl.cert_time_to_seconds(ends))
    finally:
        writer.transport.abort()


def _tls(error: ssl.SSLError, place: str) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        said = error.verify_message
        if "expired" in said or "not yet valid" in said:
            return (
                f"the certificate of {place} is not good now ({said}): its owner must renew it, unless the clock here "
                f"is wrong (it says {time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC)"
            )
        if "self-signed" in said or "issuer" in said:
            return (
                f"nobody known here vouches for the certificate of {place} ({said}): name the file of its authority "
                "in the environment, SSL_CERT_FILE"
            )
        return f"the certificate of {place} is not accepted ({said}): base_url must have the name that it was made for"
    reason = (error.reason or str(error)).replace("_", " ").lower()
    return f"{place} does not speak TLS as it should ({reason}): does base_url need http:// or another port?"


def _words(error: Exception) -> str:
    """What the system says of an error. A failed look-up is negative; asyncio's own sentences repeat the address."""
    number = getattr(error, "errno", None) or 0
    return os.strerror(number) if number > 0 else str(getattr(error, "strerror", None) or error)
