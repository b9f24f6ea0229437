"""What `deploy/` ships, with the programs that it is for: `make deploy-test` sets REELGATE_DEPLOY, and without it
nothing is collected here."""

from __future__ import annotations

import os

collect_ignore_glob = [] if "REELGATE_DEPLOY" in os.environ else ["test_*.py"]
