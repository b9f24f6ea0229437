"""Every code block of the documents does what its page says."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs import pages, reader
from tests.docs.pages import ENGLISH, HOW, PAGES, REASONS, ROOT, Block
from tests.docs.reader import KNOWN, RUN, Broken, Reader, Server, interpreter

NPM = ROOT / "tests" / "sdk" / "node" / "node_modules"
MOST_NOT_RUN = 0.3
"""The part of the blocks that may be marked as not run."""

ALL = {page: list(pages.blocks(page)) for page in PAGES}
JAVASCRIPT = [page for page, found in ALL.items() if any(block.language == "javascript" for block in found)]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("documents"))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def python() -> Iterator[subprocess.Popen[str]]:
    with interpreter() as process:
        yield process


def runs(block: Block) -> bool:
    """Whether there is something to do for it here; JavaScript has a test of its own."""
    return block.language in RUN - {"javascript"} and block.remark in ("", "file")


@pytest.mark.parametrize("page", [page for page, found in ALL.items() if any(map(runs, found))], ids=name)
def test_the_blocks_of_a_page_run(
    page: Path, server: Server, python: "subprocess.Popen[str]", tmp_path_factory: pytest.TempPathFactory
) -> None:
    """From its top, in an empty folder, each block of a page comes to its end."""
    reader = Reader(server, python, tmp_path_factory.mktemp("reader"))
    for block in filter(runs, ALL[page]):
        reader.read(block)
    if reader.skipped:
        pytest.skip("; ".join(reader.skipped))


@pytest.mark.skipif("REELGATE_NODE" not in os.environ, reason="make node-test installs the npm package first")
@pytest.mark.parametrize("page", JAVASCRIPT, ids=name)
def test_the_node_blocks_of_a_page_run(
    page: Path, server: Server, python: "subprocess.Popen[str]", tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The JavaScript of a page comes to its end with the official Node SDK."""
    assert shutil.which("node") is not None
    wanted = [block for block in ALL[page] if block.language == "javascript" and not block.remark]
    Reader(server, python, tmp_path_factory.mktemp("reader")).run_javascript(wanted, NPM)


WRONG = {
    "sh": (
        "false\n",
        'curl -s "$OPENAI_BASE_URL/videos/video_x" -H "Authorization: Bearer $OPENAI_API_KEY"\n',
        "gone\n",
    ),
    "console": ("$ echo one\ntwo\n",),
    "python": ("raise SystemExit(0)\n", "import os\n\nassert 'rg_' not in os.environ['OPENAI_API_KEY']\n"),
    "yaml": (
        "server: {public_ulr: x}\n",
        "channels:\n  - {name: a, type: fal, api_key: x, models: [m], fpss: 1}\n",
        "a: [\n",
    ),
    "json": ('{"a": 1,}\n',),
    "toml": ("a = \n",),
}


@pytest.mark.parametrize(
    ("language", "text"), [(language, text) for language, texts in WRONG.items() for text in texts]
)
def test_a_wrong_block_is_noticed(
    language: str, text: str, server: Server, python: "subprocess.Popen[str]", tmp_path: Path
) -> None:
    """What fails, answers with an error, says something else or has a mistake in it, breaks its page."""
    if "curl" in text and shutil.which("curl") is None:
        pytest.skip("there is no curl here")
    with pytest.raises(Broken, match=r"README\.md:7"):
        Reader(server, python, tmp_path).read(Block(ENGLISH, 7, language, text))


@pytest.mark.parametrize(
    ("text", "beyond"),
    [
        ("make run\n", "make"),
        ("export A=b\nsudo ls\n", "sudo"),
        ("python -m venv /opt/reelgate\n", "/opt/"),
        ("curl https://api.openai.com/v1/videos\n", "https://a"),
        ("cat x | tee y\n", "tee"),
        ('curl $A/videos \\\n  -d \'{"prompt": "a; rm"}\' | head -1  # sudo make\n', None),
    ],
)
def test_what_reaches_beyond_the_folder_is_not_run(text: str, beyond: str | None) -> None:
    """A block that would change the machine, or calls somebody, is refused before any of it is run."""
    assert reader.beyond(text) == beyond


def test_every_block_is_run_or_says_why_not() -> None:
    """A block is of a language that is run or read here, or has a remark above it; few are not run at all."""
    found = [block for page in ALL.values() for block in page]
    for block in found:
        match block.remark:
            case "not run":
                assert block.about in REASONS, f"{block}: {block.about!r} is not one of the REASONS. {HOW}"
            case "run by":
                assert (ROOT / block.about).exists(), f"{block}: there is no {block.about}. {HOW}"
            case "file":
                pass
            case _:
                assert block.language in KNOWN, f"{block}: nothing runs this language. {HOW}"
    code = [block for block in found if block.language != pages.SHOWN]
    not_run = [block for block in code if block.remark == "not run"]
    told = "\n".join(f"{block}: {block.about}" for block in not_run)
    assert len(not_run) <= MOST_NOT_RUN * len(code), f"{len(not_run)} of {len(code)} blocks are not run:\n{told}"


def test_both_readmes_say_the_same() -> None:
    """README.zh-CN.md has the code, the links, the pictures and the table rows of README.md, in its order."""
    english, chinese = ENGLISH.read_text("utf-8"), pages.CHINESE.read_text("utf-8")
    ours, theirs = ([(block.language, block.text) for block in pages.blocks(page)] for page in (ENGLISH, pages.CHINESE))
    assert theirs == ours
    # Each leads to the other, and only there do they differ.
    assert pages.CHINESE.name in pages.links(english)
    assert ENGLISH.name in pages.links(chinese)
    other = {ENGLISH.name, pages.CHINESE.name}
    assert [link for link in pages.links(chinese) if link not in other] == [
        link for link in pages.links(english) if link not in other
    ]
    assert pages.first_cells(chinese) == pages.first_cells(english)
    assert [len(line) - len(line.lstrip("#")) for line in chinese.splitlines() if line.startswith("#")] == [
        len(line) - len(line.lstrip("#")) for line in english.splitlines() if line.startswith("#")
    ]


def test_the_index_names_every_page() -> None:
    """docs/README.md leads to each page of docs/."""
    index = ROOT / "docs" / "README.md"
    led = {(index.parent / link).resolve() for link in pages.links(index.read_text("utf-8"))}
    assert [name(page) for page in PAGES if page not in (ENGLISH, index) and page not in led] == []
