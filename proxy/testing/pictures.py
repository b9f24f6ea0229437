"""The laws about pictures: what a channel says that it takes reaches its upstream, whole and rightly labelled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from proxy.errors import InvalidRequest, UnsupportedOperation
from proxy.inputs import PICTURE_TYPES, Picture
from proxy.media import forms, pictures
from proxy.models import Model, VideoRequest
from proxy.testing.bench import Bench, Kit, failure_of, law, picture
from proxy.testing.wire import Call

SEVERAL = 3
"""Pictures that are sent where the model names no bound."""


class PictureLaws(Kit):
    """Laws about input pictures. They come in the `picture_form` that the channel asks for, as the core brings them."""

    @law
    async def test_picture_is_sent_or_refused(self, tmp_path: Path) -> None:
        """An input picture reaches the upstream, or the request is refused; it is never left out in silence."""
        async with self.bench(tmp_path) as bench:
            bench = _able(bench, "takes no input picture", lambda model: model.image)
            await _sent_or_refused(bench, [await formed(bench)])

    @law
    async def test_every_picture_is_sent_or_refused(self, tmp_path: Path) -> None:
        """Of several pictures, as many as `max_images` lets through, none is left out in silence."""
        async with self.bench(tmp_path) as bench:
            bench = _able(bench, "takes more than one picture", lambda model: model.image and model.max_images != 1)
            count = min(_limits(bench).max_images or SEVERAL, SEVERAL)
            await _sent_or_refused(bench, [await formed(bench, number) for number in range(count)])

    @law
    async def test_last_frame_is_sent(self, tmp_path: Path) -> None:
        """A model that says `last_frame=True` is sent the picture that the video ends with, beside the first one."""
        async with self.bench(tmp_path) as bench:
            bench = _able(bench, "takes a last frame", lambda model: model.last_frame)
            images = (await formed(bench),) if _limits(bench).image else ()
            last = await formed(bench, 1)
            await bench.submit(images=images, last_frame=last)
            assert _carried(bench, last), "last_frame was left out, although the model says that it takes one"
            assert all(_carried(bench, image) for image in images), "beside the last frame the first one was left out"

    @law
    @pytest.mark.parametrize("media_type", PICTURE_TYPES)
    async def test_picture_has_its_own_type(self, tmp_path: Path, media_type: str) -> None:
        """Whatever type a picture has, no other one stands beside it: data URIs, parts and fields say what it is."""
        async with self.bench(tmp_path) as bench:
            bench = _able(bench, "takes an input picture", lambda model: model.image)
            if media_type not in bench.channel.picture_form.media_types:
                pytest.skip(f"the channel's picture_form has no {media_type}")
            image = await formed(bench, media_type=media_type)
            try:
                await bench.submit(images=(image,))
            except (InvalidRequest, UnsupportedOperation):
                pytest.skip("the picture is refused")
            wrong = [word for word in PICTURE_TYPES if word != media_type and _says(bench.sim.requests, word)]
            assert not wrong, f"a picture of type {media_type} was sent as {', '.join(wrong)}"

    @law
    @pytest.mark.parametrize("kind", ["remix", "edit", "extend"])
    async def test_source_frame_is_sent(self, tmp_path: Path, kind: Literal["remix", "edit", "extend"]) -> None:
        """Where the channel asks for a frame of the source, that is sent; where there is none, nothing is ordered."""
        self.needs(kind)
        async with self.bench(tmp_path) as bench:
            source = await bench.source_for(kind)
            frame = await formed(bench, 2)
            asked = []

            async def give(which: Literal["first", "last"]) -> Picture:
                asked.append(which)
                return frame

            await bench.submit(kind, source, source_frame=give)
            if not asked:
                pytest.skip(f"{kind}() asks for no frame")
            assert _carried(bench, frame), "the frame was asked for and then left out"
            paid = bench.sim.paid

            async def refuse(which: Literal["first", "last"]) -> Picture:
                raise UnsupportedOperation("The source cannot be decoded.")

            error = await failure_of(bench.submit(kind, source, source_frame=refuse))
            assert isinstance(error, UnsupportedOperation), f"source_frame said why there is no frame, not {error!r}"
            assert bench.sim.paid == paid, "there was no frame, but the job was taken"


async def formed(bench: Bench, number: int = 0, *, media_type: str | None = None) -> Picture:
    """Picture `number` as the core gives it to the channel: in its `picture_form`, of the size of the video."""
    form = bench.channel.picture_form
    if media_type is not None:
        form = replace(form, media_types=(media_type,))
    image = await forms.formed(await picture_of(bench.request(), number), form)
    return replace(image, url=f"https://pictures.example/{number}/input") if form.address else image


async def picture_of(request: VideoRequest, number: int) -> Picture:
    """A PNG of the size of the video; no two numbers give the same."""
    return await pictures.in_worker(picture, request.size, number)


def _limits(bench: Bench) -> Model:
    return bench.limits


def _able(bench: Bench, what: str, able: Callable[[Model], bool]) -> Bench:
    """The bench with a model that is able; skipped where there is none."""
    for name in (bench.upstream_model, *bench.channel.models):
        if able(_limits(there := replace(bench, upstream_model=name))):
            return there
    pytest.skip(f"no model {what}")


async def _sent_or_refused(bench: Bench, images: Sequence[Picture]) -> None:
    try:
        await bench.submit(images=tuple(images))
    except (InvalidRequest, UnsupportedOperation):
        assert bench.sim.paid == 0, "the pictures were refused, but the job was taken"
        return
    lost = [number for number, image in enumerate(images, 1) if not _carried(bench, image)]
    assert not lost, (
        f"picture {', '.join(map(str, lost))} of {len(images)} was left out; send it, refuse it with "
        "UnsupportedOperation, or say in the Model what it takes (image, max_images)"
    )


def _carried(bench: Bench, image: Picture) -> bool:
    """Whether `image` was sent in any form; by its address alone where the channel asks for that."""
    calls = bench.sim.requests
    if bench.channel.picture_form.address:
        return any(image.url is not None and image.url in _unescaped(call) for call in calls)
    return any(image.data in call.body or image.base64 in _unescaped(call) for call in calls)


def _says(calls: Sequence[Call], word: str) -> bool:
    return any(word in _unescaped(call) for call in calls)


def _unescaped(call: Call) -> str:
    """The body as text, with the slashes of base64 as they were before a JSON writer escaped them."""
    return call.body.decode("latin-1").replace("\\/", "/")
