"""The wheel, built once, and clean environments that have nothing else of ours."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """They need a network or pip's cache, and most of a minute."""
    if "REELGATE_WHEEL" not in os.environ:
        for item in items:
            if item.path.is_relative_to(Path(__file__).parent):
                item.add_marker(pytest.mark.skip(reason="make wheel-test builds and installs the wheel"))


def done(*words: str | Path, cwd: Path, code: int = 0, **environ: str) -> subprocess.CompletedProcess[str]:
    """A command that was run with nothing in its environment but `environ`; no traceback, and the exit code `code`."""
    result = subprocess.run(
        list(map(str, words)), cwd=cwd, env=environ, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert "Traceback" not in result.stderr + result.stdout, result.stderr
    assert result.returncode == code, (words, result.stdout, result.stderr)
    return result


def build(source: Path, into: Path, *kinds: str) -> None:
    """Build what `kinds` say (`--sdist`, `--wheel`; without them the sdist, and the wheel from it)."""
    command = [sys.executable, "-m", "build", "--no-isolation", *kinds, "--outdir", str(into), str(source)]
    subprocess.run(command, check=True, capture_output=True)


class Environment:
    """A virtual environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / "bin" / "python"
        self.command = folder / "bin" / "reelgate"
        venv.create(folder, symlinks=True)
        (self.packages,) = folder.glob("lib/python*/site-packages")

    def pip(self, *words: str | Path) -> None:
        """Run the test environment's pip on this one."""
        pip = [sys.executable, "-m", "pip", "--python", self.python, "--disable-pip-version-check", "--quiet"]
        subprocess.run([*pip, *words], check=True, capture_output=True)


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("dist")
    build(ROOT, folder)
    return folder


@pytest.fixture(scope="session")
def wheel(dist: Path) -> Path:
    (wheel,) = dist.glob("*.whl")
    return wheel


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """A clean environment with `reelgate[media]`."""
    environment = Environment(tmp_path_factory.mktemp("installed") / "with a space")
    environment.pip("install", f"{wheel}[media]")
    return environment


Layer = Callable[..., Environment]


@pytest.fixture
def layer(installed: Environment, tmp_path: Path) -> Layer:
    """Make an environment that has the dependencies of `installed` but for those `without`, and the wheels given, one
    after the other."""

    def make(*wheels: Path, without: Sequence[str] = ()) -> Environment:
        environment = Environment(tmp_path / "layer")
        for path in installed.packages.iterdir():
            if re.split(r"[-.]", path.name)[0] not in ("proxy", "reelgate", *without):
                (environment.packages / path.name).symlink_to(path)
        for wheel in wheels:
            environment.pip("install", "--no-deps", "--no-index", wheel)
        return environment

    return make


@pytest.fixture
def rival(tmp_path: Path) -> Path:
    """The wheel of another distribution that owns a package `proxy`."""
    name = "proxy_py-2.4.0"
    files = {
        "proxy/__init__.py": "raise RuntimeError('the other proxy was run')\n",
        "proxy/__main__.py": "print('the other proxy')\n",
        "proxy/plugin/__init__.py": "",
        f"{name}.dist-info/METADATA": "Metadata-Version: 2.1\nName: proxy.py\nVersion: 2.4.0\n",
        f"{name}.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    path = tmp_path / f"{name}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        record = ""
        for file, text in files.items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
            record += f"{file},sha256={digest},{len(text)}\n"
            archive.writestr(file, text)
        archive.writestr(f"{name}.dist-info/RECORD", f"{record}{name}.dist-info/RECORD,,\n")
    return path


class Server:
    """A `serve` that was started in `folder`, by the words before it, with an empty environment."""

    def __init__(self, folder: Path, *words: str | Path) -> None:
        self.folder = folder
        self.errors = folder.with_name(f"{folder.name}.log")
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [*map(str, words), "serve", "--port", "0"],
                cwd=folder,
                env={},
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        lines = []
        assert self.process.stdout is not None
        for line in self.process.stdout:
            lines.append(line)
            if "client.videos.download_content" in line:
                break
        self.said = "".join(lines)
        found = re.search(r"(http://\S+)/v1", self.said)
        assert found is not None, self.log
        self.origin = found[1]

    @property
    def log(self) -> str:
        """What it has said on stderr so far."""
        return self.errors.read_text("utf-8")

    def shown(self, what: str) -> str:
        """The key or the password that it has shown."""
        found = re.search(rf"{what} \(shown once\): (\S+)", self.said)
        assert found is not None, self.said
        return found[1]

    def stop(self) -> None:
        self.process.terminate()
        assert self.process.wait(60) == 0, self.log
        assert "Traceback" not in self.log
        self.close()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


Start = Callable[..., Server]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start servers in the folder `here`, another one than any of ours."""
    made: list[Server] = []
    (tmp_path / "here").mkdir()

    def begin(*words: str | Path) -> Server:
        made.append(Server(tmp_path / "here", *words))
        return made[-1]

    yield begin
    for server in made:
        server.close()
    shutil.rmtree(tmp_path / "here")
