"""The command `reelgate`, and who else in this Python owns a package called `proxy`.

It is no part of that package, because another distribution may have written over it: this file is still there then, and
says so in a sentence.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

PACKAGE: Final = "proxy"
DISTRIBUTION: Final = "reelgate"

_FIRST_WORDS: Final = b'"""Reelgate: '
"""What only our own `proxy/__init__.py` begins with."""
_CURE: Final = f"give {DISTRIBUTION} a virtual environment of its own"


class Rival(NamedTuple):
    """Another distribution with files in a package `proxy`; `overwritten` are those of ours that are its own now."""

    name: str
    overwritten: list[str]

    def __str__(self) -> str:
        if self.overwritten:
            more = f" and {len(self.overwritten) - 1} more" if len(self.overwritten) > 1 else ""
            return (
                f"the distribution {self.name} has written its package `{PACKAGE}` over Reelgate's "
                f"({self.overwritten[0]}{more}): {_CURE}"
            )
        return (
            f"the distribution {self.name} brings an import package `{PACKAGE}` too, and whichever of the two is "
            f"removed or upgraded takes files of the other along: {_CURE}"
        )


def main() -> None:
    """Run the command line; where the package `proxy` that Python finds is not ours, say whose it is and exit 1."""
    if (said := _foreign()) is not None:
        print(said, file=sys.stderr)  # noqa: T201 - click may not be there
        sys.exit(1)
    from proxy.cli import main as command

    command(prog_name=DISTRIBUTION)


def rivals() -> list[Rival]:
    """The other distributions in this Python that bring files of a package `proxy`, by what was noted when they were
    installed. Blocks while it reads that, some milliseconds for a hundred distributions."""
    found = []
    for notes in _notes():
        try:
            with open(notes, "rb") as file:
                record = file.read()
        except OSError:
            continue
        # A look for the bytes is a hundred times faster than the parser of importlib.metadata.
        if record.startswith(b"proxy/") or b"\nproxy/" in record:
            folder = Path(notes).parent
            name = _name(folder)
            if name.lower() != DISTRIBUTION:
                found.append(Rival(name, _overwritten(folder.parent, set(_hashes(record)))))
    return sorted(found)


def _notes() -> Iterator[str]:
    for entry in dict.fromkeys(sys.path):
        try:
            names = os.listdir(entry or ".")
        except OSError:
            continue
        yield from (os.path.join(entry, name, "RECORD") for name in names if name.endswith(".dist-info"))


def _name(folder: Path) -> str:
    """The name of the distribution whose notes are in `folder`."""
    try:
        lines = (folder / "METADATA").read_text("utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = [line.removeprefix("Name:").strip() for line in lines if line.startswith("Name:")]
    return named[0] if named else folder.name.partition("-")[0]


def _hashes(record: bytes) -> dict[str, str]:
    """The files of the package `proxy` in a RECORD, with the hash that each had when it was installed."""
    rows = (line.split(",") for line in record.decode("utf-8", "replace").splitlines() if line.startswith("proxy/"))
    return {row[0]: row[1] for row in rows if len(row) == 3 and row[1].startswith("sha256=")}


def _overwritten(folder: Path, theirs: set[str]) -> list[str]:
    """Those files of ours among `theirs` that are not as we were installed; none where we are a checkout."""
    for notes in folder.glob(f"{DISTRIBUTION}-*.dist-info/RECORD"):
        ours = _hashes(notes.read_bytes())
        return sorted(path for path in theirs & ours.keys() if _hash(folder / path) != ours[path])
    return []


def _hash(file: Path) -> str:
    import base64
    import hashlib

    try:
        digest = hashlib.sha256(file.read_bytes()).digest()
    except OSError:
        return ""
    return "sha256=" + base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _foreign() -> str | None:
    """Why the package `proxy` that Python finds cannot be used, None where it is ours. Nothing of it is run."""
    spec = importlib.util.find_spec(PACKAGE)
    file = Path(spec.origin) if spec is not None and spec.origin else None
    if file is not None and (not file.is_file() or file.read_bytes().startswith(_FIRST_WORDS)):
        # Not a file: within a single binary, where nobody else writes.
        return None
    if (found := [rival for rival in rivals() if rival.overwritten]) != []:
        return str(found[0])
    if file is None:
        return f"the package `{PACKAGE}` of Reelgate is not there: install its wheel anew, with pip's --force-reinstall"
    return (
        f"{file.parent} stands before Reelgate's package `{PACKAGE}` and is not Reelgate's: start from another folder, "
        f"take it off PYTHONPATH, or {_CURE}"
    )


if __name__ == "__main__":
    main()
