"""The Vertex simulator is held to the fact sheet, so that other tests may lean on it."""

from __future__ import annotations

import base64
import io
import json
import time
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from PIL import Image
from yarl import URL

from proxy.testing import SimulatorServer
from tests.simulators.google import EMAIL, FORM, GRANT, SCOPE
from tests.simulators.vertex import FILTERED, VertexSimulator

OTHER = "other@second-project.iam.gserviceaccount.com"
VEO = "veo-3.1-generate-001"
JWT = {"typ": "JWT", "alg": "RS256"}
PNG = io.BytesIO()
Image.new("RGB", (64, 36), (200, 30, 60)).save(PNG, "PNG")
PICTURE = {"bytesBase64Encoded": base64.b64encode(PNG.getvalue()).decode(), "mimeType": "image/png"}


@pytest.fixture
async def sim() -> AsyncIterator[VertexSimulator]:
    async with SimulatorServer(VertexSimulator(keys={EMAIL, OTHER})) as simulator:
        yield simulator


def parent(project: str = "reelgate-test", model: str = VEO, location: str = "us-central1") -> str:
    return f"projects/{project}/locations/{location}/publishers/google/models/{model}"


# ---------------------------------------------------------------- tokens


def segment(data: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(data).encode()).decode().rstrip("=")


def assertion(
    file: dict[str, str], header: dict[str, Any] | None = None, key: rsa.RSAPrivateKey | None = None, **claims: Any
) -> str:
    """The JWT of a key file, whose claims and header may be others."""
    loaded = key or serialization.load_pem_private_key(file["private_key"].encode(), None)
    assert isinstance(loaded, rsa.RSAPrivateKey)
    now = int(time.time())
    usual = {"iss": file["client_email"], "scope": SCOPE, "aud": "anything", "iat": now, "exp": now + 3600}
    text = f"{segment({**JWT, 'kid': file['private_key_id'], **(header or {})})}.{segment({**usual, **claims})}"
    signature = loaded.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{text}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"


async def exchange(sim: VertexSimulator, jwt: str, **form: str) -> tuple[int, dict[str, Any]]:
    async with aiohttp.ClientSession() as http:
        body = urlencode({"grant_type": GRANT, "assertion": jwt, **form})
        async with http.post(f"{sim.base_url}/token", data=body, headers={"Content-Type": FORM}) as response:
            return response.status, await response.json()


async def test_a_token_for_a_jwt(sim: VertexSimulator) -> None:
    """A service account's JWT, whatever its `aud`, gives a token of 3599 seconds."""
    status, said = await exchange(sim, assertion(sim.credentials()))
    assert (status, said["expires_in"], said["token_type"]) == (200, 3599, "Bearer")
    assert set(said) == {"access_token", "expires_in", "token_type"}


async def test_wrong_jwts(sim: VertexSimulator) -> None:
    """A foreign signature or account, another algorithm, kid, life, time, scope or grant, and rubbish give no token."""
    file, now = sim.credentials(), int(time.time())
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    good = assertion(file)
    for jwt, form, code in (
        (assertion(file, key=stranger), {}, "invalid_grant"),
        (assertion(file, iss="nobody@reelgate-test.iam.gserviceaccount.com"), {}, "invalid_grant"),
        (assertion(file, {"alg": "none"}), {}, "invalid_grant"),
        (assertion(file, {"kid": "0" * 32}), {}, "invalid_grant"),
        (assertion(file, exp=now + 7200), {}, "invalid_grant"),
        (assertion(file, exp="soon"), {}, "invalid_grant"),
        (assertion(file, iat=now - 7200, exp=now - 3600), {}, "invalid_grant"),
        (assertion(file, iat=now + 3600, exp=now + 7200), {}, "invalid_grant"),
        (assertion(file, scope="https://www.googleapis.com/auth/devstorage.read_only"), {}, "invalid_scope"),
        (f"{good}==", {}, "invalid_grant"),
        (good.partition(".")[2], {}, "invalid_grant"),
        ("rubbish", {}, "invalid_grant"),
        (good, {"grant_type": "password"}, "unsupported_grant_type"),
    ):
        status, said = await exchange(sim, jwt, **form)
        assert (status, said["error"]) == (400, code), said
    sim.known.discard(EMAIL)
    assert (await exchange(sim, good))[0] == 400
    assert sim.tokens == {}


