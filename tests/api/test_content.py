"""Content: which credential opens it, what a link is good for, how the bytes are labelled."""

from __future__ import annotations

import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.api import links
from proxy.config import Server
from proxy.errors import Unauthorized
from proxy.models import Source
from tests.api.conftest import Launch, Surface
from tests.api.memory import MP4

SECRET = b"s" * 32
NOW = 1_800_000_123.0


async def link(surface: Surface, video_id: str) -> str:
    _, shown, _ = await surface.call("GET", f"/v1/videos/{video_id}")
    return str(shown["video_url"].removeprefix(surface.url))


async def test_content_with_a_key(surface: Surface) -> None:
    """The bytes come with a key, whatever the client accepts, also for HEAD and as a range."""
    video = surface.engine.finish(surface.engine.add().id)
    path = f"/v1/videos/{video.id}/content"
    status, body, headers = await surface.call("GET", path, headers={"Accept": "application/binary"})
    assert (status, body, headers["content-type"]) == (200, MP4, "video/mp4")
    assert headers["content-length"] == str(len(MP4))
    assert headers["content-disposition"] == f'inline; filename="{video.id}.mp4"'
    status, body, headers = await surface.call("HEAD", path)
    assert (status, body, headers["content-length"]) == (200, b"", str(len(MP4)))
    status, body, headers = await surface.call("GET", path, headers={"Range": "bytes=0-99"})
    assert (status, body, headers["content-range"]) == (206, MP4[:100], f"bytes 0-99/{len(MP4)}")
    _, _, headers = await surface.call("GET", path + "?download=1")
    assert headers["content-disposition"].startswith("attachment")


async def test_content_too_early(surface: Surface) -> None:
    """Content before the end is a 404, which the SDKs do not retry."""
    video = surface.engine.add()
    status, answer, _ = await surface.call("GET", f"/v1/videos/{video.id}/content")
    assert (status, answer["error"]["code"]) == (404, "video_not_ready")


async def test_variants_are_pictures(surface: Surface) -> None:
    """A variant is a picture of a known kind, whatever the channel calls it."""
    video = surface.engine.finish(surface.engine.add().id)
    for named, variant, expected in (
        ("image/png", "thumbnail", "image/png"),
        ("video/mp4", "thumbnail", "image/webp"),
        ("text/html", "spritesheet", "image/jpeg"),
        ("image/svg+xml", "spritesheet", "image/jpeg"),
    ):
        data = {"image/png": b"\x89PNG\r\n\x1a\n", "image/webp": b"RIFF\0\0\0\0WEBP", "image/jpeg": b"\xff\xd8\xff\xe0"}
        surface.engine.source = Source(data=data[expected] + b"\0" * 100, media_type=named)
        status, _, headers = await surface.call("GET", f"/v1/videos/{video.id}/content?variant={variant}")
        assert (status, headers["content-type"]) == (200, expected)


@pytest.mark.parametrize("in_memory", [True, False])
async def test_a_link_needs_no_key(surface: Surface, in_memory: bool) -> None:
    """A signed link opens its video, and nothing but that."""
    surface.engine.in_memory = in_memory
    video, other = (surface.engine.finish(surface.engine.add().id) for _ in range(2))
    signed = await link(surface, video.id)
    assert (await surface.call("GET", signed, key=None))[:2] == (200, MP4)
    assert (await surface.call("HEAD", signed, key=None))[0] == 200
    assert (await surface.call("GET", signed.replace("/v1", "", 1), key=None))[0] == 200
    for forged in (
        signed.replace(video.id, other.id),
        signed + "&variant=thumbnail",
        signed.replace("exp=", "exp=1"),
        signed.replace("sig=", "sig=A"),
        signed[: signed.index("&sig")],
        signed.split("?")[0] + "?sig=%F0%9F",
        signed.split("?")[0],
    ):
        status, answer, _ = await surface.call("GET", forged, key=None)
        assert (status, answer["error"]["code"]) == (401, "invalid_api_key"), forged
    assert (await surface.call("GET", signed.replace("/content", ""), key=None))[0] == 401
    assert (await surface.call("DELETE", signed.replace("/content", ""), key=None))[0] == 401
    await surface.call("DELETE", f"/v1/videos/{video.id}")
    assert (await surface.call("GET", signed, key=None))[0] == 404


async def test_the_first_credential_present_decides(surface: Surface) -> None:
    """A wrong or foreign key is not saved by a good link."""
    video = surface.engine.finish(surface.engine.add().id)
    signed = await link(surface, video.id)
    assert (await surface.call("GET", signed, key="wrong"))[0] == 401
    assert (await surface.call("GET", signed, key="bert-secret"))[0] == 404


async def test_public_url_wins_over_host(launched: Launch) -> None:
    """Links begin with the configured address, with or without its slash."""
    for public_url in ("https://video.example.com", "https://video.example.com/"):
        surface = await launched(Server(), public_url=public_url)
        video = surface.engine.finish(surface.engine.add().id)
        _, shown, _ = await surface.call("GET", f"/v1/videos/{video.id}", headers={"Host": "elsewhere"})
        assert shown["video_url"].startswith(f"https://video.example.com/v1/videos/{video.id}/content?exp=")


def test_links_are_stable_for_an_hour_and_live_long_enough() -> None:
    """Within an hour a link stays the same; it lives for its ttl and at most an hour more."""
    hour = NOW // 3600 * 3600
    made = {links.sign(SECRET, "video_1", "video", ttl=600, now=hour + second) for second in (0, 1, 3599.9)}
    assert len(made) == 1
    expires_at = int(parse_qs(made.pop())["exp"][0])
    assert expires_at - (hour + 3599.9) >= 600
    assert expires_at - hour <= 600 + 3600


@settings(deadline=None, max_examples=200)
@given(
    video_id=st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True),
    variant=st.sampled_from(["video", "thumbnail", "spritesheet"]),
    wait=st.integers(0, 10_000),
    query=st.dictionaries(st.sampled_from(["exp", "sig"]), st.text(max_size=60)),
)
def test_links_verify_what_was_signed_and_nothing_else(
    video_id: str, variant: str, wait: int, query: dict[str, str]
) -> None:
    """A link is good until it expires and not after; a made-up one never is."""
    signed = {
        name: values[0] for name, values in parse_qs(links.sign(SECRET, video_id, variant, ttl=60, now=NOW)).items()
    }  # type: ignore[arg-type]
    expires_at = int(signed["exp"])
    links.check(SECRET, video_id, variant, signed, now=expires_at)  # type: ignore[arg-type]
    for bad_query, secret, now in (
        (signed, SECRET, expires_at + 1 + wait),
        (signed, b"x" * 32, NOW),
        (query, SECRET, NOW),
        ({**signed, "exp": str(expires_at + wait + 1)}, SECRET, NOW),
    ):
        with pytest.raises(Unauthorized):
            links.check(secret, video_id, variant, bad_query, now=now)  # type: ignore[arg-type]


def test_the_url_of_a_link_is_what_it_says(tmp_path: Path) -> None:
    """A variant other than the video stands in its link."""
    query = links.sign(SECRET, "video_1", "thumbnail", ttl=60, now=time.time())
    assert parse_qs(urlsplit(f"https://h/?{query}").query)["variant"] == ["thumbnail"]
