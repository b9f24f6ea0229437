"""The process's outbound HTTP: a few shared sessions, and the guarded fetch of addresses that others chose."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Final
from urllib.parse import urljoin

import aiohttp
import msgspec
from aiohttp.abc import AbstractResolver
from multidict import CIMultiDict

if TYPE_CHECKING:
    from aiohttp.client_reqrep import ClientRequest
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

from proxy.inputs import Clip, Picture
from proxy.upstream.guard import NOTHING, Allowance, GuardedConnector, UnusableUrl, check_url, same_origin

FormValue = str | Picture | Clip
Form = Mapping[str, FormValue] | Sequence[tuple[str, FormValue]]
"""The fields of a multipart body; a list of pairs may repeat a name."""

USER_AGENT: Final = "reelgate"
MOST_REDIRECTS: Final = 3

# Twice this much may wait in memory for each slow reader of a result.
_READ_BUFFER: Final = 64 * 1024

_REDIRECTS: Final = frozenset((301, 302, 303, 307, 308))


class Timeout(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Seconds, of API calls, not of content."""

    connect: Annotated[float, "seconds"] = 10.0
    """Until the connection stands."""
    first_byte: Annotated[float, "seconds"] = 60.0
    """From the request sent to its answer, and between two bytes of it."""
    total: Annotated[float, "seconds"] = 300.0
    """For all of it."""


class Flight:
    """What is known about one call on the paid session: whether a connection was made, so that bytes may have left."""

    __slots__ = ("connected",)

    def __init__(self) -> None:
        self.connected = False


FLIGHT: Final[ContextVar[Flight | None]] = ContextVar("reelgate_flight", default=None)
"""The flight of the paid call that this task makes."""


class _PaidConnector(aiohttp.TCPConnector):
    """A new connection for each request, and a note in `FLIGHT` when it stands. (aiohttp's tracing would note it too,
    but calls a dozen signals for each request.)"""

    def __init__(self, *, resolver: AbstractResolver | None) -> None:
        # `limit=0`: the engine bounds what runs at once, and a call that waits for a place would look like a timeout.
        super().__init__(limit=0, resolver=resolver, force_close=True)

    async def connect(self, req: ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout) -> Connection:
        connection = await super().connect(req, traces, timeout)
        flight = FLIGHT.get()
        if flight is not None:
            flight.connected = True
        return connection


