"""What the ComfyUI simulator makes of graphs and files, good and bad ones."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from proxy.testing import SimulatorServer
from tests.plugins.comfyui_calls import FILM, GRAPH, call, ended, graph, made, upload
from tests.simulators.comfyui import ComfyUISimulator
from tests.simulators.media import picture


@pytest.fixture
async def sim() -> AsyncIterator[ComfyUISimulator]:
    async with SimulatorServer(ComfyUISimulator()) as simulator:
        yield simulator


@pytest.fixture
async def http(sim: ComfyUISimulator) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(sim.base_url) as session:
        yield session


# ---------------------------------------------------------------- validation


@pytest.mark.parametrize(
    ("prompt", "kind", "words"),
    [
        ({}, "prompt_no_outputs", "Prompt has no outputs"),
        (graph(n10=None), "prompt_no_outputs", "Prompt has no outputs"),
        (graph(n10={"class_type": "Unheard", "inputs": {}}), "missing_node_type", "'Unheard' not found"),
        (graph(n10={"inputs": {}}), "invalid_prompt", "class_type"),
    ],
)
async def test_graphs_that_are_none(
    sim: ComfyUISimulator, http: aiohttp.ClientSession, prompt: Any, kind: str, words: str
) -> None:
    """A graph without an output, or with a node that is not installed, is a 400 without node_errors."""
    status, data = await call(http, "POST", "/prompt", json={"prompt": prompt})
    assert (status, data["error"]["type"], data["node_errors"]) == (400, kind, {})
    assert words in data["error"]["message"]
    assert set(data["error"]) == {"type", "message", "details", "extra_info"}
    assert sim.paid == 0


@pytest.mark.parametrize(
    ("node", "inputs", "kind", "details"),
    [
        ("4", {"text": None}, "required_input_missing", "text"),
        ("6", {"width": "{{width}}"}, "invalid_input_type", "width, {{width}}, invalid literal"),
        ("6", {"width": 8}, "value_smaller_than_min", "width"),
        ("6", {"length": 20000}, "value_bigger_than_max", "length"),
        ("7", {"seed": 2**64}, "value_bigger_than_max", "seed"),
        ("7", {"seed": -1}, "value_smaller_than_min", "seed"),
        ("7", {"scheduler": "fast"}, "value_not_in_list", "scheduler: 'fast' not in ['simple'"),
        ("8", {"vae": ["2", 0]}, "return_type_mismatch", "vae, received_type(CLIP) mismatch input_type(VAE)"),
        ("8", {"vae": ["3"]}, "bad_linked_input", "vae"),
    ],
)
async def test_wrong_inputs(
    sim: ComfyUISimulator, http: aiohttp.ClientSession, node: str, inputs: Any, kind: str, details: str
) -> None:
    """A wrong input is a 400 whose node_errors name the node, its class, and the outputs that stand on it."""
    status, data = await call(http, "POST", "/prompt", json={"prompt": graph(node, inputs)})
    assert (status, data["error"]["type"]) == (400, "prompt_outputs_failed_validation")
    (found,) = data["node_errors"].values()
    assert list(data["node_errors"]) == [node]
    assert (found["dependent_outputs"], found["class_type"]) == (["10"], GRAPH[node]["class_type"])
    assert found["errors"][0]["type"] == kind
    assert details in found["errors"][0]["details"]
    assert sim.paid == 0


async def test_the_largest_seed(sim: ComfyUISimulator, http: aiohttp.ClientSession) -> None:
    """A seed may have 64 bits, and a number may come as text."""
    await made(http, graph("7", {"seed": 2**64 - 1, "steps": "20"}))
    assert sim.latest.facts["graph"]["7"]["inputs"]["steps"] == 20


def saver(inputs: Any) -> dict[str, Any]:
    return {"class_type": "SaveVideo", "inputs": inputs}


async def test_links_into_the_void(sim: ComfyUISimulator, http: aiohttp.ClientSession) -> None:
    """A link to a node that is not there is an exception during the validation, named at the node below it."""
    _, data = await call(http, "POST", "/prompt", json={"prompt": graph("8", {"vae": ["77", 0]})})
    assert data["error"]["type"] == "prompt_outputs_failed_validation"
    (error,) = data["node_errors"]["8"]["errors"]
    assert (error["type"], error["details"]) == ("exception_during_inner_validation", "'77'")
    for broken in (graph("8", {"vae": ["3", "first"]}), graph("8", {"vae": [{}, 0]}), graph(n10=saver(None))):
        status, data = await call(http, "POST", "/prompt", json={"prompt": broken})
        assert (status, data["error"]["type"]) == (400, "prompt_outputs_failed_validation")


async def test_one_good_output_is_enough(sim: ComfyUISimulator, http: aiohttp.ClientSession) -> None:
    """Where another output is good, the wrong one is left out: a 200 with node_errors, and a job without a film."""
    still = {"class_type": "SaveImage", "inputs": {"images": ["8", 0], "filename_prefix": "still"}}
    broken = graph("10", {"format": "avi"}, n11=still)
    status, data = await call(http, "POST", "/prompt", json={"prompt": broken})
    assert (status, list(data["node_errors"])) == (200, ["10"])
    sim.finish(data["prompt_id"])
    assert list((await ended(http, data["prompt_id"]))["outputs"]) == ["11"]
    both = graph(n11=still)
    status, data = await call(http, "POST", "/prompt", json={"prompt": both, "partial_execution_targets": ["11"]})
    assert sim.latest.facts["ends"] == ["11"]


@pytest.mark.parametrize("body", [b"", b"[]", b'{"prompt": []}', b"{", b'{"prompt": {}, "extra_data": null}'])
async def test_bodies_that_are_none(sim: ComfyUISimulator, http: aiohttp.ClientSession, body: bytes) -> None:
    """What the server does not reckon with is a plain 500."""
    status, data = await call(http, "POST", "/prompt", data=body)
    assert (status, data[:3]) == (500, b"500")
    assert sim.paid == 0


async def test_no_prompt(http: aiohttp.ClientSession) -> None:
    """A body without a prompt is a 400 of its own."""
    status, data = await call(http, "POST", "/prompt", json={"client_id": "c"})
    assert (status, data["error"]["type"], data["node_errors"]) == (400, "no_prompt", {})


# ---------------------------------------------------------------- files


async def test_upload(sim: ComfyUISimulator, http: aiohttp.ClientSession) -> None:
    """A second file of a name gets another one, unless it is the same or may overwrite."""
    first, second = picture("PNG"), picture("JPEG")
    assert await upload(http, first) == (200, {"name": "x.png", "subfolder": "", "type": "input"})
    assert (await upload(http, first))[1]["name"] == "x.png"
    assert (await upload(http, second))[1]["name"] == "x (1).png"
    assert (await upload(http, second))[1]["name"] == "x (1).png"
    assert (await upload(http, second, overwrite="true"))[1]["name"] == "x.png"
    found = {"filename": "x.png", "type": "input"}
    assert await call(http, "GET", "/view", params=found) == (200, second)
    data = (await upload(http, first, subfolder="gw", type="input"))[1]
    assert data == {"name": "x.png", "subfolder": "gw", "type": "input"}
    assert (await upload(http, first, subfolder="../gw"))[0] == 400
    assert (await upload(http, first, subfolder="/gw"))[0] == 400
    assert (await upload(http, first, "x..y.png"))[1]["name"] == "x..y.png"
    assert (await call(http, "POST", "/upload/image", data={"type": "input"}))[0] == 400
    assert (await upload(http, first, type="model"))[0] == 500
    sim.max_body = 100
    assert (await upload(http, bytes(200)))[0] == 413


async def test_only_uploaded_pictures_are_loaded(http: aiohttp.ClientSession) -> None:
    """LoadImage takes what is among the inputs, in a folder of it too; anything else fails its own validation."""
    loader = {"class_type": "LoadImage", "inputs": {"image": "gw/x.png"}}
    start = {"positive": ["4", 0], "negative": ["5", 0], "vae": ["3", 0], "start_image": ["12", 0]}
    wan = {"class_type": "WanImageToVideo", "inputs": {**GRAPH["6"]["inputs"], **start}}
    prompt = graph("7", {"latent_image": ["6", 2]}, n6=wan, n12=loader)
    status, data = await call(http, "POST", "/prompt", json={"prompt": prompt})
    assert status == 400
    (error,) = data["node_errors"]["12"]["errors"]
    assert (error["type"], error["details"]) == ("custom_validation_failed", "image - Invalid image file: gw/x.png")
    await upload(http, picture("PNG"), subfolder="gw")
    await made(http, prompt)


async def test_view(sim: ComfyUISimulator, http: aiohttp.ClientSession) -> None:
    """The film comes with ranges and its media type; names that lead elsewhere are refused, and files can vanish."""
    sim.finish(await made(http))
    async with http.get("/view", params=FILM, headers={"Range": "bytes=0-9"}) as response:
        assert (response.status, response.content_type) == (206, "video/mp4")
        assert response.headers["Content-Disposition"] == 'filename="ComfyUI_00001_.mp4"'
        assert await response.read() == sim.video_bytes[:10]
    for change, status in (
        ({"filename": "../x.mp4"}, 400),
        ({"filename": "/etc/passwd"}, 400),
        ({"filename": ""}, 400),
        ({"type": "models"}, 400),
        ({"subfolder": "../.."}, 403),
        ({"subfolder": ""}, 404),
        ({"type": "temp"}, 404),
    ):
        assert (await call(http, "GET", "/view", params={**FILM, **change}))[0] == status
    assert (await call(http, "GET", "/view"))[0] == 404
    sim.remove_files()
    assert (await call(http, "GET", "/view", params=FILM))[0] == 404


async def test_keys_are_those_of_a_reverse_proxy() -> None:
    """With keys, everything wants one of them, as from a proxy that stands before the server."""
    async with SimulatorServer(ComfyUISimulator(keys={"good"})) as sim, aiohttp.ClientSession(sim.base_url) as http:
        for headers, status in (
            ({}, 401),
            ({"Authorization": "Bearer bad"}, 401),
            ({"Authorization": "Bearer good"}, 200),
        ):
            assert (await call(http, "POST", "/prompt", json={"prompt": GRAPH}, headers=headers))[0] == status
        assert (await call(http, "GET", "/queue"))[0] == 401
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await http.ws_connect("/ws?clientId=c")
        assert sim.paid == 1
        async with aiohttp.ClientSession(sim.files_url) as elsewhere:
            assert (await call(elsewhere, "GET", "/queue", headers={"Authorization": "Bearer good"}))[0] == 404
