"""A Reelgate in a process of its own, as an operator starts it, for callers that are no coroutines."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
KEY = "rg_browser-test-admin-key-0123456789"
PASSWORD = "a long way home"
"""Of every user, `admin` too."""


class Server:
    """`python -m proxy serve` on a random port of 127.0.0.1; `url` has no slash at its end."""

    def __init__(self, folder: Path, text: str) -> None:
        self._folder = folder
        config = folder / "channels.yaml"
        config.write_text(text, "utf-8")
        self._log = (folder / "server.log").open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "proxy", "serve", "--config", config, "--data", folder / "data", "--port", "0"],
            cwd=folder,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(ROOT),
                "REELGATE_ADMIN_KEY": KEY,
                "REELGATE_ADMIN_PASSWORD": PASSWORD,
            },
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        self.url = self._said()

    def _said(self) -> str:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if found := re.search(r"(http://\S+)/v1", line):
                return found[1]
        raise RuntimeError("the server did not start:\n" + self.log)

    @property
    def log(self) -> str:
        """What it wrote until now."""
        return (self._folder / "server.log").read_text("utf-8")

    def stop(self) -> None:
        """SIGTERM, and wait until it is gone."""
        self._process.send_signal(signal.SIGTERM)
        self._process.communicate(timeout=60)
        self._log.close()
        assert self._process.returncode == 0, self.log

    def call(self, method: str, path: str, *, key: str = KEY, **fields: Any) -> Any:
        """The decoded answer to a request with an API key, which has to be a good one."""
        status, answer = self.ask(method, path, key=key, **fields)
        assert status == 200, answer
        return answer

    def ask(self, method: str, path: str, *, key: str = KEY, **fields: Any) -> tuple[int, Any]:
        """Status and decoded body of the answer to a request with an API key."""
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        request = urllib.request.Request(
            self.url + path, method=method, headers=headers, data=json.dumps(fields).encode() if fields else None
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def user(self, name: str, role: str = "member") -> str:
        """Make a user; answers its id."""
        user: str = self.call("POST", "/admin/api/users", name=name, password=PASSWORD, role=role)["id"]
        return user

    def log_in(self, name: str) -> None:
        """Log a user in, and forget the session."""
        form = urllib.parse.urlencode({"username": name, "password": PASSWORD}).encode()
        request = urllib.request.Request(self.url + "/login", data=form, headers={"Origin": self.url})
        with urllib.request.urlopen(request, timeout=60) as response:
            assert response.status == 200

    def key(self, name: str, user: str, **limits: Any) -> str:
        """Make an API key of a user; answers the key itself."""
        key: str = self.call("POST", "/admin/api/keys", name=name, user=user, **limits)["key"]
        return key

    def make(self, key: str, prompt: str, **fields: Any) -> str:
        """Order a video; answers its id."""
        video: str = self.call("POST", "/v1/videos", key=key, prompt=prompt, **fields)["id"]
        return video

    @contextmanager
    def store(self) -> Iterator[sqlite3.Connection]:
        """Its database, for what no interface can do: to let time pass. Commits at the end."""
        with closing(sqlite3.connect(self._folder / "data" / "reelgate.db", timeout=60)) as db, db:
            db.row_factory = sqlite3.Row
            yield db
