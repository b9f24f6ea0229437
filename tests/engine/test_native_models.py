"""What a channel does natively may differ from model to model, and so may the length of an extension and the price."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from proxy.errors import UpstreamError, UpstreamRefused
from tests.conftest import Launch, Product
from tests.media.videos import clip

PLUGINS = (Path(__file__).parent / "plugins",)
KINDS = ("remix", "edit", "extend")


def entry(more: str = "") -> str:
    return f"channels: [{{name: a, type: studio{more}}}]"


async def opened(launch: Launch, more: str = "") -> Product:
    """A studio with a real film, of which a frame can be taken."""
    product = await launch(entry(more), plugins=PLUGINS)
    product.channel("a").film = await asyncio.to_thread(clip)
    return product


async def source(product: Product, model: str, **fields: Any) -> str:
    """The id of a finished video of `model`."""
    video = await product.done((await product.create(model=model, **fields))["id"])
    assert video["status"] == "completed"
    return str(video["id"])


async def follow(
    product: Product, kind: str, video_id: str, *, seconds: str = "4", **fields: Any
) -> tuple[int, Any, dict[str, str]]:
    """Ask for a remix, an edit or an extension of a video."""
    body = {"prompt": "at night", **fields}
    if kind == "remix":
        return await product.call("POST", f"/v1/videos/{video_id}/remix", json=body)
    path = "/v1/videos/edits" if kind == "edit" else "/v1/videos/extensions"
    more = {"seconds": seconds} if kind == "extend" else {}
    return await product.call("POST", path, json={**body, **more, "video": {"id": video_id}})


async def cards(product: Product) -> dict[str, dict[str, Any]]:
    _, models, _ = await product.call("GET", "/v1/videos/models")
    return {card["id"]: card for card in models["data"]}


# ---------------------------------------------------------------- remix, edit and extend

NATIVE, AGAIN, NO = "native", "reimagined", "refused"
WAYS = {
    "all": (NATIVE, NATIVE, NATIVE),
    "editor": (NO, NATIVE, NO),
    "remixer": (NATIVE, AGAIN, NO),
    "blind-remixer": (NATIVE, NO, NO),
    "extender": (AGAIN, AGAIN, NATIVE),
    "none": (AGAIN, AGAIN, NO),
    "blind": (NO, NO, NO),
}
"""How each model of the studio is remixed, edited and extended, where `remix` of the entry is `auto`."""


@pytest.mark.parametrize(
    ("mode", "changed"),
    [
        ("auto", {}),
        ("native", {"remixer": (NATIVE, NO, NO), "extender": (NO, NO, NATIVE), "none": (NO, NO, NO)}),
        (
            "reimagine",
            {"all": (AGAIN, NATIVE, NATIVE), "remixer": (AGAIN, AGAIN, NO), "blind-remixer": (NO, NO, NO)},
        ),
        (
            "off",
            {
                "all": (NO, NATIVE, NATIVE),
                "remixer": (NO, NO, NO),
                "blind-remixer": (NO, NO, NO),
                "extender": (NO, NO, NATIVE),
                "none": (NO, NO, NO),
            },
        ),
    ],
)
async def test_each_model_has_its_own_ways(launch: Launch, mode: str, changed: dict[str, tuple[str, ...]]) -> None:
    """What a model does not do natively is made anew from the first frame, or refused without a call; its card says
    which, and `remix` of the entry decides it."""
    product = await opened(launch, f", remix: '{mode}'")
    shown = await cards(product)
    channel = product.channel("a")
    for model, ways in (WAYS | changed).items():
        assert [shown[model][kind] for kind in KINDS] == [way != NO for way in ways], model
        made_from = await source(product, model)
        for kind, way in zip(KINDS, ways, strict=True):
            before = {name: len(channel.asked(name)) for name in ("create", *KINDS)}
            seconds = (shown[model]["supported_extension_seconds"] or ["4"])[0]
            status, body, _ = await follow(product, kind, made_from, seconds=seconds)
            called = [name for name in before if len(channel.asked(name)) > before[name]]
            assert called == {NATIVE: [kind], AGAIN: ["create"], NO: []}[way], (model, kind, body)
            if way == NO:
                code = "remix_unsupported" if kind == "remix" else "unsupported_operation"
                assert (status, body["error"]["code"]) == (400, code), (model, kind)
            else:
                assert (status, body["model"]) == (200, model), (model, kind)
            if way == AGAIN:
                asked = channel.asked("create")[-1]
                assert (asked.kind, asked.model, len(asked.images)) == ("create", model, 1)


async def test_a_model_of_the_request_decides(launch: Launch) -> None:
    """A follow-up that names another model of the channel is made the way of that one."""
    product = await opened(launch)
    channel = product.channel("a")
    made_from = await source(product, "none")
    assert (await follow(product, "edit", made_from, model="editor"))[0] == 200
    assert channel.asked("edit")[-1].model == "editor"
    status, body, _ = await follow(product, "edit", made_from, model="blind")
    assert (status, body["error"]["code"]) == (400, "unsupported_operation")
    assert (await follow(product, "extend", made_from, model="extender"))[0] == 200
    assert channel.asked("extend")[-1].model == "extender"


@pytest.mark.parametrize(
    ("kind", "named", "makes"),
    [
        ("edit", None, "editor"),
        ("edit", "all", "all"),
        ("edit", "remixer", None),
        ("extend", None, "extender"),
        ("extend", "all", "all"),
        ("extend", "editor", None),
    ],
)
async def test_an_upload_goes_to_a_model_that_can(
    launch: Launch, kind: str, named: str | None, makes: str | None
) -> None:
    """A client's file is taken by the named model or the first that does it natively: there is no video to start anew
    from."""
    product = await opened(launch, ", models: [none, remixer, editor, extender, all]")
    form = aiohttp.FormData({"prompt": "at night", **({"model": named} if named else {})})
    form.add_field("video", product.channel("a").film, filename="film.mp4", content_type="video/mp4")
    if kind == "extend":
        form.add_field("seconds", "5" if named == "all" else "4")
    path = "/v1/videos/edits" if kind == "edit" else "/v1/videos/extensions"
    status, body, _ = await product.call("POST", path, data=form)
    asked = product.channel("a").asked(kind)
    if makes is None:
        assert (status, body["error"]["code"], asked) == (400, "unsupported_operation", [])
    else:
        assert status == 200, body
        assert [request.model for request in asked] == [makes]
    assert product.channel("a").asked("create") == []


async def test_an_upload_costs_what_it_costs_where_it_is_made(launch: Launch) -> None:
    """A client's file that its first channel refused goes to another one, at the price of that."""
    entries = "{name: a, type: studio, priority: 9}, {name: b, type: studio, price: {per_second: 0.1, edit: 0.7}}"
    product = await launch(f"channels: [{entries}]", plugins=PLUGINS)
    product.channel("a").then("edit", UpstreamRefused("no"))
    form = aiohttp.FormData({"prompt": "at night", "model": "all"})
    form.add_field("video", await asyncio.to_thread(clip), filename="film.mp4", content_type="video/mp4")
    status, video, _ = await product.call("POST", "/v1/videos/edits", data=form)
    assert status == 200, video
    assert len(product.channel("b").asked("edit")) == 1
    assert video["cost"]["value"] == 2.8


