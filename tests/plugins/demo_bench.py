"""What the tests of the demo channel stand on: the plugin loaded as the product does it, and measures of pictures."""

from __future__ import annotations

import asyncio
import functools
import io
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import av
import msgspec
from blockbuster import blockbuster_ctx
from PIL import Image, ImageChops, ImageFilter, ImageStat

import proxy
from proxy import Channel, Picture, UpstreamJob, VideoRequest
from proxy.loader import PACKAGE, load
from proxy.upstream import Http, Upstream

NIGHT, DAY = "make it night", "a lighthouse over the hills"


@functools.cache
def modules() -> dict[str, ModuleType]:
    """The plugin and the modules beside it by their short names, from the product's own loader.

    They are kept: another test that loads plugins puts new modules of the same names in `sys.modules`."""
    load([], {"demo"}, entry_points=False)
    return {name.rpartition(".")[2]: found for name, found in sys.modules.items() if name.startswith(PACKAGE)}


def module(name: str) -> Any:
    """A module beside the plugin, such as `_demo_film`, or the plugin's own, `demo`."""
    return modules()[name]


def plugin() -> Any:
    """The `Demo` class."""
    return module("demo").Demo


def demo(folder: Path, **options: Any) -> Any:
    """A demo channel that keeps its files in `folder`, not started."""
    upstream = Upstream(Http(), name="demo", base_url="")
    return plugin()(name="demo", options=plugin().options_class(**options), upstream=upstream, folder=folder)


Start = Callable[..., Awaitable[Any]]


@asynccontextmanager
async def starter(folder: Path) -> AsyncIterator[Start]:
    """Gives a function that starts demo channels on `folder`; all are closed at the end."""
    running = []

    async def started(**options: Any) -> Any:
        channel = demo(folder, **options)
        await channel.start()
        running.append(channel)
        return channel

    yield started
    for channel in running:
        await channel.close()


@contextmanager
def guarded() -> Iterator[None]:
    """Blocking calls in the event loop raise, also those of the plugin."""
    with blockbuster_ctx([proxy, modules()[PACKAGE]]):
        yield


def stored(job: UpstreamJob) -> UpstreamJob:
    """The job as it comes back from the store after a restart."""
    return msgspec.json.decode(msgspec.json.encode(job), type=UpstreamJob)


def pictured(image: Image.Image) -> Picture:
    """An input picture."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return Picture(file.getvalue(), "image/png", *image.size)


def ask(prompt: str = "a paper plane", attempt: str = "attempt_1", **values: Any) -> VideoRequest:
    """A small request."""
    usual = VideoRequest(prompt=prompt, model="demo", seconds=1, size="96x128", attempt_id=attempt)
    return replace(usual, **values)


async def ended(channel: Channel, job: UpstreamJob) -> UpstreamJob:
    """Poll until the job has ended."""
    async with asyncio.timeout(60):
        while job.status not in ("completed", "failed"):
            await asyncio.sleep(0.005)
            job = await channel.fetch(job)
    return job


async def until(channel: Channel, job: UpstreamJob, status: str) -> UpstreamJob:
    """Poll until the job has that status and, where it runs, some progress."""
    async with asyncio.timeout(60):
        while job.status != status or (status == "in_progress" and not job.progress):
            await asyncio.sleep(0.005)
            job = await channel.fetch(job)
    return job


async def film(channel: Channel, job: UpstreamJob) -> list[Image.Image]:
    """The decoded frames of a job, once it has ended well."""
    job = await ended(channel, job)
    assert job.status == "completed", job.error
    source = await channel.content(job, "video")
    assert source.path is not None
    return await asyncio.to_thread(decoded, source.path)


def decoded(path: Path) -> list[Image.Image]:
    with av.open(str(path)) as container:
        return [frame.to_image() for frame in container.decode(container.streams.video[0])]


def described(prompt: str, size: tuple[int, int] = (180, 320), seconds: int = 1, fps: int = 24, **facts: Any) -> Any:
    """The facts of a film, without a channel."""
    words = module("_demo_words")
    text = words.clean(prompt)
    part = {"at": 0, "text": text, "accent": words.seed(text), "traits": words.traits(prompt)}
    usual = {"seed": words.seed(text), "fps": fps, "size": list(size), "seconds": seconds, "parts": [part]}
    return usual | {"trouble": [], "picture": False, "characters": []} | facts


def painted(
    facts: dict[str, Any], backdrop: Image.Image | None = None, ending: Image.Image | None = None
) -> list[Image.Image]:
    """All frames as they are painted, before any encoding."""
    return list(module("_demo_film").Film(facts, backdrop=backdrop, ending=ending).pictures())


def difference(one: Image.Image, other: Image.Image) -> float:
    """The mean absolute difference of two pictures, 0 to 255."""
    return sum(ImageStat.Stat(ImageChops.difference(one.convert("RGB"), other.convert("RGB"))).mean) / 3


def brightness(picture: Image.Image) -> float:
    return float(ImageStat.Stat(picture.convert("L")).mean[0])


def likeness(one: Image.Image, other: Image.Image) -> float:
    """How alike the outlines of two pictures are, whatever their colours: -1 to 1.

    The lower part, where the prompt is written, is left out."""
    left, right = _outlines(one), _outlines(other)
    mean_left, mean_right = sum(left) / len(left), sum(right) / len(right)
    both = sum((a - mean_left) * (b - mean_right) for a, b in zip(left, right, strict=True))
    own = sum((a - mean_left) ** 2 for a in left) * sum((b - mean_right) ** 2 for b in right)
    return float(both / own**0.5) if own else 0.0


def _outlines(picture: Image.Image) -> list[int]:
    grey = picture.convert("L")
    edges = grey.filter(ImageFilter.FIND_EDGES).crop((2, 2, grey.width - 2, int(grey.height * 0.78)))
    # Only whether there is an outline counts, not how strong it is.
    return list(edges.point([0] * 5 + [255] * 251).filter(ImageFilter.BoxBlur(2)).resize((72, 96)).tobytes())


def photograph(size: tuple[int, int] = (96, 128)) -> Image.Image:
    """A picture with colours, areas and edges, unlike any scene of the channel."""
    width, height = size
    left = Image.linear_gradient("L").resize(size)
    tiles = Image.new("L", size)
    for x in range(0, width, 16):
        for y in range(0, height, 16):
            tiles.paste((x * 5 + y * 3) % 256, (x, y, x + 16, y + 16))
    return Image.merge("RGB", (tiles, left, ImageChops.invert(tiles)))
