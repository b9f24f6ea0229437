"""The soak in short, with all that it has: `make soak` runs it long."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak.checker import verdict
from tests.soak.evidence import load
from tests.soak.harness import Options, run
from tests.soak.summary import table

KILLS = 10


@pytest.mark.parametrize("seed", [11])
async def test_every_law_holds_under_kill_9(tmp_path: Path, seed: int) -> None:
    """Clients at work, an upstream that goes wrong in every way, servers that are killed: no law is broken."""
    await run(Options(folder=tmp_path, seed=seed, kills=KILLS))
    evidence = load(tmp_path)
    held, text = verdict(evidence)
    assert held, f"{text}\n\n{table(evidence)}"
