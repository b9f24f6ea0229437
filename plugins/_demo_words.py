"""What the demo channel reads in a prompt: the text to show, the trouble to make, the words that change the picture."""

from __future__ import annotations

import hashlib
import random
import re
import unicodedata
from typing import Final

SHOWN: Final = 400
"""Characters of a prompt that are shown and stored; a longer one is cut."""

TROUBLE: Final = re.compile(r"\[(fail|moderate|slow|429)\]", re.IGNORECASE)

TRAITS: Final[dict[str, dict[str, str]]] = {
    "light": {
        "night": "night midnight dark darkness moon moonlit moonlight starry stars nacht noche nuit 夜 月 星 밤",
        "dusk": "sunset sunrise dusk dawn twilight golden dämmerung crépuscule 夕 黄昏 日出 日落 晚霞 노을",
        "day": "day daylight daytime noon morning sunny bright 白天 晴 昼 낮",
    },
    "tint": {
        "red": "red crimson scarlet ruby rot rouge rojo 红 紅 赤 빨간",
        "orange": "orange amber tangerine 橙 橘",
        "yellow": "yellow gold lemon gelb jaune amarillo 黄 金色 노란",
        "green": "green emerald lime jade grün vert verde 绿 緑 綠 초록",
        "teal": "teal cyan turquoise aqua 青",
        "blue": "blue azure navy cobalt blau bleu azul 蓝 藍 파란",
        "purple": "purple violet lavender indigo magenta lila 紫 보라",
        "pink": "pink rose rosa 粉 桃色 분홍",
        "grey": "grey gray silver monochrome noir grau gris 灰",
        "white": "white pale weiß blanc blanco 白色",
        "black": "black schwarz negro 黑 黒",
    },
    "weather": {
        "snow": "snow snowy snowfall winter blizzard frost icy schnee neige nieve 雪 冬 눈",
        "rain": "rain rainy raining storm stormy thunderstorm drizzle regen pluie lluvia 雨 비",
        "petals": "petals petal blossom blossoms sakura leaves autumn confetti 花 樱 桜 落叶",
        "clear": "clear dry cloudless",
    },
    "land": {
        "city": "city skyline street town downtown tokyo skyscraper skyscrapers stadt ville ciudad 城 街 都市 도시",
        "sea": "sea ocean wave waves beach lake river surf boat ship underwater meer mer mar 海 湖 河 浪 바다",
        "peaks": "mountain mountains alps peak peaks cliff volcano berg montagne montaña 山 산",
        "dunes": "desert dune dunes sand sahara mars wüste 沙",
        "forest": "forest woods tree trees jungle pine pines wald forêt bosque 林 森 树 숲",
        "hills": "hill hills meadow field fields grass garden countryside valley 田 草 野",
    },
    "pace": {
        "fast": "fast faster quick quickly speed racing race rush running schnell rapide rápido 快 速",
        "slow": "slow slower slowly calm gentle gently peaceful langsam lent lento 慢 静",
    },
}
"""kind -> value -> words. The last word of each kind in a prompt wins."""


def _tables() -> tuple[dict[str, tuple[str, str]], dict[str, tuple[str, str]]]:
    words: dict[str, tuple[str, str]] = {}
    signs: dict[str, tuple[str, str]] = {}
    for kind, values in TRAITS.items():
        for value, listed in values.items():
            for word in listed.split():
                # Chinese, Japanese and Korean are written without the spaces that would make them words.
                (signs if ord(word[0]) >= 0x1100 else words)[word] = (kind, value)
    return words, signs


_WORDS, _SIGNS = _tables()
_TOKEN: Final = re.compile(
    "|".join([*map(re.escape, sorted(_SIGNS, key=len, reverse=True)), r"[^\W\d_\u1100-\uffff]+"])
)


def clean(prompt: str) -> str:
    """The prompt as one line of at most `SHOWN` characters without control, format, surrogate and unassigned ones."""
    kept = []
    for character in prompt[: SHOWN * 4]:
        if character.isspace():
            kept.append(" ")
        elif unicodedata.category(character)[0] != "C":
            kept.append(character)
    text = " ".join("".join(kept).split())
    return text if len(text) <= SHOWN else text[: SHOWN - 1].rstrip() + "…"


def trouble(prompt: str) -> frozenset[str]:
    """The trouble that the prompt asks for: any of fail, moderate, slow, 429."""
    return frozenset(word.lower() for word in TROUBLE.findall(prompt))


def traits(prompt: str) -> dict[str, str]:
    """What the words of the prompt say about the picture: kind -> value, as in `TRAITS`; empty where silent."""
    said: dict[str, str] = {}
    for match in _TOKEN.finditer(TROUBLE.sub(" ", prompt).lower()):
        word = match[0]
        found = _SIGNS.get(word) or _WORDS.get(word)
        if found is not None:
            said[found[0]] = found[1]
    return said


def seed(text: str) -> int:
    """A number of 48 bits (exact in any JSON reader) that is the same for the same text."""
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:6], "big")


def dice(layout: int, name: str) -> random.Random:
    """The chance that decides `name` in the layout with that seed: always the same one."""
    return random.Random(f"{layout}:{name}")  # noqa: S311 - pictures, no secrets
