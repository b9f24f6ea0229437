"""What docs/clients.md shows of a client that is no SDK of OpenAI's, in an environment of its own: `make oracles`."""

import os
import subprocess
from pathlib import Path

import av
import pytest

from tests.docs import pages
from tests.docs.pages import ROOT
from tests.docs.reader import Server

PYTHON = os.environ.get("REELGATE_LITELLM_PYTHON")


@pytest.mark.skipif(
    PYTHON is None, reason="REELGATE_LITELLM_PYTHON must name a program that has litellm: see make oracles"
)
def test_litellm_makes_a_film(tmp_path: Path) -> None:
    """As it stands on the page, it orders, waits, and leaves a film that plays."""
    (block,) = [one for one in pages.blocks(ROOT / "docs" / "clients.md") if "import litellm" in one.text]
    server = Server(tmp_path / "server")
    try:
        # It would fetch its table of prices from elsewhere.
        environ = server.environ | {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        environ.pop("PYTHONPATH")
        done = subprocess.run(
            [str(PYTHON), "-c", block.text], cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=100
        )
        assert done.returncode == 0, done.stderr
    finally:
        server.stop()
    with av.open(tmp_path / "plane.mp4") as film:
        assert next(film.decode(video=0)).width > 0
