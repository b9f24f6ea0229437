"""The access tokens of plugins/vertex.py: signed right, fetched once for all, kept, renewed, and refused clearly."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from plugins._vertex_token import AUDIENCE, GRANT, SCOPE, Account, Tokens, account, assertion
from proxy import AccountRefused, ApiError, Outcome, PluginError, Reply, UpstreamError, UpstreamRefused
from tests.plugins.test_vertex import OTHER
from tests.plugins.vertex_bench import vertex
from tests.simulators.google import EMAIL, key_id, service_account
from tests.simulators.vertex import VertexSimulator


def later(channel: Any, seconds: float) -> None:
    """Let the channel's tokens be that much older."""
    channel.tokens._clock = lambda: time.monotonic() + seconds


def write_key(file: Path, sim: VertexSimulator, email: str) -> None:
    """The key file of an account, for one and the same project."""
    file.write_text(json.dumps({**sim.credentials(email), "project_id": "reelgate-test"}))


def part(jwt: str, number: int) -> dict[str, Any]:
    text = jwt.split(".")[number]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    return found


def test_the_assertion() -> None:
    """The JWT has the header and the claims of Google's own library, and unpadded parts."""
    signed = assertion(account(service_account()), 1_790_000_000.7)
    assert part(signed, 0) == {"typ": "JWT", "alg": "RS256", "kid": key_id(EMAIL)}
    issued = 1_790_000_000
    claims = {"iss": EMAIL, "scope": SCOPE, "aud": AUDIENCE, "iat": issued, "exp": issued + 3600}
    assert part(signed, 1) == claims
    assert "=" not in signed


async def test_the_exchange(tmp_path: Path) -> None:
    """The grant is a plain form to the credentials' own token_uri, without a bearer; the token goes with each call."""
    async with vertex(tmp_path) as v:
        job = await v.bench.submit()
        await v.channel.fetch(job)
        (call,) = v.sim.calls("token")
        assert call.content_type == "application/x-www-form-urlencoded"
        form = parse_qs(call.body.decode())
        assert form["grant_type"] == [GRANT]
        assert part(form["assertion"][0], 1)["iss"] == EMAIL
        assert "authorization" not in call.headers


async def test_many_calls_share_one_token(tmp_path: Path) -> None:
    """Calls that begin together fetch one token, and later ones use it until shortly before its end."""
    async with vertex(tmp_path) as v:
        jobs = await asyncio.gather(*(v.bench.submit() for _ in range(8)))
        assert len({job.id for job in jobs}) == 8
        later(v.channel, 3599 - 121)
        await v.channel.fetch(jobs[0])
        assert len(v.sim.calls("token")) == 1
        later(v.channel, 3599 - 119)
        await asyncio.gather(*(v.channel.fetch(job) for job in jobs))
        assert len(v.sim.calls("token")) == 2


async def test_a_refused_token_is_renewed_once(tmp_path: Path) -> None:
    """A token that was good for a while and is refused is renewed, and the call made again: for a create too, since a
    401 took nothing. A second refusal is the account's."""
    async with vertex(tmp_path) as v:
        job = await v.bench.submit()
        for work in (v.bench.submit, lambda: v.channel.fetch(job)):
            before = len(v.sim.calls("token"))
            v.sim.expire_tokens()
            later(v.channel, 61)
            v.channel.tokens._made = time.monotonic()
            await work()
            assert len(v.sim.calls("token")) == before + 1
        assert v.sim.paid == 2
        v.channel.tokens._made = time.monotonic()
        v.sim.then(v.sim.error(401, "No."), on="create", times=None)
        calls = len(v.sim.calls("create"))
        with pytest.raises(AccountRefused) as caught:
            await v.bench.submit()
        assert caught.value.outcome is Outcome.REFUSED
        assert len(v.sim.calls("create")) == calls + 2


async def test_a_fresh_token_is_not_renewed(tmp_path: Path) -> None:
    """Where a token just made is refused, another would be as well: nothing is asked twice."""
    async with vertex(tmp_path) as v:
        v.sim.then(v.sim.error(401, "No."), on="create")
        with pytest.raises(AccountRefused):
            await v.bench.submit()
        assert (len(v.sim.calls("token")), len(v.sim.calls("create"))) == (1, 1)


