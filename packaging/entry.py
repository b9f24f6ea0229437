"""Where the single binary begins: `reelgate` with an unpacked folder to look after, or a worker for pictures."""

import multiprocessing
import runpy
import sys
from pathlib import Path

import unpacked

FOLDER = Path(sys._MEIPASS)  # type: ignore[attr-defined]


def main() -> None:
    unpacked.end_with_parent(FOLDER)
    unpacked.hold(FOLDER)
    unpacked.keep_program_open()
    if sys.argv[1:2] == ["media-worker"]:
        # By its path, as elsewhere: it is to start fast, and to hold nothing of the server.
        sys.argv[:2] = ["reelgate"]
        runpy.run_path(str(FOLDER / "proxy" / "media" / "stills_child.py"), run_name="__main__")
    # A plugin may start processes with it: they are this file once more.
    multiprocessing.freeze_support()
    unpacked.remove_stale(FOLDER)
    unpacked.restore_environment()
    unpacked.take_interrupts_once()

    from proxy.cli import main as command

    command()


main()
