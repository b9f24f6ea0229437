"""plugins/fal.py: the options of its entry, and endpoints that an operator describes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from plugins.fal import Fal, FalOptions
from proxy import InvalidRequest, UnsupportedOperation, config
from proxy.errors import Mistake
from proxy.loader import Plugin, Registry
from proxy.plans import Plan, examine
from tests.plugins.fal_wire import FILM, OTHER, OTHER_URI, PICTURE, URI, job, opened, request, taking
from tests.plugins.openai_oracle import PROMPT, Recorder

NEW = "someone/new"
DESCRIBED: dict[str, Any] = {
    NEW: {
        "image": "start",
        "last_frame": "finish",
        "duration": "length",
        "duration_form": "suffix",
        "aspect_ratio": False,
        "resolution": {"1080p": "FULL"},
        "audio": "sound",
        "negative_prompt": False,
        "image_endpoint": f"{NEW}/image",
        "images_endpoint": f"{NEW}/many",
        "extend_endpoint": f"{NEW}/longer",
        "edit_endpoint": f"{NEW}/change",
    },
    f"{NEW}/many": {"images": "pictures", "image": "", "seconds": [4, 8]},
    f"{NEW}/longer": {"video": "clip", "seconds": [3]},
}


@pytest.fixture
async def recorder() -> AsyncIterator[Recorder]:
    async with taking() as recorder:
        yield recorder


COMMON = {"prompt": PROMPT, "length": "8s", "resolution": "720p"}


@pytest.mark.parametrize(
    ("changes", "path", "body"),
    [
        ({}, "", COMMON),
        (
            {"size": "1920x1080", "seed": 7, "audio": True, "negative_prompt": "rain"},
            "",
            {**COMMON, "resolution": "FULL", "seed": 7, "sound": True},
        ),
        ({"images": (PICTURE,)}, "/image", {**COMMON, "start": URI}),
        ({"images": (PICTURE,), "last_frame": OTHER}, "/image", {**COMMON, "start": URI, "finish": OTHER_URI}),
        ({"images": (PICTURE, OTHER)}, "/many", {**COMMON, "pictures": [URI, OTHER_URI]}),
    ],
)
async def test_an_endpoint_that_is_described(
    recorder: Recorder, changes: dict[str, Any], path: str, body: dict[str, Any]
) -> None:
    """What is said of an endpoint holds for its siblings too, as far as they do not say otherwise."""
    async with opened(recorder, fields=DESCRIBED) as channel:
        wanted = request(model=NEW, **changes)
        channel.check(wanted)
        await channel.create(wanted)
    assert (recorder.last.target, recorder.last.json) == (f"/{NEW}{path}", body)


@pytest.mark.parametrize(
    ("kind", "path", "body"),
    [
        ("extend", "/longer", {"prompt": PROMPT, "length": "3s", "clip": FILM}),
        ("edit", "/change", {"prompt": PROMPT, "video_url": FILM}),
        ("remix", "/change", {"prompt": PROMPT, "video_url": FILM}),
    ],
)
async def test_follow_ups_that_are_described(recorder: Recorder, kind: Any, path: str, body: dict[str, Any]) -> None:
    """An endpoint for extensions or edits gets the video, the seconds where it adds some, and what is said of it."""
    async with opened(recorder, fields=DESCRIBED) as channel:
        wanted = request(model=NEW, kind=kind, seconds=3)
        channel.check(wanted)
        await getattr(channel, kind)(wanted, job(recorder, "completed", url=FILM))
    assert (recorder.last.target, recorder.last.json) == (f"/{NEW}{path}", body)


async def test_bounds_that_are_described(recorder: Recorder) -> None:
    """Seconds that an endpoint does not take, and pictures without a field, are refused before."""
    async with opened(recorder, fields=DESCRIBED) as channel:
        with pytest.raises(InvalidRequest, match="one of 3"):
            channel.check(request(model=NEW, kind="extend", seconds=8))
        with pytest.raises(InvalidRequest, match="one of 4, 8"):
            channel.check(request(model=NEW, images=(PICTURE, OTHER), seconds=5))
    async with opened(recorder, fields={NEW: {"image": ""}}) as channel:
        with pytest.raises(UnsupportedOperation):
            channel.check(request(model=NEW, images=(PICTURE,)))
    assert recorder.calls == []


async def test_a_listed_endpoint_is_corrected(recorder: Recorder) -> None:
    """What is said of a listed endpoint goes over the table, and the rest stays."""
    said = {"fal-ai/veo3.1": {"duration_form": "number", "audio": "sound"}}
    async with opened(recorder, fields=said) as channel:
        await channel.create(request(images=(PICTURE,), audio=False))
    assert recorder.last.target == "/fal-ai/veo3.1/image-to-video"
    assert recorder.last.json == {
        "prompt": PROMPT,
        "duration": 8,
        "aspect_ratio": "16:9",
        "resolution": "720p",
        "sound": False,
        "image_url": URI,
    }


def test_what_a_described_model_can_do() -> None:
    """What is said of an endpoint is what its model can do; nothing is promised of one that nobody described."""
    options = msgspec.convert({"fields": {**DESCRIBED, "fal-ai/veo3.1": {"edit_endpoint": "a/b"}}}, FalOptions)
    new, veo, other = (Fal.limits(options, name) for name in (NEW, "fal-ai/veo3.1", "someone/other"))
    assert (new.max_images, new.last_frame, new.native, new.extend_seconds) == (
        None,
        True,
        ("remix", "edit", "extend"),
        (3,),
    )
    assert (veo.native, veo.seconds, veo.max_images) == (("remix", "edit", "extend"), (4, 6, 8), 3)
    assert (other.native, other.max_images, other.last_frame) == ((), 1, False)


def planned(entry: str, model: str = "a/b") -> tuple[list[Plan], list[Mistake]]:
    registry = Registry(channels={"fal": Plugin(Fal, "fal.py", "fal")})
    text = f"channels:\n- {{name: a, type: fal, api_key: 'a:b', models: [{model}], {entry}}}"
    return examine(config.parse(text, Path("/srv/channels.yaml"), {}), registry)


def test_an_offer_has_what_is_described() -> None:
    """What `fields` say of an endpoint is what its channel offers."""
    (plan,), mistakes = planned("fields: {a/b: {edit_endpoint: a/b/edit, last_frame: end, resolution: no}}")
    limits = plan.offers["a/b"].limits
    assert (limits.native, limits.last_frame, mistakes) == (("remix", "edit"), True, [])


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("fields: {a/b: {imag: x}}", "fields['a/b'].imag (channel a): is an unknown key; did you mean image?"),
        ("fields: {a/b: {duration_form: 8s}}", "must be one of number, text, suffix, not the text '8s'"),
        ("fields: {a/b: {seed: perhaps}}", "must be true or false"),
        ("fields: {a/b: {seconds: [0]}}", "must be a whole number of at least 1"),
        ("fields: {a/b: {image: 'two words'}}", "must be a text like"),
        ("fields: {a/b: {edit_endpoint: https://x.example}}", "must be a text like"),
        ("fields: {a/b: image}", "must be a mapping"),
        ("fields: [a/b]", "must be a mapping"),
        ("fields: {/a/b: {image: x}}", "fields: /a/b is no endpoint; write one such as fal-ai/veo3.1/image-to-video"),
        ("fields: {a/b: {image: prompt}}", "fields of a/b: image and prompt have the same name, prompt"),
        ("fields: {a/b: {image: x, images: x}}", "fields of a/b: images and image have the same name, x"),
        ("fields: {a/b: {resolution: {HD: x}}}", "fields of a/b: resolution: HD is none; write 720p, 1080p"),
        ("upload_url: rest.fal.ai", "upload_url must be an address such as"),
    ],
)
def test_mistakes_are_found_by_check(entry: str, message: str) -> None:
    """A slip in an option is told with its place and what would be right."""
    _, mistakes = planned(entry)
    assert [message in str(mistake) for mistake in mistakes] == [True]
    assert all(mistake.line == 2 for mistake in mistakes)


@pytest.mark.parametrize("model", ["veo3.1", "/a/b", "a/b/", "'https://queue.fal.run/a/b'", "'a/b?c'"])
def test_what_is_no_endpoint_is_found_by_check(model: str) -> None:
    """A model that fal cannot have is a mistake in the file, not a refusal of each request."""
    _, (mistake,) = planned("", model)
    assert f"the model {model.strip(chr(39))}" in str(mistake)
