"""`make oracles`: the providers' own SDKs, each in an environment of its own, drive the simulators of the plugins.

An SDK is never a dependency of the product, nor of its tests: two of them need different versions of the same packages.
Further arguments go to pytest.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
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
    "ARK": "volcengine-python-sdk[ark]",
    "DASHSCOPE": "dashscope==2.0.2",
}
"""What `REELGATE_<NAME>_PYTHON` is given to: the versions that the fact sheets were written from."""


def python(name: str, distribution: str) -> Path:
    """The Python of an environment that has `distribution`; it is made where it is missing."""
    folder = FOLDER / name.lower()
    found, stamp = folder / "bin" / "python", folder / distribution
    if not stamp.exists():
        print(f"Setting up {distribution} …", flush=True)
        venv.create(folder, with_pip=True, clear=True)
        install = [found, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", distribution]
        subprocess.run(install, check=True)
        stamp.touch()
    return found


def node() -> str | None:
    """The Node that @ai-sdk/xai runs in, its package installed; None where there is none."""
    found, npm = shutil.which("node"), shutil.which("npm")
    if found and npm:
        folder = str(ROOT / "tests" / "plugins" / "xai_peer")
        install = [npm, "install", "--silent", "--no-audit", "--no-fund", "--no-package-lock", "--prefix", folder]
        subprocess.run(install, check=True)
    return found if npm else None


def main(arguments: list[str]) -> int:
    """Run every test of an oracle; the exit code is pytest's."""
    environ = dict(os.environ)
    for name, distribution in SDKS.items():
        environ[f"REELGATE_{name}_PYTHON"] = str(python(name, distribution))
    if found := node():
        environ["REELGATE_XAI_NODE"] = found
    command = [sys.executable, "-m", "pytest", "tests/plugins", "-k", "sdk", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environ, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
