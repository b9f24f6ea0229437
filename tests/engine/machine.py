"""A state machine over the engine: clients, upstreams, the operator, the disk and the power switch, in any order.

Each rule does one thing and then lets the world come to rest, or lets it go on for a few turns only, so that the next
rule comes in between. `machine_laws` and `machine_clients` say what must hold all the while; at the end all goes well
again, and then every video must come to its end.
"""

from __future__ import annotations

import sys
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from proxy.config import Server
from tests.engine.machine_clients import KEYS, Call, Clients
from tests.engine.machine_laws import (
    AT_UPSTREAM,
    MOST_WAITING,
    PAUSE,
    POLL_TIMEOUT,
    PRICES,
    QUEUE_TIMEOUT,
    TRIES,
    UNKNOWN_GRACE,
    Laws,
    Row,
    Setting,
)
from tests.engine.machine_upstream import CLEANUPS, POLLS, RECOVERIES, SUBMISSIONS, Account, Job, Submission
from tests.engine.machine_world import World

SERVER = Server(
    submit_wait=5.0,
    unknown_grace=UNKNOWN_GRACE,
    queue_timeout=QUEUE_TIMEOUT,
    max_queued=MOST_WAITING,
    max_queued_per_key=5,
)
PICK = st.integers(0, 40)
"""Chooses one of what there is, by its remainder."""
TURNS = st.sampled_from([None, None, None, 0, 1, 2, 3, 5, 8, 13, 21])
"""How far the world goes on before the next rule: None, until it is at rest."""
RESEND_WITHIN = 800.0
NAME = st.sampled_from(["alpha", "beta", "gamma"])
OWNER = st.integers(0, len(KEYS) - 1)
MODEL = st.sampled_from(["any", "any", "fast", "safe"])
ANSWER = st.sampled_from((*SUBMISSIONS, "hang", "hang"))


def settings_of_channels() -> dict[str, Setting]:
    """The channels that a machine begins with."""
    return {
        "alpha": Setting("puppet", ("fast", "any"), 1, priority=1),
        "beta": Setting("puppet", ("any",), 2),
        "gamma": Setting("lookup", ("safe", "any"), 1),
    }


def entries(settings: dict[str, Setting]) -> str:
    """They as a channels.yaml."""
    lines = ["channels:"]
    for name, one in settings.items():
        if one.present:
            lines.append(
                f"  - {{name: {name}, type: {one.type}, models: [{', '.join(one.models)}], poll_every: 2, "
                f"enabled: {str(one.enabled).lower()}, max_running: {one.max_running}, priority: {one.priority}, "
                f"poll_timeout: {POLL_TIMEOUT}, timeout: {{total: 5}}, price: {{per_second: {PRICES[name]}}}, "
                f"breaker: {{failures: {TRIES}, error_rate: 1, pause: {PAUSE}}}}}"
            )
    return "\n".join(lines)


