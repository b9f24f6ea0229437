"""The engine against all that can happen to it."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

from tests.engine.machine import EngineMachine

EXAMPLES = int(os.environ.get("REELGATE_MACHINE_EXAMPLES", "60"))

TestEngine = EngineMachine.TestCase
TestEngine.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=40,
    deadline=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
