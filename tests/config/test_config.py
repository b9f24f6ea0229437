"""channels.yaml: what it may say, and that every mistake in it is named with line and key, all at once."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from proxy import config
from proxy.errors import ConfigError
from proxy.upstream import Timeout

FILE = Path("/srv/channels.yaml")
SMALLEST = "channels: [{name: a, type: demo}]\n"


def parse(text: str, **environ: str) -> config.Config:
    return config.parse(dedent(text), FILE, environ)


def mistakes(text: str, **environ: str) -> list[str]:
    """`line: message` of every mistake."""
    with pytest.raises(ConfigError) as caught:
        parse(text, **environ)
    return [f"{mistake.line}: {mistake.message}" for mistake in caught.value.mistakes]


def entry(keys: str, **environ: str) -> config.ChannelConfig:
    """The one channel of a file that sets `keys`."""
    return parse("channels:\n- name: a\n  type: demo\n" + keys, **environ).channels[0]


# ---------------------------------------------------------------- what is right


def test_smallest_file_has_the_contracts_defaults() -> None:
    """A file with one named and typed channel is enough; everything else has the default of CONTRACT 2."""
    found = parse(SMALLEST)
    assert found.server == config.Server()
    assert (found.server.submit_wait, found.server.max_body, found.server.link_ttl) == (20, 64 * 2**20, 86_400)
    channel = found.channels[0]
    assert (channel.name, channel.type, channel.models, channel.options) == ("a", "demo", None, {})
    assert (channel.enabled, channel.weight, channel.priority, channel.max_running) == (True, 1, 0, None)
    assert channel.timeout == Timeout(connect=10, first_byte=60, total=300)
    assert (channel.remix, channel.content, channel.mapping, channel.fit) == ("auto", "proxy", "strict", "cover")


def test_every_key_of_the_contract_is_read() -> None:
    """Each key of CONTRACT 2 arrives with its value and its type."""
    found = parse(
        """
        server:
          public_url: https://video.example.com/base/
          submit_wait: 1.5
          max_body: 10MB
          dashboard: no
          metrics: open
          log: json
        channels:
          - name: veo
            type: vertex
            api_key: k
            models: {veo-3: veo-3.1-generate-001, fast: {upstream: x, seconds: [5, 10], sizes: [1280x720, 16:9]}}
            enabled: false
            priority: -10
            weight: 3
            max_running: 5
            timeout: {connect: 1, total: 2.5}
            poll_every: 0.2
            poll_timeout: 60
            remix: off
            content: redirect
            mapping: nearest
            fit: exact
            allow_hosts: [10.0.0.7, "cdn.internal:8443", "[::1]:80", "fe80::1"]
            allow_metadata: [n]
            price: {per_second: 0.40}
            region: eu
        """
    )
    assert found.server.public_url == "https://video.example.com/base"
    assert (found.server.max_body, found.server.dashboard, found.server.metrics) == (10_000_000, False, "open")
    channel = found.channels[0]
    assert channel.models == {
        "veo-3": config.ModelEntry(upstream="veo-3.1-generate-001"),
        "fast": config.ModelEntry(upstream="x", seconds=(5, 10), sizes=("1280x720", "16:9")),
    }
    assert channel.timeout == Timeout(connect=1, first_byte=60, total=2.5)
    assert (channel.priority, channel.remix, channel.allow_metadata) == (-10, "off", ("n",))
    assert channel.allow_hosts == ("10.0.0.7", "cdn.internal:8443", "[::1]:80", "fe80::1")
    assert channel.price == {"per_second": 0.4}
    assert channel.options == {"api_key": "k", "region": "eu"}
    assert channel.lines["region"] == 28


@pytest.mark.parametrize(
    ("text", "size"),
    [("64MiB", 64 * 2**20), ("10MB", 10**7), ("1.5 KiB", 1536), ("2GB", 2 * 10**9), ("4096", 4096), ("7B", 7)],
)
def test_sizes_have_units(text: str, size: int) -> None:
    """max_body takes a number of bytes or a number with a unit."""
    assert parse(f"server: {{max_body: {text}}}\n{SMALLEST}").server.max_body == size


def test_models_may_be_a_list() -> None:
    """A list of models means that the public and the upstream's names are the same."""
    assert entry("  models: [a-1, 3.10]\n").models == {
        "a-1": config.ModelEntry(upstream="a-1"),
        "3.10": config.ModelEntry(upstream="3.10"),
    }


