"""The surface over a real library of files, with a clock that a test sets, and two tenants."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import msgspec
import openai
from aiohttp import ClientSession, FormData, web
from PIL import Image
from yarl import URL

from proxy.accounts.keys import Authenticator, mint
from proxy.api import READY, SERVER_OPTIONS, Api, install
from proxy.config import Server
from proxy.media.library import Library
from proxy.records import Key, StoredFile
from proxy.store import Store

MIB = 2**20


def picture(kind: str = "PNG", size: tuple[int, int] = (32, 18), **options: Any) -> bytes:
    """A small picture of one colour."""
    data = BytesIO()
    Image.new("RGB", size, "teal").save(data, kind, **options)
    return data.getvalue()


def animation() -> bytes:
    """A WebP of two frames."""
    return picture("WEBP", save_all=True, append_images=[Image.new("RGB", (32, 18), "red")])


class Open:
    ready = True


class Desk:
    """A running surface, a library behind it, and clients of two tenants."""

    def __init__(self, api: Api, session: ClientSession, store: Store, data: Path) -> None:
        self.api = api
        self.url = ""
        self.session = session
        self.store = store
        self.data = data
        self.folder = data / "files"
        self.now = time.time()
        self.library = Library(self.folder, store, clock=lambda: self.now)
        self.keys: dict[str, str] = {}
        self.records: dict[str, Key] = {}

    def client(self, who: str = "anna") -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key=self.keys[who], max_retries=0)

    def settings(self, **fields: Any) -> None:
        """Change what `server:` says."""
        self.api.settings = msgspec.structs.replace(self.api.settings, **fields)

    async def call(
        self, method: str, path: str, *, who: str | None = "anna", headers: dict[str, str] | None = None, **kwargs: Any
    ) -> tuple[int, Any, Any]:
        sent = dict(headers or {})
        if who is not None:
            sent["Authorization"] = f"Bearer {self.keys[who]}"
        url = URL(self.url + path, encoded=True)
        async with self.session.request(method, url, headers=sent, **kwargs) as response:
            body = await response.json() if response.content_type == "application/json" else await response.read()
            return response.status, body, response.headers

    async def upload(
        self,
        data: bytes = b"some bytes",
        *,
        who: str = "anna",
        purpose: str | None = "user_data",
        filename: str = "some.bin",
        **texts: str,
    ) -> tuple[int, Any]:
        """Send a form as a browser does; status and body."""
        form = FormData(quote_fields=False)
        form.add_field("file", BytesIO(data), filename=filename)
        if purpose is not None:
            form.add_field("purpose", purpose)
        for name, text in texts.items():
            form.add_field(name, text)
        status, body, _ = await self.call("POST", "/v1/files", who=who, data=form)
        return status, body

    async def made(self, data: bytes = b"some bytes", **kwargs: Any) -> dict[str, Any]:
        """The object of a file that was taken."""
        status, body = await self.upload(data, **kwargs)
        assert status == 200, body
        return cast("dict[str, Any]", body)

    async def add(self, data: bytes = b"some bytes", *, lifetime: int = 3600, most_bytes: int = MIB) -> StoredFile:
        """The same without the surface."""
        path = self.data / "spooled"
        await asyncio.to_thread(path.write_bytes, data)
        return await self.library.add(
            path,
            self.records["anna"],
            filename="some.bin",
            purpose="user_data",
            lifetime=lifetime,
            most_bytes=most_bytes,
            max_bytes=MIB,
            max_pixels=MIB,
        )

    async def on_disk(self) -> set[str]:
        """The names in the library's folder, and what uploads left where they are spooled."""
        return await asyncio.to_thread(self._on_disk)

    def _on_disk(self) -> set[str]:
        return {path.name for folder in (self.folder, self.data / "uploads") for path in folder.glob("*")}


@asynccontextmanager
async def opened_desk(data: Path) -> AsyncIterator[Desk]:
    """A desk whose data folder is `data`."""
    store = await Store.open(data / "reelgate.db")
    api = Api(
        engine=cast("Any", None),
        webhooks=cast("Any", None),
        authenticator=Authenticator(store, None),
        administration=cast("Any", None),
        settings=Server(max_body=4 * MIB),
        secret=b"s" * 32,
        uploads=data / "uploads",
        library=cast("Any", None),
        inputs=cast("Any", None),
    )
    app = web.Application()
    app[READY] = Open()
    install(app, api)
    # Not TestServer, which cancels the handler of a client that left, as the product's server does not.
    runner = web.AppRunner(app, **SERVER_OPTIONS)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with ClientSession() as session:
        made = Desk(api, session, store, data)
        api.library = made.library
        made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        for name in ("anna", "bert"):
            plain, key, sha256 = mint(name, now=time.time())
            await store.add_key(key, sha256)
            made.keys[name], made.records[name] = plain, key
        yield made
    await runner.cleanup()
    await store.close()
