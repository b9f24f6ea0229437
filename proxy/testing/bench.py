"""What the laws stand on: a plugin of the author's, wired as the product wires it, beside a running simulator."""

from __future__ import annotations

import asyncio
import functools
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pytest
from PIL import Image
from yarl import URL

from proxy import config as configuration
from proxy.channel import Channel
from proxy.channels import Channels, LiveChannel
from proxy.engine.limits import default_seconds, default_size
from proxy.errors import ApiError
from proxy.inputs import Picture
from proxy.loader import Registry, bundled_folder, load
from proxy.media.sources import file_of
from proxy.models import Kind, Model, Source, UpstreamJob, VideoRequest
from proxy.plans import plan
from proxy.testing.simulator import Simulator, SimulatorServer
from proxy.upstream import Http, submission
from proxy.upstream.redact import Redactor

Law = TypeVar("Law", bound=Callable[..., Awaitable[None]])

BUNDLED = bundled_folder()
"""Looked up once: it asks the disk, which is not for an event loop."""
CREDENTIALS = ("key", "secret", "token", "password")
PROMPT = 'A paper boat, "unsinkable"\nand a lamp: für 東京 🛶'
QUICK = {"connect": 10, "first_byte": 1, "total": 60}
"""Timeouts, in seconds, for the laws about an upstream that hangs; a busy machine must not look like one."""


def law(function: Law) -> Law:
    """Run this coroutine method as a test, whatever pytest-asyncio's mode is."""
    return pytest.mark.asyncio(function)  # type: ignore[no-any-return]


@functools.lru_cache
def registry_of(folder: Path, plugin: str) -> Registry:
    """The plugins of `folder`, loaded as the product loads them."""
    return load([folder], {plugin}, entry_points=False)


@dataclass(frozen=True, slots=True)
class Bench:
    """One channel of the plugin under test and the simulator that it talks to."""

    sim: Simulator
    live: LiveChannel
    upstream_model: str
    attempts: list[str] = field(default_factory=lambda: ["attempt_0198c1f2a7b34d00"])
    """The ids of the attempts so far; `request` has the last one, so that it is the one to recover."""

    @property
    def channel(self) -> Channel:
        return self.live.channel

    @property
    def limits(self) -> Model:
        """What the model of the requests can do."""
        found = self.channel.limits(self.channel.options, self.upstream_model)
        assert found is not None, f"with the entry's options there is no model {self.upstream_model}"
        return found

    def request(self, kind: Kind = "create", **values: Any) -> VideoRequest:
        """A request that the model can carry out; `values` replace its fields."""
        limits = self.limits
        usual = VideoRequest(
            prompt=PROMPT,
            model=self.upstream_model,
            seconds=default_seconds(limits),
            size=default_size(limits),
            attempt_id=self.attempts[-1],
            kind=kind,
        )
        return replace(usual, **values)

    async def submit(self, kind: Kind = "create", source: UpstreamJob | None = None, **values: Any) -> UpstreamJob:
        """Submit once, as the engine does: each time as an attempt of its own."""
        self.attempts.append(f"attempt_0198c1f2a7b34d{len(self.attempts):02x}")
        request = self.request(kind, **values)
        self.channel.check(request)
        with submission():
            if kind == "create":
                return await self.channel.create(request)
            if kind == "remix":
                assert source is not None
                return await self.channel.remix(request, source)
            method = self.channel.edit if kind == "edit" else self.channel.extend
            return await method(request, source)

    async def completed(self) -> UpstreamJob:
        """A job that the upstream finished, as the last poll gave it."""
        job = await self.submit()
        self.sim.finish(self.sim.latest.id)
        return await self.channel.fetch(job)

    async def source_for(self, kind: Kind) -> UpstreamJob | None:
        """What an operation of that kind starts from."""
        return None if kind == "create" else await self.completed()

    async def read(self, source: Source, *, range: str | None = None) -> bytes:
        """All bytes of `source`; raises what breaks."""
        if source.data is not None:
            return source.data
        if (path := file_of(source)) is not None:
            return await asyncio.to_thread(path.read_bytes)
        if source.read is not None:
            assert source.size is not None
            return b"".join([chunk async for chunk in source.read(0, source.size)])
        if source.stream is not None:
            return b"".join([chunk async for chunk in source.stream()])
        async with self.channel.upstream.open(source, range=range) as response:
            assert response.status in (200, 206), f"the content answered {response.status}"
            return await response.read()


