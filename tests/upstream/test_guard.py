"""Nothing that arrives in a body or from an upstream makes this server dial an address that is not public."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import aiohttp
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.test_utils import TestServer, unused_port

from proxy.upstream.guard import (
    NOTHING,
    Allowance,
    ForbiddenAddress,
    GuardedConnector,
    UnusableUrl,
    is_public,
)
from proxy.upstream.http import MOST_REDIRECTS, Http
from tests.upstream.conftest import Sites, answering

TIMEOUT = aiohttp.ClientTimeout(total=5)


class Secret:
    """A server on 127.0.0.1 (and ::1 where there is one) that counts who reached it and where they wanted to go."""

    def __init__(self) -> None:
        self.requests: list[web.Request] = []
        self.server: TestServer
        self.redirect: str | None = None
        self.status = 302

    @property
    def port(self) -> int:
        return self.server.port or 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        if self.redirect is not None and request.path == "/away":
            return web.Response(status=self.status, headers={"Location": self.redirect.format(port=self.port)})
        if request.path == "/back":
            return web.Response(status=302, headers={"Location": f"http://one.example:{self.port}/there"})
        return web.Response(text="the secret")


@pytest.fixture
async def secret() -> AsyncIterator[Secret]:
    secret = Secret()
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", secret.answer)
    secret.server = TestServer(app, host="127.0.0.1")
    await secret.server.start_server()
    # The same port on every other loopback address, so that no spelling is saved by where the server listens.
    runner = secret.server.runner
    assert runner is not None
    for host in ("127.0.0.2", "::1", "0.0.0.0"):
        try:
            await web.TCPSite(runner, host, secret.port, reuse_port=True).start()
        except OSError:
            continue
    yield secret
    await secret.server.close()


class Names(AbstractResolver):
    """Answers each name with the next of its lists of addresses, the last one for ever."""

    def __init__(self, **names: Sequence[Sequence[str]]) -> None:
        self.names = {name.replace("_", "."): list(answers) for name, answers in names.items()}
        self.asked: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked.append(host)
        if host not in self.names:
            raise OSError(None, "unknown name")
        answers = self.names[host]
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=0,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        pass


StartHttp = Callable[..., Awaitable[Http]]


@pytest.fixture
async def start() -> AsyncIterator[StartHttp]:
    started: list[Http] = []

    async def start(resolver: AbstractResolver | None = None) -> Http:
        http = Http(resolver=resolver)
        await http.start()
        started.append(http)
        return http

    yield start
    for http in started:
        await http.close()


async def get(http: Http, url: str, allowance: Allowance = NOTHING, **options: object) -> str:
    async with http.fetch(url, timeout=TIMEOUT, allowance=allowance, **options) as response:  # type: ignore[arg-type]
        return await response.text()


async def test_the_secret_can_be_reached(secret: Secret, start: StartHttp) -> None:
    """The positive control: with an allowance, the same fetch reads the secret, by address and by name."""
    http = await start()
    reached = [
        await get(http, f"http://127.0.0.1:{secret.port}/", Allowance(allow_hosts=["127.0.0.1"])),
        await get(http, f"http://localhost:{secret.port}/", Allowance(allow_hosts=[f"LocalHost:{secret.port}"])),
        await get(http, f"http://127.0.0.1:{secret.port}/x", Allowance(f"http://127.0.0.1:{secret.port}/prefix")),
    ]
    assert reached == ["the secret"] * 3


async def test_unguarded_session_does_reach_it(secret: Secret) -> None:
    """The control of the control: without the guard, several of the spellings reach the secret."""
    reached = 0
    async with aiohttp.ClientSession() as session:
        for host in ("127.0.0.1", "localhost", "0x7f.1", "127.0.0.1."):
            try:
                async with session.get(f"http://{host}:{secret.port}/"):
                    reached += 1
            except aiohttp.ClientError:
                continue
    assert reached >= 2


@pytest.mark.parametrize(
    ("allowed", "url", "passes"),
    [
        ("127.0.0.1", "http://127.0.0.1:{port}/", True),
        ("127.0.0.1:{port}", "http://127.0.0.1:{port}/", True),
        ("127.0.0.1:1", "http://127.0.0.1:{port}/", False),
        ("127.0.0.1", "http://127.0.0.2:{port}/", False),
        ("127.0.0.1", "http://localhost:{port}/", False),
        ("127.0.0.1", "http://2130706433:{port}/", False),
        ("127.0.0.1", "http://127.1:{port}/", False),
        ("127.0.0.1", "http://[::ffff:127.0.0.1]:{port}/", False),
        ("localhost", "http://localhost:{port}/", True),
        ("localhost", "http://127.0.0.1:{port}/", False),
        ("localhost", "http://x.localhost:{port}/", False),
        ("example.com", "http://127.0.0.1:{port}/", False),
    ],
)
async def test_allow_hosts_means_what_is_written(
    secret: Secret, start: StartHttp, allowed: str, url: str, passes: bool
) -> None:
    """An entry of allow_hosts trusts the host as written in the URL, its port if given, and nothing else."""
    http = await start()
    allowance = Allowance(allow_hosts=[allowed.format(port=secret.port)])
    try:
        text = await get(http, url.format(port=secret.port), allowance)
    except (UnusableUrl, aiohttp.ClientConnectorError):
        text = ""
    assert (text == "the secret", bool(secret.requests)) == (passes, passes)


async def test_own_origin_is_scheme_host_and_port(secret: Secret, start: StartHttp) -> None:
    """A base URL trusts its origin only: another port or scheme on the same host is guarded."""
    http = await start()
    for base in (f"https://127.0.0.1:{secret.port}", "http://127.0.0.1:1", "http://127.0.0.1"):
        with pytest.raises(ForbiddenAddress):
            await get(http, f"http://127.0.0.1:{secret.port}/", Allowance(base))
    assert secret.requests == []


async def test_trusted_connections_are_not_lent(secret: Secret, start: StartHttp) -> None:
    """A connection that one channel's allowance opened is not reused for a fetch without it."""
    http = await start()
    url = f"http://127.0.0.1:{secret.port}/"
    await get(http, url, Allowance(allow_hosts=["127.0.0.1"]))
    with pytest.raises(ForbiddenAddress):
        await get(http, url)
    assert len(secret.requests) == 1


