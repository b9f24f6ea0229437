"""What a client asked for and what the store keeps; only the product's own rooms see it. All are frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from proxy.models import Kind, Status, UpstreamJob

# ---------------------------------------------------------------- what a client asked for


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A picture or a video as the client gave it: exactly one of `path` (an uploaded part, spooled to our disk),
    `data` (decoded from a data URI or base64), `url` and `file_id`. `param` is the field to blame."""

    param: str
    path: Path | None = None
    data: bytes | None = field(default=None, repr=False)
    url: str | None = None
    file_id: str | None = None
    filename: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A parsed and form-checked request for a video, in the client's words.

    `seconds` and `size` are None where the client left them out; `size` is `WxH` or a ratio word. `metadata` is the
    object as sent (None: not given); `extra` are the unknown top-level fields. `source_id` is the video to remix, edit
    or extend; `video` an uploaded one. `fingerprint` is a SHA-256 over all of it, files by their content.
    """

    kind: Kind
    prompt: str
    fingerprint: bytes
    model: str | None = None
    seconds: int | None = None
    size: str | None = None
    images: tuple[Upload, ...] = ()
    last_frame: Upload | None = None
    video: Upload | None = None
    source_id: str | None = None
    characters: tuple[str, ...] = ()
    audio: bool | None = None
    seed: int | None = None
    negative_prompt: str | None = None
    metadata: Mapping[str, Any] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


Period = Literal["day", "month", "total"]


class KeyLimits(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a key may do; None and 0 mean no limit.

    `models` are public names, `channels` those of channels.yaml; `expires_at` is in unix seconds; `running` counts
    unfinished videos; `budget` is an amount (see `proxy.money`) per `period`, which begins at midnight UTC; `addresses`
    are networks such as `10.0.0.0/8`.
    """

    models: tuple[str, ...] | None = None
    channels: tuple[str, ...] | None = None
    expires_at: int | None = None
    requests_per_minute: int = 0
    running: int = 0
    budget: int | None = None
    period: Period = "total"
    addresses: tuple[str, ...] | None = None

    def allows(self, model: str, channel: str) -> bool:
        """Whether the key may have the public `model` made by `channel`."""
        return (self.models is None or model in self.models) and (self.channels is None or channel in self.channels)


UNLIMITED: Final = KeyLimits()


@dataclass(frozen=True, slots=True)
class Key:
    """An API key of a client: the tenant is whose videos it sees. The key itself is not kept, only its SHA-256."""

    id: str
    name: str
    tenant: str
    admin: bool = False
    created_at: int = 0
    revoked_at: int | None = None
    last_used_at: int | None = None
    chooses_channel: bool = False
    """Whether its requests may name their channel (`metadata.channel`)."""
    limits: KeyLimits = UNLIMITED


Role = Literal["admin", "member"]


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """An account of the dashboard: the keys and videos of its tenant are its own. `password` is an argon2id hash."""

    id: str
    name: str
    role: Role
    tenant: str
    password: str = field(repr=False)
    created_at: int
    password_at: int
    disabled_at: int | None = None
    last_login_at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A login of a user, from `created_at` on; `seen_at` is when it was last used (both unix seconds). `id` names it in
    lists; what its cookie says is not kept, only the SHA-256 of it."""

    id: str
    user_id: str
    created_at: float
    seen_at: float
    address: str
    agent: str


# ---------------------------------------------------------------- what the store keeps

Stage = Literal["waiting", "submitting", "unknown", "running", "ended", "refused", "deleted"]
"""Where a video is in its life, finer than the public status:

waiting     accepted and durable, not submitted yet                       public: queued
submitting  an attempt is recorded; its request may be on the wire        public: queued
unknown     the outcome of the attempt is not known; never resubmitted    public: queued
running     the upstream has the job                                      public: queued or in_progress
ended       completed or failed, final                                    public: completed or failed
refused     a create whose client was told so at once: listed nowhere, its id answers 404
deleted     by its owner: listed nowhere, its id answers 404
"""
STAGES: Final = Stage.__args__  # type: ignore[attr-defined]


class StoredInput(msgspec.Struct, frozen=True, kw_only=True):
    """An input file of a video that is not submitted yet: `file` names it in the data folder's `inputs/`."""

    file: str
    media_type: str
    width: int = 0
    height: int = 0
    seconds: float | None = None
    """The length of a video, where it could be measured."""
    url: str | None = None
    filename: str = ""
    param: str = "input_reference"
    """The field to blame."""