@pytest.mark.parametrize("path", ["edits", "extensions"])
async def test_an_upload_for_a_model_that_nobody_serves(launch: Launch, path: str) -> None:
    """A model that does not exist is what is wrong, not the client's file; one that cannot is named."""
    product = await opened(launch)
    for model, code, param in (("nova", "model_not_found", "model"), ("blind", "unsupported_operation", "video")):
        form = aiohttp.FormData({"prompt": "at night", "model": model, "seconds": "4"})
        form.add_field("video", product.channel("a").film, filename="film.mp4", content_type="video/mp4")
        _, body, _ = await product.call("POST", f"/v1/videos/{path}", data=form)
        assert (body["error"]["code"], body["error"]["param"]) == (code, param)
        assert f"'{model}'" in body["error"]["message"]


@pytest.mark.parametrize(("kind", "param"), [("remix", "seconds"), ("edit", "seconds"), ("extend", "size")])
async def test_a_model_that_cannot_make_the_sources_values(launch: Launch, kind: str, param: str) -> None:
    """Length and size are the source's, so that the named model is to blame where it cannot make them."""
    short = "short: {upstream: all, seconds: [4], sizes: [1280x720]}"
    product = await opened(launch, f", models: {{all: {{upstream: all}}, {short}}}")
    made_from = await source(product, "all", seconds="8", size="1920x1080")
    status, body, _ = await follow(product, kind, made_from, seconds="5", model="short")
    assert (status, body["error"]["param"]) == (400, "model")
    assert f"'short' cannot make a video of the source's {param}" in body["error"]["message"]
    assert product.channel("a").asked(kind) == []


