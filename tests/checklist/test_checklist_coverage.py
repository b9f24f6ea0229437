"""Every statement of openai-videos.md §8 has a test that bears its number."""

from __future__ import annotations

import re
from pathlib import Path

STATEMENTS = range(1, 97)
"""94 is about batches, which are not offered: its test holds that their routes are unknown."""


def test_every_statement_has_its_test() -> None:
    """The numbers in the names of this folder's tests are exactly 1 to 96."""
    texts = [file.read_text("utf-8") for file in Path(__file__).parent.glob("test_checklist_*.py")]
    numbers = {int(number) for text in texts for number in re.findall(r"^async def test_(\d{3})_", text, re.MULTILINE)}
    assert numbers == set(STATEMENTS)