class Kit:
    """What a plugin author fills in, and what the laws use."""

    plugin: ClassVar[str]
    """The plugin's `type`."""
    plugin_file: ClassVar[Path | None] = None
    """Where the plugin is; None: in the bundled folder, found by its type."""
    simulator: ClassVar[type[Simulator]]
    """The provider's stand-in."""
    entry: ClassVar[Mapping[str, Any]] = {}
    """The entry of channels.yaml without name, type and base_url."""
    other_entry: ClassVar[Mapping[str, Any]] = {}
    """What differs in the entry of a second account; by default another `api_key`."""
    states: ClassVar[Mapping[str, str]] = {}
    """Every state of the provider's -> the status of ours."""
    unknown_state: ClassVar[str | None] = "daydreaming"
    """A state that the provider does not have; None where its answers have no such word."""
    cancels_running: ClassVar[bool] = True
    """Whether the provider stops a job that runs; else only one that is queued, and cancel() of a running one is an
    `InvalidRequest` that leaves it alone."""
    allowed_imports: ClassVar[tuple[str, ...]] = ()
    """Third parties that the plugin may import."""

    # -- what an author may say otherwise ------------------------------------------------------------------------------

    def make_simulator(self) -> Simulator:
        """A simulator that knows the credentials of both entries."""
        return self.simulator(keys={self.entry.get("api_key", ""), self.second_entry().get("api_key", "")})

    def second_entry(self) -> dict[str, Any]:
        """The entry of a second account."""
        return {**self.entry, **(self.other_entry or {"api_key": "another-account-91c4e7d05b"})}

    def secrets(self, entry: Mapping[str, Any] | None = None) -> list[str]:
        """The credentials of `entry` (by default the contract's), which nobody but the upstream may see."""
        return [
            value
            for name, value in (self.entry if entry is None else entry).items()
            if isinstance(value, str) and any(word in name.lower() for word in CREDENTIALS)
        ]

    @pytest.fixture(autouse=True)
    def plugin_is_loaded(self) -> None:
        # Outside the event loop: it reads files.
        self.registry()

    # -- what the laws use ---------------------------------------------------------------------------------------------

    def folder(self) -> Path:
        return self.plugin_file.parent if self.plugin_file else BUNDLED

    def registry(self) -> Registry:
        return registry_of(self.folder(), self.plugin)

    def channel_class(self) -> type[Channel]:
        """The class that the plugin registers."""
        found = self.registry().channels
        if self.plugin not in found:
            pytest.fail(f"{self.folder()} has no plugin of type {self.plugin!r}; there are {', '.join(found)}")
        return found[self.plugin].cls

    def yaml(self, sim: Simulator, *entries: Mapping[str, Any], server: Mapping[str, Any] | None = None) -> str:
        """A channels.yaml with `entries`, which go to `sim`."""
        common = {"type": self.plugin, "base_url": sim.base_url, "allow_hosts": [sim.files_url.partition("//")[2]]}
        channels = [{"name": f"bench-{number}", **common, **entry} for number, entry in enumerate(entries)]
        for channel in channels:
            # The laws order many times over, and nobody was told a price.
            if URL(channel["base_url"]).host != "127.0.0.1":
                pytest.fail("`entry` must have no base_url: the laws are tried beside the simulator only")
        # JSON is YAML, but for the dollar sign, which channels.yaml reads as a reference.
        return json.dumps({"server": dict(server or {}), "channels": channels}).replace("${", "$${")

    @asynccontextmanager
    async def bench(self, folder: Path, **entry: Any) -> AsyncIterator[Bench]:
        """A running simulator and one channel; `entry` changes the entry of channels.yaml."""
        async with SimulatorServer(self.make_simulator()) as sim:
            # Nothing moves but by the law's own hand.
            sim.automatic = False
            text = self.yaml(sim, {**self.entry, **entry})
            config = await asyncio.to_thread(configuration.parse, text, folder / "channels.yaml", {})
            http = Http()
            await http.start()
            channels = Channels(http=http, data=folder, redactor=Redactor(configuration.secrets(config)))
            try:
                await channels.apply(plan(config, self.registry()))
                live = channels.get("bench-0")
                assert live is not None
                offers = list(live.offers.values())
                yield Bench(sim, live, offers[0].upstream if offers else "any-model")
            finally:
                await channels.close()
                await http.close()

    def needs(self, operation: str) -> None:
        """Skip, with the reason, where the channel does not have `operation`."""
        cls = self.channel_class()
        if not cls.can(operation):
            pytest.skip(f"{cls.__name__} does not override {operation}()")

    def paid_operations(self) -> list[Kind]:
        """What the channel can submit."""
        cls = self.channel_class()
        further: tuple[Kind, ...] = ("remix", "edit", "extend")
        return ["create", *(kind for kind in further if cls.can(kind))]


def same(film: bytes, made: bytes) -> bool:
    """Whether two films are one. Out of pytest's sight: its account of how two long `bytes` differ takes minutes where
    it is not shortened, as in CI."""
    return film == made


async def failure_of(work: Awaitable[object]) -> ApiError:
    """The `ApiError` that `work` raises; it is a broken law to raise anything else, or nothing."""
    try:
        made = await work
    except ApiError as error:
        return error
    except Exception as error:
        pytest.fail(f"raised {type(error).__name__}: {error}; only errors of the package `proxy` say what they mean")
    pytest.fail(f"raised nothing, but answered {made!r}")


@functools.cache
def picture(size: str, number: int = 0) -> Picture:
    """A PNG of that size, `WxH`; no two numbers give the same."""
    width, height = (int(side) for side in size.split("x"))
    file = io.BytesIO()
    Image.linear_gradient("L").rotate(90 * number).resize((width, height)).convert("RGB").save(file, "PNG")
    return Picture(data=file.getvalue(), media_type="image/png", width=width, height=height)