# ---------------------------------------------------------------- plain HTTP


class Caller:
    """One account's HTTP."""

    def __init__(self, sim: VertexSimulator, http: aiohttp.ClientSession, token: str) -> None:
        self.sim = sim
        self.http = http
        self.headers = {"Authorization": f"Bearer {token}"}

    async def post(self, path: str, body: Any, **headers: str) -> tuple[int, Any]:
        url = f"{self.sim.base_url}/v1/{path}"
        async with self.http.post(url, json=body, headers={**self.headers, **headers}) as response:
            return response.status, await response.json()

    async def create(self, parameters: Any = None, *, of: str = "", **instance: Any) -> tuple[int, Any]:
        body = {"instances": [{"prompt": "hi", **instance}], "parameters": parameters or {}}
        return await self.post(f"{of or parent()}:predictLongRunning", body)

    async def fetch(self, name: str, of: str = "") -> tuple[int, Any]:
        return await self.post(f"{of or parent()}:fetchPredictOperation", {"operationName": name})

    async def stored(self, uri: str, origin: str = "", **headers: str) -> tuple[int, bytes]:
        bucket, _, name = uri.removeprefix("gs://").partition("/")
        url = f"{origin or self.sim.files_url}/storage/v1/b/{bucket}/o/{quote(name, safe='')}?alt=media"
        async with self.http.get(URL(url, encoded=True), headers=self.headers | headers) as response:
            return response.status, await response.read()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def caller(sim: VertexSimulator, http: aiohttp.ClientSession, email: str = EMAIL) -> Caller:
    return Caller(sim, http, (await exchange(sim, assertion(sim.credentials(email))))[1]["access_token"])


async def test_who_may(sim: VertexSimulator, http: aiohttp.ClientSession) -> None:
    """No token and an ended one are 401, another's project 403 until it is granted, another's job 404."""
    mine, other = await caller(sim, http), await caller(sim, http, OTHER)
    status, made = await mine.create()
    assert (status, set(made)) == (200, {"name"})
    assert (await other.create())[1]["error"]["status"] == "PERMISSION_DENIED"
    sim.grants.add((OTHER, "reelgate-test"))
    assert (await other.create())[0] == 200
    status, said = await other.fetch(made["name"])
    assert (status, said["error"]["status"]) == (404, "NOT_FOUND")
    sim.expire_tokens()
    status, said = await mine.fetch(made["name"])
    assert (status, said["error"]["code"], said["error"]["status"]) == (401, 401, "UNAUTHENTICATED")
    mine.headers = {}
    assert (await mine.create())[0] == 401
    assert sim.paid == 2


async def test_polls_are_posts_to_the_jobs_own_model(sim: VertexSimulator, http: aiohttp.ClientSession) -> None:
    """A GET, another model, another location, no name and an unknown name find nothing; nobody cancels."""
    mine = await caller(sim, http)
    name = (await mine.create())[1]["name"]
    url = f"{sim.base_url}/v1/{parent()}:fetchPredictOperation"
    async with http.get(url, headers=mine.headers) as response:
        assert response.status == 404
    for wrong in (parent(model="veo-3.1-fast-generate-001"), parent(location="global")):
        assert (await mine.fetch(name, wrong))[1]["error"]["status"] == "INVALID_ARGUMENT"
    assert (await mine.post(f"{parent()}:fetchPredictOperation", {}))[0] == 400
    assert (await mine.post(f"{parent()}:fetchPredictOperation", {"operationName": name, "x": 1}))[0] == 400
    assert (await mine.fetch(f"{parent()}/operations/none"))[0] == 404
    assert (await mine.post(f"{name}:cancel", {}))[0] == 404
    assert (await mine.fetch(name))[1] == {"name": name}


