"""The documents say what the code does."""

import inspect
import re

from docs import providers
from proxy import channel, errors, loader, models
from proxy.loader.manual import options_of
from proxy.store import StoreBusy
from tests.docs import pages
from tests.docs.pages import ROOT

CLIENTS = (ROOT / "docs" / "clients.md").read_text("utf-8")
REFERENCE = (ROOT / "docs" / "plugin-reference.md").read_text("utf-8")


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


def test_the_providers_are_written_from_the_code() -> None:
    """docs/providers.md is what `make docs` writes, and every key of every plugin has a text."""
    assert (ROOT / "docs" / "providers.md").read_text("utf-8") == providers.page(), "run make docs"
    plugins = loader.survey([], (), entry_points=False).channels
    assert {"demo", "openai"} <= set(plugins)
    for kind, plugin in plugins.items():
        assert [fact.name for fact in options_of(plugin.cls) if not fact.about] == [], kind


def test_every_method_of_a_channel_is_explained() -> None:
    """Each method and class attribute that a plugin may override is in docs/plugin-reference.md."""
    names = [name for name, _ in inspect.getmembers(channel.Channel, inspect.isfunction) if not name.startswith("_")]
    names += list(channel.Channel.__annotations__)
    assert [name for name in names if f"`{name}" not in REFERENCE and f"{name}(" not in REFERENCE] == []


def test_the_smallest_plugin_is_the_tested_file() -> None:
    """docs/plugin-reference.md shows docs/examples/lumen.py, which the contract tests, as it is; about 35 lines."""
    lumen = (ROOT / "docs" / "examples" / "lumen.py").read_text("utf-8")
    assert f"```python\n{lumen}```" in REFERENCE
    assert len(lumen.splitlines()) <= 42


def test_links_lead_somewhere() -> None:
    """Each relative link of the documents names a file, and where it names a heading, one that the file has."""
    for page in [*pages.PAGES, pages.CHINESE]:
        for link in pages.links(page.read_text("utf-8")):
            target, _, part = link.partition("#")
            if ":" in target:
                continue
            led = (page.parent / target) if target else page
            assert led.exists(), f"{page.name}: {link}"
            assert not part or part in pages.headings(led.read_text("utf-8")), f"{page.name}: {link}"
