"""Every error of the product, in one tree that carries its own wire words.

    ReelgateError
    ├── StartupError                 ends a start or a check; never becomes an answer
    │   ├── ConfigError              mistakes in channels.yaml, all of them at once
    │   ├── PluginError              a plugin file that cannot be used
    │   └── StoreError               a data folder that cannot be used
    └── ApiError                     becomes an answer in OpenAI's envelope
        ├── InvalidRequest           400, the client's fault
        │   ├── MissingParameter, UnsupportedOperation, ModerationBlocked, IdempotencyKeyReused
        │   ├── VideoNotCompleted, VideoFailed, RemixUnsupported, VideoNotDeletable, LoopDetected
        │   └── BodyTooLarge 413, UnsupportedMediaType 415, MethodNotAllowed 405
        ├── Unauthorized             401
        ├── Forbidden                403
        ├── NotFound                 404: VideoNotFound, ModelNotFound, VideoNotReady, ContentExpired
        ├── RangeNotSatisfiable      416
        ├── RateLimited              429, the client's own limit: InsufficientQuota
        ├── ChannelUnavailable       503
        ├── Stopping                 503, the process is going down
        └── UpstreamError            502, the upstream's fault
            ├── UpstreamTimeout      504
            ├── UpstreamUnreachable  no byte was sent
            ├── UpstreamRefused      it answered, and certainly did not take the job
            │   └── AccountRefused   it refuses our key or our balance
            ├── UpstreamGone         404 or 410 for a job that it once had
            └── Throttled            429, try again later

`outcome` says what an error raised by a submission means for the money: see `Outcome`.
"""

from __future__ import annotations

import difflib
import enum
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar, NamedTuple


class Outcome(enum.Enum):
    """What is known about a submission that raised an error."""

    CLIENT = "client"
    """Not taken, and no other channel would take it: the client is told now."""
    REFUSED = "refused"
    """Certainly not taken: another channel, or the same one later, may be tried."""
    UNKNOWN = "unknown"
    """It may be running and paid for: it is never submitted again."""