async def test_stored_films(sim: VertexSimulator, http: aiohttp.ClientSession) -> None:
    """A stored film is at the other origin, whole and in part, for its owner's token only."""
    mine, other = await caller(sim, http), await caller(sim, http, OTHER)
    name = (await mine.create({"storageUri": "gs://bucket/a folder"}))[1]["name"]
    sim.finish(name)
    (film,) = (await mine.fetch(name))[1]["response"]["videos"]
    assert set(film) == {"gcsUri", "mimeType"}
    assert film["gcsUri"].startswith("gs://bucket/a folder/")
    assert await mine.stored(film["gcsUri"]) == (200, sim.video_bytes)
    assert await mine.stored(film["gcsUri"], Range="bytes=5-9") == (206, sim.video_bytes[5:10])
    assert (await mine.stored(film["gcsUri"], sim.base_url))[0] == 404
    assert (await other.stored(film["gcsUri"]))[0] == 404
    assert (await mine.stored("gs://bucket/other.mp4"))[0] == 404
    sim.expire_tokens()
    assert (await mine.stored(film["gcsUri"]))[0] == 401


async def test_an_object_without_alt_is_its_description(sim: VertexSimulator, http: aiohttp.ClientSession) -> None:
    """Cloud Storage answers a description where `alt=media` is left out, and Veo is not at its origin."""
    mine = await caller(sim, http)
    name = (await mine.create({"storageUri": "gs://bucket"}))[1]["name"]
    sim.finish(name)
    uri = (await mine.fetch(name))[1]["response"]["videos"][0]["gcsUri"]
    path = f"{sim.files_url}/storage/v1/b/bucket/o/{quote(uri.removeprefix('gs://bucket/'), safe='')}"
    async with http.get(URL(path, encoded=True), headers=mine.headers) as response:
        assert (await response.json())["size"] == str(len(sim.video_bytes))
    async with http.post(f"{sim.files_url}/v1/{parent()}:fetchPredictOperation", headers=mine.headers) as response:
        assert response.status == 404


async def test_odd_ends(sim: VertexSimulator, http: aiohttp.ClientSession) -> None:
    """Filtered and empty ends are done without a film; a failed one says a number; an unknown word is pending."""
    mine = await caller(sim, http)
    name = (await mine.create())[1]["name"]
    sim.moderate(name)
    response = (await mine.fetch(name))[1]["response"]
    assert (response["raiMediaFilteredCount"], response["raiMediaFilteredReasons"]) == (1, [FILTERED])
    assert "videos" not in response
    sim.put(name, "empty", means="completed")
    said = (await mine.fetch(name))[1]
    assert (said["done"], set(said["response"])) == (True, {"@type", "raiMediaFilteredCount"})
    sim.fail(name, message="It broke.")
    assert (await mine.fetch(name))[1] == {"name": name, "done": True, "error": {"code": 13, "message": "It broke."}}
    sim.put(name, "daydreaming")
    assert (await mine.fetch(name))[1] == {"name": name}


async def test_quota(sim: VertexSimulator, http: aiohttp.ClientSession) -> None:
    """Beyond the jobs of a minute comes RESOURCE_EXHAUSTED, with a RetryInfo where it is said; polls go on."""
    mine = await caller(sim, http)
    sim.per_minute, sim.retry_delay = 1, "37s"
    name = (await mine.create())[1]["name"]
    status, said = await mine.create()
    assert (status, said["error"]["code"], said["error"]["status"]) == (429, 429, "RESOURCE_EXHAUSTED")
    assert said["error"]["details"] == [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "37s"}]
    assert (await mine.fetch(name))[0] == 200
    assert sim.paid == 1


async def test_bytes_break_as_content_does(sim: VertexSimulator, http: aiohttp.ClientSession) -> None:
    """A poll that carries a film is cut where content is cut; one that carries none is whole."""
    mine = await caller(sim, http)
    name = (await mine.create())[1]["name"]
    sim.cut_content_at = 0.5
    assert (await mine.fetch(name))[0] == 200
    sim.finish(name)
    with pytest.raises(aiohttp.ClientPayloadError):
        await mine.fetch(name)


