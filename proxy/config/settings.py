"""What channels.yaml says, as frozen values; the defaults are those of CONTRACT 2."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec

from proxy.config import rules
from proxy.config.rules import Bytes, Count, ModelEntry, Seconds
from proxy.upstream import Timeout


class Server(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `server:` block (CONTRACT 2). The texts are those of docs/configuration.md."""

    public_url: str | None = None
    """The address by which clients reach this server, for links. Without it, what the request's `Host` says."""
    database: str | None = None
    """The store, as `sqlite:///relative/to/this/file` or `sqlite:////absolute`. Without it, `reelgate.db` in the data
    folder. `postgresql://` is refused until it exists."""
    plugins: tuple[str, ...] = ()
    """Further folders of plugins; the first wins. `plugins/` beside the file is always looked at."""
    archive: str | None = None
    """A folder, or `s3://bucket/prefix`, `gs://…`, `az://…`: keeps a copy of every video that completes, see [the
    archive](media.md#the-archive). null: none."""
    archive_max_age: Seconds | None = None
    """How long a copy is kept. Without it, until its video is deleted."""
    archive_max_bytes: Bytes | None = None
    """What all copies may take together; the oldest make room. Without it, no bound."""
    media_cache: Bytes = 2 * 2**30
    """What may be kept on disk of thumbnails, sprite sheets, and results that came within an answer; what was not used
    for longest goes first."""
    inputs: rules.InputLimits = rules.InputLimits()
    """What clients may send in."""
    file_ttl: Annotated[int, msgspec.Meta(ge=3600), "seconds"] = 7 * 86_400
    """How long a file of `POST /v1/files` lives where its client does not say."""
    files_per_key: Bytes = 2**30
    """What the files of one tenant may take together."""
    submit_wait: Seconds = 20.0
    """How long a `POST` waits for the upstream's word; it is answered `queued` then, and the submission goes on."""
    unknown_grace: Seconds = 600.0
    """How long a submission whose [outcome is unknown](unknown-outcomes.md) may be looked up, until its video fails."""
    queue_timeout: Seconds = 3600.0
    """How long a video may wait for a channel with room, until it fails; nothing was paid."""
    max_queued: Count = 10_000
    """Videos that may wait in all; beyond it clients get a 429."""
    max_queued_per_key: Count | None = None
    """Videos of one key that may wait. Without it, half of `max_queued`, but not under 20."""
    lease: Annotated[float, msgspec.Meta(ge=0.5), "seconds"] = 10.0
    """How long a process on this store may give no sign of life, until another one takes over its videos."""
    webhook_hosts: tuple[str, ...] = ()
    """Private hosts that webhooks may go to, as they stand in the URL, with an optional port."""
    link_ttl: Annotated[int, msgspec.Meta(ge=60), "seconds"] = 86_400
    """How long a signed link lives, and up to an hour more: within an hour it stays the same."""
    max_body: Bytes = 64 * 2**20
    """What the body of a request may have."""
    dashboard: bool = True
    """`false`: no pages, no login, no sessions."""
    trusted_proxies: tuple[str, ...] = ()
    """Networks or addresses of the proxies in front, whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed."""
    metrics: Literal["admin", "open"] = "admin"
    """Who may read `/metrics`: an admin key or an admin's session, or everybody."""
    log: Literal["console", "json"] = "console"
    """Lines to read, or one JSON object a line."""


ENVIRONMENT: Final = {"public_url": "REELGATE_PUBLIC_URL", "database": "REELGATE_DATABASE_URL"}
"""The keys of `server:` over which the environment wins, and by which variable."""


class ChannelConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of `channels:`. `models` maps public names; None where the entry leaves them out (the plugin's own).
    `options` are the keys that belong to the plugin; `line` and `lines` say where the entry and each key stand. The
    texts of the keys are those of docs/configuration.md."""

    name: str
    """What videos are pinned to, unique in the file: with another name it is another channel. 1 to 64 letters, digits
    or `. _ - @ : +`, a letter or a digit first."""
    type: str
    """The plugin: one of [these](providers.md), or your own."""
    models: dict[str, ModelEntry] | None = None
    """The models that clients see, each with the upstream's name for it; or a list where both are the same; or for each
    a mapping that sets limits (below). Without it, those that the plugin knows."""
    enabled: bool = True
    """`false`: nothing new; polls and downloads of its videos go on."""
    priority: int = 0
    """Higher first: a lower one is asked only where no higher one takes the video."""
    weight: Count = 1
    """The share of new videos within one priority."""
    max_running: Count | None = None
    """Videos that its upstream may be working on, over all processes; more wait in the queue. Without it, no bound."""
    timeout: Timeout = Timeout()
    """How long calls of the upstream's API may take; content has no such bounds."""
    poll_every: Seconds | None = None
    """The pace of polls while somebody watches a video, and the shortest otherwise. Without it, the plugin's advice."""
    poll_timeout: Seconds = 86_400.0
    """How long the upstream may work on a video, until it fails with `poll_timeout`."""
    remix: Literal["auto", "native", "reimagine", "off"] = "auto"
    """How a remix is made: by the upstream (`native`), or as a new video from a frame of the source (`reimagine`);
    `auto` takes the first of the two that can be done. Edits are reimagined with `auto` and `reimagine` only."""
    content: Literal["proxy", "redirect", "archive"] = "proxy"
    """How clients get the bytes: see [content](media.md#content). `archive` needs the server's `archive`."""
    mapping: Literal["strict", "nearest"] = "strict"
    """What becomes of a duration or a size that a model cannot do: a 400, or the nearest that it can. The answer's
    header `x-reelgate-adjusted` says then what was asked."""
    fit: Literal["cover", "contain", "exact"] = "cover"
    """What becomes of an input picture that must have the video's size and has another: it is cut, it gets bars, or it
    is refused."""
    allow_hosts: tuple[str, ...] = ()
    """Private hosts that results may come from, as they stand in the URL, with an optional port."""
    allow_metadata: tuple[str, ...] = ()
    """Keys of a request's `metadata` that may pass although they may change the price; others are a 400."""
    price: dict[str, float] | None = None
    """US dollars per second: `per_second`, and what costs something else, by size or resolution, sound, or both
    (`1280x720`, `1080p`, `4k`, `silent`, `1080p silent`), or by what is done to a video (`edit`, `extend 1080p`). With
    `per_second` it stands for the plugin's whole table, without it for those prices alone. A model's entry may have a
    `price` of its own."""
    breaker: rules.Breaker | None = rules.Breaker()
    """When the channel is [left alone for a while](operators.md#when-a-channel-is-left-alone). null: never."""
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
    demo: bool = False
    """Whether there is no file, and the built-in demo stands in."""