@pytest.mark.parametrize(
    ("status", "said", "kind"),
    [
        (400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}, AccountRefused),
        (404, {}, AccountRefused),
        (500, {}, UpstreamError),
        (307, {}, UpstreamError),
        (200, {}, UpstreamRefused),
        (200, {"access_token": "with a\nbreak"}, UpstreamRefused),
        (200, {"access_token": 7}, UpstreamRefused),
        (200, ["x"], UpstreamRefused),
    ],
)
async def test_an_endpoint_that_gives_no_token(
    tmp_path: Path, status: int, said: Any, kind: type[ApiError], caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever the endpoint answers instead of a token, the job was certainly not taken, and the next try asks anew."""
    async with vertex(tmp_path) as v:
        v.sim.then(status=status, json=said, on="token")
        with pytest.raises(kind) as caught:
            await v.bench.submit()
        assert caught.value.outcome is Outcome.REFUSED
        assert v.sim.calls("create") == []
        assert ("Invalid JWT Signature." in caplog.text) is (status == 400)
        assert (await v.bench.submit()).id


@pytest.mark.parametrize("lifetime", [None, "x", True, -1, 1e300])
async def test_an_odd_lifetime_is_an_hour(tmp_path: Path, lifetime: Any) -> None:
    """A token without a lifetime that makes sense is taken for what Google gives."""
    async with vertex(tmp_path) as v:
        v.sim.mangle(lambda answer: {**answer, "expires_in": lifetime}, on="token")
        await v.bench.submit()
        later(v.channel, 3000)
        await v.bench.submit()
        assert len(v.sim.calls("token")) == 1


async def test_the_key_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A relative path is beside channels.yaml; a key that is changed in the file counts from the next token on."""
    file = tmp_path / "keys" / "veo.json"
    file.parent.mkdir()

    def write(sim: VertexSimulator, email: str) -> None:
        write_key(file, sim, email)

    async with vertex(tmp_path, key_file=("keys/veo.json", write)) as v:
        v.sim.grants.add((OTHER, "reelgate-test"))
        await v.bench.submit()
        await asyncio.to_thread(write, v.sim, OTHER)
        await v.bench.submit()
        later(v.channel, 3600)
        await v.bench.submit()
        assert [job.account for job in v.sim.jobs.values()] == [EMAIL, EMAIL, OTHER]
        later(v.channel, 7200)
        await asyncio.to_thread(file.unlink)
        with pytest.raises(AccountRefused, match="credentials"):
            await v.bench.submit()
    assert f"channel {v.channel.name}: credentials cannot be read from {file}: No such file" in caplog.text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"private_key": "-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----\n"}, "no RSA key"),
        ({"token_uri": "no address"}, "base_url cannot be used"),
        ({"project_id": ""}, "name no project"),
    ],
)
async def test_credentials_that_cannot_work(tmp_path: Path, change: dict[str, str], said: str) -> None:
    """What is wrong with the credentials stops the start, in words that repeat nothing of a key."""
    with pytest.raises(PluginError, match=said):
        async with vertex(tmp_path, changed=change):
            pass


@pytest.mark.parametrize("text", [None, b"\xff\xfe\x00", b"[]"])
async def test_a_file_that_cannot_be_used(tmp_path: Path, text: bytes | None) -> None:
    """A missing file, or one that is no JSON object, stops the start and is named where that helps."""
    if text is not None:
        await asyncio.to_thread((tmp_path / "k.json").write_bytes, text)
    with pytest.raises(PluginError, match=r"credentials (cannot be read from .*k\.json|are no JSON object)"):
        async with vertex(tmp_path, key_file=("k.json", lambda sim, email: None)):
            pass


async def test_one_who_leaves_takes_nothing_along() -> None:
    """A caller that is cancelled leaves the fetch to the others; closing ends it, also where nobody waits any more."""
    asked = asyncio.Event()
    answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

    async def exchange(signed: str) -> Reply:
        asked.set()
        return await answer

    def load() -> Account:
        return account(service_account())

    tokens = Tokens("up", load, exchange)
    one, other = asyncio.create_task(tokens.get()), asyncio.create_task(tokens.get())
    await asked.wait()
    one.cancel()
    await asyncio.wait([one])
    answer.set_result(Reply({"access_token": "t-1", "expires_in": 3599}))
    assert await other == "t-1"
    await tokens.close()
    answer = asyncio.get_running_loop().create_future()
    asked.clear()
    tokens.current = ""
    late = asyncio.create_task(tokens.get())
    await asked.wait()
    await tokens.close()
    with pytest.raises(asyncio.CancelledError):
        await late


async def test_nothing_of_the_key_is_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The lines of a key that is in a file are known secrets, as is its id; an account's repr has no key."""
    file = tmp_path / "k.json"
    async with vertex(tmp_path, key_file=("k.json", lambda sim, email: write_key(file, sim, email))) as v:
        key = v.sim.credentials()
        line = key["private_key"].splitlines()[2]
        assert v.channel.upstream.redactor.secrets(f"a {line} {key['private_key_id']} b") == "a [secret] [secret] b"
        assert line not in repr(account(key))