class Order(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What of the ask must survive a crash, so that a waiting video can be submitted and recovered."""

    extension_seconds: int | None = None
    images: tuple[StoredInput, ...] = ()
    last_frame: StoredInput | None = None
    video: StoredInput | None = None
    characters: tuple[str, ...] = ()
    audio: bool | None = None
    seed: int | None = None
    negative_prompt: str | None = None
    metadata: dict[str, Any] = {}
    adjusted: str | None = None
    reimagine: bool = False
    channel: str | None = None
    """The channel that the request named."""
    channels: tuple[str, ...] | None = None
    """Those that its key may use; None: all."""
    hops: str = ""
    """The Reelgates that it has come to, as the hop header says them."""


COPIED: Final = "copied"
"""The `attempt_id` of a video that waited when its store was copied: another server may have submitted it since."""


class Video(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the store, and all that is known of a video.

    `id` is ours; `tenant` owns it; `channel` is the pin. `seconds` and `size` are what was ordered upstream. `metadata`
    is the client's, as raw JSON. `job` is the last `UpstreamJob` (None before the upstream took it). `version` grows
    with every change; the store refuses a change that was made from an older one.
    """

    id: str
    tenant: str
    key_id: str
    kind: Kind = "create"
    model: str
    upstream_model: str
    channel: str
    stage: Stage = "waiting"
    status: Status = "queued"
    progress: int = 0
    prompt: str
    seconds: int
    size: str
    created_at: int
    completed_at: int | None = None
    expires_at: int | None = None
    source_id: str | None = None
    error_code: str | None = None
    error_message: str | None = None
    metadata: bytes | None = None
    order: Order = Order()
    job: UpstreamJob | None = None
    attempt_id: str | None = None
    fingerprint: bytes = b""
    answered: bool = False
    changed_at: float = 0.0
    """Unix seconds of the last change of `stage`."""
    submit_after: float = 0.0
    """Unix seconds before which a waiting video is not submitted."""
    version: int = 0
    holder: int = 1
    """The worker whose owner polls and submits it: see `proxy.store.workers`."""
    replaces_id: str | None = None
    """The video whose unknown outcome an operator settled with this one."""
    replaced_by_id: str | None = None
    """The video that delivers what this one's unknown outcome turned out to be."""
    price: int | None = None
    """The amount that is reserved for what was ordered (see `proxy.money`); None: not known."""
    cost: int | None = None
    """The amount that it came to in the end; None before, and where the price is not known."""

    @property
    def charge(self) -> int:
        """The amount that counts for it now."""
        return self.price or 0 if self.cost is None else self.cost

    @property
    def billed_seconds(self) -> int:
        """The seconds that its price is for."""
        return self.seconds if self.order.extension_seconds is None else self.order.extension_seconds

    @property
    def listed(self) -> bool:
        """Whether its owner can see it."""
        return self.stage not in ("refused", "deleted")

    @property
    def remixed_from_video_id(self) -> str | None:
        return self.source_id if self.kind == "remix" else None


AttemptState = Literal["recorded", "taken", "refused", "unknown", "absent"]
Settlement = Literal["attached", "not_created", "given_up"]


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One submission to one upstream, recorded before it is sent. `note` is a sentence for the operator.

    `decision` says, as JSON, why it went to this channel and not to another. `job` is what the upstream answered where
    the video itself could not take it up any more; `settled` what an operator decided about an unknown outcome.
    """

    id: str
    video_id: str
    channel: str
    state: AttemptState = "recorded"
    started_at: float
    ended_at: float | None = None
    upstream_id: str | None = None
    note: str = ""
    decision: str = ""
    job: UpstreamJob | None = None
    settled: Settlement | None = None


class Character(msgspec.Struct, frozen=True, kw_only=True):
    """A reusable character: `id` is ours, `upstream_id` the pinned channel's."""

    id: str
    tenant: str
    channel: str
    upstream_id: str
    name: str
    created_at: int


class StoredFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that a client uploaded by `POST /files`; its bytes lie in the data folder's `files/` under its id.

    `created_at` and `expires_at` are unix seconds; `media_type` is told by the bytes.
    """

    id: str
    tenant: str
    key_id: str
    filename: str
    purpose: str
    media_type: str
    size: int
    created_at: int
    expires_at: int


ArchiveState = Literal["due", "stored", "lost", "removed"]
"""Where the copy of a completed video is:

due      to be made at `next_at`
stored   complete in the archive
lost     given up: the upstream has it no more, or told for good that it cannot be had
removed  was stored, and made room for others or grew too old
"""


class Archived(msgspec.Struct, frozen=True, kw_only=True):
    """The copy of one completed video. `size` and `sha256` (hexadecimal) are those of the stored bytes; `tries` counts
    failures in a row; times are unix seconds; `note` is a sentence for the operator."""

    video_id: str
    channel: str
    state: ArchiveState = "due"
    size: int | None = None
    sha256: str | None = None
    tries: int = 0
    next_at: float
    stored_at: float | None = None
    note: str = ""


class Idempotent(msgspec.Struct, frozen=True, kw_only=True):
    """What an Idempotency-Key of an API key stands for. `answer` is the body first given, once it was given."""

    key_id: str
    idempotency_key: str
    fingerprint: bytes
    video_id: str
    created_at: float
    answer: bytes | None = None