def test_unquoted_values_are_texts_where_a_text_is_wanted() -> None:
    """A name that YAML reads as a number, a bool or a base-60 number arrives as it is written."""
    found = parse("channels: [{name: 007, type: on, models: {1.10: 2.0}}]").channels[0]
    assert (found.name, found.type, list(found.models or {})) == ("007", "on", ["1.10"])


def test_anchors_and_merges_work() -> None:
    """An entry may borrow the keys of another one; its own win, and their lines are where they stand."""
    found = parse(
        """
        channels:
          - &base
            name: a
            type: demo
            weight: 7
            api_key: k
          - <<: *base
            name: b
            weight: 2
        """
    ).channels[1]
    assert (found.name, found.type, found.weight, found.options) == ("b", "demo", 2, {"api_key": "k"})
    assert (found.lines["api_key"], found.lines["name"]) == (7, 9)


# ---------------------------------------------------------------- the environment


def test_environment_in_values() -> None:
    """${NAME} and ${NAME:-default} stand for the environment, also inside a text; $${ is a plain ${."""
    found = entry("  api_key: Key ${K}\n  region: ${R:-eu}\n  empty: '${E:-}'\n  plain: $${K}\n", K="x")
    assert found.options == {"api_key": "Key x", "region": "eu", "empty": None, "plain": "${K}"}


def test_numbers_and_bools_through_the_environment() -> None:
    """A value from the environment has the type that it would have in the file."""
    found = entry(
        '  weight: ${W}\n  enabled: "${ON}"\n  max_running: ${M:-}\n  poll_every: ${P:-2}\n', W="3", ON="false"
    )
    assert (found.weight, found.enabled, found.max_running, found.poll_every) == (3, False, None, 2.0)


def test_values_from_the_environment_are_not_read_again() -> None:
    """A variable whose value has a ${…} or YAML in it is a text."""
    assert entry("  api_key: ${K}\n", K="${X}: [1]").options == {"api_key": "${X}: [1]"}


def test_environment_wins_over_the_file() -> None:
    """REELGATE_PUBLIC_URL and REELGATE_DATABASE_URL replace what the file says; the path is then the process's."""
    text = "server: {public_url: https://a.example, database: 'sqlite:///x.db'}\n" + SMALLEST
    assert parse(text).database == Path("/srv/x.db")
    found = parse(text, REELGATE_PUBLIC_URL="https://b.example/", REELGATE_DATABASE_URL="sqlite:///y.db")
    assert (found.server.public_url, found.database) == ("https://b.example", Path("y.db"))
    absolute = parse("server: {database: 'sqlite:////var/x.db'}\n" + SMALLEST)
    assert absolute.database == Path("/var/x.db")
    assert mistakes(SMALLEST, REELGATE_DATABASE_URL="postgresql://h/d") == [
        "0: REELGATE_DATABASE_URL: PostgreSQL is not available yet; write sqlite:///PATH or leave it out"
    ]


def test_data_flag_wins_over_a_database() -> None:
    """The store: --data, else the named database, else REELGATE_DATA, else ./data."""
    named = parse("server: {database: 'sqlite:///x.db'}\n" + SMALLEST)
    plain = parse(SMALLEST)
    assert config.places(named, Path("d"), {}) == (Path("d"), Path("d/reelgate.db"))
    assert config.places(named, None, {"REELGATE_DATA": "e"}) == (Path("e"), Path("/srv/x.db"))
    assert config.places(plain, None, {"REELGATE_DATA": "e"}) == (Path("e"), Path("e/reelgate.db"))
    assert config.places(plain, None, {}) == (Path("data"), Path("data/reelgate.db"))


# ---------------------------------------------------------------- mistakes

ONE = "channels:\n- name: a\n  type: demo\n"

