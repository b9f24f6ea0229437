"""The `Channel` base class: an adapter's whole world.

A plugin subclasses `Channel`, says its `type`, and writes `create` and `fetch`. Everything else has a default. One
class serves many channels: each entry of `channels.yaml` with its type becomes one instance, with its own options.
"""

from __future__ import annotations

import builtins
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import ClassVar, Final

import msgspec

from proxy.errors import ApiError, ContentExpired, UnsupportedOperation, UpstreamRefused
from proxy.inputs import Clip, PictureForm
from proxy.models import Absent, Model, Source, UpstreamJob, Variant, VideoRequest
from proxy.reply import Reply
from proxy.upstream import Upstream

OPERATIONS: Final = ("remix", "edit", "extend", "character", "cancel", "delete", "recover")
"""What a channel may be able to do beside `create` and `fetch`, each by overriding the method of that name."""

PRICED_METADATA: Final = frozenset(
    """
    model models n num_outputs num_outputs_per_prompt num_videos n_variants sample_count samplecount number_of_videos
    count batch_size seconds duration duration_seconds durationseconds n_seconds length num_frames frames fps
    frames_per_second frame_rate framerate size resolution width height aspect_ratio aspectratio ratio quality mode
    tier service_tier generate_audio generateaudio upscale enable_upscaling enable_frame_interpolation
    """.split()  # noqa: SIM905 - a table of words reads better than thirty strings
)
"""Metadata keys, in lower case, that change the price at one provider or another."""

PROBE_ID: Final = "reelgate-probe"
"""A job that no upstream has."""


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an entry of `channels.yaml` may set beside the keys that every channel has.

    A plugin subclasses it to ask for more; a field without a default is required.
    """

    base_url: str = ""
    """The provider's origin plus any prefix; empty means the plugin's own `base_url`."""
    api_key: str = ""
    """The credential, sent as `Authorization: Bearer` unless the plugin says otherwise."""

    paths: ClassVar[frozenset[str]] = frozenset()
    """The options that name a file: a relative path is made relative to `channels.yaml`. What begins with a brace is
    the file's own JSON and stays as it is."""

    def __repr__(self) -> str:
        # Any of a plugin's own options may be a credential, and what is printed ends in a log.
        return f"{type(self).__name__}(…)"


