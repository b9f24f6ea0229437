"""The kit beside a provider whose ids and states are numbers, as some have them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from proxy.testing import Answer, Job
from proxy.testing.polling import PollLaws
from proxy.testing.submitting import SubmitLaws
from tests.simulators.lumen import LumenSimulator

LUMEN = Path(__file__).parents[2] / "docs/examples/lumen.py"
NUMBERS = {"waiting": 2, "rendering": 5, "ready": 1, "rejected": 7}


class Counter(LumenSimulator):
    """Lumen, with numbers."""

    words: ClassVar[Mapping[str, str]] = {ours: str(NUMBERS[theirs]) for ours, theirs in LumenSimulator.words.items()}

    def new_id(self) -> str:
        return str(10**17 + len(self.jobs))

    def task(self, job: Job) -> Answer:
        task: dict[str, Any] = {"id": int(job.id), "state": int(job.state), "percent": job.progress}
        assert self.find(job.call, task["id"]) is job
        return Answer(json={"task": task})


class Laws(SubmitLaws, PollLaws):
    """Those that look into answers for ids and states; not collected, as its name is none of a test."""

    plugin = "lumen"
    simulator = Counter
    entry: ClassVar[Mapping[str, Any]] = {"api_key": "counter-key-5be2", "models": ["lumen-1"]}
    states: ClassVar[Mapping[str, str]] = {word: status for status, word in Counter.words.items()}


@pytest.fixture
def laws(tmp_path: Path) -> Laws:
    text = LUMEN.read_text("utf-8").replace('id=reply.need("task.id")', 'id=str(reply.need("task.id"))')
    for word, number in NUMBERS.items():
        text = text.replace(f'"{word}":', f"{number}:")
    (tmp_path / "lumen.py").write_text(text, "utf-8")

    class Here(Laws):
        plugin_file = tmp_path / "lumen.py"

    made = Here()
    # Outside the event loop: it reads files.
    made.registry()
    return made


async def test_an_answer_without_its_number_is_an_unknown_outcome(laws: Laws, tmp_path: Path) -> None:
    """The fault `no_id` takes a number out too."""
    await laws.test_outcome_is_unknown(tmp_path, "no_id")


async def test_a_state_that_an_odd_field_may_turn_into(laws: Laws, tmp_path: Path) -> None:
    """The provider's own number for a failure is not taken for an odd answer; every other oddity still is one."""
    await laws.test_odd_field_fails_nothing(tmp_path)


def test_the_laws_reach_no_other_host() -> None:
    """An entry with an address of its own would order many times over from whoever that is."""
    with pytest.raises(pytest.fail.Exception, match="base_url"):
        Laws().yaml(Counter(), {"api_key": "k", "base_url": "https://api.lumen.example"})
