"""An address that has run out is asked for once more, before the client hears of it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from proxy.errors import UpstreamError, UpstreamGone
from proxy.models import Source
from tests.media.wire import DATA, SIZE, Exchange, Front, RawUpstream, good


class Renewal:
    """Gives a source, or raises, and counts."""

    def __init__(self, source: Source | Exception) -> None:
        self.source = source
        self.asked = 0

    async def __call__(self) -> Source:
        self.asked += 1
        if isinstance(self.source, Exception):
            raise self.source
        return self.source


def refusing(status: str) -> object:
    async def script(exchange: Exchange) -> None:
        await exchange.head(f"{status} No", Content_Length=0)

    return script


@pytest.mark.parametrize("status", ["400", "401", "402", "403", "404", "410"])
@pytest.mark.parametrize("asked", [{}, {"Range": "bytes=-500"}])
async def test_a_refused_address_is_renewed_once(
    front: Front, upstream: RawUpstream, status: str, asked: dict[str, str]
) -> None:
    """Where an address without a key is refused, the client gets the bytes from the new one and hears of nothing."""
    upstream.script = refusing(status)  # type: ignore[assignment]
    renewal = front.options["renew"] = Renewal(Source(data=DATA))
    for method in ("GET", "HEAD"):
        found, headers, body = await front.ask(method, **asked)
        ranged = bool(asked) and method == "GET"
        assert (found, headers["content-length"]) == ((206, "500") if ranged else (200, str(SIZE)))
        assert body == (b"" if method == "HEAD" else DATA[-500:] if ranged else DATA)
    assert renewal.asked == 2


@pytest.mark.parametrize(
    ("status", "known"), [("403", "UpstreamGone"), ("410", "UpstreamGone"), ("401", "AccountRefused")]
)
async def test_a_second_refusal_is_the_answer(front: Front, upstream: RawUpstream, status: str, known: str) -> None:
    """Where the new address is refused too, that is told, and no third one is asked for."""
    upstream.script = refusing(status)  # type: ignore[assignment]
    renewal = front.options["renew"] = Renewal(Source(url=upstream.url))
    found, _, body = await front.ask()
    assert (found, known.encode() in body) == (502, True)
    assert (renewal.asked, len(upstream.exchanges)) == (1, 2)


@pytest.mark.parametrize(
    ("status", "headers"), [("500", {}), ("429", {}), ("401", {"Authorization": "k"}), ("403", {"Authorization": "k"})]
)
async def test_other_errors_are_not_renewed(
    front: Front, upstream: RawUpstream, status: str, headers: dict[str, str]
) -> None:
    """A busy or broken upstream, and one that refuses our key, would do the same at another address."""
    upstream.script = refusing(status)  # type: ignore[assignment]
    front.source = Source(url=upstream.url, headers=headers)
    renewal = front.options["renew"] = Renewal(Source(data=DATA))
    assert (await front.ask())[0] in (429, 502)
    assert renewal.asked == 0


async def test_a_good_address_is_not_renewed(front: Front, upstream: RawUpstream) -> None:
    """Nobody is asked for another address as long as there is a good one; also not after the first byte."""
    upstream.script = good
    renewal = front.options["renew"] = Renewal(Source(data=DATA))
    assert (await front.ask())[2] == DATA

    async def gone() -> AsyncIterator[bytes]:
        yield DATA[:1000]
        raise UpstreamGone("it is gone")

    front.source = Source(stream=gone)
    with pytest.raises(Exception, match="payload is not completed"):
        await front.ask()
    assert renewal.asked == 0


async def test_a_renewal_that_fails_is_the_answer(front: Front, upstream: RawUpstream) -> None:
    """What goes wrong while a new address is looked for is what the client hears."""
    upstream.script = refusing("404")  # type: ignore[assignment]
    front.options["renew"] = Renewal(UpstreamError("The upstream says nothing."))
    found, _, body = await front.ask()
    assert (found, b"says nothing" in body) == (502, True)
