"""A reader who does what a page says, from its top, in an empty folder and with a server that is running.

What a block finds: `reelgate` and `python` on the PATH, a picture `cat.png` in the folder, OPENAI_BASE_URL,
 OPENAI_API_KEY, REELGATE_URL and REELGATE_API_KEY in the environment, and the store of the server as
the data folder. What was exported in a shell block is there in the later ones of the page, and so are the names of
Python blocks. For what only a reader can fill in there are the `placeholders` of `Server`.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.request import ProxyHandler, Request, build_opener

import yaml
from PIL import Image

from proxy import config, loader, plans
from proxy.errors import ConfigError
from proxy.loader import Registry
from tests.docs.pages import HOW, ROOT, SHOWN, Block

KEY: Final = "rg_documents-test-key-0123456789abcdef"
PATIENCE: Final = 100.0
"""Seconds that one block may take."""
CONFIG: Final = """
server: {webhook_hosts: ["127.0.0.1:9"]}
channels: [{name: demo, type: demo, poll_every: 0.05, fps: 1}]
"""

PROGRAMS: Final = frozenset(
    {"cat", "cd", "cp", "curl", "echo", "export", "grep", "head", "ls", "mkdir", "mv", "printf", "python", "reelgate"}
)
BEYOND: Final = re.compile(r"(?<![\w.:}/])/(?!dev/null\b)\w+/|https?://(?!127\.0\.0\.1[:/]|(video\.)?example\.com)\w")
"""What no shell block may do unmarked. The tests may run as root, on a machine that is somebody's: a page that says how
to install must not do it. Only these programs are run, and a block names no absolute path and no other server."""


class Broken(AssertionError):
    """A block that does not do what its page says."""

    def __init__(self, block: Block, why: str) -> None:
        super().__init__(f"{block}: {why.strip()}\n\n{block.text}")


class Server:
    """`reelgate serve` on a free port, with one finished film."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        (folder / "bin").mkdir(parents=True)
        for name, words in (("reelgate", ' -m proxy "$@"'), ("python", ' "$@"'), ("python3", ' "$@"')):
            script = folder / "bin" / name
            script.write_text(f'#!/bin/sh\nexec "{sys.executable}"{words}\n', "utf-8")
            script.chmod(0o755)
        (folder / "channels.yaml").write_text(CONFIG, "utf-8")
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "proxy", "serve", "--port", "0"],
                cwd=folder,
                env=self._bare() | {"REELGATE_ADMIN_KEY": KEY, "REELGATE_ADMIN_PASSWORD": "documents-test"},
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        try:
            assert self._process.stdout is not None
            said = self._process.stdout.readline()
            found = re.search(r"(http://\S+)/v1", said)
            assert found is not None, said + (folder / "log").read_text("utf-8")
            self.url = found[1]
            self.film = self._first_film()
        except BaseException:
            self.stop()
            raise

    def _bare(self) -> dict[str, str]:
        path = f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
        return {"PATH": path, "HOME": str(self.folder), "PYTHONPATH": str(ROOT), "LANG": "C.UTF-8"}

    def _ask(self, path: str, body: dict[str, Any] | None = None) -> bytes:
        headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        # Whatever proxy the machine has is not for this.
        direct = build_opener(ProxyHandler({}))
        with direct.open(Request(self.url + path, data, headers), timeout=PATIENCE) as answer:
            return bytes(answer.read())

    def _first_film(self) -> str:
        order = {"prompt": "a paper plane", "size": "128x72", "seconds": "1"}
        film: str = json.loads(self._ask("/v1/videos", order))["id"]
        # Ends when the film does.
        self._ask(f"/v1/videos/{film}/events")
        return film

    @property
    def environ(self) -> dict[str, str]:
        return self._bare() | {
            "OPENAI_BASE_URL": f"{self.url}/v1",
            "OPENAI_API_KEY": KEY,
            "REELGATE_URL": self.url,
            "REELGATE_API_KEY": KEY,
            "REELGATE_DATA": str(self.data),
        }

    def placeholders(self, text: str) -> str:
        """A block with what stands in it for the reader's own: the server, its key, and an id."""
        text = text.replace("http://127.0.0.1:8080", self.url).replace("https://video.example.com", self.url)
        # A port where nobody listens: an endpoint for webhooks that this server may call, and no network.
        text = text.replace("https://example.com", "http://127.0.0.1:9")
        return re.sub(r"\b(ID|video_…)(?!\w)", self.film, text.replace("rg_…", KEY))

    def stop(self) -> None:
        self._process.terminate()
        self._process.communicate(timeout=PATIENCE)


