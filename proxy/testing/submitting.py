"""The laws about submissions: what costs money is sent once, and what became of it is told truly."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from proxy.errors import (
    AccountRefused,
    ApiError,
    InvalidRequest,
    Outcome,
    Throttled,
    UpstreamError,
    UpstreamUnreachable,
)
from proxy.models import Kind, UpstreamJob
from proxy.testing.bench import PROMPT, QUICK, Kit, failure_of, law
from proxy.testing.wire import Call, Part

UNKNOWN_FAULTS = (
    "hang",
    "reset_before_reply",
    "reset_after_taking",
    "cut_body",
    "html_502",
    "html_200",
    "empty_200",
    "no_id",
    "redirect_307",
)
SENTENCE = "The word parachute is not possible here"


class SubmitLaws(Kit):
    """Laws about `create` and, where the channel has them, `remix`, `edit` and `extend`."""

    @law
    async def test_create_sends_one_paid_request(self, tmp_path: Path) -> None:
        """A create is one request, made with the channel's credential, and answers a job with an id."""
        async with self.bench(tmp_path) as bench:
            job = await bench.submit()
            assert isinstance(job, UpstreamJob)
            assert job.id, "the job has no id"
            assert job.status != "failed", f"the simulator took the job, but it is {job.status}: {job.error}"
            assert len(bench.sim.calls("create")) == 1, "a create must send exactly one paid request"
            assert bench.sim.paid == 1
            assert bench.sim.calls("create")[0].account is not None, "the request carries no credential"

    @law
    async def test_prompt_arrives_unchanged(self, tmp_path: Path) -> None:
        """Quotes, line ends and letters outside ASCII of the prompt reach the upstream as they are."""
        async with self.bench(tmp_path) as bench:
            await bench.submit()
            texts = _texts(bench.sim.calls("create")[0])
            assert any(PROMPT in text for text in texts), f"the prompt is not among what was sent: {texts}"

    @law
    @pytest.mark.parametrize("kind", UNKNOWN_FAULTS)
    async def test_outcome_is_unknown(self, tmp_path: Path, kind: str) -> None:
        """Where nobody knows whether the upstream took the job, the outcome is UNKNOWN and nothing is sent twice."""
        entry = {"timeout": QUICK} if kind == "hang" else {}

        async def check(operation: Kind) -> None:
            async with self.bench(tmp_path / operation, **entry) as bench:
                source = await bench.source_for(operation)
                bench.sim.fault(kind, on=operation)
                error = await failure_of(bench.submit(operation, source))
                assert isinstance(error, UpstreamError), f"{operation}: {kind} is the upstream's fault, not {error!r}"
                assert error.outcome is Outcome.UNKNOWN, f"{operation}: after {kind} the job may run, but {error!r}"
                assert len(bench.sim.calls(operation)) == 1, f"{operation}: sent again after {kind}"

        # Side by side: to wait for what hangs takes a while.
        await asyncio.gather(*map(check, self.paid_operations()))

    @law
    @pytest.mark.parametrize("status", [408, 409, 500, 502, 503, 504])
    async def test_wordless_status_is_unknown(self, tmp_path: Path, status: int) -> None:
        """A status that says nothing certain, without words of the provider's, leaves the outcome UNKNOWN."""
        for operation in self.paid_operations():
            async with self.bench(tmp_path) as bench:
                source = await bench.source_for(operation)
                bench.sim.then(status=status, json={}, on=operation)
                error = await failure_of(bench.submit(operation, source))
                assert isinstance(error, UpstreamError)
                assert error.outcome is Outcome.UNKNOWN, f"{operation}: a {status} proves nothing, but {error!r}"
                assert len(bench.sim.calls(operation)) == 1, f"{operation}: sent again after a {status}"

    @law
    async def test_no_connection_is_a_refusal(self, tmp_path: Path) -> None:
        """Where no connection can be made, nothing was sent: UpstreamUnreachable, free to try elsewhere."""
        with socket.socket() as deaf:
            # Bound and not listening: the address is ours and refuses.
            deaf.bind(("127.0.0.1", 0))
            async with self.bench(tmp_path, base_url=f"http://127.0.0.1:{deaf.getsockname()[1]}") as bench:
                error = await failure_of(bench.submit())
                assert isinstance(error, UpstreamUnreachable), f"a refused connection is not {error!r}"
                assert error.outcome is Outcome.REFUSED

    @law
    async def test_wrong_credential_is_the_operators_fault(self, tmp_path: Path) -> None:
        """A credential that the upstream does not know is AccountRefused: a 502, for the client's key is fine."""
        async with self.bench(tmp_path) as bench:
            bench.sim.keys.clear()
            error = await failure_of(bench.submit())
            _check_account_refused(error)
            assert bench.sim.paid == 0
            assert len(bench.sim.calls("create")) == 1

    @law
    @pytest.mark.parametrize("status", [401, 402, 403])
    async def test_account_statuses(self, tmp_path: Path, status: int) -> None:
        """401, 402 and 403 from the upstream are AccountRefused: a 502 for the client, and certainly not taken."""
        for operation in self.paid_operations():
            async with self.bench(tmp_path) as bench:
                source = await bench.source_for(operation)
                bench.sim.then(bench.sim.error(status, "Not with this account."), on=operation)
                _check_account_refused(await failure_of(bench.submit(operation, source)))

    @law
    async def test_throttling_says_when(self, tmp_path: Path) -> None:
        """A 429 is Throttled, certainly not taken, and carries the Retry-After that the engine waits for."""
        for operation in self.paid_operations():
            async with self.bench(tmp_path) as bench:
                source = await bench.source_for(operation)
                bench.sim.then(bench.sim.error(429, "Too many tasks."), headers={"Retry-After": "17"}, on=operation)
                error = await failure_of(bench.submit(operation, source))
                assert isinstance(error, Throttled), f"{operation}: a 429 is not {error!r}"
                assert error.retry_after == 17, f"{operation}: Retry-After was 17, not {error.retry_after}"
                assert error.outcome is Outcome.REFUSED
                assert len(bench.sim.calls(operation)) == 1, f"{operation}: sent again; the engine does that"

    @law
    @pytest.mark.parametrize("status", [400, 422])
    async def test_refusal_carries_words_without_secrets(self, tmp_path: Path, status: int) -> None:
        """The provider's sentence reaches the client; the key, ids and addresses in it do not."""
        for operation in self.paid_operations():
            async with self.bench(tmp_path) as bench:
                source = await bench.source_for(operation)
                await bench.submit()
                hidden = [*self.secrets(), bench.sim.latest.id, bench.sim.base_url]
                bench.sim.then(bench.sim.error(status, f"{SENTENCE}: {' '.join(hidden)}"), on=operation)
                error = await failure_of(bench.submit(operation, source))
                assert isinstance(error, InvalidRequest), (
                    f"{operation}: a {status} is the client's fault, not {error!r}"
                )
                assert error.outcome is Outcome.CLIENT
                assert SENTENCE in error.message, f"the provider's words are lost: {error.message}"
                for word in hidden:
                    assert word not in f"{error.message} {error!r} {error.__cause__!r}", "a secret is in the error"

    @law
    @pytest.mark.parametrize("kind", ["reset_after_taking", "reset_before_reply"])
    async def test_recover_tells_the_truth(self, tmp_path: Path, kind: str) -> None:
        """recover() finds the job that was taken although its answer was lost, and never one that was not."""
        self.needs("recover")
        async with self.bench(tmp_path) as bench:
            bench.sim.fault(kind, on="create")
            await failure_of(bench.submit())
            found = await bench.channel.recover(bench.request())
            if kind == "reset_after_taking":
                assert isinstance(found, UpstreamJob), f"the upstream has the job, but recover() answers {found}"
                assert (await bench.channel.fetch(found)).id == found.id
            else:
                assert not isinstance(found, UpstreamJob), "recover() made up a job that the upstream never took"
            assert bench.sim.paid == (kind == "reset_after_taking"), "recover() submitted the job again"

    @law
    async def test_remix_starts_from_its_source(self, tmp_path: Path) -> None:
        """A remix is one paid request that names the source's job and carries the new prompt."""
        self.needs("remix")
        async with self.bench(tmp_path) as bench:
            source = await bench.completed()
            made_from = bench.sim.latest.id
            job = await bench.submit("remix", source, prompt="the same at night")
            (call,) = bench.sim.calls("remix")
            texts = [call.path, *_texts(call)]
            assert any(made_from in text for text in texts), "the remix does not name its source"
            assert any("the same at night" in text for text in texts), "the remix lacks its prompt"
            assert job.id != source.id
            assert bench.sim.paid == 2


def _check_account_refused(error: ApiError) -> None:
    assert isinstance(error, AccountRefused), f"the operator's credential was refused, but {error!r}"
    assert error.status == 502, "the client's own key is fine: it must not see a 401 or 403"
    assert error.outcome is Outcome.REFUSED


def _texts(call: Call) -> list[str]:
    return list(_strings(call.fields)) or [call.body.decode("utf-8", "replace")]


def _strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, Part):
        return [value.text]
    values = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for inner in values for text in _strings(inner)]
