"""The access log: one line for each request."""

from __future__ import annotations

import logging
from typing import Final, NamedTuple

log: Final = logging.getLogger("reelgate.access")


class Access(NamedTuple):
    """What a line says. The query is left out, because it can sign a link. `at` is in unix seconds."""

    at: float
    method: str
    path: str
    status: int
    milliseconds: float
    request_id: str
    video_id: str | None
    key_id: str | None

    def __str__(self) -> str:
        line = f"{self.method} {self.path} {self.status} {self.milliseconds:.1f}ms {self.request_id}"
        if self.video_id is not None:
            line += f" {self.video_id}"
        return line if self.key_id is None else f"{line} key={self.key_id}"


def log_line(access: Access) -> None:
    """Write a line through the logger `reelgate.access`; its record has the attribute `access`."""
    # A server sets a writer of its own (proxy/logs.py): a logger costs more than all else that a retrieve does.
    log.info("%s", access, extra={"access": access})
