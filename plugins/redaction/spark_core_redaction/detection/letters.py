"""Letters: what they look like, what they are at heart, and which of them make a word."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

__all__ = [
    "CONTROLS",
    "MARKS",
    "UNSPACED",
    "WORD",
    "fold",
    "is_capitalised",
    "is_invisible",
    "plain",
    "visual",
    "word_pattern",
]

#: Marks that stand on letters; in the scripts of India most vowels are such.
MARKS = "".join(
    chr(code)
    for code in (*range(0x0300, 0x0E00), *range(0x1AB0, 0x1B00), *range(0x1DC0, 0x1E00))
    if unicodedata.category(chr(code)).startswith("M")
)

#: Scripts that are written without spaces, or that hang endings on names: each of their
#: letters is a word of its own.
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u1100-\u11ff\u3040-\u30fa\u30fc-\u30ff\u3130-\u318f"
    "\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff"
    "\U00020000-\U0003ffff"
)

#: A word, or a letter of a script without spaces.
WORD = re.compile(
    rf"[{UNSPACED}]|[^\W_{UNSPACED}](?:[^\W_{UNSPACED}]|[{MARKS}])*+",
)

_ASCII_WORD = re.compile("[A-Za-z0-9]+")
_SPACED_WORD = re.compile(rf"[^\W_](?:[^\W_]|[{MARKS}])*+")


def word_pattern(text: str) -> re.Pattern[str]:
    """What a word is in *text*: the same in all texts, but found the sooner the plainer it is."""
    if text.isascii():
        return _ASCII_WORD
    return _SPACED_WORD if max(text) < "\u0e00" else WORD


#: Latin letters that are not made of a letter and a mark.
_LATIN = {
    "ß": "ss", "ẞ": "ss", "æ": "ae", "œ": "oe", "ø": "o", "đ": "d", "ð": "d", "þ": "th",
    "ł": "l", "ħ": "h", "ı": "i", "ŋ": "n", "ŧ": "t", "ə": "e", "ĸ": "k", "ſ": "s", "ƒ": "f",
    "ɑ": "a", "ɡ": "g", "ɩ": "i", "ʀ": "r", "ʏ": "y", "ʟ": "l", "ɴ": "n", "ʜ": "h", "ɪ": "i",
    "ᴀ": "a", "ʙ": "b", "ᴄ": "c", "ᴅ": "d", "ᴇ": "e", "ɢ": "g", "ᴊ": "j", "ᴋ": "k", "ᴍ": "m",
    "ᴏ": "o", "ᴘ": "p", "ꜱ": "s", "ᴛ": "t", "ᴜ": "u", "ᴠ": "v", "ᴡ": "w", "ᴢ": "z",
}  # fmt: skip

#: Letters of other scripts that look like a Latin one in both cases, or nearly.
_ALIKE = {
    "а": "a", "в": "b", "е": "e", "к": "k", "м": "m", "н": "h", "о": "o", "р": "p", "с": "c",
    "т": "t", "у": "y", "х": "x", "і": "i", "ј": "j", "ѕ": "s", "ԁ": "d", "ԛ": "q", "ԝ": "w",
    "һ": "h", "ӏ": "l", "ү": "y", "ґ": "г", "ё": "e", "ї": "i",
    "α": "a", "β": "b", "ε": "e", "ζ": "z", "η": "h", "ι": "i", "κ": "k", "μ": "m", "ν": "n",
    "ο": "o", "ρ": "p", "τ": "t", "υ": "y", "χ": "x", "ϲ": "c", "ς": "σ", "ϳ": "j",
    "օ": "o", "ս": "u", "հ": "h", "ց": "g", "զ": "q", "յ": "j", "ա": "w",
    "ꓮ": "a", "ꓐ": "b", "ꓚ": "c", "ꓓ": "d", "ꓰ": "e", "ꓖ": "g", "ꓧ": "h", "ꓲ": "i",
    "Ꭺ": "a", "Ᏼ": "b", "Ꮯ": "c", "Ꭰ": "d", "Ꭼ": "e", "Ꮐ": "g", "Ꮋ": "h", "Ꭻ": "j",
    "Ꮶ": "k", "Ꮮ": "l", "Ꮇ": "m", "Ꮲ": "p", "Ꭱ": "r", "Ꮪ": "s", "Ꭲ": "t", "Ꮩ": "v",
    "Ꮃ": "w", "Ꮓ": "z",
}  # fmt: skip

#: What a letter amid Latin ones is taken for, where its case tells more.
_AMID_LATIN = {"ν": "v", "η": "n", "υ": "u", "γ": "y", "ω": "w", "σ": "o", "и": "u", "п": "n",
               "г": "r", "т": "t", "Н": "H", "В": "B", "Т": "T", "Р": "P", "С": "C", "У": "Y",
               "ш": "w", "З": "3", "б": "6", "ո": "n"}  # fmt: skip


#: Signs to machines that are no blanks.
CONTROLS = "".join(chr(code) for code in (*range(0x09), *range(0x0E, 0x1C), 0x7F))


def is_invisible(letter: str) -> bool:
    """Whether nothing is seen of it: it joins, splits, turns or hides."""
    if letter in "\u115f\u1160\u3164\uffa0\u034f\u2800\u180e":
        return True
    if "\ufe00" <= letter <= "\ufe0f" or "\U000e0000" <= letter <= "\U000e0fff":
        return True
    return letter == "\u0640" or unicodedata.category(letter) == "Cf" or letter in CONTROLS


@lru_cache(maxsize=10_000)
def plain(letter: str) -> str:
    """*letter* as it would be typed: wide and styled forms, foreign digits, unseen ones gone."""
    if is_invisible(letter):
        return ""
    if (digit := unicodedata.decimal(letter, None)) is not None:
        return str(digit)
    if unicodedata.category(letter) == "Zs":
        return " "
    if letter in "‐‑‒–−﹣－":
        return "-"
    if letter in "’ʼ＇‘`´′":
        return "'"
    typed = unicodedata.normalize("NFKC", letter)
    # NFKC of a lone mark or of a few signs begins with a space: those stay what they are.
    return letter if typed[:1] == " " else typed


@lru_cache(maxsize=10_000)
def visual(letter: str) -> str:
    """The Latin letter that *letter* looks like amid Latin ones; itself where there is none."""
    if letter in _AMID_LATIN:
        return _AMID_LATIN[letter]
    lower = letter.lower()
    alike = _AMID_LATIN.get(lower) if lower == letter else None
    alike = alike or _ALIKE.get(lower) or _ALIKE.get(letter) or _LATIN.get(letter)
    if alike is None or len(alike) > 1 or not alike.isascii():
        return letter
    return alike.upper() if letter.isupper() else alike


def fold(word: str) -> str:
    """*word* without case, marks and differences that nobody sees, the same in every script."""
    if word.isascii():
        return word.lower()
    return _folded(word)


@lru_cache(maxsize=100_000)
def _folded(word: str) -> str:
    decomposed = unicodedata.normalize("NFKD", word.casefold())
    return "".join(map(_heart, decomposed)).casefold() or word  # a lone mark is a word in Thai


@lru_cache(maxsize=10_000)
def _heart(letter: str) -> str:
    if letter.isascii():
        return letter
    if unicodedata.category(letter) == "Mn" or is_invisible(letter):
        return ""
    digit = unicodedata.decimal(letter, None)
    return str(digit) if digit is not None else _LATIN.get(letter) or _ALIKE.get(letter, letter)


def is_capitalised(word: str) -> bool:
    """Whether *word* may be a name by its first letter: scripts without capitals always do."""
    return not word[:1].islower()
