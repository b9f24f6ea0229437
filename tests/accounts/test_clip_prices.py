"""What is sent in is priced by its length, over HTTP: a long clip must not be cheaper than a short order."""

from pathlib import Path
from typing import Any

import aiohttp
import pytest

from proxy import UpstreamRefused, money
from proxy.media import stills
from proxy.records import KeyLimits
from tests.accounts.test_limits import PLUGINS, spend
from tests.conftest import Launch, Product
from tests.media.videos import clip

TEXT = """
channels:
  - {name: a, type: cutter, poll_every: 0.01, price: {per_second: 0.10, 1080p: 0.30},
     models: {sora-2: {upstream: s, seconds: [4, 8], sizes: [1280x720, 1920x1080]}}}
"""


async def product_with(launch: Launch, **limits: Any) -> tuple[Product, str]:
    product = await launch(TEXT, plugins=PLUGINS)
    return product, await product.key("phone", limits=KeyLimits(**limits))


async def send(product: Product, key: str, video: bytes, *, to: str = "edits", **fields: str) -> tuple[int, Any]:
    form = aiohttp.FormData({"prompt": "at night", **fields})
    form.add_field("video", video, filename="clip.mp4", content_type="video/mp4")
    status, body, _ = await product.call("POST", f"/v1/videos/{to}", key=key, data=form)
    return status, body


async def test_an_edit_costs_what_its_clip_is_long(launch: Launch) -> None:
    """The length is ordered, shown, reserved and paid, whatever seconds the model makes by itself."""
    product, key = await product_with(launch)
    status, video = await send(product, key, clip(frames=63))
    assert (status, video["seconds"]) == (200, "7")
    assert video["cost"] == {"value": 0.7, "currency": "usd", "final": False}
    (asked,) = product.channel("a").asked("edit")
    assert asked.seconds == 7
    done = await product.until(video["id"], "completed", key=key)
    assert done["cost"] == {"value": 0.7, "currency": "usd", "final": True}
    assert (await spend(product, key))["total"]["cost"]["value"] == 0.7


@pytest.mark.parametrize("said", [{}, {"seconds": "4"}], ids=["silent", "short"])
async def test_no_budget_is_passed_by_a_long_clip(launch: Launch, tmp_path: Path, said: dict[str, str]) -> None:
    """A budget for a short video has no room for a long clip, whatever the request calls it; nothing was ordered."""
    product, key = await product_with(launch, budget=money.amount("0.50"))
    status, body = await send(product, key, clip(frames=63), **said)
    assert (status, body["error"]["code"]) == (429, "insufficient_quota")
    assert "$0.70" in body["error"]["message"]
    assert product.channel("a").asked("edit") == []
    assert list((tmp_path / "data" / "inputs").glob("*/*")) == []
    assert (await send(product, key, clip(frames=40)))[0] == 200


async def test_an_edit_is_not_shorter_than_any_that_the_model_makes(launch: Launch) -> None:
    """A clip of two seconds is ordered, and paid, as the shortest video of the model."""
    product, key = await product_with(launch)
    _, video = await send(product, key, clip(frames=20))
    assert (video["seconds"], video["cost"]["value"]) == ("4", 0.4)
    assert product.channel("a").asked("edit")[0].seconds == 4


async def test_an_edit_is_as_large_as_its_clip(launch: Launch) -> None:
    """Of the sizes that the model has, the one nearest to the clip is ordered and priced."""
    product, key = await product_with(launch)
    _, video = await send(product, key, clip(size=(1600, 900), frames=10))
    assert (video["size"], video["cost"]["value"]) == ("1920x1080", 1.2)


async def test_an_extension_shows_the_stitched_whole(launch: Launch) -> None:
    """What is added is paid, and the object shows it with the clip."""
    product, key = await product_with(launch)
    _, video = await send(product, key, clip(frames=30), to="extensions", seconds="4")
    assert (video["seconds"], video["cost"]["value"]) == ("7", 0.4)
    assert product.channel("a").asked("extend")[0].seconds == 4


async def test_an_extension_is_as_large_as_its_clip(launch: Launch) -> None:
    """What is added to a large clip is large, and paid as such."""
    product, key = await product_with(launch)
    _, video = await send(product, key, clip(size=(1920, 1080), frames=10), to="extensions", seconds="4")
    assert (video["size"], video["cost"]["value"]) == ("1920x1080", 1.2)


