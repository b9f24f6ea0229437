"""Where the film of a source lies, for an upstream that shall fetch it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from proxy import Channel, Options, Outcome, UpstreamJob, VideoRequest
from proxy.errors import ContentExpired, UpstreamError, UpstreamRefused
from proxy.upstream import submission
from proxy.upstream.http import Http
from tests.upstream.conftest import channel as upstream_of

OLD, NEW = "https://cdn.example/old.mp4", "https://cdn.example/new.mp4"


class Shelf(Channel):
    """Says what it is told to, and counts how often it is asked."""

    type = "shelf"
    asked = 0
    answer: UpstreamJob | Exception = UpstreamJob("1", "completed", url=NEW)

    async def create(self, request: VideoRequest) -> UpstreamJob:
        raise NotImplementedError

    async def fetch(self, job: UpstreamJob) -> UpstreamJob:
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def shelf(http: Http, tmp_path: Path) -> Shelf:
    return Shelf(name="a", options=Options(), upstream=upstream_of(http, "https://api.example"), folder=tmp_path)


@pytest.mark.parametrize(
    ("left", "found", "asked"), [(None, OLD, 0), (86_400, OLD, 0), (500, NEW, 1), (-(10**9), NEW, 1)]
)
async def test_an_address_that_ends_soon_is_asked_for_anew(
    shelf: Shelf, left: float | None, found: str, asked: int
) -> None:
    """An order may wait before the upstream looks there, so that ten minutes are too few; what nobody knows is good."""
    ends = None if left is None else time.time() + left
    source = UpstreamJob("1", "completed", url=OLD, url_expires_at=ends)
    assert await shelf.film_url(source) == found
    assert shelf.asked == asked


async def test_a_source_without_an_address_is_asked_for_it(shelf: Shelf) -> None:
    """Where the upstream has none any more, the order is refused before anything was sent."""
    source = UpstreamJob("1", "completed")
    assert await shelf.film_url(source) == NEW
    shelf.answer = UpstreamJob("1", "completed")
    with submission(), pytest.raises(UpstreamRefused) as caught:
        await shelf.film_url(source)
    assert caught.value.outcome is Outcome.REFUSED


async def test_a_look_that_fails_has_ordered_nothing(shelf: Shelf) -> None:
    """An error of unknown outcome at the look is a certain refusal of the order."""
    shelf.answer = UpstreamError("The answer has another shape.")
    with submission(), pytest.raises(UpstreamError) as caught:
        await shelf.film_url(UpstreamJob("1", "completed"))
    assert caught.value.outcome is Outcome.REFUSED


async def test_a_result_that_is_gone_is_not_handed_on(shelf: Shelf) -> None:
    """A film that the upstream has removed by its own word is not ordered from: the address may look good still."""
    source = UpstreamJob("1", "completed", url=OLD, expires_at=time.time() - 1)
    with submission(), pytest.raises(ContentExpired) as caught:
        await shelf.film_url(source)
    assert caught.value.outcome is not Outcome.UNKNOWN
    assert shelf.asked == 0