# ---------------------------------------------------------------- the seconds of an extension


async def test_the_seconds_of_an_extension_have_limits_of_their_own(launch: Launch) -> None:
    """An extension outside them is a 400 with the legal values and nothing is sent; a new video has its own."""
    product = await opened(launch)
    channel = product.channel("a")
    made_from = await source(product, "all", seconds="8")
    for seconds in ("4", "8", "6"):
        status, body, _ = await follow(product, "extend", made_from, seconds=seconds)
        assert (status, body["error"]["param"], body["error"]["code"]) == (400, "seconds", "invalid_value")
        assert body["error"]["message"] == f"Invalid value: '{seconds}'. Supported values are: '5', and '7'."
    assert channel.asked("extend") == []
    for seconds, whole in (("5", "13"), ("7", "15")):
        status, video, headers = await follow(product, "extend", made_from, seconds=seconds)
        assert (status, video["seconds"]) == (200, whole)
        assert channel.asked("extend")[-1].seconds == int(seconds)
        assert "x-reelgate-adjusted" not in headers
    status, body, _ = await product.call("POST", "/v1/videos", json={"prompt": "x", "model": "all", "seconds": "5"})
    assert (status, body["error"]["param"]) == (400, "seconds")


@pytest.mark.parametrize(("asked", "ordered"), [("1", 5), ("6", 5), ("8", 7), ("60", 7), ("7", 7)])
async def test_the_nearest_seconds_of_an_extension(launch: Launch, asked: str, ordered: int) -> None:
    """`mapping: nearest` moves them to the nearest legal ones, the shorter of two, and a header says what was asked."""
    product = await opened(launch, ", mapping: nearest")
    made_from = await source(product, "all", seconds="4")
    status, video, headers = await follow(product, "extend", made_from, seconds=asked)
    assert (status, video["seconds"]) == (200, str(4 + ordered))
    assert product.channel("a").asked("extend")[-1].seconds == ordered
    assert headers.get("x-reelgate-adjusted") == (None if asked == str(ordered) else f"seconds={asked}")


async def test_an_entry_does_not_change_what_an_extension_may_have(launch: Launch) -> None:
    """The seconds that an entry sets are those of new videos; where the plugin says nothing else, of extensions too."""
    models = "{all: {upstream: all, seconds: [8]}, extender: {upstream: extender, seconds: [6, 9]}}"
    product = await opened(launch, f", models: {models}")
    shown = await cards(product)
    assert [shown[name]["supported_seconds"] for name in ("all", "extender")] == [["8"], ["6", "9"]]
    assert [shown[name]["supported_extension_seconds"] for name in ("all", "extender")] == [["5", "7"], ["6", "9"]]
    assert (await follow(product, "extend", await source(product, "all"), seconds="7"))[0] == 200
    status, body, _ = await follow(product, "extend", await source(product, "extender"), seconds="4")
    assert (status, body["error"]["message"].partition(". ")[2]) == (400, "Supported values are: '6', and '9'.")


@pytest.mark.parametrize("kind", ["remix", "edit"])
async def test_a_stitched_whole_is_made_anew_at_a_legal_length(launch: Launch, kind: str) -> None:
    """An extended video is longer than any that its model makes, so what is made from its first frame is shorter."""
    product = await opened(launch)
    longer = (await follow(product, "extend", await source(product, "extender", seconds="8"), seconds="8"))[1]
    assert (await product.done(longer["id"]))["seconds"] == "16"
    status, video, headers = await follow(product, kind, longer["id"])
    assert (status, video["seconds"], headers["x-reelgate-adjusted"]) == (200, "8", "seconds=16")
    assert product.channel("a").asked("create")[-1].seconds == 8


async def test_an_edit_of_a_stitched_whole_is_made_anew_at_a_legal_length(launch: Launch) -> None:
    """What is made anew is legal also where the long video came from an extension by way of a native edit."""
    product = await opened(launch, ", remix: reimagine")
    longer = (await follow(product, "extend", await source(product, "all", seconds="8"), seconds="7"))[1]
    await product.done(longer["id"])
    edited = (await follow(product, "edit", longer["id"]))[1]
    assert (await product.done(edited["id"]))["seconds"] == "15"
    status, video, headers = await follow(product, "remix", edited["id"])
    assert (status, video["seconds"], headers["x-reelgate-adjusted"]) == (200, "8", "seconds=15")
    assert product.channel("a").asked("create")[-1].seconds == 8


