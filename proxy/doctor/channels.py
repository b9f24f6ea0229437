"""What is wrong with a channel: its network, its credential, its quota, its models. Nothing that is asked costs
anything."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Collection, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from proxy import channels
from proxy.channel import PROBE_ID
from proxy.channels import LiveChannel
from proxy.doctor import network
from proxy.doctor.findings import About, Finding, Word
from proxy.doctor.network import Sight
from proxy.engine.probing import Probe, probe
from proxy.errors import ApiError, StartupError, Throttled, UpstreamError
from proxy.plans import Plan
from proxy.reply import Reply
from proxy.upstream import Http
from proxy.upstream.answers import sentence
from proxy.upstream.redact import Redactor

LISTED: Final = 4
"""Models that a line names."""
PAYMENT_REQUIRED: Final = 402

_NAME: Final = 60
"""Characters of a model's name in a line."""
_TAKEN: Final = {
    True: " and takes the credential",
    False: ", and says the same without the credential, so that nothing is known of that",
    None: "",
}
_SPENT: Final = re.compile(
    r"quota|balance|credit|billing|insufficient|arrears|overdue|payment|prepaid|top.?up|"
    r"余额|欠费|配额|额度",
    re.IGNORECASE,
)


class Patient:
    """One channel as it is looked at: `plan` says what it is, `switched` what an operator said over the file, `scratch`
    is a data folder that no server uses."""

    def __init__(
        self, plan: Plan, http: Http, redactor: Redactor, *, switched: bool | None, scratch: Path, within: float
    ) -> None:
        self._plan = plan
        self._http = http
        self._redactor = redactor
        self._scratch = scratch
        self._within = within
        self._off = ""
        if not (plan.entry.enabled if switched is None else switched):
            self._off = "switched off by an operator" if switched is False else "enabled: false"
        self._heard: list[Reply] = []
        self._clock: float | None = None

    async def examine(self) -> Finding:
        """What is the matter with it, for its seconds at most."""
        try:
            async with asyncio.timeout(self._within):
                return await self._examined()
        except TimeoutError:
            return self._bad("network", f"nothing came of asking it within {self._within:.0f} s: try again, or later")

    async def _examined(self) -> Finding:
        until = time.monotonic() + self._within
        address = self._plan.options.base_url or self._plan.cls.address(self._plan.options)
        sight = Sight()
        if address:
            connect = min(self._plan.entry.timeout.connect, 0.7 * self._within)
            sight = await network.look(address, connect)
            if sight.trouble is not None:
                return self._bad("network", sight.trouble)
        live = None
        try:
            live = channels.build(self._plan, http=self._http, data=self._scratch, redactor=self._redactor)
            await live.channel.start()
            self._listen(live)
            found = await probe(live, within=max(0.9 * (until - time.monotonic()), 0.1))
        except StartupError as error:
            return self._bad("config", self._redactor.text(str(error)))
        except Exception as error:
            return self.failed(error)
        finally:
            if live is not None:
                await self._close(live)
        return self._judge(found, address, sight)

    def _listen(self, live: LiveChannel) -> None:
        upstream = live.channel.upstream
        meant = upstream.refusal

        def heard(status: int, reply: Reply) -> ApiError | None:
            self._heard.append(reply)
            if (moment := _date(reply.headers)) is not None:
                self._clock = moment - time.time()
            return meant(status, reply)

        upstream.refusal = heard

    async def _close(self, live: LiveChannel) -> None:
        try:
            async with asyncio.timeout(1):
                await live.channel.close()
        except Exception:
            # What a look at it leaves open ends with the program.
            return

    # -- what it means -------------------------------------------------------------------------------------------------

    def _judge(self, found: Probe, address: str, sight: Sight) -> Finding:
        last = self._heard[-1] if self._heard else None
        said = self._words(last) if last is not None else self._redactor.text(found.said)
        if found.verdict == "failed":
            return self.failed(found.error)
        if found.verdict == "refused":
            status = last.status if last is not None else None
            if status == PAYMENT_REQUIRED or _SPENT.search(said):
                return self._bad(
                    "quota", f"the upstream says that the account is spent{_quoted(said, status)}: top it up"
                )
            return self._bad(
                "key",
                f"the upstream refuses the credential{_quoted(said, status)}: check {self._credential()} of this entry",
            )
        if found.verdict == "unreachable":
            if last is None and address:
                return self._bad(
                    "network",
                    f"{_host(address)} lets us connect, but no answer came ({self._redactor.text(found.said)}): check "
                    "base_url, and the provider's status page",
                )
            return self._bad("network", f"{found.said} Check base_url, and the provider's status page")
        if isinstance(found.error, Throttled):
            if _SPENT.search(said):
                return self._bad("quota", f"the upstream says that the account is spent{_quoted(said)}: top it up")
            return self._said("?", "quota", f"the upstream is too busy for this account just now{_quoted(said)}")
        if last is None and type(found.error) is UpstreamError:
            why = self._redactor.text(found.error.message, (PROBE_ID,))
            return self._said(
                "?",
                "network",
                f"no answer of {_host(address) or 'the upstream'} could be read ({why}): check base_url, and the "
                "provider's status page",
            )
        return self._answered(found, last, said) or self._well(found, address, sight, asked=last is not None)

    def _answered(self, found: Probe, last: Reply | None, said: str) -> Finding | None:
        """What is the matter although it answers."""
        if last is None:
            return None
        if 300 <= last.status < 400:
            where = last.headers.get("location", "")
            to = f" to {_host(where)}" if "://" in where else ""
            return self._bad(
                "network", f"what answers sends us on{to} (HTTP {last.status}): put the final address in base_url"
            )
        if last.status >= 500:
            return self._said(
                "?", "network", f"the upstream answers with HTTP {last.status}{_quoted(said)}: try again later"
            )
        if last.data is None and last.text.lstrip()[:1] == "<":
            return self._bad(
                "network", f"what answers is a web page and no API (HTTP {last.status}): check base_url, also its path"
            )
        if last.status in (404, 405) and (last.data is None or found.looked is False):
            return self._said(
                "?",
                "network",
                f"what answers may not know this path (HTTP {last.status}), for nobody has looked at the credential: "
                "check base_url, also its path",
            )
        if last.status < 300 and type(found.error) is UpstreamError:
            why = self._redactor.text(found.error.message, (PROBE_ID,))
            return self._said(
                "?", "network", f"what answers does not speak as {self._plan.entry.type} does ({why}): check base_url"
            )
        missing = _missing({offer.upstream for offer in self._plan.offers.values()}, found.models)
        if missing:
            listed = ", ".join(map(_shown, sorted(found.models or ())[:LISTED]))
            there = f"; it has {listed}" if listed else ""
            return self._bad(
                "model",
                f"the upstream does not list {', '.join(missing)} for this account{there}: correct models, or "
                "have it allowed there",
            )
        return None

    def _well(self, found: Probe, address: str, sight: Sight, *, asked: bool) -> Finding:
        if not address:
            return self._said("ok", "", f"needs no upstream; {self._models(found)}")
        words: Word = "ok"
        notes = []
        if asked:
            said = f"answers in {found.seconds:.1f} s{_TAKEN[found.looked]}; {self._models(found)}"
            if found.looked is False:
                words = "?"
        else:
            words, said = "?", f"{_host(address)} lets us connect, but its plugin asks nothing there that is free"
        if sight.ends is not None and sight.ends < time.time() + network.SOON:
            words = "?"
            notes.append(f"its certificate ends on {time.strftime('%Y-%m-%d', time.gmtime(sight.ends))}")
        if sight.private and not self._plan.entry.allow_hosts:
            notes.append(
                "its address is private: results on other private hosts are blocked unless allow_hosts names them"
            )
        elif not sight.private and address.startswith("http://"):
            words = "?"
            notes.append(
                "the credential goes over the network in the clear: write https:// in base_url if it can do that"
            )
        return self._said(words, "", "; ".join([said, *notes]))

    def _models(self, found: Probe) -> str:
        names = list(self._plan.offers)
        shown = ", ".join(names[:LISTED]) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")
        if found.models is None:
            return f"{shown or 'models'}: not asked, its plugin knows no free list"
        return f"{shown}: there"

    def _credential(self) -> str:
        """The option that most likely holds it."""
        named = [key for key in self._plan.options.__struct_fields__ if re.search("key|token|secret|credential", key)]
        given = [key for key in named if key in self._plan.entry.options]
        return " and ".join(given or named[:1]) or "the options"

    def _words(self, reply: Reply) -> str:
        """The provider's own sentence."""
        return self._redactor.text(sentence(reply), (PROBE_ID,))

    def failed(self, error: BaseException | None) -> Finding:
        """Its plugin has raised what is no answer."""
        said = self._redactor.text(f"{type(error).__name__}: {error}", (PROBE_ID,))
        return self._bad(
            "plugin", f"the plugin {self._plan.entry.type} failed to ask its upstream ({said}): tell its author"
        )

    def stuck(self) -> Finding:
        """Its plugin has kept its thread for longer than all its seconds."""
        said = f"the plugin {self._plan.entry.type} blocks, or does not let itself be ended, while it asks its upstream"
        return self._bad("plugin", f"{said}: tell its author; it would hold up the whole server")

    def _bad(self, about: About, said: str) -> Finding:
        # What is switched off may be in need of repair.
        return self._said("?" if self._off else "wrong", about, said)

    def _said(self, word: Word, about: About, said: str) -> Finding:
        off = f"takes no new videos ({self._off}); " if self._off else ""
        said = self._redactor.secrets(off + said)
        return Finding(word, f"channel {self._plan.entry.name}", said, about, self._clock)


def _missing(wanted: Collection[str], listed: Collection[str] | None) -> list[str]:
    """The models that are not listed. A gateway may list a pattern for all that it passes on."""
    if listed is None:
        return []
    return sorted(name for name in wanted if not any(fnmatchcase(name, one) for one in listed))


def _shown(name: str) -> str:
    return "".join(letter for letter in name[:_NAME] if letter.isprintable())


def _date(headers: Mapping[str, str]) -> float | None:
    try:
        moment = parsedate_to_datetime(headers.get("date", ""))
    except (ValueError, OverflowError):
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _host(address: str) -> str:
    return _shown(address.partition("://")[2].partition("/")[0].rpartition("@")[2])


def _quoted(said: str, status: int | None = None) -> str:
    parts = [*([f"HTTP {status}"] if status else []), *([f"“{said}”"] if said else [])]
    return f" ({', '.join(parts)})" if parts else ""
