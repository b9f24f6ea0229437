"""`content: redirect`: the provider's own address, where the operator wants it and it needs no key."""

from pathlib import Path

from proxy.models import Source
from tests.conftest import Launch, Product

PLUGINS = (Path(__file__).parent / "engine" / "plugins",)
ADDRESS = "https://cdn.example/v.mp4?signature=abc"


async def answer(product: Product, source: Source) -> tuple[int, str | None]:
    async def content(job: object, variant: str) -> Source:
        return source

    product.channel("a").content = content
    video = await product.create()
    await product.done(video["id"])
    status, _, headers = await product.call("GET", f"/v1/videos/{video['id']}/content", allow_redirects=False)
    return status, headers.get("location")


async def test_a_public_address_is_handed_out(launch: Launch) -> None:
    """A result that needs no key is a 302 to it; one that needs the channel's key is relayed all the same."""
    product = await launch("channels: [{name: a, type: puppet, models: [sora-2], content: redirect}]", plugins=PLUGINS)
    assert await answer(product, Source(url=ADDRESS)) == (302, ADDRESS)
    assert (await answer(product, Source(url="http://127.0.0.1:9/v.mp4", headers={"Authorization": "k"})))[0] == 502
    assert (await answer(product, Source(data=b"\x00\x00\x00\x18ftypmp42")))[0] == 200


async def test_nothing_is_handed_out_by_default(launch: Launch) -> None:
    """Without the operator's word the upstream's address never reaches a client (P4)."""
    product = await launch("channels: [{name: a, type: puppet, models: [sora-2]}]", plugins=PLUGINS)
    assert await answer(product, Source(url="http://127.0.0.1:9/v.mp4")) == (502, None)
