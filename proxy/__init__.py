"""Reelgate: one OpenAI Videos API in front of every video model.

What a plugin author imports; see docs/plugin-authors.md.
"""

from proxy.channel import Channel, Options
from proxy.errors import (
    AccountRefused,
    ApiError,
    InvalidRequest,
    ModerationBlocked,
    Outcome,
    PluginError,
    RateLimited,
    Throttled,
    UnsupportedOperation,
    UpstreamError,
    UpstreamGone,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from proxy.hookspecs import hookimpl
from proxy.inputs import Clip, Picture, PictureForm
from proxy.models import ABSENT, Absent, JobError, Model, Source, UpstreamJob, Variant, VideoRequest
from proxy.reply import Reply
from proxy.spooled import Spooled

__all__ = [
    "ABSENT",
    "Absent",
    "AccountRefused",
    "ApiError",
    "Channel",
    "Clip",
    "InvalidRequest",
    "JobError",
    "Model",
    "ModerationBlocked",
    "Options",
    "Outcome",
    "Picture",
    "PictureForm",
    "PluginError",
    "RateLimited",
    "Reply",
    "Source",
    "Spooled",
    "Throttled",
    "UnsupportedOperation",
    "UpstreamError",
    "UpstreamGone",
    "UpstreamJob",
    "UpstreamRefused",
    "UpstreamTimeout",
    "UpstreamUnreachable",
    "Variant",
    "VideoRequest",
    "hookimpl",
]