class Http:
    """The sessions that all channels share: `await start()` before the first use, `await close()` at the end.

    `calls` keeps connections to the channels' own upstreams alive; `paid` opens a new one for each request, so that a
    stale connection cannot make a refusal look like an unknown outcome; `foreign` dials public addresses only;
    `sockets` is for websockets and follows no redirect. `resolver` replaces the system's name resolution.
    """

    def __init__(self, *, resolver: AbstractResolver | None = None) -> None:
        self._resolver = resolver
        self._sessions: dict[str, aiohttp.ClientSession] = {}

    async def start(self) -> None:
        """Make the sessions, on the running loop."""
        connectors: dict[str, aiohttp.TCPConnector] = {
            "calls": aiohttp.TCPConnector(limit=0, resolver=self._resolver),
            "paid": _PaidConnector(resolver=self._resolver),
            "foreign": GuardedConnector(limit=0, resolver=self._resolver),
            "sockets": aiohttp.TCPConnector(limit=0, resolver=self._resolver),
        }
        # What opens a websocket cannot say that redirects, which would get our credentials, are not to be followed.
        staying = aiohttp.TraceConfig()
        staying.on_request_redirect.append(_refuse)
        self._sessions = {
            name: aiohttp.ClientSession(
                connector=connector,
                # Upstream cookies of one channel have no business in the calls of another.
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": USER_AGENT},
                trust_env=False,
                read_bufsize=_READ_BUFFER,
                trace_configs=[staying] if name == "sockets" else None,
            )
            for name, connector in connectors.items()
        }

    async def close(self) -> None:
        """Close every connection. Calls that are under way fail."""
        sessions, self._sessions = self._sessions, {}
        await asyncio.gather(*(session.close() for session in sessions.values()))

    @property
    def calls(self) -> aiohttp.ClientSession:
        return self._session("calls")

    @property
    def paid(self) -> aiohttp.ClientSession:
        return self._session("paid")

    @property
    def foreign(self) -> aiohttp.ClientSession:
        return self._session("foreign")

    @property
    def sockets(self) -> aiohttp.ClientSession:
        return self._session("sockets")

    def _session(self, name: str) -> aiohttp.ClientSession:
        try:
            return self._sessions[name]
        except KeyError:
            raise RuntimeError("Http is not started, or already closed") from None

    @asynccontextmanager
    async def fetch(
        self,
        url: str,
        *,
        timeout: aiohttp.ClientTimeout,
        allowance: Allowance = NOTHING,
        headers: Mapping[str, str] | None = None,
        range: str | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """GET `url`, whose host must be public unless `allowance` permits it, and every redirect hop likewise.

        The allowance is lost for good at the first hop that it does not permit: what a stranger's server answers must
        not lead into a private network. `headers` go to the first origin only and are dropped for good once a redirect
        leaves it; `range` is the value of a `Range` header and goes everywhere. Bodies are never decoded.
        `timeout.total` covers all hops together. The answer may have any status that is no redirect. Raises
        `UnusableUrl` (`ForbiddenAddress` among them) for the address itself, else aiohttp's own errors and
        `TimeoutError`.
        """
        clock = asyncio.get_running_loop().time
        started = clock()
        # A coding would break Content-Length and Range, which count the bytes that are sent.
        plain = CIMultiDict({"Accept": "*/*", "Accept-Encoding": "identity"} | ({"Range": range} if range else {}))
        sent = CIMultiDict(headers or {})
        sent.update(plain)
        target = check_url(url)
        trusted = True
        redirects = 0
        while True:
            trusted = trusted and allowance.permits(target)
            session = self.calls if trusted else self.foreign
            left = timeout.total and max(timeout.total - (clock() - started), 0.001)
            async with session.get(
                target,
                headers=sent,
                allow_redirects=False,
                auto_decompress=False,
                timeout=aiohttp.ClientTimeout(
                    total=left, connect=timeout.connect, sock_connect=timeout.sock_connect, sock_read=timeout.sock_read
                ),
            ) as response:
                location = response.headers.get("Location")
                if response.status not in _REDIRECTS or location is None:
                    yield response
                    return
            redirects += 1
            if redirects > MOST_REDIRECTS:
                raise UnusableUrl(f"The URL redirects more than {MOST_REDIRECTS} times.")
            following = check_url(_joined(str(target), location))
            if not same_origin(following, target):
                sent = plain
            target = following

    async def bring(
        self,
        clip: Clip,
        url: str,
        *,
        fields: Mapping[str, str] | None,
        timeout: aiohttp.ClientTimeout,
        allowance: Allowance = NOTHING,
    ) -> int:
        """PUT the bytes of `clip` to `url`, or, with `fields`, POST them as the last part, `file`, of a form. The host
        must be public unless `allowance` permits it; a redirect is not followed. Answers the status; raises as `fetch`.
        """
        target = check_url(url)
        session = self.calls if allowance.permits(target) else self.foreign
        async with AsyncExitStack() as stack:
            if fields is None:
                body: Any = await asyncio.to_thread(clip.path.open, "rb")
                stack.push_async_callback(asyncio.to_thread, body.close)
                headers = {"Content-Type": clip.media_type}
            else:
                body = await stack.enter_async_context(form_payload([*fields.items(), ("file", clip)]))
                headers = {}
            async with session.request(
                "PUT" if fields is None else "POST",
                target,
                data=body,
                headers=headers,
                allow_redirects=False,
                timeout=timeout,
            ) as response:
                return response.status


async def _refuse(session: aiohttp.ClientSession, context: Any, params: aiohttp.TraceRequestRedirectParams) -> None:
    answer = params.response
    answer.close()
    raise aiohttp.WSServerHandshakeError(answer.request_info, (), status=answer.status)


def _joined(base: str, location: str) -> str:
    try:
        return urljoin(base, location)
    except ValueError:
        raise UnusableUrl("The URL redirects to an address that is malformed.") from None


_AT_ONCE: Final = 64 * 1024


class TooLarge(Exception):
    """A body with more bytes than its reader takes."""


async def bounded(response: aiohttp.ClientResponse, most: int) -> bytes:
    """The whole body of `response`, decoded; `TooLarge` when it has more than `most` bytes."""
    if (response.content_length or 0) > most:
        raise TooLarge
    chunks = bytearray()
    async for chunk in response.content.iter_any():
        chunks += chunk
        if len(chunks) > most:
            raise TooLarge
    return bytes(chunks)


def json_payload(value: Any) -> bytes | io.BytesIO | None:
    """What aiohttp sends for `value` as JSON; None where there is no body."""
    if value is None:
        return None
    body = msgspec.json.encode(value)
    # aiohttp writes a file piece by piece, but a long `bytes` in one go.
    return body if len(body) <= _AT_ONCE else io.BytesIO(body)


@asynccontextmanager
async def form_payload(form: Form) -> AsyncIterator[aiohttp.FormData]:
    """What aiohttp sends for `form` as multipart. Clips are read from their files piece by piece."""
    fields = aiohttp.FormData(default_to_multipart=True)
    async with AsyncExitStack() as stack:
        for name, value in form.items() if isinstance(form, Mapping) else form:
            if isinstance(value, str):
                fields.add_field(name, value)
            elif isinstance(value, Picture):
                fields.add_field(name, io.BytesIO(value.data), content_type=value.media_type, filename=value.filename)
            elif not isinstance(value, Clip):
                raise TypeError(
                    f"the field {name!r} of a form is text, a Picture or a Clip, not {type(value).__name__}"
                )
            else:
                file: BinaryIO = await asyncio.to_thread(value.path.open, "rb")
                stack.push_async_callback(asyncio.to_thread, file.close)
                fields.add_field(name, file, content_type=value.media_type, filename=value.filename)
        yield fields
