"""The one outbound HTTP client of a channel: its base URL, credentials, timeouts, and what an answer means."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager, nullcontext
from functools import cache, partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from proxy.errors import ApiError, Outcome, Throttled, UpstreamError, UpstreamRefused
from proxy.inputs import Clip
from proxy.models import Source
from proxy.reply import Reply
from proxy.upstream.addresses import BadTarget, Base
from proxy.upstream.answers import (
    ACCOUNTS_FAULT,
    LARGEST_BODY,
    TRANSPORT_ERRORS,
    broke,
    decode,
    retry_after,
    sentence,
    status_error,
    transport_error,
    unreachable,
)
from proxy.upstream.guard import Allowance, UnusableUrl, check_public, check_url
from proxy.upstream.headers import merged, misshapen
from proxy.upstream.http import FLIGHT, Flight, Form, Http, Timeout, TooLarge, bounded, form_payload, json_payload
from proxy.upstream.ledger import Submission, submission
from proxy.upstream.ledger import current as ledger_of
from proxy.upstream.listen import Messages, messages
from proxy.upstream.redact import Redactor, credentials_in, words_of
from proxy.upstream.spool import Unspoolable, spooled

__all__ = ["BadTarget", "Http", "Submission", "Timeout", "Upstream", "submission"]

log = logging.getLogger("reelgate.upstream")


class Upstream:
    """The upstream of one channel.

    `base_url` is the provider's origin plus any prefix (a `ValueError` when it is malformed or has a query);
    `allow_hosts` says which private hosts results may come from. The channel's credentials go to its own origin only,
    and to those that the plugin names itself: see `trust` and `beside`.
    `folder`, which is made when it is needed, is where calls with `spool=True` put their files (None: the system's
    folder for temporary files).

    With `spool=True` every string value of the JSON answer that is longer than 64 KiB and base64, or a data URI of it,
    is decoded into a temporary file while it arrives, and is a `Spooled` in `Reply.data`. All the rest has the bound of
    every answer. Only a 2xx is read like that; what an error says is read as ever.
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
        folder: Path | None = None,
    ) -> None:
        self.name: Final = name
        self.headers = dict
        self.refusal = lambda status, reply: None
        self._http = http
        self._base = Base(base_url)
        self._allowance = Allowance(self._base.text or None, allow_hosts)
        self._folder = folder
        self._limits = timeout
        self.redactor: Final = redactor or Redactor()
        self._timeout = aiohttp.ClientTimeout(
            total=timeout.total, connect=timeout.connect, sock_read=timeout.first_byte
        )
        # A store that takes the connection and reads nothing would hold up the submission.
        self._upload_timeout = aiohttp.ClientTimeout(
            total=2 * timeout.total, connect=timeout.connect, sock_read=timeout.first_byte
        )
        self._content_timeout = aiohttp.ClientTimeout(total=None, connect=timeout.connect, sock_read=timeout.first_byte)

    # -- addresses -----------------------------------------------------------------------------------------------------

    def url(self, path: str) -> str:
        """The address of `path` at this upstream.

        A version that both ends the base URL and begins the path is taken once. An address that the upstream gave
        passes when it is on the channel's own origin; everything else raises `BadTarget`, which is a `ValueError`.
        """
        try:
            return self._base.url(path)
        except ValueError as error:
            raise self._bad(str(error)) from None

    # -- other origins of the same provider ----------------------------------------------------------------------------

    def beside(self, base_url: str) -> Upstream:
        """Another service of the provider, such as its token endpoint: an upstream with the timeouts of this one and
        none of its credentials. `base_url` is the plugin's or the operator's, never one that an upstream gave."""
        return Upstream(
            self._http,
            name=self.name,
            base_url=base_url,
            timeout=self._limits,
            redactor=self.redactor,
            folder=self._folder,
        )

    def trust(self, base_url: str) -> None:
        """Let the headers of a `Source` go to the origin of `base_url` too, such as the provider's object storage. As
        in `beside`, it is never an address that an upstream gave; an `InvalidRequest` where it is malformed."""
        self._allowance.own(base_url)

    # -- calls ---------------------------------------------------------------------------------------------------------

    async def get(
        self,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        spool: bool = False,
    ) -> Reply:
        """GET `path`. Raises what the answer means: any error of `ApiError`."""
        return await self._call("GET", path, params=params, headers=headers, spool=spool)

    async def post(
        self,
        path: str,
        *,
        json: Any = None,
        form: Form | None = None,
        fields: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        paid: bool = True,
        spool: bool = False,
    ) -> Reply:
        """POST `json`, `form` as multipart (a list of pairs may repeat a name), or `fields` as a browser sends a plain
        form (`application/x-www-form-urlencoded`).

        A paid request goes out once, on a connection of its own; unless it certainly was not taken, its errors have
        the outcome `UNKNOWN`. Say `paid=False` for what costs nothing, such as an upload before the submission.
        """
        return await self._call(
            "POST", path, params=params, headers=headers, json=json, form=form, fields=fields, paid=paid, spool=spool
        )

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

    def listen(self, path: str, *, params: Mapping[str, str] | None = None) -> AbstractAsyncContextManager[Messages]:
        """A websocket at `path`, with the headers of every call: `async with upstream.listen("/ws") as messages`, and
        then `async for reply in messages`. It never costs anything; an `UpstreamError` where it cannot be opened."""
        url, sent = self.url(path), self._sent()
        return messages(
            self._http.sockets, url, params=params, headers=sent, limits=self._limits, settled=self._settled
        )

    @asynccontextmanager
    async def open(self, source: Source, *, range: str | None = None) -> AsyncIterator[aiohttp.ClientResponse]:
        """GET the bytes of `source.url`, undecoded, with whatever status the answer has.

        `source.headers` go to the channel's own origin only: an address elsewhere, which the upstream may have made
        up, is asked without them. The timeouts are the channel's, without a total. Raises `UpstreamError` until the
        answer begins; what breaks later is aiohttp's own error.
        """
        if source.url is None:
            raise ValueError("only a Source with a url can be opened")
        async with AsyncExitStack() as stack:
            try:
                has_key = self._allowance.owns(check_url(source.url))
                response = await stack.enter_async_context(
                    self._http.fetch(
                        source.url,
                        timeout=self._content_timeout,
                        allowance=self._allowance,
                        headers=source.headers if has_key else None,
                        range=range,
                    )
                )
            except (UnusableUrl, *TRANSPORT_ERRORS) as error:
                raise unreachable(self.name, error, "a result") from None
            if response.status in ACCOUNTS_FAULT and source.headers and not has_key:
                log.warning(
                    "channel %s: the host of a result wants a key, which goes to the origin of base_url only", self.name
                )
            yield response

    async def upload(self, clip: Clip, url: str, *, fields: Mapping[str, str] | None = None) -> None:
        """Bring `clip` to `url`, an address that the upstream gave for it: as a plain PUT, or, with `fields`, as the
        last part, `file`, of a multipart POST. It goes without any credentials and, like a result, to or from public
        hosts only. Raises an `UpstreamError` where it was not taken: nothing has been ordered."""
        try:
            status = await self._http.bring(
                clip, url, fields=fields, timeout=self._upload_timeout, allowance=self._allowance
            )
        except (UnusableUrl, *TRANSPORT_ERRORS) as error:
            raise self._settled(unreachable(self.name, error, "an upload")) from None
        except (ValueError, TypeError, AttributeError):
            # Such as a line break in the name of a field.
            log.warning("channel %s: the form of an upload, which the upstream gave, cannot be sent", self.name)
            raise self._settled(UpstreamError("The upstream gave a form for an upload that cannot be sent.")) from None
        if not 200 <= status < 300:
            log.warning("channel %s: an upload was answered with HTTP %d", self.name, status)
            raise self._settled(UpstreamError("The upstream did not take an uploaded file."))

    @contextmanager
    def unpaid(self) -> Iterator[None]:
        """Around what a plugin does before its paid call, such as a look at the source: whatever fails inside, nothing
        has been ordered, so that the outcome is `REFUSED`."""
        try:
            yield
        except ApiError as error:
            self._settled(error)
            raise
        except Exception as error:
            if (ledger := ledger_of.get()) is not None and not ledger.taken:
                ledger.before = error
            raise

    def handed_out(self, source: Source) -> URL | None:
        """The address of `source` that a client may be sent to: one that needs no key and is, as far as can be told
        without a look-up, public or permitted to this channel. None where there is none."""
        if source.url is None or source.headers:
            return None
        if any(word in unquote(source.url) for word in credentials_in(self.headers())):
            # Some providers take the key in the query too.
            return None
        try:
            return check_public(source.url, self._allowance)
        except UnusableUrl:
            return None

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
        fields: Mapping[str, str] | None = None,
        paid: bool = False,
        spool: bool = False,
    ) -> Reply:
        url = self.url(path)
        sent = self._sent(headers, json=json is not None)
        # Looked for only in what went wrong.
        words = cache(partial(words_of, url, {**(params or {}), **(fields or {})}, sent))
        ledger = ledger_of.get()
        flight = Flight()
        refused = False
        try:
            try:
                body = json_payload(json) if fields is None else aiohttp.FormData(fields)
                reply = await self._exchange(method, url, params, sent, body, form, flight if paid else None, spool)
                error = self._meaning(method, reply, words)
                if error is None:
                    return reply
                # Its files must not wait for the garbage collector: the error's traceback and this frame are a circle.
                del reply
            except TooLarge as cause:
                most = cause.args[0] if cause.args else LARGEST_BODY
                error = UpstreamError(f"The upstream's answer has more than {most} bytes.")
                self._log(method, error, "its answer is too large")
            except Unspoolable as cause:
                error = UpstreamError(cause.message)
                self._log(method, error, cause.why)
            except TRANSPORT_ERRORS as cause:
                error = transport_error(cause, connected=flight.connected if paid else None)
                self._log(method, error, self.redactor.text(f"{type(cause).__name__}: {broke(cause)}", words()))
            refused = error.outcome is not Outcome.UNKNOWN
            raise self._settled(error, paid=paid) from None
        finally:
            if ledger is not None and flight.connected and not refused:
                ledger.taken = True

    def _sent(self, extra: Mapping[str, str] | None = None, *, json: bool = False) -> CIMultiDict[str]:
        sent = merged(self.headers(), extra, json=json)
        if (name := misshapen(sent)) is not None:
            log.error("channel %s: the header %r has a line break in it; look at its api_key", self.name, name)
            raise self._settled(UpstreamRefused("The upstream cannot be asked: its channel is misconfigured."))
        return sent

    async def _exchange(
        self,
        method: str,
        url: str,
        params: Mapping[str, str] | None,
        headers: CIMultiDict[str],
        body: Any,
        form: Form | None,
        flight: Flight | None,
        spool: bool,
    ) -> Reply:
        session = self._http.calls
        if flight is not None:
            session = self._http.paid
            FLIGHT.set(flight)
        async with (
            nullcontext(body) if form is None else form_payload(form) as data,
            session.request(
                method,
                url,
                params=params,
                data=data,
                headers=headers,
                # A 307 would send the body, and any redirect our credentials, once more.
                allow_redirects=False,
                timeout=self._timeout,
            ) as response,
        ):
            status = response.status
            named = {name.lower(): value for name, value in response.headers.items()}
            if spool and 200 <= status < 300:
                return await spooled(response, self._folder, status=status, headers=named)
            return decode(await bounded(response, LARGEST_BODY), status=status, headers=named)

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
            if isinstance(error, Throttled):
                error.retry_after = retry_after(reply.headers, said=error.retry_after)
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
