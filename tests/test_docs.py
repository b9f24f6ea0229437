"""The documents say what the code does."""

import inspect
import re
from pathlib import Path

import pytest

from docs import providers
from proxy import channel, config, errors, loader, models
from proxy.loader.manual import options_of
from proxy.store import StoreBusy

ROOT = Path(__file__).parents[1]
CLIENTS = (ROOT / "docs" / "clients.md").read_text("utf-8")
OPERATORS = (ROOT / "docs" / "operators.md").read_text("utf-8")
AUTHORS = (ROOT / "docs" / "plugin-authors.md").read_text("utf-8")
README = (ROOT / "README.md").read_text("utf-8")


def tree(cls: type[errors.ApiError]) -> list[type[errors.ApiError]]:
    return [cls, *(below for child in cls.__subclasses__() for below in tree(child))]


def test_every_error_code_is_explained() -> None:
    """The table of docs/clients.md has each status and code of the error tree, and no other."""
    said = {(int(status), code) for status, code in re.findall(r"^\| (\d{3}) \| `(\w+)` \|", CLIENTS, re.MULTILINE)}
    shipped = {cls for cls in tree(errors.ApiError) if cls.__module__.startswith("proxy.")}
    assert StoreBusy in shipped
    # What the engine queues or a client never sees as such: their statuses are those of their parents.
    assert said == {(cls.status, cls.code) for cls in shipped if cls.code}


def test_every_failure_code_is_explained() -> None:
    """Each code that a failed video may have is named in docs/clients.md."""
    assert [code for code in models.FAILURE_CODES if f"`{code}`" not in CLIENTS] == []


def test_every_key_of_the_file_is_explained() -> None:
    """Each key that channels.yaml may have is in docs/operators.md."""
    keys = [*config.Server.__struct_fields__, *config.ENTRY_KEYS]
    assert [key for key in keys if not re.search(rf"\b{key}\b", OPERATORS)] == []


def test_the_providers_are_written_from_the_code() -> None:
    """docs/providers.md is what `make docs` writes, and every key of every plugin has a text."""
    assert (ROOT / "docs" / "providers.md").read_text("utf-8") == providers.page(), "run make docs"
    plugins = loader.survey([], (), entry_points=False).channels
    assert {"demo", "openai"} <= set(plugins)
    for kind, plugin in plugins.items():
        assert [fact.name for fact in options_of(plugin.cls) if not fact.about] == [], kind


def test_every_method_of_a_channel_is_explained() -> None:
    """Each method and class attribute that a plugin may override is in docs/plugin-authors.md."""
    names = [name for name, _ in inspect.getmembers(channel.Channel, inspect.isfunction) if not name.startswith("_")]
    names += [name for name in channel.Channel.__annotations__ if name != "priced_metadata"]
    assert [name for name in names if f"`{name}" not in AUTHORS and f"{name}(" not in AUTHORS] == []


def test_the_smallest_plugin_is_the_tested_file() -> None:
    """docs/plugin-authors.md shows docs/examples/lumen.py, which the contract tests, to the letter; about 35 lines."""
    lumen = (ROOT / "docs" / "examples" / "lumen.py").read_text("utf-8")
    assert f"```python\n{lumen}```" in AUTHORS
    assert len(lumen.splitlines()) <= 42


@pytest.mark.parametrize("page", [README, OPERATORS, AUTHORS], ids=["README", "operators", "plugin-authors"])
def test_the_files_in_the_documents_are_right(page: str, tmp_path: Path) -> None:
    """Each channels.yaml that is shown is one that the product takes."""
    (tmp_path / "more-plugins").mkdir()
    blocks = re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert blocks
    for block in blocks:
        config.parse(block, tmp_path / "channels.yaml", {"STUDIO_KEY": "k", "LUMEN_KEY": "k"})


def test_links_lead_somewhere() -> None:
    """Each relative link of the documents names a file."""
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
