"""`make oracles`: SDKs, the providers' own where they have one, drive the simulators, each in its own environment.

An SDK is never a dependency of the product, nor of its tests: two of them need different versions of the same packages.
What no Python or Node here can run is skipped, and said. Further arguments go to pytest.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
FOLDER: Final = ROOT / ".venv-oracles"

SDKS: Final = {
    "RUNWAY": "runwayml==5.24.0",
    "GENAI": "google-genai==3.4.0",
    # The last one with Veo on the Gemini Developer API.
    "GENAI2": "google-genai==2.34.0",
    "FAL": "fal-client==1.0.3",
    "REPLICATE": "replicate==1.0.7",
    "ARK": "volcengine-ark-runtime==5.0.54",
    # It imports two packages that it does not name.
    "BYTEPLUS": "byteplus-python-sdk-v2==3.0.63 httpx sniffio",
    # Its client needs nothing else; the whole of it has a hundred megabytes.
    "COMFYUI": "--no-deps comfy-cli==1.23.0",
    "DASHSCOPE": "dashscope==2.0.2",
    "MINIMAX": "minimax-mcp==0.0.19",
    # No provider's: docs/clients.md shows it as a client of this server.
    "LITELLM": "litellm==1.106.2",
    # It imports what mcp 2 no longer has.
    "VIDU": "vidu-mcp==0.1.2 mcp<2",
}
"""What `REELGATE_<NAME>_PYTHON` is given to: the versions that the fact sheets were written from."""
NEWER: Final = {"VIDU": (3, 12)}
"""SDKs that need a newer Python than the product."""
NODES: Final = {"XAI": "xai_peer", "MINIMAX": "minimax_h3_peer", "KLING": "kling_peer"}
"""What `REELGATE_<NAME>_NODE` is given to: folders beside the tests, whose package.json names the SDK."""


def pythons() -> Iterator[str]:
    """Programs that may be a Python: this one, those on the PATH, and those that lie beside this one."""
    yield sys.executable
    yield from (found for minor in (12, 13, 14) if (found := shutil.which(f"python3.{minor}")))
    yield from map(str, sorted(Path(sys.base_prefix).parent.glob("*/bin/python3")))


@cache
def version(program: str) -> tuple[int, ...]:
    """Of a Python; nothing for what does not run, such as the empty shim of a version manager."""
    ask = [program, "-c", "import sys, pip, venv; print(*sys.version_info[:2])"]
    said = subprocess.run(ask, capture_output=True, text=True, check=False)
    return tuple(map(int, said.stdout.split()))


def environment(name: str) -> str | None:
    """The Python of an environment that has an SDK; it is made where it is missing. None where no Python is fit."""
    wanted, folder = SDKS[name], FOLDER / name.lower()
    found, stamp = folder / "bin" / "python", folder / "ready"
    if stamp.exists() and stamp.read_text("utf-8") == wanted:
        return str(found)
    least = NEWER.get(name, (3, 11))
    if (python := next((program for program in pythons() if version(program) >= least), None)) is None:
        print(f"No {wanted}: there is no Python {'.'.join(map(str, least))} or newer here", flush=True)
        return None
    print(f"Setting up {wanted} …", flush=True)
    subprocess.run([python, "-m", "venv", "--clear", "--without-pip", folder], check=True)
    # One of them has eleven thousand files; what is imported is compiled then.
    quick = ("--quiet", "--disable-pip-version-check", "--no-compile")
    subprocess.run([python, "-m", "pip", "--python", found, "install", *quick, *wanted.split()], check=True)
    stamp.write_text(wanted, "utf-8")
    return str(found)


def node() -> str | None:
    """The Node that every peer of NODES runs in, their packages installed; None where there is none."""
    found, npm = shutil.which("node"), shutil.which("npm")
    if not found or not npm:
        print("No SDK for Node: there is no node or no npm here", flush=True)
        return None
    quiet = ("--silent", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts")
    for folder in NODES.values():
        subprocess.run([npm, "install", *quiet, "--prefix", ROOT / "tests" / "plugins" / folder], check=True)
    return found


def main(arguments: list[str]) -> int:
    """Run every test of an oracle; the exit code is pytest's."""
    environ = dict(os.environ)
    # Two at a time: one downloads while another unpacks.
    with ThreadPoolExecutor(2) as several:
        for name, python in zip(SDKS, several.map(environment, SDKS), strict=True):
            if python:
                environ[f"REELGATE_{name}_PYTHON"] = python
    if found := node():
        environ.update({f"REELGATE_{name}_NODE": found for name in NODES})
    command = [sys.executable, "-m", "pytest", "tests/plugins", "tests/docs", "-k", "sdk", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environ, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