@pytest.mark.parametrize("mapping", ["strict", "nearest"])
async def test_an_extension_keeps_the_size_of_its_source(launch: Launch, mapping: str) -> None:
    """A size that the entry does not offer any more is no reason to refuse an extension, nor to move it."""
    product = await opened(launch)
    made_from = await source(product, "all", size="3840x2160")
    await product.reload(entry(f", mapping: {mapping}, models: {{all: {{upstream: all, sizes: [1280x720]}}}}"))
    status, video, headers = await follow(product, "extend", made_from, seconds="5")
    assert (status, video["size"], headers.get("x-reelgate-adjusted")) == (200, "3840x2160", None)
    assert product.channel("a").asked("extend")[-1].size == "3840x2160"


async def test_a_video_that_waits_for_what_is_not_made_any_more(launch: Launch) -> None:
    """Where `mapping: nearest` would move a video that was accepted, it waits, and the operator reads why."""
    product = await launch(entry(", max_running: 1"), plugins=PLUGINS)
    held: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    product.channel("a").then("fetch", held)
    await product.create(model="all")
    waits = await product.create(model="all", size="1920x1080")
    only = "models: {all: {upstream: all, sizes: [1280x720]}}"
    await product.reload(entry(f", max_running: 1, mapping: nearest, {only}"))
    _, told, _ = await product.call("GET", f"/admin/api/videos/{waits['id']}")
    assert told["waits_for"] == {"a": "it does not make what was accepted any more: size=1920x1080"}
    held.cancel()


# ---------------------------------------------------------------- cards and prices


async def test_cards_say_what_an_extension_and_a_second_cost(launch: Launch) -> None:
    """`GET /v1/videos/models` has the seconds of extensions, empty where there are none, and every price."""
    shown = await cards(await opened(launch))
    assert [shown[name]["supported_extension_seconds"] for name in ("all", "extender", "editor", "none")] == [
        *(["5", "7"], ["4", "8"]),
        *([], []),
    ]
    assert (shown["all"]["price_per_second"], shown["none"]["price_per_second"]) == (0.4, 0.1)
    assert shown["editor"]["price_per_second"] is None
    assert shown["none"]["prices_per_second"] == {}
    assert shown["all"]["prices_per_second"] == {
        "silent": 0.2,
        "1080p": 0.6,
        "1080p silent": 0.3,
        "3840x2160": 1.5,
    }


async def test_an_entrys_price_is_the_only_one(launch: Launch) -> None:
    """The price that an entry says counts for every size, with sound or without."""
    shown = await cards(await opened(launch, ", price: {per_second: 0.25}"))
    assert all((card["price_per_second"], card["prices_per_second"]) == (0.25, {}) for card in shown.values())


async def test_an_unknown_outcome_has_the_price_of_what_was_ordered(launch: Launch) -> None:
    """What the operator may have paid is estimated by size and sound, and of an extension by what it adds."""
    product = await opened(launch, ", breaker: null")
    made_from = await source(product, "all", seconds="8", size="1920x1080")
    made: list[tuple[dict[str, Any], float]] = [
        ({"size": "1280x720"}, 3.2),
        ({"size": "1280x720", "audio": False}, 1.6),
        ({"size": "1920x1080", "audio": True}, 4.8),
        ({"size": "1920x1080", "audio": False}, 2.4),
        ({"size": "3840x2160", "audio": False}, 12.0),
    ]
    expected: dict[str, float | None] = {}
    for fields, price in made:
        product.channel("a").then("create", UpstreamError("It broke."))
        expected[(await product.create(model="all", seconds="8", **fields))["id"]] = price
    product.channel("a").then("create", UpstreamError("It broke."))
    expected[(await product.create(model="editor"))["id"]] = None
    product.channel("a").then("extend", UpstreamError("It broke."))
    expected[(await follow(product, "extend", made_from, seconds="5"))[1]["id"]] = 3.0
    _, page, _ = await product.call("GET", "/admin/api/unknown")
    assert {doubt["video"]["id"]: doubt["estimated_price"] for doubt in page["data"]} == expected
