"""An S3-compatible server on loopback, and an archive of each kind."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import boto3  # type: ignore[import-untyped]
import pytest
from moto.server import ThreadedMotoServer

from proxy.media.archive import PARTIAL, Archive, open_archive
from proxy.store import Store
from tests.archive.world import World

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}


class Bucket:
    """A bucket on the S3 server, seen by another client than ours; its methods block."""

    def __init__(self, endpoint: str, name: str) -> None:
        self.name = name
        self.environ = {**CREDENTIALS, "AWS_ENDPOINT_URL": endpoint, "AWS_ALLOW_HTTP": "true"}
        self._client: Any = boto3.client(
            "s3",
            endpoint_url=endpoint,
            aws_access_key_id="test",
            aws_secret_access_key="test",
            region_name="us-east-1",
        )
        self._client.create_bucket(Bucket=name)

    def files(self) -> dict[str, bytes]:
        """All objects by their keys."""
        found = {}
        for one in self._client.list_objects_v2(Bucket=self.name).get("Contents", []):
            # It may leave while it is looked at.
            with contextlib.suppress(self._client.exceptions.NoSuchKey):
                found[one["Key"]] = self._client.get_object(Bucket=self.name, Key=one["Key"])["Body"].read()
        return found

    def uploads(self) -> int:
        """How many uploads are begun and neither completed nor aborted."""
        return len(self._client.list_multipart_uploads(Bucket=self.name).get("Uploads", []))


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The address of an S3-compatible server."""
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3_server: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """An empty bucket of the test's own, with the environment that leads to it."""
    made = Bucket(s3_server, f"b-{abs(hash(request.node.nodeid))}")
    for name, value in made.environ.items():
        monkeypatch.setenv(name, value)
    return made


class Place:
    """An archive, and what lies in it as others see it."""

    def __init__(
        self, address: str, archive: Archive, *, folder: Path | None = None, bucket: Bucket | None = None
    ) -> None:
        self.address = address
        self.archive = archive
        self._folder = folder
        self._bucket = bucket

    def files(self) -> dict[str, bytes]:
        """What can be found under a name; blocks."""
        if self._bucket is not None:
            return {key.removeprefix("videos/"): data for key, data in self._bucket.files().items()}
        assert self._folder is not None
        found = [path for path in self._folder.rglob("*") if path.is_file() and path.parent.name != PARTIAL]
        return {str(path.relative_to(self._folder)): path.read_bytes() for path in found}

    def leftovers(self) -> int:
        """What was begun and not completed; blocks."""
        if self._bucket is not None:
            return self._bucket.uploads()
        assert self._folder is not None
        return len(list((self._folder / PARTIAL).iterdir()))


@pytest.fixture(params=["folder", "s3"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    """An empty archive of each kind."""
    if request.param == "s3":
        bucket: Bucket = request.getfixturevalue("bucket")
        address = f"s3://{bucket.name}/videos"
        made = Place(address, await asyncio.to_thread(open_archive, address), bucket=bucket)
    else:
        folder = tmp_path / "archive"
        made = Place(str(folder), await asyncio.to_thread(open_archive, str(folder)), folder=folder)
    yield made
    await made.archive.close()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Archiving into a folder, which does nothing before the test lets it run."""
    store = await Store.open(tmp_path / "reelgate.db")
    archive = await asyncio.to_thread(open_archive, str(tmp_path / "archive"))
    yield World(store, archive, tmp_path / "archive")
    await archive.close()
    await store.close()
