"""The one outbound HTTP client of a channel: its base URL, credentials, timeouts, and what an answer means."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cache, partial
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import aiohttp
import msgspec
from multidict import CIMultiDict
from yarl import URL

from proxy.errors import ApiError, Outcome, Throttled, UpstreamError, UpstreamRefused
from proxy.models import Reply, Source
from proxy.upstream.answers import (
    LARGEST_BODY,
    TRANSPORT_ERRORS,
    decode,
    retry_after,
    sentence,
    status_error,
    transport_error,
)
from proxy.upstream.guard import Allowance, ForbiddenAddress, UnusableUrl, check_url, same_origin
from proxy.upstream.http import FLIGHT, Flight, Form, Http, TooLarge, bounded, form_payload, json_payload
from proxy.upstream.ledger import Submission, submission
from proxy.upstream.ledger import current as ledger_of
from proxy.upstream.redact import Redactor

__all__ = ["BadTarget", "Http", "Submission", "Timeout", "Upstream", "submission"]

log = logging.getLogger("reelgate.upstream")

_VERSION: Final = re.compile(r"v\d+(?:\.\d+)?(?:(?:alpha|beta)\d*)?")
_ABSOLUTE: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/")
_BAD_PATH: Final = re.compile(r"[\x00-\x1f\x7f\\#]")
_BAD_HEADER: Final = re.compile(r"[\x00\r\n]")
_DIGIT: Final = re.compile(r"\d")

_SHORTEST_ID: Final = 6
_SHORTEST_CREDENTIAL: Final = 8  # longer than the scheme words before it
_OPEN_HEADERS: Final = frozenset(("accept", "content-type", "user-agent"))


class Timeout(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Seconds, of API calls, not of content.

    `connect` is until the connection stands, `first_byte` from the request sent to its answer (and between two bytes
    of it), `total` for all of it.
    """

    connect: float = 10.0
    first_byte: float = 60.0
    total: float = 300.0


class BadTarget(UpstreamError, ValueError):
    """A path or an address that a plugin must not call: nothing was sent."""