@pytest.mark.parametrize(
    "answers",
    [
        [["127.0.0.1"]],
        [["::1"]],
        [["::ffff:127.0.0.1"]],
        [["::ffff:8.8.8.8"]],
        [["64:ff9b::7f00:1"]],
        [["fe80::1%lo"]],
        [["no address"]],
        [["127.0.0.1", "127.0.0.2"]],
        [["192.0.2.1", "127.0.0.1"]],
        [["93.184.216.34", "127.0.0.1"]],
        [["2606:2800:220:1::1", "10.0.0.1"]],
        [["169.254.169.254"]],
    ],
)
async def test_names_of_private_addresses_are_refused(
    secret: Secret, start: StartHttp, answers: list[list[str]]
) -> None:
    """A name is refused when any of its addresses is private, and the refusal does not say which."""
    http = await start(Names(evil_example=answers))
    with pytest.raises(ForbiddenAddress) as caught:
        await get(http, f"http://evil.example:{secret.port}/")
    assert secret.requests == []
    assert caught.value.host == "evil.example"
    assert not any(address in caught.value.message for answer in answers for address in answer)


async def test_rebinding_is_refused(secret: Secret, start: StartHttp) -> None:
    """A name that was public a moment ago and is private now is refused: each dial asks and checks anew."""
    names = Names(evil_example=[["93.184.216.34"], ["127.0.0.1"]])
    http = await start(names)
    assert is_public("93.184.216.34")
    # A check before the fetch, as a naive guard would do it, sees the public answer.
    checked = await names.resolve("evil.example", secret.port)
    assert [answer["host"] for answer in checked] == ["93.184.216.34"]
    for _ in range(3):
        with pytest.raises(ForbiddenAddress):
            await get(http, f"http://evil.example:{secret.port}/")
    assert names.asked == ["evil.example"] * 4
    assert secret.requests == []


async def test_the_socket_has_the_last_word(secret: Secret) -> None:
    """Also with a resolver that checks nothing, several private answers are refused where the socket is made."""
    connector = GuardedConnector()
    connector._resolver = Names(evil_example=[["127.0.0.1", "127.0.0.2"]])
    async with aiohttp.ClientSession(connector=connector) as session:
        with pytest.raises(ForbiddenAddress):
            await session.get(f"http://evil.example:{secret.port}/")
    assert secret.requests == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "target",
    [
        "http://127.0.0.1:{port}/",
        "http://127.0.0.2:{port}/",
        "http://[::1]:{port}/",
        "http://0.0.0.0:{port}/",
        "//127.0.0.2:{port}/",
        "http://inner.example:{port}/",
    ],
)
async def test_redirects_are_checked(secret: Secret, start: StartHttp, status: int, target: str) -> None:
    """A redirect from a trusted host to a private one is refused before anything is sent there."""
    http = await start(Names(entry_example=[["127.0.0.1"]], inner_example=[["127.0.0.1"]]))
    secret.redirect, secret.status = target, status
    with pytest.raises(ForbiddenAddress):
        await get(http, f"http://entry.example:{secret.port}/away", Allowance(allow_hosts=["entry.example"]))
    assert [request.path for request in secret.requests] == ["/away"]