class EngineMachine(RuleBasedStateMachine):
    """Everything that can happen to an engine."""

    @initialize(
        seed=st.integers(0, 2**16),
        first=st.lists(st.tuples(OWNER, MODEL), min_size=1, max_size=6),
        answers=st.lists(st.tuples(NAME, ANSWER), max_size=3),
    )
    def begin(self, seed: int, first: list[tuple[int, str]], answers: list[tuple[str, str]]) -> None:
        """The first process starts and gets its first orders."""
        self.settings = settings_of_channels()
        self.world = World(seed, entries=entries(self.settings), server=SERVER, listener=self._hear)
        world = self.world
        self.accounts = {
            name: Account(name, world.monotonic, lambda: world.life.loop.disk.dead) for name in self.settings
        }
        world.accounts = self.accounts
        self.laws = Laws(self.world, self.accounts, self.settings)
        self.clients = Clients(self.world, self.laws)
        self.world.after_commit = self.laws.committed
        self.world.after_turn = self._turned
        self.world.begin()
        for name, answer in answers:
            self.accounts[name].scripts["submit"].append(answer)
        for owner, model in first:
            self._ask(Call(f"call {len(self.clients.calls)}", KEYS[owner], model, None, None, None, False), None)

    async def _hear(self, video: Any, before: str) -> None:
        await self.clients.hear(video, before)

    def _turned(self) -> None:
        self.laws.turned()
        self.clients.turned()

    def _go_on(self, turns: int | None) -> None:
        if self.world.settle(turns):
            self._rested()

    def _rested(self) -> None:
        self.laws.rested()
        self.clients.rested()

    # -- clients -------------------------------------------------------------------------------------------------------

    @rule(
        owner=OWNER,
        model=MODEL,
        idempotency_key=st.sampled_from([None, None, None, "one", "two"]),
        named=st.sampled_from([None, None, None, "alpha", "gamma"]),
        heard=st.booleans(),
        times=st.sampled_from([1, 1, 2, 4]),
        turns=TURNS,
    )
    def create(
        self,
        owner: int,
        model: str,
        idempotency_key: str | None,
        named: str | None,
        heard: bool,
        times: int,
        turns: int | None,
    ) -> None:
        """A client asks for a video, or for several."""
        key = KEYS[owner]
        named = named if key.chooses_channel else None
        for _ in range(times):
            call = Call(f"call {len(self.clients.calls)}", key, model, idempotency_key, None, named, heard)
            self._ask(call, turns)

    @rule(model=MODEL, times=st.integers(1, 2), turns=TURNS)
    def create_for_all(self, model: str, times: int, turns: int | None) -> None:
        """All keys ask for videos at once."""
        for _ in range(times):
            for key in KEYS:
                self._ask(Call(f"call {len(self.clients.calls)}", key, model, None, None, None, False), turns)

    @precondition(lambda self: any(row.status == "completed" for row in self._listed()))
    @rule(pick=PICK, idempotency_key=st.sampled_from([None, "one", "two"]), heard=st.booleans(), turns=TURNS)
    def remix(self, pick: int, idempotency_key: str | None, heard: bool, turns: int | None) -> None:
        """A client asks for a variation of a video of its tenant's."""
        rows = [row for row in self._listed() if row.status == "completed"]
        source = rows[pick % len(rows)]
        key = next(key for key in KEYS if key.tenant == source.tenant)
        call = Call(f"call {len(self.clients.calls)}", key, source.model, idempotency_key, source.id, None, heard)
        self._ask(call, turns)

    def _ask(self, call: Call, turns: int | None) -> None:
        self.clients.calls.append(call)
        self.clients.post(call)
        self._go_on(turns)

    @precondition(lambda self: self._repeatable())
    @rule(pick=PICK, turns=TURNS)
    def ask_again(self, pick: int, turns: int | None) -> None:
        """A client repeats a request: with its Idempotency-Key, or as an SDK does that got no answer."""
        calls = self._repeatable()
        call = calls[pick % len(calls)]
        self.clients.post(call, resent=call.idempotency_key is None)
        self._go_on(turns)

    def _repeatable(self) -> list[Call]:
        leaving = {deed.of for deed in self.clients.deletions}
        rows = {row.prompt: row for row in self._listed() if row.id not in leaving}
        found = []
        for call in self.clients.calls:
            row = rows.get(call.prompt)
            young = row is not None and self.world.wall() - row.created_at < RESEND_WITHIN
            # Not one that was refused or deleted: that would be another call.
            under_way = call.asking and call.video_id is None
            if not call.refused and (under_way or young) and (call.idempotency_key or not call.heard):
                found.append(call)
        return found

    @precondition(lambda self: self._listed())
    @rule(pick=PICK, force=st.booleans(), turns=TURNS)
    def delete(self, pick: int, force: bool, turns: int | None) -> None:
        """An owner deletes a video."""
        rows = self._listed()
        self.clients.delete(rows[pick % len(rows)].id, force=force)
        self._go_on(turns)

    @precondition(lambda self: self.laws.videos)
    @rule(pick=PICK, owner=OWNER, turns=TURNS)
    def look(self, pick: int, owner: int, turns: int | None) -> None:
        """Somebody looks at a video, perhaps at another tenant's or at one that is gone."""
        self.clients.look(list(self.laws.videos)[pick % len(self.laws.videos)], KEYS[owner])
        self._go_on(turns)

    def _listed(self) -> list[Row]:
        return [row for row in self.laws.videos.values() if row.listed]

    # -- upstreams -----------------------------------------------------------------------------------------------------

    @rule(name=NAME, answers=st.lists(ANSWER, min_size=1, max_size=4))
    def expect_submissions(self, name: str, answers: list[str]) -> None:
        """An account will answer the next submissions so."""
        self.accounts[name].scripts["submit"].extend(answers)

    @rule(name=NAME, answer=st.sampled_from(SUBMISSIONS), times=st.integers(3, 5))
    def expect_one_answer(self, name: str, answer: str, times: int) -> None:
        """An account will answer the next submissions all the same."""
        self.accounts[name].scripts["submit"].extend([answer] * times)

    @rule(
        name=NAME,
        answers=st.lists(st.sampled_from(("back", *POLLS)), min_size=1, max_size=6),
        seconds=st.sampled_from([0.0, 3.0, 10.0, 40.0]),
    )
    def expect_polls(self, name: str, answers: list[str], seconds: float) -> None:
        """An account answers the next polls so, some of them at once."""
        self.accounts[name].scripts["poll"].extend(answers)
        self._advance(seconds)

    @rule(
        operation=st.sampled_from(["recover", "recover", "cancel", "delete"]),
        answers=st.lists(st.integers(0, 2), min_size=1, max_size=6),
    )
    def expect_others(self, operation: str, answers: list[int]) -> None:
        """The account that can more will answer so."""
        words = RECOVERIES if operation == "recover" else CLEANUPS
        self.accounts["gamma"].scripts[operation].extend(words[answer % len(words)] for answer in answers)

    @precondition(lambda self: self._hanging())
    @rule(pick=PICK, word=st.sampled_from([word for word in SUBMISSIONS if word != "hang"]), turns=TURNS)
    def answer(self, pick: int, word: str, turns: int | None) -> None:
        """A submission that hung is answered after all."""
        hanging = self._hanging()
        submission = hanging[pick % len(hanging)]
        assert submission.word is not None
        submission.word.set_result(word)
        self._go_on(turns)

    def _hanging(self) -> list[Submission]:
        found = [one for account in self.accounts.values() for one in account.open]
        return [one for one in found if one.word is not None and not one.word.done()]

    @precondition(lambda self: self._jobs())
    @rule(
        pick=PICK,
        progress=st.sampled_from([10, 50, 90, 100, 100, -1]),
        forgotten=st.booleans(),
        then=st.sampled_from(["", "", "back", "back", "gone", "hang"]),
        seconds=st.sampled_from([0.0, 3.0, 3.0, 40.0]),
    )
    def work(self, pick: int, progress: int, forgotten: bool, then: str, seconds: float) -> None:
        """An upstream goes on with a job, ends it, or forgets it, and then says something odd of one."""
        jobs = self._jobs()
        job = jobs[pick % len(jobs)]
        job.forgotten = forgotten and progress == 90
        if progress < 0:
            job.status = "failed"
        else:
            job.progress = max(job.progress, progress)
            job.status = "completed" if progress == 100 else "in_progress"
        self._advance(seconds)
        if then:
            self.accounts[job.id.partition("-")[0]].scripts["poll"].append(then)
            self._advance(seconds)

    @rule(name=NAME, times=st.integers(1, 4))
    def finish(self, name: str, times: int) -> None:
        """An upstream ends all its jobs, and those that come into their places."""
        for _ in range(times):
            for job in self.accounts[name].jobs.values():
                if job.status in ("queued", "in_progress"):
                    job.status, job.progress = "completed", 100
            self._advance(3.0)

    def _jobs(self) -> list[Job]:
        found = [job for account in self.accounts.values() for job in account.jobs.values()]
        return [job for job in found if job.status in ("queued", "in_progress")]

    # -- the operator, time and the machine ----------------------------------------------------------------------------

    @rule(
        name=NAME,
        change=st.sampled_from(["present", "enabled", "more", "fewer", "all", "all", "all"]),
        turns=TURNS,
    )
    def reload(self, name: str, change: str, turns: int | None) -> None:
        """The operator changes the file."""
        setting = self.settings[name]
        setting.since_rest.append(setting.now)
        match change:
            case "all":
                self._all_back()
            case "present":
                # A file must name a channel.
                others = any(one.present for one in self.settings.values() if one is not setting)
                setting.present = not setting.present or not others
            case "enabled":
                setting.enabled = not setting.enabled
            case "more":
                setting.max_running += 1
            case "fewer":
                setting.max_running = max(setting.max_running - 1, 1)
        self._apply()
        self._go_on(turns)

    def _all_back(self) -> None:
        for name, setting in settings_of_channels().items():
            self.settings[name].since_rest.append(self.settings[name].now)
            self.settings[name].__dict__.update(present=True, enabled=True, max_running=setting.max_running)

    def _apply(self) -> None:
        self.laws.forgotten()
        self.world.reload(entries(self.settings))

    @rule(seconds=st.sampled_from([0.3, 1.0, 1.0, 3.0, 10.0, 25.0, 45.0, 100.0, 201.0]))
    def advance(self, seconds: float) -> None:
        """Time goes by."""
        self._advance(seconds)

    def _advance(self, seconds: float) -> None:
        if seconds:
            self.world.advance(seconds)
            self._rested()

    @rule(turns=st.integers(1, 30))
    def go_on(self, turns: int) -> None:
        """What is under way goes on for a while."""
        self._go_on(turns)

    @rule(taken=st.booleans(), seconds=st.sampled_from([0.0, 0.0, 5.0, 50.0]), turns=TURNS)
    def crash(self, taken: bool, seconds: float, turns: int | None) -> None:
        """kill -9; what was on the wire has arrived or not; after a while the next process starts."""
        self.world.life.loop.disk.dead = True
        self._cut(taken)
        self.world.crash()
        self._start(seconds, turns)

    @rule(taken=st.booleans(), seconds=st.sampled_from([0.0, 5.0]), turns=TURNS)
    def stop_and_start(self, taken: bool, seconds: float, turns: int | None) -> None:
        """SIGTERM; what was on the wire when the grace was over has arrived or not; the next process starts."""
        # Leases that cannot be given back would expire first.
        self.world.life.loop.disk.full = 0
        self.world.stop()
        self._cut(taken)
        self._start(seconds, turns)

    def _cut(self, taken: bool) -> None:
        for account in self.accounts.values():
            for submission in account.open:
                account.end(submission, "lost after taking" if taken else "lost")
            for submission in account.submissions:
                submission.interrupted |= self.laws.attempts[submission.attempt_id].state == "recorded"

    def _start(self, seconds: float, turns: int | None) -> None:
        self.laws.committed()
        self.laws.forgotten()
        self.clients.killed()
        self.world.now += seconds
        self.world.begin()
        self._go_on(turns)

    @rule(commits=st.integers(1, 6))
    def fill_the_disk(self, commits: int) -> None:
        """The next commits find no room."""
        self.world.life.loop.disk.full = commits

    @rule(times=st.integers(1, 3))
    def deafen(self, times: int) -> None:
        """The listener cannot write down what it hears, for so many times."""
        self.clients.deaf = times

    # -- the end -------------------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        """All goes well again: then everything comes to its end."""
        if not hasattr(self, "world"):
            return
        with self.world:
            if sys.exc_info()[0] is None:
                self._end_well()

    def _end_well(self) -> None:
        self.world.life.loop.disk.full = self.clients.deaf = 0
        for account in self.accounts.values():
            account.scripts.clear()
        for submission in self._hanging():
            assert submission.word is not None
            submission.word.set_result("taken")
        self._all_back()
        self._apply()
        self.world.advance(5.0)
        for _ in range(40):
            self._rested()
            for job in self._jobs():
                job.status, job.progress = "completed", 100
            unfinished = [row for row in self.laws.videos.values() if row.stage in ("waiting", *AT_UPSTREAM)]
            if not unfinished:
                break
            self.world.advance(20.0)
        else:
            raise AssertionError(f"these never end: {unfinished}")
        assert not any(self.world.life.core.places.values()), self.world.life.core.places
        left = [attempt for attempt in self.laws.attempts.values() if attempt.state == "recorded"]
        assert not left, f"nobody ever says what became of {left}"
        assert not self.laws.read("SELECT * FROM outbox"), "something is never told"
        assert not self.clients.posts, "a client waits for ever"