class Upstream:
    """The upstream of one channel.

    `base_url` is the provider's origin plus any prefix (a `ValueError` when it is malformed or has a query);
    `allow_hosts` says which private hosts results may come from. The channel's credentials go to its own origin only.
    """

    headers: Callable[[], Mapping[str, str]]
    """Asked before each call: the channel's credentials."""
    refusal: Callable[[int, Reply], ApiError | None]
    """Asked for each answer before the table is: the error that it means, else None."""

    def __init__(
        self,
        http: Http,
        *,
        name: str,
        base_url: str,
        timeout: Timeout = Timeout(),  # noqa: B008 - frozen
        allow_hosts: Sequence[str] = (),
        redactor: Redactor | None = None,
    ) -> None:
        self.name: Final = name
        self.headers = dict
        self.refusal = _no_word
        self._http = http
        self._base = _checked_base(base_url)
        self._origin = URL(self._base).origin() if self._base else None
        self._allowance = Allowance(self._base or None, allow_hosts)
        self.redactor: Final = redactor or Redactor()
        self._timeout = aiohttp.ClientTimeout(
            total=timeout.total, connect=timeout.connect, sock_read=timeout.first_byte
        )
        self._content_timeout = aiohttp.ClientTimeout(total=None, connect=timeout.connect, sock_read=timeout.first_byte)

    # -- addresses -----------------------------------------------------------------------------------------------------

    def url(self, path: str) -> str:
        """The address of `path` at this upstream.

        A version that both ends the base URL and begins the path is taken once. An address that the upstream gave
        passes when it is on the channel's own origin; everything else raises `BadTarget`, which is a `ValueError`.
        """
        if _BAD_PATH.search(path):
            raise self._bad("The path of an upstream call has a backslash, a fragment or control characters.")
        if self._origin is None:
            raise self._bad("The channel has no base_url.")
        if _ABSOLUTE.match(path):
            try:
                target = check_url(path)
            except UnusableUrl:
                raise self._bad("The upstream gave an address that is malformed.") from None
            if not same_origin(target, self._origin):
                raise self._bad("The upstream gave an address that is not on its own origin.")
            return path
        bare, mark, query = path.partition("?")
        steps = bare.lstrip("/").split("/")
        if any(part in (".", "..") for step in steps for part in re.split(r"[/\\]", unquote(step))):
            raise self._bad("The path of an upstream call has a '..' in it.")
        return "/".join([self._base, *steps[self._overlap(steps) :]]) + mark + query

    def _overlap(self, steps: list[str]) -> int:
        """How many of the first `steps` of a path the base URL already ends with, up to a version."""
        own = urlsplit(self._base).path.split("/")[1:]
        if not own or not _VERSION.fullmatch(own[-1]):
            return 0
        return next((n for n in range(len(own), 0, -1) if own[-n:] == steps[:n]), 0)

    # -- calls ---------------------------------------------------------------------------------------------------------

    async def get(
        self, path: str, *, params: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """GET `path`. Raises what the answer means: any error of `ApiError`."""
        return await self._call("GET", path, params=params, headers=headers)

    async def post(
        self,
        path: str,
        *,
        json: Any = None,
        form: Form | None = None,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        paid: bool = True,
    ) -> Reply:
        """POST `json`, or `form` as multipart (a list of pairs may repeat a name).

        A paid request goes out once, on a connection of its own; unless it certainly was not taken, its errors have
        the outcome `UNKNOWN`. Say `paid=False` for what costs nothing, such as an upload before the submission.
        """
        return await self._call("POST", path, params=params, headers=headers, json=json, form=form, paid=paid)

    async def put(
        self,
        path: str,
        *,
        json: Any = None,
        form: Form | None = None,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> Reply:
        """PUT something that costs nothing."""
        return await self._call("PUT", path, params=params, headers=headers, json=json, form=form)

    async def delete(
        self, path: str, *, params: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """DELETE `path`."""
        return await self._call("DELETE", path, params=params, headers=headers)

    @asynccontextmanager
    async def open(self, source: Source, *, range: str | None = None) -> AsyncIterator[aiohttp.ClientResponse]:
        """GET the bytes of `source.url`, undecoded, with whatever status the answer has.

        `source.headers` go to that URL's origin only. The timeouts are the channel's, without a total. Raises
        `UpstreamError` until the answer begins; what breaks later is aiohttp's own error.
        """
        if source.url is None:
            raise ValueError("only a Source with a url can be opened")
        async with AsyncExitStack() as stack:
            try:
                response = await stack.enter_async_context(
                    self._http.fetch(
                        source.url,
                        timeout=self._content_timeout,
                        allowance=self._allowance,
                        headers=source.headers,
                        range=range,
                    )
                )
            except ForbiddenAddress as forbidden:
                log.warning(
                    "channel %s: a result lies on %s, a host that is not public; if it is yours, add it to allow_hosts",
                    self.name,
                    forbidden.host,
                )
                raise UpstreamError("The upstream's result lies where this server does not fetch from.") from None
            except UnusableUrl as error:
                log.warning("channel %s: a result cannot be fetched: %s", self.name, error)
                raise UpstreamError("The upstream gave an address of its result that cannot be used.") from None
            except TRANSPORT_ERRORS as error:
                log.warning("channel %s: a result cannot be fetched: %s", self.name, type(error).__name__)
                raise transport_error(error) from None
            yield response

    # -- one call ------------------------------------------------------------------------------------------------------

    async def _call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
        json: Any = None,
        form: Form | None = None,
        paid: bool = False,
    ) -> Reply:
        url = self.url(path)
        credentials = self.headers()
        sent = self._merged(credentials, headers, json=json is not None)
        # Looked for only in what went wrong.
        words = cache(partial(_words, url, params, credentials))
        ledger = ledger_of.get()
        flight = Flight()
        refused = False
        try:
            try:
                reply = await self._exchange(method, url, params, sent, json, form, flight if paid else None)
                error = self._meaning(method, reply, words)
                if error is None:
                    return reply
            except TooLarge:
                error = UpstreamError(f"The upstream's answer has more than {LARGEST_BODY} bytes.")
                self._log(method, error, "its answer is too large")
            except TRANSPORT_ERRORS as cause:
                error = transport_error(cause, connected=flight.connected if paid else None)
                self._log(method, error, self.redactor.text(f"{type(cause).__name__}: {_broke(cause)}", words()))
            refused = error.outcome is not Outcome.UNKNOWN
            raise self._settled(error, paid=paid) from None
        finally:
            if ledger is not None and flight.connected and not refused:
                ledger.taken = True

    def _merged(
        self, credentials: Mapping[str, str], extra: Mapping[str, str] | None, *, json: bool
    ) -> CIMultiDict[str]:
        sent = CIMultiDict({"Accept": "application/json", "Content-Type": "application/json"})
        sent.update(credentials)
        sent.update(extra or {})
        if not json:
            # Some servers refuse an empty body that is labelled; a form's label gets its boundary from aiohttp.
            sent.popall("Content-Type", None)
        for name, value in sent.items():
            if _BAD_HEADER.search(name) or _BAD_HEADER.search(value):
                log.error("channel %s: the header %r has a line break in it; look at its api_key", self.name, name)
                raise self._settled(UpstreamRefused("The upstream cannot be asked: its channel is misconfigured."))
        return sent

    async def _exchange(
        self,
        method: str,
        url: str,
        params: Mapping[str, str] | None,
        headers: CIMultiDict[str],
        json: Any,
        form: Form | None,
        flight: Flight | None,
    ) -> Reply:
        if form is not None:
            async with form_payload(form) as fields:
                return await self._sent(method, url, params, headers, fields, flight)
        return await self._sent(method, url, params, headers, json_payload(json), flight)

    async def _sent(
        self,
        method: str,
        url: str,
        params: Mapping[str, str] | None,
        headers: CIMultiDict[str],
        body: Any,
        flight: Flight | None,
    ) -> Reply:
        session = self._http.calls
        if flight is not None:
            session = self._http.paid
            FLIGHT.set(flight)
        async with session.request(
            method,
            url,
            params=params,
            data=body,
            headers=headers,
            # A 307 would send the body, and any redirect our credentials, once more.
            allow_redirects=False,
            timeout=self._timeout,
        ) as response:
            return decode(
                await bounded(response, LARGEST_BODY),
                status=response.status,
                headers={name.lower(): value for name, value in response.headers.items()},
            )

    # -- what came of it -----------------------------------------------------------------------------------------------

    def _meaning(self, method: str, reply: Reply, words: Callable[[], list[str]]) -> ApiError | None:
        try:
            error = self.refusal(reply.status, reply)
        except ApiError as raised:
            error = raised
        except Exception as bug:
            why = self.redactor.text(repr(bug), words())
            log.error("channel %s: refusal() of its plugin failed on HTTP %d: %s", self.name, reply.status, why)
            error = None
        if error is None:
            if 200 <= reply.status < 300:
                return None
            error = status_error(reply, self.redactor, words())
        else:
            error.message = self.redactor.text(error.message, words())
            error.args = (error.message,)
            if isinstance(error, Throttled) and error.retry_after is None:
                error.retry_after = retry_after(reply.headers)
        if error is not None:
            said = self.redactor.text(sentence(reply), words())
            self._log(method, error, f"it answered HTTP {reply.status}{said and f' and said: {said}'}")
        return error

    def _log(self, method: str, error: ApiError, what: str) -> None:
        # A refusal that is the client's affair, or a busy upstream, is no fault that an operator could mend.
        level = logging.WARNING if error.status >= 500 else logging.INFO
        log.log(level, "channel %s: %s failed: %s", self.name, method, what)

    def _settled(self, error: ApiError, *, paid: bool = False) -> ApiError:
        """`error` with the outcome that it has here: see `Submission`."""
        ledger = ledger_of.get()
        if ledger is not None and ledger.taken:
            error.outcome = Outcome.UNKNOWN
            error.should_retry = False
        elif not paid and error.outcome is Outcome.UNKNOWN:
            error.outcome = Outcome.REFUSED
        return error

    def _bad(self, message: str) -> ApiError:
        error = BadTarget(message)
        # Outside of a submission nobody knows whether a paid call went before.
        return error if ledger_of.get() is None else self._settled(error)


def _checked_base(base_url: str) -> str:
    if not base_url:
        return ""
    try:
        url = check_url(base_url)
    except UnusableUrl as error:
        raise ValueError(f"base_url cannot be used: {error}") from None
    if url.raw_query_string or url.raw_fragment or "?" in base_url or "#" in base_url:
        raise ValueError("base_url cannot have a query or a fragment; remove what begins with '?' or '#'")
    return base_url.rstrip("/")


def _broke(cause: BaseException) -> str:
    """What broke. aiohttp and asyncio put the address into the sentence of a connection that could not be made."""
    if not isinstance(cause, aiohttp.ClientConnectorError):
        return str(cause)
    number = cause.os_error.errno or 0
    # A failed look-up of a name is negative and has its own words.
    return os.strerror(number) if number > 0 else cause.os_error.strerror or "no connection"


def _words(url: str, params: Mapping[str, str] | None, credentials: Mapping[str, str]) -> list[str]:
    """What an answer may repeat of the call and no client may see: the job's id in the address, our credentials."""
    steps = [unquote(step) for step in urlsplit(url).path.split("/")]
    ids = [word for word in (*steps, *(params or {}).values()) if len(word) >= _SHORTEST_ID and _DIGIT.search(word)]
    values = [value for name, value in credentials.items() if name.lower() not in _OPEN_HEADERS]
    return ids + [word for value in values for word in value.split() if len(word) >= _SHORTEST_CREDENTIAL]


def _no_word(status: int, reply: Reply) -> ApiError | None:
    return None
