"""The laws about polls: a state is told as it is, and one bad answer never fails a paid job."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy.engine.probing import probe
from proxy.errors import AccountRefused, ApiError, Throttled, UpstreamError, UpstreamGone
from proxy.models import FAILURE_CODES, STATUSES, JobError, UpstreamJob
from proxy.testing.bench import QUICK, Bench, Kit, failure_of, law

POLL_FAULTS = ("hang", "reset_before_reply", "cut_body", "html_502", "html_200", "empty_200", "redirect_307", "huge")
SHAPES: tuple[Any, ...] = ([], {}, "hello", 42, True, {"error": None}, [[[]]])
"""JSON that is no answer of any provider."""
ODDITIES: tuple[Any, ...] = (None, [], {}, 7, -1, 1e300, "", "garbage", True, ["x"], {"a": 1})
"""What a field of an answer may turn into."""


class PollLaws(Kit):
    """Laws about `fetch`."""

    @law
    async def test_every_state_maps(self, tmp_path: Path) -> None:
        """Each state of the provider's gives the status that the fact sheet says."""
        assert self.states, "`states` is empty: list every state of the provider's and the status of ours"
        assert {"completed", "failed"} <= set(self.states.values()) <= set(STATUSES), "`states` must reach both ends"
        wrong = []
        for state, status in self.states.items():
            async with self.bench(tmp_path) as bench:
                job = await bench.submit()
                bench.sim.put(bench.sim.latest.id, state, means=status)
                try:
                    found = (await bench.channel.fetch(job)).status
                except UpstreamError as error:
                    found = str(error)
                if found != status:
                    wrong.append(f"{state!r}: {found}, should be {status}")
        assert not wrong, "; ".join(wrong)

    @law
    async def test_unknown_state_is_an_error_that_names_it(self, tmp_path: Path) -> None:
        """A state that nobody knows is an UpstreamError that names it, and fails no job."""
        if self.unknown_state is None:
            pytest.skip("the provider's answers have no word for the state")
        async with self.bench(tmp_path) as bench:
            job = await bench.submit()
            bench.sim.put(bench.sim.latest.id, self.unknown_state)
            error = await _poll_error(bench, job)
            assert self.unknown_state in str(error), f"the error must name the state: {error}"

    @law
    @pytest.mark.parametrize("kind", POLL_FAULTS)
    async def test_bad_poll_fails_nothing(self, tmp_path: Path, kind: str) -> None:
        """An answer that is late, cut, no JSON, empty, elsewhere or endless is an UpstreamError, and fails no job."""
        async with self.bench(tmp_path, **({"timeout": QUICK} if kind == "hang" else {})) as bench:
            job = await bench.submit()
            # Again and again: an HTTP client may repeat a GET whose connection broke.
            bench.sim.fault(kind, on="fetch", times=None)
            await _poll_error(bench, job)
            bench.sim.calm()
            assert (await bench.channel.fetch(job)).status != "failed", f"after {kind} the job stays failed"

    @law
    @pytest.mark.parametrize("status", [400, 408, 409, 422, 500, 503])
    async def test_bad_poll_status_fails_nothing(self, tmp_path: Path, status: int) -> None:
        """An error status on a poll is an error, and fails no job."""
        async with self.bench(tmp_path) as bench:
            job = await bench.submit()
            bench.sim.then(bench.sim.error(status, "Something went wrong."), on="fetch")
            await failure_of(bench.channel.fetch(job))

    @law
    async def test_poll_statuses_that_the_engine_knows(self, tmp_path: Path) -> None:
        """On a poll, 401 is AccountRefused, 404 UpstreamGone, and 429 Throttled with its Retry-After."""
        async with self.bench(tmp_path) as bench:
            job = await bench.submit()
            for status, kind in ((401, AccountRefused), (404, UpstreamGone), (429, Throttled)):
                bench.sim.then(bench.sim.error(status, "Not now."), headers={"Retry-After": "9"}, on="fetch")
                error = await failure_of(bench.channel.fetch(job))
                assert isinstance(error, kind), f"a {status} on a poll is {kind.__name__}, not {error!r}"
            assert error.retry_after == 9

    @law
    @pytest.mark.parametrize("shape", SHAPES, ids=repr)
    async def test_poll_of_another_shape_fails_nothing(self, tmp_path: Path, shape: Any) -> None:
        """JSON without anything that the plugin looks for is an UpstreamError, and fails no job."""
        async with self.bench(tmp_path) as bench:
            job = await bench.submit()
            bench.sim.mangle(lambda _: shape, on="fetch")
            await _poll_error(bench, job)

    @law
    async def test_odd_field_fails_nothing(self, tmp_path: Path) -> None:
        """Whatever one field of an answer turns into: no failed job, and no error but UpstreamError."""
        async with self.bench(tmp_path) as bench:
            job = await bench.submit()
            for end in (bench.sim.advance, bench.sim.finish):
                end(bench.sim.latest.id)
                for place, oddity, change in _changes(await _answer(bench, job)):
                    if self.states.get(str(oddity)) == "failed":
                        # The provider's own number for it.
                        continue
                    bench.sim.mangle(change, on="fetch")
                    await _check_odd(bench, job, place)

    @law
    async def test_failed_job_says_why(self, tmp_path: Path) -> None:
        """A failed job carries one of the known codes and the provider's sentence."""
        for state in [state for state, status in self.states.items() if status == "failed"]:
            async with self.bench(tmp_path) as bench:
                job = await bench.submit()
                bench.sim.jobs[bench.sim.latest.id].failure = ("internal_error", "The lamp went out at frame twelve.")
                bench.sim.put(bench.sim.latest.id, state, means="failed")
                failed = await bench.channel.fetch(job)
                assert failed.status == "failed", f"{state!r} is {failed.status}"
                assert isinstance(failed.error, JobError), f"{state!r}: a failed job must carry an error"
                assert failed.error.code in FAILURE_CODES
                assert failed.error.message.strip(), f"{state!r}: the error has no sentence"

    @law
    async def test_poll_costs_nothing(self, tmp_path: Path) -> None:
        """Polling twice takes no job, and tells the same id."""
        async with self.bench(tmp_path) as bench:
            job = await bench.submit()
            first = await bench.channel.fetch(job)
            second = await bench.channel.fetch(first)
            assert first.id == second.id == job.id, "the job's id must stay what create() said"
            assert bench.sim.paid == 1

    @law
    async def test_probe_costs_nothing(self, tmp_path: Path) -> None:
        """probe() asks the provider, takes no job, and tells an account that is refused from one that is not."""
        async with self.bench(tmp_path) as bench:
            try:
                await bench.channel.probe()
            except AccountRefused as error:
                pytest.fail(f"probe() takes a good credential for a bad one: {error}")
            except ApiError:
                # Such as that it knows no such job.
                pass
            bench.sim.then(bench.sim.error(401, "Who are you?"), times=None)
            refused = await failure_of(bench.channel.probe())
            assert isinstance(refused, AccountRefused), f"probe() must ask with the credential, and raised {refused!r}"
            assert bench.sim.paid == 0, "probe() takes a job"

    @law
    async def test_probe_tells_a_stranger_from_an_account(self, tmp_path: Path) -> None:
        """What probe() asks, the provider does not tell without the credential: else a wrong one would look well."""
        async with self.bench(tmp_path) as bench:
            found = await probe(bench.live)
            assert found.verdict == "answers", f"probe() with a good credential: {found}"
            if not bench.channel.headers():
                pytest.skip("the entry has no credential")
            assert found.looked, "what probe() asks, anybody is told; ask for something that needs the credential"
            assert bench.sim.paid == 0, "probe() takes a job"


