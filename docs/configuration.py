"""Writes docs/configuration.md from the types that hold channels.yaml: `make docs`. A test holds the page to them."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec
import yaml

from proxy import config
from proxy.app import NEEDS_RESTART
from proxy.channel import Options
from proxy.config.rules import Breaker, InputLimits, ModelEntry
from proxy.config.settings import ChannelConfig
from proxy.loader.manual import OptionFact, facts_of
from proxy.upstream import Timeout

ROOT = Path(__file__).parents[1]
FILE = ROOT / "docs" / "configuration.md"
EXAMPLE = ROOT / "docs" / "examples" / "channels.yaml"
"""A whole file with every key; the example of each key is what stands there."""

INNER: Final[dict[str, type[msgspec.Struct]]] = {
    "inputs": InputLimits,
    "models": ModelEntry,
    "timeout": Timeout,
    "breaker": Breaker,
}
"""The keys whose value has keys of its own."""

WINS: Final = {
    **{key: f"`{variable}` wins over it" for key, variable in config.ENVIRONMENT.items()},
    "plugins": "`--plugins DIR` comes before it",
}
"""What else has a say about a key."""
WINS["database"] = f"`--data DIR` and {WINS['database'].replace('wins', 'win')}"

HEAD = """\
# The configuration

<!-- Written by `make docs` from the code: change the texts under the fields of proxy/config/settings.py. -->

Reelgate reads one file, `channels.yaml`: who makes the videos (`channels:`), and how this server behaves (`server:`).
This page is its reference, with [a whole file](#a-whole-file) at the end. What to do with it is in [for
operators](operators.md).

- `${NAME}` takes a value from the environment, `${NAME:-default}` with a default; a name that is not set is a mistake.
  Inside `{ }` and `[ ]` it needs quotes. `$${` is a plain `${`.
- An unknown key is a mistake, and so is a value that cannot be meant. `reelgate check` says all of them at once, each
  with its line.
- Relative paths are relative to the file.
- Bytes may have a unit: `64MiB`, `10MB`.
- The file is read again when it changes, and on SIGHUP: [changing the file](operators.md#changing-the-file).

## Flags and the environment

Flags win over the environment, the environment over the file.

| variable | flag | what |
|---|---|---|
| `REELGATE_CONFIG` | `--config FILE` | the file; `./channels.yaml` |
| `REELGATE_DATA` | `--data DIR` | the data folder; `./data`. The flag wins over `database` too |
| `REELGATE_DATABASE_URL` | | [`database`](#database), relative to where the command runs |
| `REELGATE_PUBLIC_URL` | | [`public_url`](#public_url) |
| | `--host`, `--port` | where `serve` listens; 127.0.0.1:8080 |
| | `--plugins DIR` | a further folder of plugins, before those of the file; may be repeated |
| `REELGATE_ADMIN_KEY` | | an admin API key that exists from the start |
| `REELGATE_ADMIN_PASSWORD` | | the password of the dashboard's user `admin`: each start sets it |
| `REELGATE_SECRET` | | signs links and sessions, 32 characters or more; without it, one is made in the data folder |
| `REELGATE_URL`, `REELGATE_API_KEY` | | the server and the key of `reelgate videos` |

`--config` and `--data` work on every command.
"""

SERVER = """\
## `server:`

Everything here may be left out, and so may the whole block. What a change needs stands with each key: a reload, which
comes by itself, or the next start.
"""

CHANNELS = """\
## `channels:`

A list of accounts at providers. Each entry has the keys below and those of its plugin, which
[providers](providers.md) lists and `reelgate plugins show TYPE` says for your own. All of them take effect when the
file is read again: an entry that changed is another channel from then on, with the videos of the one before.
"""

PLUGINS = """\
## Keys that most plugins have
"""

WHOLE = """\
## A whole file
"""


def page() -> str:
    """The whole text of docs/configuration.md."""
    text = EXAMPLE.read_text("utf-8")
    server, channel = _examples(text)
    parts = [HEAD, SERVER]
    parts += [_section(fact, server, _notes(fact.name)) for fact in facts_of(config.Server)]
    parts.append(CHANNELS)
    entry = [fact for fact in facts_of(ChannelConfig) if fact.name in config.ENTRY_KEYS]
    parts += [_section(fact, channel) for fact in entry]
    parts.append(PLUGINS)
    parts += [_section(fact, channel) for fact in facts_of(Options)]
    parts += [WHOLE, f"```yaml\n{text}```\n"]
    return "\n".join(parts)


def _section(fact: OptionFact, examples: dict[str, str], notes: Sequence[str] = ()) -> str:
    parts = [f"### `{fact.name}`", *textwrap.wrap(fact.about, 120, break_long_words=False, break_on_hyphens=False), ""]
    parts.insert(1, "")
    facts = [_form(fact.form)]
    if fact.name in INNER:
        parts += [*_inner(INNER[fact.name], with_default=fact.name != "models"), ""]
        facts = ["`null`, or these keys" if fact.name == "breaker" else facts[0]]
    else:
        facts.append("required" if fact.default is None else f"default {_default(fact)}")
    parts.append(f"{'; '.join([*facts, *notes])}. Example: `{examples[fact.name]}`")
    return "\n".join(parts) + "\n"


def _notes(key: str) -> list[str]:
    wins = [WINS[key]] if key in WINS else []
    return [*wins, "from the next start" if key in NEEDS_RESTART else "on reload"]


def _inner(cls: type[msgspec.Struct], *, with_default: bool) -> Iterator[str]:
    default = " default |" if with_default else ""
    yield f"| key | form |{default} what |"
    yield f"|---|---|{'---|' if with_default else ''}---|"
    for fact in facts_of(cls):
        default = f" {_default(fact)} |" if with_default else ""
        yield f"| `{fact.name}` | {_form(fact.form)} |{default} {fact.about} |"


def _form(form: str) -> str:
    # What is not a list of words to write begins a sentence.
    return form.replace("`, `", "` or `") if form.startswith("`") else form.capitalize()


def _default(fact: OptionFact) -> str:
    text = fact.default or ""
    if not text:
        return "none"
    if fact.form == "bytes":
        return f"`{_bytes(int(text))}`"
    return f"`{text.removesuffix('.0')}`"


def _bytes(number: int) -> str:
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if number % size == 0:
            return f"{number // size}{unit}"
    return str(number)


def _examples(text: str) -> tuple[dict[str, str], dict[str, str]]:
    """What the example file says of each key: of `server:`, and of the first channel; as it is written there."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    top = {key.value: value for key, value in root.value}
    return _written(text, top["server"]), _written(text, top["channels"].value[0])


def _written(text: str, node: yaml.MappingNode) -> dict[str, str]:
    return {key.value: text[key.start_mark.index : value.end_mark.index] for key, value in node.value}


if __name__ == "__main__":
    if sys.argv[1:] == ["--print"]:
        sys.stdout.write(page())
    else:
        FILE.write_text(page(), "utf-8")
