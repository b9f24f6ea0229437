"""The log on stderr: its two forms, and the request and the video that a line is about."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from aiohttp.http_exceptions import HttpProcessingError

if TYPE_CHECKING:
    from proxy.api.access import Access

_about: Final[ContextVar[tuple[str | None, str | None]]] = ContextVar("about", default=(None, None))
"""The ids of the request and of the video."""


def log_context(*, request_id: str | None = None, video_id: str | None = None) -> None:
    """Put these ids on every line that this task, and each task that it starts from now on, logs.

    A request begins anew, so that nothing stays of the one before it on the same connection. A video given without a
    request takes the place of another video and leaves the request.
    """
    _about.set((request_id or _about.get()[0], video_id))


class ContextFilter(logging.Filter):
    """A filter for log handlers: gives each record the attributes `request_id` and `video_id`, None where unknown."""

    def filter(self, record: logging.LogRecord) -> bool:
        request_id, video_id = _about.get()
        record.request_id = request_id
        # A line about one of many videos names it itself, with `extra`.
        record.video_id = getattr(record, "video_id", None) or video_id
        return True


def start_logging(form: str, *filters: logging.Filter) -> None:
    """Log to stderr as `console` or `json` lines, each of which passes through `filters` first."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if form == "json" else _Console())
    for one in (ContextFilter(), *filters):
        handler.addFilter(one)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    logging.getLogger("aiohttp.server").addFilter(_no_traceback_for_bad_http)


class _Console(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%SZ")
        self.converter = time.gmtime

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the standard library's name
        # Before a traceback, and not twice where the message has them already.
        line = super().formatMessage(record)
        missing = [one for one in _ids(record).values() if one not in line]
        return f"{line} [{' '.join(missing)}]" if missing else line


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_ids(record),
        }
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        if record.exc_text:
            # What a redacting filter left of it; to format it again would bring the secrets back.
            line["exception"] = record.exc_text
        return json.dumps(line, ensure_ascii=False)


def _ids(record: logging.LogRecord) -> dict[str, str]:
    found = {name: getattr(record, name, None) for name in ("request_id", "video_id")}
    return {name: one for name, one in found.items() if one is not None}


def _no_traceback_for_bad_http(record: logging.LogRecord) -> bool:
    """A request that is no HTTP is its sender's fault and answered with a 400; it says nothing about the server."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, HttpProcessingError)


class AccessWriter:
    """Gathers the lines of the access log and writes them a few times a second: a write for each line, or a logger,
    costs more than the request. Its lines are made of a path without its query: there is no secret to take out."""

    EVERY = 0.25

    def __init__(self, form: str) -> None:
        self._line = _json_line if form == "json" else _console_line
        self._waiting: list[Access] = []

    def __call__(self, access: Access) -> None:
        if not self._waiting:
            asyncio.get_running_loop().call_later(self.EVERY, self.flush)
        self._waiting.append(access)

    def flush(self) -> None:
        """Write what has gathered."""
        waiting, self._waiting = self._waiting, []
        sys.stderr.write("".join(map(self._line, waiting)))


def _console_line(access: Access) -> str:
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(access.at))
    return f"{at} INFO    reelgate.access: {access}\n"


def _json_line(access: Access) -> str:
    line = {"time": round(access.at, 3), "level": "info", "logger": "reelgate.access", **access._asdict()}
    del line["at"]
    line["milliseconds"] = round(access.milliseconds, 1)
    return json.dumps(line, ensure_ascii=False) + "\n"
