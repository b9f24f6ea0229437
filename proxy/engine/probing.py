"""Whether a channel's upstream answers and takes the channel's credential, asked without cost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from typing import Final, Literal, NamedTuple

from proxy.channel import PROBE_ID
from proxy.channels import LiveChannel
from proxy.engine.core import plugin_fault
from proxy.errors import AccountRefused, ApiError, UpstreamTimeout, UpstreamUnreachable

WITHIN: Final = 30.0
"""Seconds until a probe is given up."""
ANSWERS: Final = "The upstream answers."

Verdict = Literal["answers", "refused", "unreachable", "failed"]


class Probe(NamedTuple):
    """What came of trying a channel: it `answers`, has `refused` our credentials, is `unreachable`, or its plugin has
    `failed`. `said` is a sentence for the operator; `seconds` is how long it took; `error` is what was raised, None
    where nothing was; `models` are those that the upstream says it serves, None where it does not say."""

    verdict: Verdict
    said: str
    seconds: float
    error: Exception | None = None
    models: frozenset[str] | None = None


async def probe(live: LiveChannel, *, within: float = WITHIN) -> Probe:
    """Ask the upstream of `live` what its plugin can ask for nothing, for `within` seconds at most."""
    began = time.monotonic()
    verdict: Verdict = "answers"
    said = ANSWERS
    models: frozenset[str] | None = None
    failure: Exception | None = None
    try:
        async with asyncio.timeout(within):
            models = _names(await live.channel.probe())
    except AccountRefused as error:
        verdict, said, failure = "refused", error.message, error
    except (UpstreamUnreachable, UpstreamTimeout) as error:
        verdict, said, failure = "unreachable", error.message, error
    except TimeoutError as error:
        verdict, said, failure = "unreachable", f"There was no answer within {within:.0f} seconds.", error
    except ApiError as error:
        # Whatever it says of a job that it cannot have: it is there, and it has let us ask.
        failure = error
    except Exception as error:
        verdict, said, failure = "failed", plugin_fault(live, error, "try", (PROBE_ID,)).message, error
    return Probe(verdict, live.channel.upstream.redactor.text(said), time.monotonic() - began, failure, models)


def _names(models: Collection[str] | None) -> frozenset[str] | None:
    return None if models is None else frozenset(map(str, models))
