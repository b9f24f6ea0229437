"""The simulator kit does what it says: its faults are faults, its bills are true, its accounts are apart."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.testing import SimulatorServer
from proxy.testing.sample import SIZE, sample_video
from proxy.testing.wire import parse_parts
from tests.simulators.lumen import LumenSimulator

ORDER = {"text": "a boat", "length": 5}
ROOT = Path(__file__).parents[2]


@pytest.fixture
async def sim() -> AsyncIterator[LumenSimulator]:
    async with SimulatorServer(LumenSimulator(keys={"key-a", "key-b"})) as simulator:
        yield simulator


@pytest.fixture
async def http(sim: LumenSimulator) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(sim.base_url, headers={"Authorization": "Bearer key-a"}) as session:
        yield session


async def create(http: aiohttp.ClientSession, patience: float = 60) -> str:
    async with http.post("/v2/generations", json=ORDER, timeout=aiohttp.ClientTimeout(total=patience)) as response:
        return (await response.json())["task"]["id"]


async def state(http: aiohttp.ClientSession, job_id: str) -> str:
    async with http.get(f"/v2/generations/{job_id}") as response:
        return (await response.json())["task"]["state"]


async def test_progress_by_polls(sim: LumenSimulator, http: aiohttp.ClientSession) -> None:
    """A job is queued for some polls, in progress for some, then completed; each count can be set."""
    sim.queued_polls, sim.running_polls = 2, 1
    job_id = await create(http)
    assert [await state(http, job_id) for _ in range(5)] == ["waiting", "waiting", "rendering", "ready", "ready"]


async def test_progress_by_hand(sim: LumenSimulator, http: aiohttp.ClientSession) -> None:
    """A job that a test moved stays where it is, whatever it is polled."""
    job_id = await create(http)
    sim.advance(job_id)
    assert [await state(http, job_id) for _ in range(4)] == ["rendering"] * 4
    sim.advance(job_id)
    assert await state(http, job_id) == "ready"
    sim.put(job_id, "martian")
    assert await state(http, job_id) == "martian"
    sim.fail(job_id, message="No light.")
    async with http.get(f"/v2/generations/{job_id}") as response:
        assert (await response.json())["task"]["reason"] == "No light."


async def test_requests_are_kept(sim: LumenSimulator, http: aiohttp.ClientSession) -> None:
    """Every request is there to be asserted on, with its operation, headers, body, JSON and account."""
    await create(http)
    async with http.get("/nowhere") as response:
        assert response.status == 404
    call, lost = sim.requests
    assert (call.operation, call.method, call.path, call.json) == ("create", "POST", "/v2/generations", ORDER)
    assert call.headers["authorization"] == "Bearer key-a"
    assert json.loads(call.body) == ORDER
    assert call.account == "key-a"
    assert lost.operation == ""


async def test_accounts_are_apart(sim: LumenSimulator, http: aiohttp.ClientSession) -> None:
    """A wrong key is a 401; another account's job is a 404; neither is billed."""
    job_id = await create(http)
    for key, status in (("key-b", 404), ("key-c", 401), ("", 401)):
        headers = {"Authorization": f"Bearer {key}"}
        async with http.get(f"/v2/generations/{job_id}", headers=headers) as response:
            assert response.status == status
    async with http.post("/v2/generations", json=ORDER, headers={"Authorization": "Bearer key-c"}) as response:
        assert response.status == 401
    assert sim.paid == 1


async def test_then_answers_once_and_bills_nothing(sim: LumenSimulator, http: aiohttp.ClientSession) -> None:
    """A scripted answer replaces the next call of its operation only, and takes no job."""
    sim.then(status=429, json={"busy": True}, headers={"Retry-After": "7"}, on="create")
    sim.then(sim.error(503, "closed"), on="fetch", times=2)
    async with http.get("/v2/generations/x") as response:
        assert response.status == 503
    async with http.post("/v2/generations", json=ORDER) as response:
        assert (response.status, await response.json(), response.headers["Retry-After"]) == (429, {"busy": True}, "7")
    assert sim.paid == 0
    job_id = await create(http)
    async with http.get(f"/v2/generations/{job_id}") as response:
        assert response.status == 503
    assert await state(http, job_id) == "waiting"
    sim.then(status=500, times=None)
    for _ in range(3):
        async with http.get(f"/v2/generations/{job_id}") as response:
            assert response.status == 500
    sim.calm()
    assert await state(http, job_id) == "rendering"


@pytest.mark.parametrize(
    ("kind", "error", "paid"),
    [
        ("hang", TimeoutError, 1),
        ("reset_before_reply", aiohttp.ClientConnectionError, 0),
        ("reset_after_taking", aiohttp.ClientConnectionError, 1),
        ("cut_body", aiohttp.ClientPayloadError, 1),
    ],
)
async def test_connection_faults(
    sim: LumenSimulator, http: aiohttp.ClientSession, kind: str, error: type[Exception], paid: int
) -> None:
    """The faults of the connection break it, bill as they say, and leave the next call alone."""
    sim.fault(kind, on="create")
    with pytest.raises(error):
        await create(http, patience=0.5 if kind == "hang" else 60)
    assert (sim.paid, len(sim.calls("create"))) == (paid, 1)
    await create(http)


