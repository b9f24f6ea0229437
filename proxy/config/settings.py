"""What channels.yaml says, as frozen values; the defaults are those of CONTRACT 2."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec

from proxy.config import rules
from proxy.config.rules import Count, ModelEntry, Seconds
from proxy.upstream import Timeout


class Server(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `server:` block (CONTRACT 2)."""

    public_url: str | None = None
    database: str | None = None
    plugins: tuple[str, ...] = ()
    archive: str | None = None
    archive_max_age: Seconds | None = None
    """Seconds that a copy is kept in the archive; None: until its video is deleted."""
    archive_max_bytes: int | None = None
    """Bytes of all copies together; the oldest make room. None: no bound."""
    media_cache: int = 2 * 2**30
    """Bytes of thumbnails, sprite sheets and results that an upstream gives only within an answer, kept on disk."""
    inputs: rules.InputLimits = rules.InputLimits()
    file_ttl: Annotated[int, msgspec.Meta(ge=3600)] = 7 * 86_400
    """Seconds that a file of `POST /files` is kept where its client does not say."""
    files_per_key: int = 2**30
    """Bytes of all files that one tenant may keep."""
    submit_wait: Seconds = 20.0
    unknown_grace: Seconds = 600.0
    queue_timeout: Seconds = 3600.0
    max_queued: Count = 10_000
    max_queued_per_key: Count | None = None
    """None: half of `max_queued`, but not under 20."""
    lease: Annotated[float, msgspec.Meta(ge=0.5)] = 10.0
    """Seconds after which another process on the same store takes over from one that gives no sign of life."""
    webhook_hosts: tuple[str, ...] = ()
    link_ttl: Annotated[int, msgspec.Meta(ge=60)] = 86_400
    max_body: int = 64 * 2**20
    dashboard: bool = True
    trusted_proxies: tuple[str, ...] = ()
    """Networks of the proxies before this server, whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed."""
    metrics: Literal["admin", "open"] = "admin"
    log: Literal["console", "json"] = "console"


class ChannelConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of `channels:`. `models` maps public names; None where the entry leaves them out (the plugin's own).
    `options` are the keys that belong to the plugin; `line` and `lines` say where the entry and each key stand."""

    name: str
    type: str
    models: dict[str, ModelEntry] | None = None
    enabled: bool = True
    priority: int = 0
    weight: Count = 1
    max_running: Count | None = None
    timeout: Timeout = Timeout()
    poll_every: Seconds | None = None
    poll_timeout: Seconds = 86_400.0
    remix: Literal["auto", "native", "reimagine", "off"] = "auto"
    content: Literal["proxy", "redirect", "archive"] = "proxy"
    mapping: Literal["strict", "nearest"] = "strict"
    fit: Literal["cover", "contain", "exact"] = "cover"
    allow_hosts: tuple[str, ...] = ()
    allow_metadata: tuple[str, ...] = ()
    price: dict[str, float] | None = None
    breaker: rules.Breaker | None = rules.Breaker()
    options: dict[str, Any] = {}
    line: int = 0
    lines: dict[str, int] = {}
    index: int = 0
    """The place in the list, from 0."""
    nodes: dict[str, Any] = {}
    """The nodes of `options`, for those that came from a file: they still know the text as it was written."""

    def same(self, other: ChannelConfig) -> bool:
        """Whether both say the same, wherever in the file they stand."""
        nowhere: dict[str, Any] = {"line": 0, "lines": {}, "index": 0}
        return msgspec.structs.replace(self, **nowhere) == msgspec.structs.replace(other, **nowhere)

    def __repr__(self) -> str:
        # The options hold credentials, and a repr ends up in tracebacks.
        return f"ChannelConfig(name={self.name!r}, type={self.type!r})"


ENTRY_KEYS: Final = tuple(
    name for name in ChannelConfig.__struct_fields__ if name not in ("options", "line", "lines", "index", "nodes")
)
"""The keys that every entry of `channels:` may have; all others belong to its plugin."""


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The whole file, with the environment put over it. `database` is the SQLite file, where one was named.

    `server.plugins` are existing folders, relative to where the process runs, and the folder `plugins/` beside the file
    is the last of them where there is one."""

    file: Path
    server: Server
    channels: tuple[ChannelConfig, ...]
    database: Path | None = None
