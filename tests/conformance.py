"""`make api-test`: schemathesis reads `/openapi.json` of a real server and holds the server to it.

It lives in an environment of its own, and talks to a server on loopback whose channel makes videos in memory, once with
an admin key and once with a member's. No answer may be a 5xx, have a status, type or shape that is not described, or
let somebody in without a credential. What it sends is the same each time. Further arguments go to schemathesis.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path
from typing import Any, Final

from aiohttp import ClientSession

from tests.process.server import KEY, ROOT, ServerProcess

FOLDER: Final = ROOT / ".venv-api-test"
DISTRIBUTION: Final = "schemathesis==4.32.5"
PLUGINS: Final = ROOT / "tests" / "engine" / "plugins"
TEXT: Final = f"""
server:
  plugins: ["{PLUGINS}"]
  max_queued: 100000
channels:
  - {{name: puppet, type: lookup, models: [sora-2], price: {{per_second: 0.1}}}}
"""
CHECKS: Final = (
    *("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance"),
    *("response_schema_conformance", "ignored_auth", "negative_data_rejection"),
    *("unsupported_method", "allow_header_conformance", "missing_required_header"),
)
CASES: Final = 12
"""Generated requests of an operation, beside those of its corners."""


def tool() -> Path:
    """schemathesis; its environment is made where it is missing."""
    found, stamp = FOLDER / "bin" / "schemathesis", FOLDER / DISTRIBUTION
    if not stamp.exists():
        print(f"Setting up {DISTRIBUTION} …", flush=True)
        venv.create(FOLDER, with_pip=True, clear=True)
        install = [FOLDER / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, DISTRIBUTION], check=True)
        stamp.touch()
    return found


class House:
    """What is there before the tests: something for each operation that wants an id."""

    def __init__(self, url: str, session: ClientSession) -> None:
        self.url = url
        self.session = session
        self.member = ""
        self.ids: dict[str, str] = {}

    async def furnish(self) -> None:
        """Make a member's key, and one of everything."""
        made = await self._call("POST", "/admin/api/keys", name="client", user=None)
        self.member = made["key"]
        user = await self._call("POST", "/admin/api/users", name="anna", password="a good password")
        spare = await self._call("POST", "/admin/api/keys", name="spare", budget={"value": 5, "period": "day"})
        for key, name in ((KEY, "admin"), (self.member, "member")):
            video = await self._call("POST", "/v1/videos", key, prompt="a lamp")
            while (await self._call("GET", f"/v1/videos/{video['id']}", key))["status"] != "completed":
                await asyncio.sleep(0.05)
            endpoint = await self._call(
                "POST",
                "/v1/webhook_endpoints",
                key,
                name="mine",
                url="https://example.com/hook",
                event_types=["video.failed"],
            )
            self.ids |= {f"video of {name}": video["id"], f"endpoint of {name}": endpoint["id"]}
        self.ids |= {"user": user["id"], "spare key": spare["id"]}

    def settings(self, name: str) -> str:
        """The file for schemathesis that puts these ids where `name` may read them."""
        video, endpoint = self.ids[f"video of {name}"], self.ids[f"endpoint of {name}"]
        there = {
            **{f"GET /v1/videos/{{id}}{rest}": video for rest in ("", "/content", "/events")},
            "POST /v1/videos/{id}/remix": video,
            "GET /v1/video/generations/{id}": video,
            "GET /v1/models/{id}": "sora-2",
            "GET /v1/webhook_endpoints/{id}": endpoint,
            "POST /v1/webhook_endpoints/{id}": endpoint,
            "POST /v1/webhook_endpoints/{id}/rotate_secret": endpoint,
            "GET /admin/api/videos/{id}": video,
            "GET /admin/api/keys/{id}": self.ids["spare key"],
            "POST /admin/api/keys/{id}": self.ids["spare key"],
            "GET /admin/api/users/{id}": self.ids["user"],
            "POST /admin/api/users/{id}": self.ids["user"],
            "DELETE /admin/api/users/{id}/sessions": self.ids["user"],
        }
        lines = [
            f'[[operations]]\ninclude-name = "{operation}"\nparameters = {{ "path.id" = {json.dumps(value)} }}\n'
            for operation, value in there.items()
        ]
        lines += [
            f'[[operations]]\ninclude-path = "/admin/api/channels/{{name}}/{word}"\n'
            'parameters = { "path.name" = "puppet" }\n'
            for word in ("enable", "follow_file", "test")
        ]
        return "\n".join(lines)

    async def _call(self, method: str, path: str, key: str = KEY, /, **body: Any) -> Any:
        headers = {"Authorization": f"Bearer {key}"}
        async with self.session.request(method, self.url + path, headers=headers, json=body or None) as response:
            assert response.status == 200, await response.text()
            return await response.json()


async def run(arguments: list[str]) -> int:
    """0 where the server kept to its description."""
    schemathesis = await asyncio.to_thread(tool)
    with tempfile.TemporaryDirectory() as folder:
        server = ServerProcess(Path(folder), TEXT)
        await server.start()
        url = server.base_url.removesuffix("/v1")
        try:
            async with ClientSession() as session:
                house = House(url, session)
                await house.furnish()
            codes = [
                await _judge(schemathesis, url, Path(folder), house.settings("admin"), KEY, arguments),
                await _judge(schemathesis, url, Path(folder), house.settings("member"), house.member, arguments),
            ]
        finally:
            stopped = await server.stop()
        broken = [line for line in server.log if "Traceback" in line]
        print(*broken, sep="\n", end="\n" if broken else "")
        return max(*codes, stopped, 1 if broken else 0)


async def _judge(tool: Path, url: str, folder: Path, settings: str, key: str, arguments: list[str]) -> int:
    file = folder / "schemathesis.toml"
    await asyncio.to_thread(file.write_text, settings, "utf-8")
    process = await asyncio.create_subprocess_exec(
        tool,
        *("--config-file", file, "run", f"{url}/openapi.json", "--checks", ",".join(CHECKS)),
        *("--header", f"Authorization: Bearer {key}", "--max-examples", str(CASES), "--phases", "coverage,fuzzing"),
        *("--generation-deterministic", "--continue-on-failure", "--no-color"),
        *("--request-timeout", "30", "--workers", "1", "--warnings", "off", "--no-shrink", *arguments),
        cwd=folder,
    )
    return await process.wait()


def main(arguments: list[str]) -> int:
    """The exit code of it all."""
    began = time.monotonic()
    code = asyncio.run(run(arguments))
    print(
        f"api-test: {'all is well' if code == 0 else 'the server and its description differ'}, "
        f"{time.monotonic() - began:.0f} s"
    )
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
