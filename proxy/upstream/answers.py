"""What an upstream's answer, or the lack of one, means: the table of CONTRACT 3 and the provider's own sentence."""

from __future__ import annotations

import logging
import math
import os
import re
import time
from collections.abc import Iterable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, Final

import aiohttp
import msgspec
from aiohttp.http_exceptions import HttpProcessingError

from proxy.errors import (
    AccountRefused,
    ApiError,
    InvalidRequest,
    Outcome,
    Throttled,
    UpstreamError,
    UpstreamGone,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from proxy.reply import Reply
from proxy.upstream.guard import ForbiddenAddress, UnusableUrl
from proxy.upstream.redact import Redactor

log = logging.getLogger("reelgate.upstream")

LARGEST_BODY: Final = 8 * 2**20
"""Bytes of an API answer, after decompression."""

LONGEST_TEXT: Final = 2000
"""Characters that `Reply.text` keeps of a body that is no JSON."""

LONGEST_WAIT: Final = 86_400.0

CLIENTS_FAULT: Final = frozenset((400, 413, 415, 422, 451))
ACCOUNTS_FAULT: Final = frozenset((401, 402, 403))
GONE: Final = frozenset((404, 405, 410))
TIMED_OUT: Final = frozenset((408, 504))

TRANSPORT_ERRORS: Final = (aiohttp.ClientError, HttpProcessingError, OSError, EOFError)
"""All that a call may raise when no whole answer came; `TimeoutError` is an `OSError`."""

# Raised before a connection exists, and by nothing else.
_NOT_CONNECTED: Final = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.ServerFingerprintMismatch,
    aiohttp.InvalidURL,
    aiohttp.NonHttpUrlClientError,
)

# Where providers put their sentence, the usual place first.
_SENTENCES: Final = (
    "error.message",
    "message",
    "error_description",
    "detail",
    "error",
    "msg",
    "detail[0].msg",
    "errors[0].message",
    "error.detail",
    "error_message",
    "base_resp.status_msg",
)
_PARAM: Final = re.compile(r"[A-Za-z][\w.\[\]-]{0,63}", re.ASCII)


def decode(body: bytes, *, status: int, headers: Mapping[str, str]) -> Reply:
    """The `Reply` that a whole body makes; `data` is None and `text` its beginning where it is no JSON."""
    try:
        return Reply(msgspec.json.decode(body.removeprefix(b"\xef\xbb\xbf")), status=status, headers=headers)
    except (ValueError, RecursionError):
        text = body[: 4 * LONGEST_TEXT].decode("utf-8", "replace")[:LONGEST_TEXT]
        return Reply(None, status=status, headers=headers, text=text)


def status_error(reply: Reply, redactor: Redactor, ids: Iterable[str]) -> ApiError | None:
    """The error that the status means (CONTRACT 3, "Submission outcomes"), or None for a 2xx."""
    status = reply.status
    if 200 <= status < 300:
        return None
    said = redactor.text(sentence(reply), ids)
    if status in CLIENTS_FAULT:
        why = f": {said}" if said else f" without saying why (HTTP {status})."
        return InvalidRequest(f"The upstream refused the request{why}", param=_param(reply))
    if status in ACCOUNTS_FAULT:
        # What a provider says here is about the operator's account, which is none of the client's business.
        return AccountRefused(
            f"The upstream does not accept this server's credentials or account (HTTP {status}). "
            "Only the operator can change that."
        )
    if status in GONE:
        gone = UpstreamGone(f"The upstream does not know what was asked for (HTTP {status}){_tail(said)}")
        if status == 410:
            # Not among the refusals of a submission: it may have been there for a moment.
            gone.outcome = Outcome.UNKNOWN
        return gone
    if status == 429:
        return Throttled("The upstream is too busy; try again later.", retry_after=retry_after(reply.headers))
    if status in TIMED_OUT:
        return UpstreamTimeout(f"The upstream answered that it timed out (HTTP {status}){_tail(said)}")
    return UpstreamError(f"The upstream answered HTTP {status}{_tail(said)}")


def transport_error(error: BaseException, *, connected: bool | None = None) -> UpstreamError:
    """The error that a call without a whole answer means.

    `connected` says whether a connection was made, where that is known; None leaves it to the class of `error`.
    """
    if connected is None:
        connected = not isinstance(error, _NOT_CONNECTED)
    if not connected:
        return UpstreamUnreachable("The upstream cannot be reached; nothing was sent to it.")
    if isinstance(error, TimeoutError):
        return UpstreamTimeout("The upstream did not answer in time.")
    return UpstreamError("The connection to the upstream broke, or its answer was no HTTP.")


def unreachable(channel: str, error: BaseException, what: str) -> UpstreamError:
    """What it means that an address which the upstream gave, of `what`, cannot be used; the log says where it is."""
    if isinstance(error, ForbiddenAddress):
        log.warning(
            "channel %s: %s lies on %s, a host that is not public; if it is yours, add it to allow_hosts",
            channel,
            what,
            error.host,
        )
        return UpstreamError(f"The address that the upstream gave for {what} is not public.")
    if isinstance(error, UnusableUrl):
        log.warning("channel %s: the address of %s cannot be used: %s", channel, what, error)
        return UpstreamError(f"The upstream gave an address for {what} that cannot be used.")
    log.warning("channel %s: %s failed: %s", channel, what, type(error).__name__)
    return transport_error(error)


def broke(cause: BaseException) -> str:
    """What broke. aiohttp and asyncio put the address into the sentence of a connection that could not be made."""
    if not isinstance(cause, aiohttp.ClientConnectorError):
        return str(cause)
    number = cause.os_error.errno or 0
    # A failed look-up of a name is negative and has its own words.
    return os.strerror(number) if number > 0 else cause.os_error.strerror or "no connection"


def sentence(reply: Reply) -> str:
    """The provider's own words in an error body, not yet redacted; empty where there are none."""
    for path in _SENTENCES:
        if isinstance(found := reply.get(path), str) and found.strip():
            return found.strip()
    return ""


def retry_after(headers: Mapping[str, str], *, said: float | None = None) -> float | None:
    """Seconds, 0 to a day, that the answer asks to wait: what the plugin read out of it, as `said`, else
    `retry-after-ms`, or `retry-after` as a number or a date."""
    if said is not None and not math.isnan(said):
        return _clamped(said)
    if (milliseconds := _number(headers.get("retry-after-ms"))) is not None:
        return _clamped(milliseconds / 1000)
    value = headers.get("retry-after")
    if (seconds := _number(value)) is not None:
        return _clamped(seconds)
    if (moment := _date(value)) is None:
        return None
    # The upstream's own clock, where it shows it: ours may be off by more than the wait.
    now = _date(headers.get("date"))
    return _clamped(moment - (time.time() if now is None else now))


def _number(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return None if math.isnan(number) else number


def _date(value: str | None) -> float | None:
    try:
        moment = parsedate_to_datetime(value or "")
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def _clamped(seconds: float) -> float:
    return min(max(seconds, 0.0), LONGEST_WAIT)


def _tail(said: str) -> str:
    return f": {said}" if said else "."


def _param(reply: Reply) -> str | None:
    param: Any = reply.get("error.param", reply.get("param"))
    return param if isinstance(param, str) and _PARAM.fullmatch(param) else None
