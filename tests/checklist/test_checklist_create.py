"""openai-videos.md §8, 30, 33, 34, 53 to 58, 62 to 68 and 95: the bodies of a create."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from aiohttp import FormData

from tests.checklist.desk import Desk, channel, check_video, config, form, parts, png
from tests.conftest import Launch, Product
from tests.simulators.openai import OpenAISimulator

JSON = {"Content-Type": "application/json"}


async def asked(puppet: Product, **kwargs: Any) -> Any:
    """The request that the plugin got for a create that must work."""
    status, video, _ = await puppet.call("POST", "/v1/videos", **kwargs)
    assert status == 200, video
    return puppet.channel("p").asked("create")[-1]


async def test_030_multipart_of_texts(desk: Desk) -> None:
    """A form of text parts only, which is what both SDKs send, makes a valid video."""
    data = form(prompt="a boat", model="sora-2", seconds="8", size="1280x720")
    status, video, _ = await desk.call("POST", "/v1/videos", data=data)
    assert status == 200
    assert (check_video(video)["seconds"], video["size"], video["prompt"]) == ("8", "1280x720", "a boat")
    by_sdk = await desk.sdk(lambda client: client.videos.create(prompt="a boat", seconds="8", size="1280x720"))
    check_video(by_sdk.to_dict(mode="json", exclude_unset=True))
    assert desk.sim.paid == 2


async def test_033_idempotency_key(desk: Desk) -> None:
    """The same Idempotency-Key and body give the same answer and no second job, also when sent at once."""
    headers = {"Idempotency-Key": "order-1"}
    body = {"prompt": "x", "seconds": "8"}
    first = await asyncio.gather(
        *(desk.call("POST", "/v1/videos", json=body, headers=headers) for _ in range(4)),
        desk.call("POST", "/v1/videos", data=json.dumps(dict(reversed(body.items()))), headers={**headers, **JSON}),
    )
    desk.sim.finish(desk.sim.latest.id)
    await desk.product.done(first[0][1]["id"])
    later = await desk.call("POST", "/v1/videos", json=body, headers=headers)
    assert [status for status, _, _ in (*first, later)] == [200] * 6
    assert all(video == first[0][1] for _, video, _ in (*first, later))
    assert desk.sim.paid == 1
    assert len(await desk.listed()) == 1


async def test_034_idempotency_key_with_another_body(desk: Desk) -> None:
    """The same key with another body is a 400, because a 409 would be sent again."""
    headers = {"Idempotency-Key": "order-1"}
    assert (await desk.call("POST", "/v1/videos", json={"prompt": "x"}, headers=headers))[0] == 200
    for body in ({"prompt": "y"}, {"prompt": "x", "seconds": "8"}, {"prompt": "x", "metadata": {"a": 1}}):
        await desk.refused("POST", "/v1/videos", 400, 422, code="idempotency_key_reused", json=body, headers=headers)


async def test_053_picture_of_no_type(desk: Desk) -> None:
    """A PNG called `upload` of the type application/octet-stream is taken: bytes tell, as the SDK sends BytesIO."""
    data = FormData({"prompt": "x"})
    data.add_field("input_reference", png(), filename="upload", content_type="application/octet-stream")
    assert (await desk.call("POST", "/v1/videos", data=data))[0] == 200
    await desk.sdk(lambda client: client.videos.create(prompt="x", input_reference=io.BytesIO(png())))
    await desk.sdk(lambda client: client.videos.create(prompt="x", input_reference=png()))
    assert [call.form["input_reference"].data for call in desk.sim.calls("create")] == [png()] * 3  # type: ignore[union-attr]
    assert desk.sim.paid == 3


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
async def test_054_picture_with_its_type(desk: Desk, kind: str) -> None:
    """A picture with its name and type is taken; one of another size is fitted to the video's."""
    for side in ((720, 1280), (300, 200)):
        data = FormData({"prompt": "x"})
        data.add_field("input_reference", png(*side, kind), filename="a.bin", content_type=f"image/{kind.lower()}")
        assert (await desk.call("POST", "/v1/videos", data=data))[0] == 200
    assert desk.sim.paid == 2


