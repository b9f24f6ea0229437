"""openai-videos.md §8, 24 to 28, 48 to 50 and 79 to 81: lists. For 79 with node see tests/sdk/node/life.mjs."""

from __future__ import annotations

import pytest

from tests.checklist.desk import Desk, check_video, form

ENVELOPE = {"object", "data", "first_id", "last_id", "has_more"}


async def made(desk: Desk, count: int) -> list[str]:
    """The ids of `count` videos, the oldest first."""
    return [(await desk.product.create(prompt=f"number {number}"))["id"] for number in range(count)]


async def test_024_list_envelope(desk: Desk) -> None:
    """A list has exactly the five keys of its envelope, and videos in it that are whole."""
    ids = await made(desk, 3)
    status, page, _ = await desk.call("GET", "/v1/videos")
    assert status == 200
    assert set(page) == ENVELOPE
    assert page["object"] == "list"
    assert [check_video(video)["id"] for video in page["data"]] == ids[::-1]
    assert (page["first_id"], page["last_id"], page["has_more"]) == (ids[2], ids[0], False)


async def test_025_limit_101(desk: Desk) -> None:
    """A limit above 100 is a 400; 100 is not, and 0 gives nothing."""
    await made(desk, 1)
    for limit in ("101", "1000", "99999999999999999999"):
        await desk.refused("GET", f"/v1/videos?limit={limit}", 400, param="limit")
    assert (await desk.call("GET", "/v1/videos?limit=100"))[0] == 200
    status, page, _ = await desk.call("GET", "/v1/videos?limit=0")
    assert (status, page["data"], page["has_more"]) == (200, [], True)


async def test_026_limit_below_zero(desk: Desk) -> None:
    """A negative limit is a 400."""
    await desk.refused("GET", "/v1/videos?limit=-1", 400, param="limit")


async def test_027_unknown_order(desk: Desk) -> None:
    """Only asc and desc are orders."""
    for order in ("sideways", "ASC", ""):
        await desk.refused("GET", f"/v1/videos?order={order}", 400, param="order")


async def test_028_limit_that_is_no_number(desk: Desk) -> None:
    """A limit that is no whole number is a 400."""
    for limit in ("abc", "1.5", "", "1e1", "%201", "٣"):
        await desk.refused("GET", f"/v1/videos?limit={limit}", 400, param="limit")


async def test_048_newest_first(desk: Desk) -> None:
    """A new video is the first one in descending order, which is the order that nobody asked for."""
    await made(desk, 3)
    newest = (await desk.product.create())["id"]
    for query in ("", "?order=desc", "?limit=1"):
        _, page, _ = await desk.call("GET", f"/v1/videos{query}")
        assert page["data"][0]["id"] == page["first_id"] == newest


async def test_049_sorted_by_creation(desk: Desk) -> None:
    """Descending and ascending are by created_at, whatever happened to the videos since."""
    ids = await made(desk, 4)
    desk.sim.finish(next(iter(desk.sim.jobs)))
    await desk.product.done(ids[0])
    for order, wanted in (("desc", ids[::-1]), ("asc", ids)):
        _, page, _ = await desk.call("GET", f"/v1/videos?order={order}")
        assert [video["id"] for video in page["data"]] == wanted
        moments = [video["created_at"] for video in page["data"]]
        assert moments == sorted(moments, reverse=order == "desc")


async def test_050_after_is_exclusive(desk: Desk) -> None:
    """A page goes on behind `after`, in both orders; behind the last one it is empty; also behind a deleted one."""
    ids = await made(desk, 4)
    for order, wanted in (("desc", ids[::-1]), ("asc", ids)):
        for position, video_id in enumerate(wanted):
            _, page, _ = await desk.call("GET", f"/v1/videos?order={order}&after={video_id}")
            assert [video["id"] for video in page["data"]] == wanted[position + 1 :]
    status, _, _ = await desk.call("DELETE", f"/v1/videos/{ids[2]}?force=true")
    assert status == 200
    _, page, _ = await desk.call("GET", f"/v1/videos?after={ids[2]}")
    assert [video["id"] for video in page["data"]] == ids[1::-1]
    await desk.refused("GET", "/v1/videos?after=nonsense", 400, param="after")


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_079_auto_pagination(desk: Desk, order: str) -> None:
    """The Python SDK's auto-pagination over three pages yields each id once."""
    ids = await made(desk, 5)
    found = await desk.sdk(lambda client: [video.id for video in client.videos.list(limit=2, order=order)])  # type: ignore[arg-type]
    assert found == (ids if order == "asc" else ids[::-1])


async def test_080_has_more(desk: Desk) -> None:
    """has_more is false on the last page, a full one too, and last_id is there whenever there is data."""
    ids = await made(desk, 4)
    for limit, pages in ((2, 2), (3, 2), (4, 1), (1, 4)):
        after, seen, more = "", [], []
        while not more or more[-1]:
            _, page, _ = await desk.call("GET", f"/v1/videos?limit={limit}{after}")
            assert page["last_id"] == page["data"][-1]["id"]
            assert page["first_id"] == page["data"][0]["id"]
            seen += [video["id"] for video in page["data"]]
            more.append(page["has_more"])
            after = f"&after={page['last_id']}"
        assert seen == ids[::-1]
        assert more == [True] * (pages - 1) + [False]


async def test_081_empty_list(desk: Desk) -> None:
    """A list of nothing has no data, null for its ends, and nothing more; refused orders leave it so."""
    nothing = {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}
    assert (await desk.call("GET", "/v1/videos"))[1] == nothing
    assert (await desk.call("POST", "/v1/videos", data=form(prompt="x", seconds="5")))[0] == 400
    assert (await desk.call("GET", "/v1/videos?order=asc&limit=5"))[1] == nothing