@pytest.mark.parametrize(
    "target",
    ["file:///etc/passwd", "gopher://127.0.0.1:{port}/", "http://u:p@entry.example:{port}/", "http://[/", "ftp:x"],
)
async def test_redirects_to_other_schemes_are_refused(secret: Secret, start: StartHttp, target: str) -> None:
    """A redirect must be an http or https address without a password."""
    http = await start(Names(entry_example=[["127.0.0.1"]]))
    secret.redirect = target
    with pytest.raises(UnusableUrl):
        await get(http, f"http://entry.example:{secret.port}/away", Allowance(allow_hosts=["entry.example"]))
    assert len(secret.requests) == 1


async def test_redirects_are_followed_a_few_times(secret: Secret, start: StartHttp) -> None:
    """A relative redirect is followed; a loop ends after a few hops."""
    http = await start()
    allowance = Allowance(allow_hosts=["127.0.0.1"])
    url = f"http://127.0.0.1:{secret.port}/away"
    secret.redirect = "there?x=%2F"
    assert await get(http, url, allowance) == "the secret"
    assert secret.requests[-1].raw_path == "/there?x=%2F"
    secret.requests.clear()
    secret.redirect = "/away"
    with pytest.raises(UnusableUrl):
        await get(http, url, allowance)
    assert len(secret.requests) == MOST_REDIRECTS + 1


async def test_headers_stay_at_the_first_origin(secret: Secret, start: StartHttp) -> None:
    """Our headers go along on a redirect within the origin, and not to another one, nor back; Range always goes."""
    http = await start(Names(one_example=[["127.0.0.1"]], two_example=[["127.0.0.1"]]))
    allowance = Allowance(allow_hosts=["one.example", "two.example"])
    headers = {"Authorization": "Bearer canary", "x-goog-api-key": "canary"}
    targets = (("/there", True), ("http://two.example:{port}/there", False), ("http://two.example:{port}/back", False))
    for target, kept in targets:
        secret.redirect = target
        secret.requests.clear()
        url = f"http://one.example:{secret.port}/away"
        await get(http, url, allowance, headers=headers, range="bytes=0-3")
        first, *_, last = (request.headers for request in secret.requests)
        assert secret.requests[-1].path == "/there"
        assert first["Authorization"] == first["X-Goog-Api-Key"].replace("canary", "Bearer canary")
        assert ("canary" in str(last.values())) is kept
        assert ("Authorization" in last, "X-Goog-Api-Key" in last) == (kept, kept)
        assert first["Range"] == last["Range"] == "bytes=0-3"
        assert first["Accept-Encoding"] == "identity"


async def test_other_ports_are_other_origins(secret: Secret, start: StartHttp, sites: Sites) -> None:
    """Our headers do not go to another port of the same host."""
    http = await start()
    site = await sites(answering(200, text="elsewhere"))
    secret.redirect = f"{site.url}/there"
    url = f"http://127.0.0.1:{secret.port}/away"
    allowance = Allowance(allow_hosts=["127.0.0.1"])
    assert await get(http, url, allowance, headers={"Authorization": "Bearer canary"}) == "elsewhere"
    assert "canary" in str(secret.requests[0].headers)
    assert "canary" not in str(site.requests[0].headers)


async def test_proxies_of_the_environment_are_ignored(
    secret: Secret, start: StartHttp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy in the environment does not get to dial for us."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{secret.port}")
    http = await start(Names(evil_example=[["10.0.0.1"]], cdn_example=[["127.0.0.1"]]))
    with pytest.raises(ForbiddenAddress):
        await get(http, "http://evil.example/")
    with pytest.raises(aiohttp.ClientConnectorError):
        await get(http, f"http://cdn.example:{unused_port()}/", Allowance(allow_hosts=["cdn.example"]))
    assert secret.requests == []