async def test_055_image_url_as_a_part(puppet: Product) -> None:
    """A part input_reference[image_url] is the object form, as openai-node sends it."""
    uri = f"data:image/png;base64,{base64.b64encode(png(64, 64)).decode()}"
    request = await asked(puppet, data=parts(("prompt", "x"), ("input_reference[image_url]", uri)))
    assert request.image.data == png(64, 64)
    assert (await asked(puppet, json={"prompt": "x", "input_reference": {"image_url": uri}})).image == request.image


async def test_056_integer_seconds(desk: Desk) -> None:
    """JSON seconds may be an integer; another number or type is a clean 400."""
    for seconds in (8, "8"):
        assert (await desk.product.create(seconds=seconds))["seconds"] == "8"
    for odd in (8.0, 8.5, True, [8], {"s": 8}, 10**400, -8, 0):
        await desk.refused("POST", "/v1/videos", 400, param="seconds", json={"prompt": "x", "seconds": odd})


async def test_057_bracketed_references(desk: Desk) -> None:
    """input_reference[file_id] is the object form; video[id] names the source of edits and extensions."""
    data = parts(("prompt", "x"), ("input_reference[file_id]", "file-unknown"))
    in_form = await desk.refused("POST", "/v1/videos", *range(400, 500), data=data)
    body = {"prompt": "x", "input_reference": {"file_id": "file-unknown"}}
    assert await desk.refused("POST", "/v1/videos", *range(400, 500), json=body) == in_form
    source = await desk.completed()
    for path, more in (("edits", ()), ("extensions", (("seconds", "4"),))):
        data = parts(("prompt", "y"), ("video[id]", source["id"]), *more)
        status, video, _ = await desk.call("POST", f"/v1/videos/{path}", data=data)
        assert status == 200, video
    assert [job.kind for job in desk.sim.jobs.values()] == ["create", "edit", "extend"]


async def test_058_chunked_multipart(desk: Desk) -> None:
    """A form without Content-Length, as openai-node streams files, is taken."""
    body = (
        b'--b\r\nContent-Disposition: form-data; name="prompt"\r\n\r\na boat\r\n'
        b'--b\r\nContent-Disposition: form-data; name="input_reference"; filename="a.png"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n" + png() + b"\r\n--b--\r\n"
    )

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 777):
            yield body[start : start + 777]

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    status, video, _ = await desk.call("POST", "/v1/videos", data=pieces(), headers=headers)
    assert (status, video["prompt"]) == (200, "a boat")
    part = desk.sim.calls("create")[0].form["input_reference"]
    assert part.data == png()  # type: ignore[union-attr]


async def test_062_texts_of_a_form(puppet: Product) -> None:
    """seconds and size are read from texts; true, false and numbers of extension fields become what they say."""
    data = form(prompt="true", seconds="8", size="1280x720", seed="7", audio="true", cfg="0.5", loop="false", tag="v2")
    request = await asked(puppet, data=data)
    assert (request.seconds, request.size, request.seed, request.audio) == (8, "1280x720", 7, True)
    assert request.metadata == {"cfg": 0.5, "loop": False, "tag": "v2"}
    assert request.prompt == "true"


async def test_063_nested_names(puppet: Product) -> None:
    """a[b], k[] and k[][x] are objects and lists; a text of JSON is its value (vLLM-Omni's style)."""
    nested = {"a": {"b": "c", "d": {"e": 1}}, "k": ["x", "y"], "l": [{"x": 1, "y": 2}, {"x": 3, "y": 4}]}
    names = [("a[b]", "c"), ("a[d][e]", "1"), ("k[]", "x"), ("k[]", "y")]
    names += [("l[][x]", "1"), ("l[][x]", "3"), ("l[][y]", "2"), ("l[][y]", "4")]
    assert (await asked(puppet, data=parts(("prompt", "p"), *names))).metadata == nested
    texts = [(name, json.dumps(value)) for name, value in nested.items()]
    assert (await asked(puppet, data=parts(("prompt", "p"), *texts))).metadata == nested
    assert (await asked(puppet, json={"prompt": "p", **nested})).metadata == nested


async def test_063_with_the_sdk(desk: Desk, puppet: Product) -> None:
    """The SDK's extra_body of nested values arrives as it was given."""
    nested = {"a": {"b": "c", "d": {"e": 1}}, "k": ["x", "y"], "l": [{"x": 1, "y": 2}, {"x": 3, "y": 4}], "on": True}
    shop = Desk(puppet, desk.sim)
    await shop.sdk(lambda client: client.videos.create(prompt="p", extra_body=nested))
    assert puppet.channel("p").asked("create")[-1].metadata == nested


