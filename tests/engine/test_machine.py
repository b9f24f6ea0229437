"""The engine against all that can happen to it, and the proof that a broken promise would be noticed.

`REELGATE_MACHINE_EXAMPLES` says how long the search is (a thousand examples take about two minutes); from 1000 on it
must also find each sabotage by itself. A failure prints its shrunk steps and a line that repeats it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.engine import machine_sabotage as sabotages
from tests.engine.machine import EngineMachine
from tests.engine.machine_sabotage import SABOTAGES, Sabotage

EXAMPLES: Final = int(os.environ.get("REELGATE_MACHINE_EXAMPLES", "40"))
LONG: Final = 1000

SETTINGS: Final = settings(
    max_examples=EXAMPLES,
    stateful_step_count=40,
    deadline=None,
    print_blob=True,
    # Without `explain`, which traces every line and takes minutes.
    phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)

TestEngine = pytest.mark.timeout(36_000 if EXAMPLES >= LONG else 600)(EngineMachine.TestCase)
TestEngine.settings = SETTINGS

Scenario = Callable[[EngineMachine], None]


def order(machine: EngineMachine, model: str = "fast", **more: Any) -> None:
    usual = {"owner": 0, "idempotency_key": None, "named": None, "heard": False, "times": 1, "turns": None}
    machine.create(model=model, **{**usual, **more})


def answers(machine: EngineMachine, name: str, *words: str) -> None:
    machine.expect_submissions(name=name, answers=list(words))


def an_unknown_outcome(machine: EngineMachine) -> None:
    answers(machine, "alpha", "lost after taking")
    order(machine)
    machine.advance(seconds=3.0)


def a_kill_with_one_on_the_wire(machine: EngineMachine) -> None:
    answers(machine, "alpha", "hang")
    order(machine)
    machine.crash(taken=True, seconds=0.0, turns=None)
    machine.advance(seconds=3.0)


def one_video(machine: EngineMachine) -> None:
    order(machine)
    machine.look(pick=0, owner=2, turns=None)
    machine.delete(pick=0, force=True, turns=None)


def an_odd_poll(machine: EngineMachine) -> None:
    order(machine)
    machine.work(pick=0, progress=50, forgotten=False, then="back", seconds=3.0)


def an_end_in_between(machine: EngineMachine) -> None:
    answers(machine, "alpha", "hang")
    order(machine)
    machine.delete(pick=0, force=True, turns=None)
    machine.answer(pick=0, word="taken", turns=None)


def a_poll_without_a_job(machine: EngineMachine) -> None:
    order(machine)
    machine.expect_polls(name="alpha", answers=["gone"], seconds=3.0)


def a_kill_while_one_waits(machine: EngineMachine) -> None:
    order(machine, times=2)
    machine.crash(taken=True, seconds=0.0, turns=None)


def a_full_channel(machine: EngineMachine) -> None:
    order(machine, times=2)


def one_that_comes_later(machine: EngineMachine) -> None:
    answers(machine, "alpha", "hang", "taken")
    order(machine)
    machine.advance(seconds=10.0)
    machine.answer(pick=0, word="refused", turns=None)
    order(machine)


def two_keys(machine: EngineMachine) -> None:
    order(machine, times=4)
    order(machine, owner=2)
    machine.finish(name="alpha", times=4)


def the_same_again(machine: EngineMachine) -> None:
    order(machine, idempotency_key="one")
    machine.advance(seconds=1.0)
    machine.ask_again(pick=0, turns=None)


def a_refusal(machine: EngineMachine) -> None:
    answers(machine, "alpha", "wrong")
    order(machine, idempotency_key="one")
    order(machine, idempotency_key="one")


def a_failure(machine: EngineMachine) -> None:
    answers(machine, "alpha", "failed at once")
    order(machine)


def a_listener_that_is_deaf(machine: EngineMachine) -> None:
    machine.deafen(times=1)
    order(machine)
    machine.advance(seconds=3.0)


def one_that_can_be_looked_up(machine: EngineMachine) -> None:
    answers(machine, "gamma", "lost after taking")
    order(machine, "safe")
    machine.advance(seconds=45.0)


def an_upstream_that_fails(machine: EngineMachine) -> None:
    answers(machine, "alpha", "unreachable", "unreachable", "unreachable")
    order(machine, times=3)
    machine.advance(seconds=1.0)
    order(machine)


def a_channel_that_refuses(machine: EngineMachine) -> None:
    answers(machine, "alpha", "refused")
    order(machine, "any")


SCENARIOS: Final[dict[Sabotage, Scenario]] = {
    sabotages.an_unknown_outcome_is_submitted_again: an_unknown_outcome,
    sabotages.an_interrupted_submission_is_submitted_again: a_kill_with_one_on_the_wire,
    sabotages.an_attempt_is_not_recorded_before: one_video,
    sabotages.it_is_submitted_before_it_is_durable: one_video,
    sabotages.progress_falls: an_odd_poll,
    sabotages.an_end_is_not_final: an_end_in_between,
    sabotages.a_bad_poll_fails_a_video: a_poll_without_a_job,
    sabotages.what_waits_is_forgotten_at_a_restart: a_kill_while_one_waits,
    sabotages.a_place_is_freed_too_early: an_unknown_outcome,
    sabotages.more_run_than_may: a_full_channel,
    sabotages.the_queue_is_overtaken: one_that_comes_later,
    sabotages.keys_take_no_turns: two_keys,
    sabotages.an_idempotency_key_says_nothing: the_same_again,
    sabotages.a_refusal_keeps_its_idempotency_key: a_refusal,
    sabotages.a_replay_has_another_answer: the_same_again,
    sabotages.a_failure_is_not_told: a_failure,
    sabotages.a_change_is_told_at_most_once: a_listener_that_is_deaf,
    sabotages.tenants_see_each_other: one_video,
    sabotages.a_deletion_is_answered_and_not_made: one_video,
    sabotages.nothing_is_looked_up: one_that_can_be_looked_up,
    sabotages.nothing_is_given_back: a_failure,
    sabotages.another_channels_price_is_booked_twice: a_channel_that_refuses,
    sabotages.a_breaker_never_trips: an_upstream_that_fails,
}


def play(scenario: Scenario) -> None:
    machine = EngineMachine()
    machine.begin(seed=0, first=[], answers=[])
    try:
        scenario(machine)
    finally:
        machine.teardown()


@pytest.mark.parametrize("sabotage", SABOTAGES, ids=lambda one: str(one.__name__))
def test_a_broken_promise_is_noticed(sabotage: Sabotage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same steps pass with the engine as it is, and break a law with one that keeps a promise less."""
    play(SCENARIOS[sabotage])
    sabotage(monkeypatch)
    with pytest.raises(AssertionError):
        play(SCENARIOS[sabotage])


@pytest.mark.timeout(3600)
@pytest.mark.skipif(EXAMPLES < LONG, reason=f"takes minutes: set REELGATE_MACHINE_EXAMPLES to {LONG} or more")
@pytest.mark.parametrize("sabotage", SABOTAGES, ids=lambda one: str(one.__name__))
def test_a_broken_promise_is_found(sabotage: Sabotage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The search itself comes upon each sabotage."""
    sabotage(monkeypatch)
    search = settings(SETTINGS, phases=(Phase.generate,), database=None)
    with pytest.raises(AssertionError):
        run_state_machine_as_test(EngineMachine, settings=search)