@contextmanager
def interpreter() -> Iterator[subprocess.Popen[str]]:
    """The interpreter of Python blocks, see `interpreter.py`."""
    command = [sys.executable, str(Path(__file__).with_name("interpreter.py"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        # It may be in the middle of a block that does not end.
        process.kill()


class Reader:
    """Reads one page, in `folder`."""

    def __init__(self, server: Server, python: subprocess.Popen[str], folder: Path) -> None:
        self.server = server
        self.python = python
        self.folder = folder
        self.skipped: list[str] = []
        self.environ = server.environ
        self._state = folder.with_name(f"{folder.name}.env")
        self._state.write_text("", "utf-8")
        self._javascript = ""
        Image.radial_gradient("L").convert("RGB").resize((128, 72)).save(folder / "cat.png")

    def read(self, block: Block) -> None:
        """Do what the block says; raises `Broken` where that fails."""
        if block.remark == "file":
            (self.folder / block.about).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / block.about).write_text(block.text, "utf-8")
        match block.language:
            case _ if block.language in READ_ONLY:
                READ_ONLY[block.language](block, self.folder)
            case _ if block.remark == "file":
                pass
            case "sh" | "console" if "curl" in block.text and shutil.which("curl") is None:
                self.skipped.append(f"{block}: there is no curl here")
            case "sh":
                self._shell(block, block.text)
            case "console":
                self._dialogue(block)
            case "python":
                self._python(block)

    def _shell(self, block: Block, text: str) -> str:
        if (found := beyond(text)) is not None:
            raise Broken(block, f"`{found}` reaches beyond the reader's folder, so that nothing of it was run. {HOW}")
        script = (
            f'. "{self._state}"\ncd "$PWD"\n{self.server.placeholders(text)}\nexport PWD\nexport -p > "{self._state}"\n'
        )
        done = subprocess.run(
            ["sh", "-e", "-c", script],
            cwd=self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        # curl ends well with any answer; the page means one that is no error.
        if done.returncode or ("curl" in text and '"error":{' in done.stdout):
            raise Broken(block, f"exit {done.returncode}\n{done.stdout}")
        return done.stdout

    def _dialogue(self, block: Block) -> None:
        """What follows `$ ` is typed; the rest is what comes, with … for anything."""
        for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
            # A command goes on in the next line after a backslash.
            typed = re.match(r"(?:.*\\\n)*.*\n", part)
            assert typed is not None
            came, wanted = self._shell(block, typed[0]), part[typed.end() :].strip()
            if not re.search(re.escape(wanted).replace("…", ".*?"), came, re.DOTALL):
                raise Broken(block, f"`{typed[0].strip()}` said\n{came}")

    def _python(self, block: Block) -> None:
        assert self.python.stdin is not None
        assert self.python.stdout is not None
        order = {
            "page": str(block.page),
            "line": block.line,
            "code": self.server.placeholders(block.text),
            "folder": str(self.folder),
            "environ": self.environ,
        }
        self.python.stdin.write(json.dumps(order) + "\n")
        self.python.stdin.flush()
        line = self.python.stdout.readline()
        answer = json.loads(line) if line else {"ok": False, "output": "it ended the interpreter"}
        if not answer["ok"]:
            raise Broken(block, answer["output"])

    def run_javascript(self, page_blocks: list[Block], modules: Path) -> None:
        """Run the JavaScript blocks of one page, as one module; `modules` is where npm has put openai."""
        (self.folder / "node_modules").symlink_to(modules, target_is_directory=True)
        text = "\n".join(block.text for block in page_blocks)
        (self.folder / "page.mjs").write_text(self.server.placeholders(text), "utf-8")
        done = subprocess.run(
            ["node", "page.mjs"],
            cwd=self.folder,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        if done.returncode:
            raise Broken(page_blocks[0], done.stdout)


def beyond(text: str) -> str | None:
    """The first thing in a shell block that is not for the tests to do."""
    code = re.sub(r"(^|\s)#.*", "", text)
    if (found := BEYOND.search(code)) is not None:
        return found[0]
    words = shlex.shlex(code.replace("\\\n", " "), posix=True, punctuation_chars="();<>|&\n")
    words.whitespace = " \t"
    first = True
    for word in words:
        if set(word) <= set("();|&\n"):
            first = True
        elif first and not re.match(r"\w+=", word):
            if word not in PROGRAMS:
                return word
            first = False
    return None


# ---------------------------------------------------------------- what is read, and not run


def _yaml(block: Block, folder: Path) -> None:
    try:
        text = yaml.safe_load(block.text)
    except yaml.YAMLError as error:
        raise Broken(block, str(error)) from error
    if not isinstance(text, dict) or not text.keys() & {"server", "channels"}:
        return
    file = folder / "shown" / "channels.yaml"
    (file.parent / "more-plugins").mkdir(parents=True, exist_ok=True)
    # The files that its entries name.
    for name in re.findall(r": ([\w-]+\.json)\b", block.text):
        (file.parent / name).write_text("{}", "utf-8")
    # A block may show one of the two alone.
    file.write_text(block.text + ("" if "channels" in text else "channels: [{name: demo, type: demo}]\n"), "utf-8")
    environ = dict.fromkeys(re.findall(r"\$\{(\w+)", block.text), "value")
    # The page's own plugins come before the documents' examples.
    own = [folder / "plugins"] if (folder / "plugins").is_dir() else []
    registry = _registry(*own, ROOT / "docs" / "examples")
    try:
        plans.plan(config.parse(file.read_text("utf-8"), file, environ), registry)
    except ConfigError as error:
        raise Broken(block, str(error)) from error


@functools.cache
def _registry(*folders: Path) -> Registry:
    return loader.survey(folders, (), entry_points=False)


def _parsed(parse: Any, block: Block, folder: Path) -> None:
    try:
        parse(block.text)
    except ValueError as error:
        raise Broken(block, str(error)) from error


READ_ONLY: Final = {
    "yaml": _yaml,
    "json": functools.partial(_parsed, json.loads),
    "toml": functools.partial(_parsed, tomllib.loads),
}
RUN: Final = frozenset({"sh", "console", "python", "javascript", *READ_ONLY})
KNOWN: Final = RUN | {SHOWN}