async def test_064_unknown_fields(desk: Desk, puppet: Product) -> None:
    """An unknown field is passed on where the upstream takes it, left out where it does not, and a 400 that names it
    where it could change the price."""
    assert (await asked(puppet, json={"prompt": "x", "style": "ink"})).metadata == {"style": "ink"}
    assert (await desk.product.create(style="ink"))["status"] == "queued"
    assert b"style" not in desk.sim.calls("create")[-1].body
    for name in ("n", "num_outputs", "resolution", "fps", "quality", "N", "duration"):
        for body in ({"json": {"prompt": "x", name: 4}}, {"data": form(prompt="x", **{name: "4"})}):
            await desk.refused("POST", "/v1/videos", 400, param=name, **body)
        body = {"prompt": "x", "metadata": {name: 4}}
        await desk.refused("POST", "/v1/videos", 400, param=f"metadata.{name}", json=body)
    await desk.refused("POST", "/v1/videos", 400, param="extra.n", json={"prompt": "x", "extra": {"n": 4}})


async def test_065_reference_as_text(desk: Desk, puppet: Product) -> None:
    """A text part input_reference is taken as an address or a data URI, which docs/clients.md says; else a 400."""
    uri = f"data:image/png;base64,{base64.b64encode(png(64, 64)).decode()}"
    assert (await asked(puppet, data=form(prompt="x", input_reference=uri))).image.data == png(64, 64)
    for text in ("a picture", "http://127.0.0.1:1/a.png", "file:///etc/passwd", ""):
        data = form(prompt="x", input_reference=text)
        await desk.refused("POST", "/v1/videos", 400, param="input_reference", data=data)
    assert desk.sim.requests == []


async def test_066_one_part_for_each_byte(desk: Desk) -> None:
    """What openai-node makes of a Buffer is a 400, few parts or thousands; memory: tests/api/test_memory.py."""
    for count in (1, 5, 255, 5000):
        names = [(f"input_reference[{number}]", "137") for number in range(count)]
        data = parts(("prompt", "x"), *names)
        await desk.refused("POST", "/v1/videos", 400, param="input_reference", data=data)
    assert desk.sim.requests == []


async def test_067_multipart_called_json(desk: Desk) -> None:
    """What openai-node sends when told that it is JSON is a 400."""
    body = b'--b\r\nContent-Disposition: form-data; name="prompt"\r\n\r\nx\r\n--b--\r\n'
    await desk.refused("POST", "/v1/videos", 400, data=body, headers=JSON)
    assert desk.sim.requests == []


async def test_068_post_answers_early(launch: Launch, sim: OpenAISimulator) -> None:
    """A POST does not wait for the render, and for a silent upstream no longer than submit_wait."""
    desk = Desk(await launch(config(channel(sim, timeout={"first_byte": 30}), submit_wait=0.3)), sim)
    video = await desk.product.create()
    assert video["status"] == "queued"
    sim.fault("hang", on="create")
    async with asyncio.timeout(20):
        video = await desk.product.create(prompt="into silence")
    assert video["status"] == "queued"
    assert sim.paid == 2
    assert await desk.listed()


async def test_095_prompt_survives(desk: Desk) -> None:
    """Every character of a prompt arrives upstream and comes back: in a form, in JSON, through the SDK."""
    odd = "quotes \"' \\ \\n, line\nbreaks\r\n\ttabs, =&;%00+ --b\r\n--b--, für 東京 🛶 \u200d\ufeff é e\u0301 "
    prompt = (odd + "窗" * 32_000)[:32_000]

    def by_sdk(client: openai.OpenAI) -> str | None:
        return client.videos.create(prompt=prompt).prompt

    for body in ({"json": {"prompt": prompt}}, {"data": form(prompt=prompt)}):
        status, video, _ = await desk.call("POST", "/v1/videos", **body)
        assert (status, video["prompt"] == prompt) == (200, True)
        assert desk.sim.latest.facts["prompt"] == prompt
    assert await desk.sdk(by_sdk) == prompt
    assert desk.sim.latest.facts["prompt"] == prompt
