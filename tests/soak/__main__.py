"""`python -m tests.soak`: a long seeded run of kill -9 under load, judged by the checker."""

from __future__ import annotations

import argparse
import asyncio
import math
import secrets
import shutil
import sys
import tempfile
from pathlib import Path

from tests.soak.checker import verdict
from tests.soak.evidence import load
from tests.soak.harness import Options, Unfit, run
from tests.soak.processes import ROOT
from tests.soak.summary import table


def main() -> int:
    """0 where every law held, 1 where one was broken or the run could not be made."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=None, help="of an earlier run; a new one by default")
    parser.add_argument("--minutes", type=float, default=math.inf, help="kill no longer than that")
    parser.add_argument("--workers", type=int, choices=(1, 2), default=1, help="2: two servers on one store")
    parser.add_argument("--no-webhooks", action="store_true")
    parser.add_argument("--clients", type=int, default=9)
    parser.add_argument("--rate", type=float, default=0.35, help="share of the upstream's answers that go wrong; 0.35")
    parser.add_argument("--impatient", action="store_true", help="also clients without a key give up within a second")
    parser.add_argument("--product", type=Path, default=ROOT, help="the checkout to run; this one")
    parser.add_argument("--keep", action="store_true", help="keep the files of a run that held, too")
    given = parser.parse_args()
    seed = secrets.randbelow(10**6) if given.seed is None else given.seed
    folder = Path(tempfile.mkdtemp(prefix="reelgate-soak-"))
    say(f"seed {seed}, {given.kills} kills, files in {folder}")
    options = Options(
        folder=folder,
        seed=seed,
        kills=given.kills,
        minutes=given.minutes,
        workers=given.workers,
        webhooks=not given.no_webhooks,
        clients=given.clients,
        rate=given.rate,
        impatient=given.impatient,
        product=given.product.resolve(),
    )
    if given.no_webhooks:
        say("WITHOUT WEBHOOKS: nothing is proved about them")
    try:
        asyncio.run(run(options))
    except Unfit as reason:
        say(f"{reason}\nThe files are in {folder}.")
        return 1
    evidence = load(folder)
    held, text = verdict(evidence)
    say(f"{table(evidence)}\n\n{text}")
    if held and not given.keep:
        shutil.rmtree(folder)
    else:
        say(f"\nseed {seed}; judge it again: python -m tests.soak.checker {folder}")
    return 0 if held else 1


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
