"""The single binary, as the product sees it: one file that unpacks itself into a temporary folder.

How it starts and ends is in `packaging/`. From a checkout or a wheel there is no such file.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

PROGRAM: Final = Path(sys.executable) if getattr(sys, "frozen", False) else None
"""The file that was started, links followed; None where this is no single binary."""

FOLDER: Final[str] = getattr(sys, "_MEIPASS", "")
"""Where it has unpacked itself."""

ECHO: Final = 0.0 if PROGRAM is None else 1.0
"""Seconds within which a signal may come twice: a Ctrl-C, or what systemd sends to a service, reaches this process,
and also the one that waits for it and passes it on."""


def plugin_folder() -> Path | None:
    """The folder `plugins/` beside the single binary, where there is one."""
    if PROGRAM is None:
        return None
    folder = PROGRAM.with_name("plugins")
    return folder if folder.is_dir() else None


def shown(file: str) -> str:
    """How people are told of a file: what has been unpacked is gone again when they look for it."""
    path = Path(file)
    return f"{path.name} in the binary" if FOLDER and path.is_relative_to(FOLDER) else file


def worker_environment() -> Mapping[str, str]:
    """What a process needs that runs the single binary once more, from the folder that is unpacked already.

    Where the file has been replaced since, the other one unpacks itself. Raises an OSError where it is gone.
    """
    if PROGRAM is None:
        return {}
    if _identity(PROGRAM) != _STARTED:
        return {"PYINSTALLER_RESET_ENVIRONMENT": "1"}
    here = os.environ.get("LD_LIBRARY_PATH")
    return {"LD_LIBRARY_PATH": os.pathsep.join([FOLDER, *([here] if here else [])])}


def _identity(program: Path) -> tuple[int, int]:
    facts = program.stat()
    return facts.st_dev, facts.st_ino


_STARTED: Final = None if PROGRAM is None else _identity(PROGRAM)
