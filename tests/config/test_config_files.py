"""Reading channels.yaml from the disk; whatever is in it, it is a config or a `ConfigError`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy import config
from proxy.errors import ConfigError, Mistake

FILE = Path("/srv/channels.yaml")
SMALLEST = "channels: [{name: a, type: demo}]\n"


def test_load_reads_a_file_and_its_folders(tmp_path: Path) -> None:
    """Folders and the database are relative to the file; `plugins/` beside it is the last plugin folder."""
    (tmp_path / "more").mkdir()
    (tmp_path / "plugins").mkdir()
    file = tmp_path / "channels.yaml"
    file.write_text("\ufeffserver: {plugins: [more], database: 'sqlite:///d/x.db'}\n" + SMALLEST, "utf-8")
    found = config.load(file, {})
    assert found.server.plugins == (str(tmp_path / "more"), str(tmp_path / "plugins"))
    assert found.database == tmp_path / "d/x.db"


def test_load_says_what_is_wrong_with_a_file(tmp_path: Path) -> None:
    """A missing file, a folder and a file that is not UTF-8 are mistakes too, with the line where there is one."""
    with pytest.raises(ConfigError, match=r"there is no such file; name your channels\.yaml with --config FILE"):
        config.load(tmp_path / "none.yaml", {})
    with pytest.raises(ConfigError, match="is a folder; name the file in it"):
        config.load(tmp_path, {})
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"channels:\n- name: caf\xe9\n")
    with pytest.raises(ConfigError) as caught:
        config.load(latin, {})
    assert [(one.file, one.line) for one in caught.value.mistakes] == [(latin, 2)]


FRAGMENTS = st.sampled_from(
    """channels server name type models weight timeout <<: *a &a ${X} ${X:-1} ${ $${ !!int !!set !x : - , [ ] { } ? | >
    ' " # % @ ` 1 -1 .nan 1:30 2020-01-01 null ~ true \t 💥 \ufeff ---""".split()  # noqa: SIM905
)
TEXTS = st.lists(FRAGMENTS | st.sampled_from([" ", "\n", "\n  ", "\n- ", ": "]), max_size=40).map("".join)


def told(read: Callable[[], config.Config]) -> list[Mistake] | None:
    """The mistakes that `read` raises, None where it reads a config."""
    try:
        read()
    except ConfigError as error:
        return error.mistakes
    return None


@settings(deadline=None, max_examples=300)
@given(TEXTS | st.text(max_size=200), st.dictionaries(st.just("X"), st.text(max_size=5)))
def test_any_text_is_a_config_or_a_config_error(text: str, environ: dict[str, str]) -> None:
    """Whatever the text, there is a `Config` or a `ConfigError` with at least one mistake, on a line that exists."""
    found = told(lambda: config.parse(text, FILE, environ))
    assert found != []
    assert all(0 <= one.line <= len(text.splitlines()) + 1 for one in found or ())


@settings(deadline=None, max_examples=150)
@given(data=st.binary(max_size=100) | TEXTS.map(str.encode))
def test_any_file_is_a_config_or_a_config_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    """Whatever the bytes of the file, `load` raises nothing but `ConfigError`."""
    file = tmp_path_factory.getbasetemp() / "fuzz.yaml"
    file.write_bytes(data)
    assert told(lambda: config.load(file, {})) != []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYED = st.dictionaries(
    st.sampled_from([*config.ENTRY_KEYS, *config.Server.__struct_fields__, "upstream", "sizes", "other"]), JSON
)


@settings(deadline=None, max_examples=300)
@given(server=JSON | KEYED, channels=JSON | st.lists(KEYED, max_size=3))
def test_any_value_under_any_key_is_a_config_or_a_config_error(server: object, channels: object) -> None:
    """Values of every type under the known keys raise nothing but `ConfigError`."""
    text = yaml.safe_dump({"server": server, "channels": channels}, allow_unicode=True)
    assert told(lambda: config.parse(text, FILE, {})) != []