class Channel(ABC):
    """One configured upstream account. Subclasses are written by plugin authors; they do not override `__init__`.

    Every method that talks to the upstream may raise any `ApiError`. What `create`, `remix`, `edit` and `extend` raise
    is classed by its `outcome`: the errors that `self.upstream` raises are classed right by themselves.
    """

    type: ClassVar[str]
    """The word after `type:` in `channels.yaml`."""
    models: ClassVar[Mapping[str, Model]] = {}
    """The upstream's models by their own names; empty means that any name is passed on and nothing is limited."""
    options_class: ClassVar[builtins.type[Options]] = Options
    requires: ClassVar[Mapping[str, str]] = {}
    """Modules beyond Reelgate's own that the plugin imports when it starts, each with what to run where it is missing:
    `reelgate check` says so before the start does."""
    default_model: ClassVar[Model] = Model()
    """What a model can do that `models` does not list."""
    base_url: ClassVar[str] = ""
    """The provider's own address, when the entry gives none."""
    poll_every: ClassVar[float] = 5.0
    """Seconds between two polls, the plugin's advice; the entry's `poll_every` wins."""
    picture_form: ClassVar[PictureForm] = PictureForm()
    """What the upstream takes as an input picture: the core brings each into this form before the submission."""
    closed_fields: ClassVar[bool] = False
    """Whether the upstream refuses fields that it does not know, so that no metadata may be merged into its body."""
    priced_metadata: ClassVar[frozenset[str]] = PRICED_METADATA
    """Metadata keys that may change the price: refused unless the entry's `allow_metadata` names them."""

    def __init__(self, *, name: str, options: Options, upstream: Upstream, folder: Path) -> None:
        self.name: Final = name
        self.options = options
        self.upstream: Final = upstream
        self.folder: Final = folder
        """This channel's own folder inside the data folder, for a plugin that keeps files. It may not exist yet."""
        upstream.headers = self.headers
        upstream.refusal = self.refusal

    # -- required -----------------------------------------------------------------------------------------------------

    @abstractmethod
    async def create(self, request: VideoRequest) -> UpstreamJob:
        """Submit `request`. It costs money, so it is called once for each attempt."""

    @abstractmethod
    async def fetch(self, job: UpstreamJob) -> UpstreamJob:
        """Ask the upstream once how `job` is. It may be called at any time and any number of times."""

    def check(self, request: VideoRequest) -> None:  # noqa: B027 - most plugins have nothing to check
        """Raise an `InvalidRequest` for what `models` cannot say, before anything is stored or paid. No I/O."""

    # -- what an upstream may be able to do ----------------------------------------------------------------------------

    async def remix(self, request: VideoRequest, source: UpstreamJob) -> UpstreamJob:
        """Make a variation of `source`, which is completed and came from this channel."""
        raise UnsupportedOperation("The channel of this video cannot remix.")

    async def edit(self, request: VideoRequest, source: UpstreamJob | None) -> UpstreamJob:
        """Edit `source`, or the uploaded `request.video` where `source` is None."""
        raise UnsupportedOperation("The channel of this video cannot edit.")

    async def extend(self, request: VideoRequest, source: UpstreamJob | None) -> UpstreamJob:
        """Add `request.seconds` to `source`, or to the uploaded `request.video`; the result is the stitched whole."""
        raise UnsupportedOperation("The channel of this video cannot extend.")

    async def character(self, name: str, video: Clip) -> str:
        """Make a reusable character from a clip; answer the upstream's id of it."""
        raise UnsupportedOperation("This channel has no characters.")

    async def content(self, job: UpstreamJob, variant: Variant) -> Source:
        """Where the bytes of a completed job are. By default its `url`, fetched without our key."""
        if variant == "video" and job.url:
            return Source(url=job.url)
        raise UnsupportedOperation(f"The channel of this video has no {variant}.", param="variant")

    async def cancel(self, job: UpstreamJob) -> None:
        """Stop a running job, so that it costs no more."""
        raise UnsupportedOperation("The channel of this video cannot cancel a running one.")

    async def delete(self, job: UpstreamJob) -> None:
        """Remove a finished job and its result at the upstream."""
        raise UnsupportedOperation("The channel of this video cannot delete at its upstream.")

    async def recover(self, request: VideoRequest) -> UpstreamJob | Absent | None:
        """Look up a submission whose outcome is unknown, by `request.attempt_id`.

        Answers the job; `ABSENT` where it is proved that there is none; None where it cannot be told.
        """
        return None

    async def probe(self) -> Collection[str] | None:
        """Ask the upstream something that costs nothing and needs a good credential: by default for a job that it
        cannot have. Raises what the answer means: an `AccountRefused` says that the credential is no good, any other
        answer that it is. Answers the models that the upstream says it serves, None where it does not say."""
        await self.fetch(UpstreamJob(id=PROBE_ID))
        return None

    async def serves(self, model: str) -> bool | None:
        """Whether the upstream has `model`, by its own name, for this account, asked without cost: for an upstream that
        `probe` has no list of. None where nothing free tells."""
        return None

    async def film_url(self, source: UpstreamJob, *, good_for: float = 600.0) -> str:
        """Where the film of `source` is, for an upstream that shall fetch it: asked for anew where the address is known
        to end within `good_for` seconds, as an order may wait before it is looked there. For what starts from it, so
        that nothing has been ordered where it raises."""
        with self.upstream.unpaid():
            if source.expires_at is not None and source.expires_at <= time.time():
                raise ContentExpired("The upstream does not keep the source any more.")
            ends = math.inf if source.url_expires_at is None else source.url_expires_at
            if source.url is None or ends < time.time() + good_for:
                source = await self.fetch(source)
            if source.url is None:
                raise UpstreamRefused("The upstream has no result of the source any more.")
        return source.url

    # -- how to talk to it ---------------------------------------------------------------------------------------------

    def headers(self) -> Mapping[str, str]:
        """The headers of every API call to the channel's own host."""
        return {"Authorization": f"Bearer {self.options.api_key}"} if self.options.api_key else {}

    def refusal(self, status: int, reply: Reply) -> ApiError | None:
        """The error that an upstream's answer means, where the plugin knows better than the status; else None.

        It is asked for every answer, also a 200, so that a provider's error inside a 200 is caught here.
        """
        return None

    async def start(self) -> None:  # noqa: B027 - most plugins have nothing to start
        """Called once before the first use; raise a `PluginError` where something is missing."""

    async def close(self) -> None:  # noqa: B027
        """Called once when the channel leaves or the process stops."""

    @classmethod
    def address(cls, options: Options) -> str:
        """The provider's own address, where the entry gives none: `base_url`, unless it depends on other options."""
        return cls.base_url

    @classmethod
    def limits(cls, options: Options, name: str) -> Model | None:
        """What the upstream's model `name` can do: as `models` says, else `default_model`, unless the entry's own
        options say more of it; None where it cannot be had with these options."""
        return cls.models.get(name, cls.default_model)

    def able(self, operation: str) -> bool:
        """Whether this channel has `operation`: as the class says, unless the entry's options say otherwise."""
        return self.can(operation)

    # -- facts ---------------------------------------------------------------------------------------------------------

    @classmethod
    def can(cls, operation: str) -> bool:
        """Whether the class overrides `operation`, one of `OPERATIONS`."""
        return getattr(cls, operation) is not getattr(Channel, operation)