async def _poll_error(bench: Bench, job: UpstreamJob) -> UpstreamError:
    error = await failure_of(bench.channel.fetch(job))
    assert isinstance(error, UpstreamError), f"a bad poll is the upstream's fault, not {error!r}"
    return error


async def _answer(bench: Bench, job: UpstreamJob) -> Any:
    """What the upstream says to a poll now."""
    answers: list[Any] = []

    def keep(data: Any) -> Any:
        answers.append(data)
        return data

    bench.sim.mangle(keep, on="fetch")
    await bench.channel.fetch(job)
    return answers[-1]


async def _check_odd(bench: Bench, job: UpstreamJob, place: str) -> None:
    try:
        found = await bench.channel.fetch(job)
    except UpstreamError:
        return
    except Exception as error:
        pytest.fail(f"{place}: raised {type(error).__name__}: {error}; an odd answer is an UpstreamError")
    assert found.status != "failed", f"{place}: failed a job that runs"
    assert found.url is None or isinstance(found.url, str)


def _changes(data: Any) -> Iterator[tuple[str, Any, Callable[[Any], Any]]]:
    """For each field of `data`, ways to spoil it: words that say which, what it turns into, and the change."""
    for path in _paths(data):
        for oddity in ODDITIES:

            def spoil(answer: Any, path: tuple[Any, ...] = path, oddity: Any = oddity) -> Any:
                spoilt = copy.deepcopy(answer)
                holder = spoilt
                for step in path[:-1]:
                    holder = holder[step]
                holder[path[-1]] = oddity
                return spoilt

            yield f"{'.'.join(map(str, path))} = {oddity!r}", oddity, spoil


def _paths(data: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    steps = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for step, value in steps:
        yield (*above, step)
        yield from _paths(value, (*above, step))
