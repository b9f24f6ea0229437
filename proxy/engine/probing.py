"""Whether a channel's upstream answers and takes the channel's credential, asked without cost."""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import Callable, Collection, Mapping
from typing import Final, Literal, NamedTuple

from proxy.channel import PROBE_ID, Channel
from proxy.channels import LiveChannel
from proxy.engine.core import log, plugin_fault
from proxy.errors import AccountRefused, ApiError, Throttled, UpstreamTimeout, UpstreamUnreachable

WITHIN: Final = 30.0
"""Seconds until a probe is given up."""
ANSWERS: Final = "The upstream answers and takes the credential."
ANYBODY: Final = (
    "The upstream answers, but says the same without the credential, so that nothing is known of that: it asks for "
    "none, or base_url leads elsewhere."
)
UNASKED: Final = "The upstream answers; there is no credential that it could refuse."

Verdict = Literal["answers", "refused", "unreachable", "failed"]


class Probe(NamedTuple):
    """What came of trying a channel: it `answers`, has `refused` our credentials, is `unreachable`, or its plugin has
    `failed`. `said` is a sentence for the operator; `seconds` is how long it took; `error` is what was raised, None
    where nothing was; `models` are those that the upstream says it serves, or of the entry's those that it has, None
    where it does not say; `looked` is whether it has looked at our credential, None where we have none or it could not
    be asked twice."""

    verdict: Verdict
    said: str
    seconds: float
    error: Exception | None = None
    models: frozenset[str] | None = None
    looked: bool | None = None


async def probe(live: LiveChannel, *, within: float = WITHIN) -> Probe:
    """Ask the upstream of `live` what its plugin can ask for nothing, for `within` seconds at most."""
    began = time.monotonic()
    looked: bool | None = None
    verdict: Verdict = "answers"
    said = UNASKED
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
    took = time.monotonic() - began
    if verdict == "answers" and not isinstance(failure, Throttled):
        looked = await _looked(live.channel, failure, within=max(within - took, 1.0))
        said = said if looked is None else ANSWERS if looked else ANYBODY
        if looked and models is None:
            models = await _served(live, within=max(within - took, 1.0))
    return Probe(verdict, live.channel.upstream.redactor.text(said), took, failure, models, looked)


async def _served(live: LiveChannel, *, within: float) -> frozenset[str] | None:
    """Those of the entry's models that the upstream has, asked for one by one; None where it does not say of any."""
    names = {offer.upstream for offer in live.offers.values()}
    found: dict[str, bool | None] = {}
    channel = _apart(live.channel, live.channel.headers)
    try:
        async with asyncio.timeout(within):
            for name in sorted(names):
                found[name] = await channel.serves(name)
    except Exception as error:
        # What was heard until then holds.
        log.info("channel %s: its models could not be asked for: %s", live.name, type(error).__name__)
    if not any(one is not None for one in found.values()):
        return None
    return frozenset(name for name in names if found.get(name) is not False)


async def _looked(channel: Channel, answer: Exception | None, *, within: float) -> bool | None:
    """Whether the upstream answers otherwise without our credential: a site that is no API, or another path of it, says
    the same to anybody."""
    if not channel.headers():
        return None
    try:
        async with asyncio.timeout(within):
            await _apart(channel, dict).probe()
    except ApiError as error:
        if isinstance(error, UpstreamUnreachable | UpstreamTimeout | Throttled):
            return None
        return type(error) is not type(answer)
    except Exception:
        return None
    return answer is not None


def _apart(channel: Channel, headers: Callable[[], Mapping[str, str]]) -> Channel:
    """`channel` for a further question, with these headers: nobody who listens to its answers hears of it."""
    other, upstream = copy.copy(channel), copy.copy(channel.upstream)
    upstream.headers, upstream.refusal = headers, channel.refusal
    vars(other)["upstream"] = upstream
    return other


def _names(models: Collection[str] | None) -> frozenset[str] | None:
    return None if models is None else frozenset(map(str, models))