MISTAKES = {
    "empty": ("", "0: is empty; it needs a list `channels:`"),
    "comment only": ("# nothing\n", "0: is empty; it needs a list `channels:`"),
    "a list": ("- a\n", "1: must be a mapping, not a list; it needs a list `channels:`"),
    "a word": ("hello\n", "1: must be a mapping, not the text 'hello'; it needs a list `channels:`"),
    "no channels": ("server: {}\n", "0: channels: is missing; it is the list of upstream accounts"),
    "null channels": ("server:\nchannels:\n", "2: channels: names no channel"),
    "empty channels": ("channels: []\n", "1: channels: names no channel"),
    "channels by name": ("channels:\n  a: {type: demo}\n", "1: channels: is a mapping; it must be a list"),
    "entry is a word": ("channels:\n- demo\n", "2: channels[0]: must be a mapping with a name and a type"),
    "no name": ("channels:\n- type: demo\n", "2: channels[0].name: is missing"),
    "no type": ("channels:\n- name: a\n", "2: channels[0].type: is missing"),
    "null name": ("channels:\n- name:\n  type: demo\n", "2: channels[0].name: must be a text, not empty"),
    "name climbs": ("channels:\n- name: ../x\n  type: demo\n", "2: channels[0].name: must be 1 to 64 letters"),
    "unknown top key": (SMALLEST + "sever: {}\n", "2: sever: is an unknown key; did you mean server?"),
    "unknown server key": (SMALLEST + "server: {logs: json}\n", "2: server.logs: is an unknown key; did you mean log?"),
    "server is a list": (SMALLEST + "server: [a]\n", "2: server: must be a mapping, not a list"),
    "bad enum": (SMALLEST + "server: {log: jsn}\n", "2: server.log: must be one of console, json, not the text 'jsn'"),
    "bad bool": (SMALLEST + "server: {dashboard: 1}\n", "2: server.dashboard: must be true or false, not the number 1"),
    "bad size": (SMALLEST + "server: {max_body: 1 cow}\n", "2: server.max_body: must be a number of bytes"),
    "zero size": (SMALLEST + "server: {max_body: 0}\n", "2: server.max_body: must be a number of bytes"),
    "negative size": (SMALLEST + "server: {max_body: -5}\n", "2: server.max_body: must be a number of bytes"),
    "no wait": (SMALLEST + "server: {submit_wait: 0}\n", "2: server.submit_wait: must be a number above 0"),
    "nan": (SMALLEST + "server: {submit_wait: .nan}\n", "2: server.submit_wait: must be a number above 0"),
    "infinite": (SMALLEST + "server: {submit_wait: .inf}\n", "2: server.submit_wait: must be a number above 0"),
    "huge": (SMALLEST + f"server: {{max_queued: {'9' * 5000}}}\n", "2: server.max_queued: must be a whole number"),
    "base 60": (SMALLEST + "server: {max_queued: 1:30}\n", "2: server.max_queued: must be a whole number of at least"),
    "public url": (SMALLEST + "server: {public_url: video.example}\n", "2: server.public_url: must look like https://"),
    "public ftp": (SMALLEST + "server: {public_url: ftp://x}\n", "2: server.public_url: must look like https://"),
    "broken v6": (SMALLEST + "server: {public_url: 'http://[::1'}\n", "2: server.public_url: must look like https://"),
    "postgres": (
        SMALLEST + "server: {database: 'postgresql+asyncpg://h/d'}\n",
        "2: server.database: PostgreSQL is not available yet",
    ),
    "a path as database": (SMALLEST + "server: {database: x.db}\n", "2: server.database: must look like sqlite:///"),
    "memory": (SMALLEST + "server: {database: 'sqlite://'}\n", "2: server.database: must look like sqlite:///"),
    "archive scheme": (
        SMALLEST + "server: {archive: 'ftp://x/y'}\n",
        "2: server.archive: must be a folder, or a bucket",
    ),
    "archive slash": (SMALLEST + "server: {archive: 's3:/bucket'}\n", "2: server.archive: must be a folder, or a buck"),
    "archive bucket": (SMALLEST + "server: {archive: 's3://'}\n", "2: server.archive: must be a folder, or a bucket"),
    "archive empty": (SMALLEST + "server: {archive: ' '}\n", "2: server.archive: is empty; it is a folder or s3://"),
    "archive secret": (SMALLEST + "server: {archive: 's3://k:hush@b'}\n", "2: server.archive: must be no more than s3"),
    "archive query": (SMALLEST + "server: {archive: 's3://b/p?x=1'}\n", "2: server.archive: must be no more than s3"),
    "plugin folder": (SMALLEST + "server:\n  plugins:\n  - nope\n", "4: server.plugins[0]: there is no folder"),
    "impossible folder": (SMALLEST + f"server: {{plugins: [{'x' * 5000}]}}\n", "2: server.plugins[0]: there is no"),
    "plugins no list": (SMALLEST + "server: {plugins: x}\n", "2: server.plugins: must be a list, not the text 'x'"),
    "content archive": (ONE + "  content: archive\n", "4: channels[0].content (channel a): needs an archive; set s"),
    "weight": (ONE + "  weight: -1\n", "4: channels[0].weight (channel a): must be a whole number of at least 1"),
    "quoted number": (
        ONE + "  weight: '3'\n",
        "4: channels[0].weight (channel a): must be a whole number of at least 1",
    ),
    "max_running": (ONE + "  max_running: 0\n", "4: channels[0].max_running (channel a): must be a whole number"),
    "poll_every": (ONE + "  poll_every: -1\n", "4: channels[0].poll_every (channel a): must be a number above 0"),
    "timeout": (ONE + "  timeout:\n    total: -1\n", "5: channels[0].timeout.total (channel a): must be a number"),
    "timeout key": (
        ONE + "  timeout: {frist_byte: 1}\n",
        "4: channels[0].timeout.frist_byte (channel a): is an unknown key; did you mean first_byte?",
    ),
    "remix": (
        ONE + "  remix: natve\n",
        "4: channels[0].remix (channel a): must be one of auto, native, reimagine, o",
    ),
    "models word": (ONE + "  models: x\n", "4: channels[0].models (channel a): must be a list or a mapping of models"),
    "models empty": (ONE + "  models: []\n", "4: channels[0].models (channel a): names no model"),
    "models twice": (ONE + "  models: [x, x]\n", "4: channels[0].models (channel a): names x more than once"),
    "models list": (ONE + "  models: {x: [y]}\n", "4: channels[0].models.x (channel a): must be the upstream's name"),
    "model key": (
        ONE + "  models:\n    x:\n      uptream: y\n",
        "6: channels[0].models.x.uptream (channel a): is an unknown key; did you mean upstream?",
    ),
    "model seconds": (
        ONE + "  models:\n    x:\n      seconds: [5, 0]\n",
        "6: channels[0].models.x.seconds[1] (channel a): must be a whole number of at least 1",
    ),
    "model sizes": (
        ONE + "  models: {x: {sizes: [big]}}\n",
        "4: channels[0].models.x.sizes (channel a): must be sizes like 1280x720 or 16:9",
    ),
    "host": (
        ONE + "  allow_hosts:\n  - x\n  - http://y\n",
        "6: channels[0].allow_hosts[1] (channel a): must be a name or an address",
    ),
    "price": (ONE + "  price: 0.4\n", "4: channels[0].price (channel a): must look like {per_second: 0.40,"),
    "negative price": (
        ONE + "  price: {per_second: -1}\n",
        "4: channels[0].price.per_second (channel a): must be a number of at least 0",
    ),
    "key twice": (
        ONE + "  weight: 1\n  weight: 2\n",
        "5: channels[0].weight (channel a): stands here a second time; the first is on line 4",
    ),
    "name twice": (
        ONE + "- name: b\n  type: demo\n- name: a\n  type: x\n",
        "6: channels[2].name (channel a): a is the name of channels[0] on line 2 too",
    ),
    "unset": (
        ONE + "  api_key: x${NOPE}\n",
        "4: channels[0].api_key (channel a): NOPE is not set; set this",
    ),
    "unset in a number": (ONE + "  weight: ${NOPE}\n", "4: channels[0].weight (channel a): NOPE is not set"),
    "unset in a model": (
        ONE + '  models: {x: {upstream: "${NOPE}"}}\n',
        "4: channels[0].models.x.upstream (channel a): NOPE is not set",
    ),
    "no reference": (ONE + "  api_key: ${1x}\n", "4: channels[0].api_key (channel a): has a ${ without a name"),
    "tag": (ONE + "  weight: !!python/name:os.system x\n", "4: channels[0].weight (channel a): has the tag"),
    "own tag": (ONE + "  extra: !env X\n", "4: channels[0].extra (channel a): has the tag !env, which means nothing"),
    "wrong tag": (ONE + "  weight: !!int x\n", "4: channels[0].weight (channel a): is not what its tag !!int says"),
    "key is a list": (ONE + "  ? [1]\n  : 2\n", "4: channels[0] (channel a): has a list or a mapping as a key"),
    "loop": ("channels: &x\n- *x\n", "1: channels[0]: contains itself through an alias"),
    "bad merge": (ONE + "  <<: 5\n", "4: channels[0] (channel a): has a merge key << whose value is no mapping"),
    "tab": ("channels:\n\t- name: a\n", "2: is not YAML: while scanning for the next token, found character '\\t'"),
    "unclosed": ("channels:\n- {name: a\n", "3: is not YAML:"),
    "two documents": (SMALLEST + "---\n" + SMALLEST, "2: is not YAML: expected a single document"),
    "control character": ("channels:\n- name: \x01\n", "2: is not YAML: the character #x0001 is not allowed"),
    "unknown alias": ("channels: [*x]\n", "1: is not YAML: found undefined alias"),
    "braces": ("channels: [{name: a, type: demo, api_key: ${K}}]\n", "1: is not YAML"),
    "deep": (ONE + "  extra: " + "[" * 60 + "]" * 60 + "\n", "4: channels[0].extra[0][0][0]"),
    "very deep": ("channels: " + "[" * 100_000, "0: is nested deeper than 40 levels"),
    "long": ("#" * (2**20 + 1), "0: is longer than 1,048,576 characters"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistake(case: str) -> None:
    """Each mistake is told with its line and its key, and it is the only one that is told."""
    text, expected = MISTAKES[case]
    found = mistakes(text)
    assert len(found) == 1, found
    assert found[0].startswith(expected), found


def test_all_mistakes_at_once() -> None:
    """One reading tells every mistake of a file, in the order of its lines."""
    found = mistakes(
        """
        server:
          archive: "s3:x"
          logs: y
        channels:
          - name: a
            type: demo
            weight: x
            api_key: ${NOPE}
            models: {m: {sizes: [big], seconds: [0]}}
          - name: a
            timeout: {total: -1, conect: 2}
        chanels: 1
        """
    )
    assert [line.partition(":")[0] for line in found] == ["3", "4", "8", "9", "10", "10", "11", "12", "12", "13"]


def test_a_mistake_never_shows_what_came_from_the_environment() -> None:
    """A credential that was put into the wrong key is not printed."""
    assert "hunter2" not in "".join(mistakes(ONE + "  weight: ${K}\n", K="hunter2"))
    assert "hunter2" not in repr(entry("  api_key: ${K}\n", K="hunter2"))


def test_alias_bomb_is_bounded() -> None:
    """Ten lines of nested aliases are refused quickly instead of becoming ten billion values."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 11)]
    found = mistakes("\n".join(lines))
    assert any("has more than 100,000 values" in line for line in found)


def test_draft_keeps_what_is_sound() -> None:
    """With mistakes in one entry, the rest of the file is still there for the plugins' checks."""
    found = config.draft_text(ONE + "  weight: x\n- name: b\n  type: other\n", FILE, {})
    assert found.config is not None
    assert [one.name for one in found.config.channels] == ["a", "b"]
    assert len(found.mistakes) == 1


# ---------------------------------------------------------------- secrets and sameness


def test_secrets_are_options_that_look_like_one_and_the_environment() -> None:
    """Credentials, nested ones too, passwords in addresses and borrowed values are secrets; names are not."""
    found = parse(
        """
        channels:
          - name: ${NAME}
            type: demo
            api_key: 123456
            access_token: t-1
            auth: {client_secret: c-1, realm: r-1}
            account: ${ACCOUNT}
            proxy_url: https://user:pass-1@host/x
            region: ${REGION:-eu}
            plain: p-1
        """,
        NAME="main",
        ACCOUNT="acc-1",
    )
    assert config.secrets(found) == {"123456", "t-1", "c-1", "acc-1", "pass-1"}


def test_the_same_entry_elsewhere_is_the_same() -> None:
    """An entry that only moved is the same; one with another text in an option is not."""
    first = entry("  key: 010\n")
    moved = parse("channels:\n- {name: b, type: c}\n\n- name: a\n  type: demo\n\n  key: 010\n").channels[1]
    assert first.same(moved)
    assert not first.same(entry("  key: 8\n"))
    assert not first.same(entry("  key: 010\n  weight: 2\n"))