def did_you_mean(word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """`"; did you mean x?"` with the nearest known word, or nothing."""
    near = difflib.get_close_matches(word.lower(), {name.lower(): name for name in known}, 1, cutoff)
    return f"; did you mean {next(name for name in known if name.lower() == near[0])}?" if near else ""


class ReelgateError(Exception):
    """The root. `str()` of every error says what is wrong, where, and what to do."""


class StartupError(ReelgateError):
    """The program cannot start or the check fails."""


class Mistake(NamedTuple):
    """One mistake in a file: `line` counts from 1, 0 when it concerns the whole file."""

    file: Path
    line: int
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else str(self.file)
        return f"{place}: {self.message}"


class ConfigError(StartupError):
    """`channels.yaml` has mistakes; `mistakes` lists all of them."""

    def __init__(self, mistakes: list[Mistake]) -> None:
        super().__init__("\n".join(str(mistake) for mistake in mistakes))
        self.mistakes = mistakes


class PluginError(StartupError):
    """A plugin cannot be used; `file` says which and `cause` why."""

    def __init__(self, file: str, cause: str) -> None:
        super().__init__(f"{file}: {cause}")
        self.file = file
        self.cause = cause


class StoreError(StartupError):
    """The data folder or the database in it cannot be used."""


class ApiError(ReelgateError):
    """An error that a client sees, in the envelope `{"error": {message, type, param, code}}`.

    `should_retry` becomes the header `x-should-retry` that both official SDKs obey (None: not sent, the SDK decides
    by status); `retry_after` the header `Retry-After`, in seconds.
    """

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    code: ClassVar[str | None] = "internal_error"
    outcome: Outcome = Outcome.UNKNOWN
    """The class's; an instance may know better, for instance that the failed call was only an upload before."""
    default_should_retry: ClassVar[bool | None] = None

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        retry_after: float | None = None,
        should_retry: bool | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after = retry_after
        self.should_retry = self.default_should_retry if should_retry is None else should_retry


class InvalidRequest(ApiError):
    """The client's request cannot be carried out as it stands."""

    status = 400
    type = "invalid_request_error"
    code = "invalid_value"
    outcome = Outcome.CLIENT


class MissingParameter(InvalidRequest):
    code = "missing_required_parameter"


class UnsupportedOperation(InvalidRequest):
    """The channel or the model has no such operation or input."""

    code = "unsupported_operation"


class ModerationBlocked(InvalidRequest):
    """The upstream refuses the content; raised by a submission, not for a job that ran."""

    code = "moderation_blocked"


class IdempotencyKeyReused(InvalidRequest):
    code = "idempotency_key_reused"


class VideoNotCompleted(InvalidRequest):
    code = "video_not_completed"


class VideoFailed(InvalidRequest):
    code = "video_failed"


class RemixUnsupported(InvalidRequest):
    code = "remix_unsupported"


class VideoNotDeletable(InvalidRequest):
    code = "video_not_deletable"


class LoopDetected(InvalidRequest):
    """An order that this server had sent on itself. A 400, since gateways send what was answered 5xx again."""

    code = "loop_detected"


class MethodNotAllowed(InvalidRequest):
    status = 405
    code = "method_not_allowed"


class BodyTooLarge(InvalidRequest):
    status = 413
    code = "body_too_large"


class UnsupportedMediaType(InvalidRequest):
    status = 415
    code = "unsupported_media_type"


class Unauthorized(ApiError):
    status = 401
    type = "invalid_request_error"
    code = "invalid_api_key"
    outcome = Outcome.CLIENT


class Forbidden(ApiError):
    """The key is good, but not for this."""

    status = 403
    type = "invalid_request_error"
    code = "permission_denied"
    outcome = Outcome.CLIENT


class NotFound(ApiError):
    status = 404
    type = "invalid_request_error"
    code = "not_found"
    outcome = Outcome.CLIENT


class VideoNotFound(NotFound):
    code = "video_not_found"


class ModelNotFound(NotFound):
    code = "model_not_found"


class VideoNotReady(NotFound):
    """Content asked for too early. A 409 would be retried by both SDKs, so it is a 404, as it was at OpenAI."""

    code = "video_not_ready"


class ContentExpired(NotFound):
    """The upstream no longer keeps the result."""

    code = "expired"


class RangeNotSatisfiable(ApiError):
    """`size` is the number of bytes that the content has."""

    status = 416
    type = "invalid_request_error"
    code = "range_not_satisfiable"
    outcome = Outcome.CLIENT

    def __init__(self, message: str, *, size: int) -> None:
        super().__init__(message)
        self.size = size


class RateLimited(ApiError):
    """A limit of the client's own. What an upstream throttles is `Throttled`, which the engine queues."""

    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"
    outcome = Outcome.CLIENT


class InsufficientQuota(RateLimited):
    type = "insufficient_quota"
    code = "insufficient_quota"
    default_should_retry = False


class ChannelUnavailable(ApiError):
    """The channel that must serve this is gone, disabled or cannot be asked now."""

    status = 503
    code = "channel_unavailable"
    outcome = Outcome.CLIENT
    default_should_retry = False


class Stopping(ApiError):
    """The process is stopping and takes no new videos; another try reaches the next process."""

    status = 503
    code = "channel_unavailable"
    outcome = Outcome.CLIENT


class UpstreamError(ApiError):
    """The upstream failed, answered nonsense, or what it did is not known."""

    status = 502
    type = "upstream_error"
    code = "upstream_error"
    default_should_retry: ClassVar[bool | None] = False


class UpstreamTimeout(UpstreamError):
    status = 504
    code = "upstream_timeout"


class UpstreamUnreachable(UpstreamError):
    """No connection was made (DNS, refused, TLS), so that nothing was sent: the SDK may try again."""

    outcome = Outcome.REFUSED
    default_should_retry = None


class UpstreamRefused(UpstreamError):
    """The upstream answered that it did not take the job, for a reason that is not the client's."""

    outcome = Outcome.REFUSED


class AccountRefused(UpstreamRefused):
    """401, 402 or 403 from the upstream: the operator's key or balance, never the client's key."""


class UpstreamGone(UpstreamRefused):
    """404 or 410 from the upstream. On a poll it counts only when it keeps coming."""


class Throttled(UpstreamError):
    """The upstream is too busy for this account. A submission stays queued for `retry_after` seconds."""

    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"
    outcome = Outcome.REFUSED
    default_should_retry = None