REFERENCES = {"referenceImages": [{"image": PICTURE, "referenceType": "ASSET"}]}
REFUSED: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    *((VEO, {"durationSeconds": value}, {}) for value in (5, "8", True, None, 4.5)),
    *((VEO, {"sampleCount": value}, {}) for value in (0, 5, "1")),
    *((VEO, {"seed": value}, {}) for value in (-1, 2**32, 0.5)),
    *((VEO, {name: "x"}, {}) for name in ("aspectRatio", "resolution", "personGeneration", "compressionQuality")),
    *((VEO, {name: 7}, {}) for name in ("negativePrompt", "enhancePrompt", "generateAudio", "storageUri")),
    (VEO, {"storageUri": "https://storage.googleapis.com/b"}, {}),
    ("veo-3.1-lite-generate-001", {"resolution": "4k"}, {}),
    ("veo-3.1-lite-generate-001", {}, REFERENCES),
    (VEO, {"durationSeconds": 4}, REFERENCES),
    (VEO, {"aspectRatio": "9:16"}, REFERENCES),
    (VEO, {}, {"referenceImages": [{"image": PICTURE, "referenceType": "mood"}]}),
    (VEO, {}, {"referenceImages": REFERENCES["referenceImages"] * 4}),
    (VEO, {}, {"prompt": ""}),
    (VEO, {}, {"prompt": 7}),
    (VEO, {}, {"image": {"inlineData": {"data": "YWJj", "mimeType": "image/png"}}}),
    (VEO, {}, {"image": {**PICTURE, "gcsUri": "gs://b/a.png"}}),
    (VEO, {}, {"image": {"gcsUri": "https://example.com/a.png", "mimeType": "image/png"}}),
    (VEO, {}, {"image": {"bytesBase64Encoded": "YWJj", "mimeType": "image/png"}}),
    (VEO, {}, {"image": {"bytesBase64Encoded": "?", "mimeType": "image/png"}}),
    (VEO, {}, {"lastFrame": {**PICTURE, "mimeType": "image/gif"}}),
    (VEO, {}, {"lastFrame": PICTURE}),
    (VEO, {}, {"video": {**PICTURE, "mimeType": "video/mp4"}}),
    (VEO, {"durationSeconds": 4}, {"video": {"gcsUri": "gs://b/a.mp4", "mimeType": "video/mp4"}}),
    (VEO, {}, {"video": {"gcsUri": "gs://b/a.mp4", "mimeType": "video/mp4"}, "mask": {**PICTURE, "maskMode": "x"}}),
]


async def test_what_is_refused(sim: VertexSimulator, http: aiohttp.ClientSession) -> None:
    """Every value outside the sheet's lists is INVALID_ARGUMENT and costs nothing."""
    mine = await caller(sim, http)
    for model, parameters, instance in REFUSED:
        status, said = await mine.create(parameters, of=parent(model=model), **instance)
        assert (status, said.get("error", {}).get("status")) == (400, "INVALID_ARGUMENT"), (parameters, instance, said)
    bodies: tuple[Any, ...] = (
        [],
        {},
        {"instances": []},
        {"instances": [{"prompt": "hi"}] * 2},
        {"instances": [{"prompt": "hi"}], "x": 1},
    )
    for body in bodies:
        assert (await mine.post(f"{parent()}:predictLongRunning", body))[0] == 400
    assert (await mine.create(of=parent(model="veo-9")))[0] == 404
    assert sim.paid == 0


async def test_what_is_taken(sim: VertexSimulator, http: aiohttp.ClientSession) -> None:
    """Unknown parameters are ignored and noted; the case of words is free; 1080p takes 4 seconds unless told not to."""
    mine = await caller(sim, http)
    assert (await mine.create({"gcsOutputDirectory": "gs://b/p", "personGeneration": "ALLOW_ADULT"}))[0] == 200
    assert sim.latest.facts["ignored"] == ["gcsOutputDirectory"]
    sim.finish(sim.latest.id)
    assert "bytesBase64Encoded" in (await mine.fetch(sim.latest.id))[1]["response"]["videos"][0]
    assert (await mine.create({"resolution": "1080p", "durationSeconds": 4}))[0] == 200
    sim.high_needs_eight = True
    assert (await mine.create({"resolution": "1080p", "durationSeconds": 4}))[0] == 400
    assert (await mine.create({"resolution": "1080p", "durationSeconds": 8}))[0] == 200