SECOND = """
channels:
  - {name: a, type: cutter, priority: 9, price: {per_second: 0.10},
     models: {sora-2: {upstream: s, seconds: [4, 8], sizes: [1280x720]}}}
  - {name: b, type: cutter, price: {per_second: 0.10, 1080p: 0.30},
     models: {sora-2: {upstream: s, seconds: [4, 8], sizes: [1920x1080]}}}
"""


@pytest.mark.parametrize("budget", [None, "1.00"])
async def test_another_channel_makes_sizes_of_its_own(launch: Launch, budget: str | None) -> None:
    """An edit that its first channel refuses is ordered of the next one in a size that it has, at the price of that;
    not beyond a budget."""
    product = await launch(SECOND, plugins=PLUGINS)
    limits = KeyLimits(budget=None if budget is None else money.amount(budget))
    product.channel("a").then("edit", UpstreamRefused("no"))
    status, video = await send(product, await product.key("phone", limits=limits), clip(frames=50))
    asked = [(request.seconds, request.size) for request in product.channel("b").asked("edit")]
    if budget is None:
        assert (status, video["size"], video["cost"]["value"]) == (200, "1920x1080", 1.5)
        assert asked == [(5, "1920x1080")]
    else:
        # It is told why the first one did not take it.
        assert (status, asked) == (502, [])


@pytest.mark.parametrize(
    ("size", "ordered", "cost"), [((1918, 1078), "1920x1080", 0.3), ((8, 8), "720x720", 0.1), ((640, 360), None, 0.1)]
)
async def test_a_model_without_sizes_makes_usual_ones(
    launch: Launch, size: tuple[int, int], ordered: str | None, cost: float
) -> None:
    """Two pixels less do not make a clip cheaper, and a tiny one is no crash: the usual size nearest to it counts."""
    text = "channels: [{name: a, type: cutter, models: [sora-2], price: {per_second: 0.10, 1080p: 0.30}}]"
    product = await launch(text, plugins=PLUGINS)
    status, video = await send(product, await product.key("phone"), clip(size=size, frames=10))
    assert (status, video["size"], video["cost"]["value"]) == (200, ordered or "1280x720", cost)


async def test_a_size_without_a_price_is_no_missing_pyav(launch: Launch) -> None:
    """Who may not order what nobody has a price for is not sent to install what is there."""
    text = """
channels:
  - {name: a, type: cutter, price: {720p: 0.10}, models: {sora-2: {upstream: s, sizes: [1280x720, 1920x1080]}}}
"""
    product = await launch(text, plugins=PLUGINS)
    key = await product.key("phone", limits=KeyLimits(budget=money.amount("50")))
    status, body = await send(product, key, clip(size=(1920, 1080), frames=10))
    assert (status, body["error"]["code"]) == (403, "permission_denied")
    assert "set the price" in body["error"]["message"]


@pytest.mark.parametrize(("frames", "size"), [(250, (64, 48)), (10, (3840, 2160))], ids=["long", "large"])
async def test_the_demo_channel_takes_what_a_telephone_films(
    launch: Launch, frames: int, size: tuple[int, int]
) -> None:
    """A clip that is longer or larger than all that the demo channel makes anew is edited all the same."""
    product = await launch("channels: [{name: demo, type: demo, fps: 1}]")
    key = await product.key("phone")
    status, video = await send(product, key, clip(size=size, frames=frames))
    assert (status, video["seconds"]) == (200, str(frames // 10)), video
    await product.until(video["id"], "completed", key=key)


async def test_what_cannot_be_measured_has_no_price(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without PyAV nobody knows the length: a key with a budget is refused and told why, one without is served."""

    async def blind(file: object) -> None:
        return None

    monkeypatch.setattr(stills, "look", blind)
    product, key = await product_with(launch, budget=money.amount("50"))
    status, body = await send(product, key, clip())
    assert (status, body["error"]["code"]) == (403, "permission_denied")
    assert "reelgate[media]" in body["error"]["message"]
    assert product.channel("a").asked("edit") == []
    status, video = await send(product, await product.key("free"), clip())
    assert (status, video.get("cost")) == (200, None)
    # An extension is paid by what is added.
    status, video = await send(product, key, clip(), to="extensions", seconds="4")
    assert (status, video["cost"]["value"]) == (200, 0.4)


async def test_a_clip_of_a_day_is_refused(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    """A length that no provider takes is a 400, not a price beyond all numbers."""

    async def forged(file: object) -> stills.Look:
        return stills.Look(64, 48, 86_400.0)

    monkeypatch.setattr(stills, "look", forged)
    product, key = await product_with(launch)
    status, body = await send(product, key, clip())
    assert (status, body["error"]["param"]) == (400, "video")
    assert "3600 seconds" in body["error"]["message"]