@pytest.mark.parametrize(
    ("kind", "status", "start", "paid"),
    [
        ("html_502", 502, b"<html>", 1),
        ("html_200", 200, b"<html>", 1),
        ("empty_200", 200, b"", 1),
        ("no_id", 200, b'{"task": {"state"', 1),
        ("redirect_307", 307, b"", 1),
    ],
)
async def test_answer_faults(
    sim: LumenSimulator, http: aiohttp.ClientSession, kind: str, status: int, start: bytes, paid: int
) -> None:
    """The faults of the answer answer as they say; the job is taken behind them."""
    sim.fault(kind, on="create")
    async with http.post("/v2/generations", json=ORDER, allow_redirects=False) as response:
        body = await response.read()
        assert response.status == status
        assert body.startswith(start)
        assert sim.latest.id.encode() not in body
    assert sim.paid == paid


async def test_unknown_fault_is_refused(sim: LumenSimulator) -> None:
    """A misspelt fault is an error that lists the right words."""
    with pytest.raises(ValueError, match="no_id, hang"):
        sim.fault("hagn")


async def test_following_a_redirect_pays_twice(sim: LumenSimulator, http: aiohttp.ClientSession) -> None:
    """A client that follows the 307 of a create is billed twice: the fault bites."""
    sim.fault("redirect_307", on="create")
    await create(http)
    assert sim.paid == 2


async def test_content_is_a_video_with_ranges(sim: LumenSimulator, http: aiohttp.ClientSession) -> None:
    """The content is an MP4 that decodes; ranges are right, and can be switched off; a cut one breaks."""
    job_id = await create(http)
    url = f"{sim.files_url}/results/{job_id}.mp4"
    with av.open(io.BytesIO(sim.video_bytes)) as film:
        assert sum(1 for _ in film.decode(video=0)) == 24
    assert (len(sim.video_bytes), sim.video_bytes[4:8]) == (SIZE, b"ftyp")
    for wanted, expected in (
        ("bytes=0-99", sim.video_bytes[:100]),
        ("bytes=-5", sim.video_bytes[-5:]),
        (f"bytes={SIZE - 1}-", sim.video_bytes[-1:]),
    ):
        async with http.get(url, headers={"Range": wanted}) as response:
            assert (response.status, await response.read()) == (206, expected)
    async with http.get(url, headers={"Range": f"bytes={SIZE}-"}) as response:
        assert (response.status, response.headers["Content-Range"]) == (416, f"bytes */{SIZE}")
    sim.honours_range = False
    sim.sends_length = False
    async with http.get(url, headers={"Range": "bytes=0-99"}) as response:
        assert (response.status, response.content_length, await response.read()) == (200, None, sim.video_bytes)
    sim.cut_content_at = 0.5
    for sim.sends_length in (True, False):
        with pytest.raises(aiohttp.ClientPayloadError):
            async with http.get(url) as response:
                await response.read()
    assert all(call.elsewhere for call in sim.calls("content"))


async def test_head_is_refused(sim: LumenSimulator, http: aiohttp.ClientSession) -> None:
    """Results know no HEAD, as many file servers with signed addresses."""
    async with http.head(f"{sim.files_url}/results/x.mp4") as response:
        assert response.status == 404
    assert sim.requests[0].operation == ""


def test_sample_without_pyav(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without PyAV the sample has the boxes of an MP4, the same size, and a film header of two seconds."""
    monkeypatch.setitem(sys.modules, "av", None)
    sample = sample_video.__wrapped__()
    assert (len(sample), sample[4:8]) == (SIZE, b"ftyp")
    at, kinds = 0, []
    while at < len(sample):
        kinds.append(sample[at + 4 : at + 8])
        at += int.from_bytes(sample[at : at + 4])
    assert kinds == [b"ftyp", b"moov", b"mdat", b"free"]
    assert at == SIZE


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.text("abc[]xü", min_size=1), st.binary(max_size=80), st.booleans()), max_size=5))
def test_multipart_is_read_back(parts: list[tuple[str, bytes, bool]]) -> None:
    """Whatever bytes the parts of a form have, they are read back in order, with names and file names."""
    body = b""
    for name, data, is_file in parts:
        filename = '; filename="f.png"' if is_file else ""
        body += b"--edge\r\nContent-Disposition: form-data; name=" + f'"{name}"{filename}'.encode()
        body += b"\r\n\r\n" + data + b"\r\n"
    found = parse_parts(body + b"--edge--\r\n", "multipart/form-data; boundary=edge")
    assert [(part.name, part.data, part.filename) for part in found] == [
        (name, data, "f.png" if is_file else None) for name, data, is_file in parts
    ]


def test_without_pytest_one_sentence() -> None:
    """Importing the kit where pytest is missing says which command to run."""
    code = "import sys; sys.modules['pytest'] = None; import proxy.testing"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    last = done.stderr.strip().splitlines()[-1]
    assert last == "ImportError: proxy.testing needs the test tools: pip install 'reelgate[test]'"
