"""The second look, in another way: does anything private stand in a text that is to leave?

Of the first look it shares nothing but what is known. The text is read as it is, and each of its
lines once more with all in it decoded; groups of words are squeezed together and looked up, and
plain expressions look for what is plainly an address, a number or a key.
"""

from __future__ import annotations

import base64
import binascii
import html
import re
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from urllib.parse import unquote

from spark_core.contracts.detection import Finding

from .known.index import KnownIndex, is_telling
from .letters import fold, is_invisible, word_pattern

__all__ = ["remains"]

#: Names of more words than this are looked for by the first look alone.
WORDS = 6

_PLAIN = {
    "EMAIL": re.compile(
        r"[A-Za-z0-9_+.-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){0,5}\.[A-Za-z]{2,24}"
    ),
    "IBAN": re.compile(r"(?<!\w)[A-Z]{2}\d{2}(?: ?\d{4}){3,6}(?!\w)"),
    "CARD": re.compile(r"(?<![\d.,-])(?:\d{4}[ -]){3}\d{4}(?![\d.,-])"),
    "PHONE": re.compile(r"(?<![\w+])\+\d{1,3}[ -]?\d{2,4}(?:[ -]?\d{2,4}){2,3}(?!\d)"),
    "NATIONAL_ID": re.compile(r"(?<![\w.,/-])\d{3}-\d{2}-\d{4}(?![\w/-])"),
    "SECRET": re.compile(
        r"(?<![A-Za-z0-9])(?:gh[pousr]_|github_pat_|AKIA|sk-ant-)[A-Za-z0-9_-]{16}"
        r"|-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----"
    ),
}


def remains(
    text: str,
    placeholders: Sequence[tuple[int, int]],
    index: KnownIndex,
    kinds: Collection[str],
) -> list[Finding]:
    """What is left in *text* outside of *placeholders*; of decoded lines the line is told."""
    blanked = _blanked(text, placeholders)
    found = [*_look(blanked, index, kinds)]
    start = 0
    for line in blanked.splitlines(keepends=True):
        decoded = _decoded(line)
        if decoded != line:
            lines = {(f.kind, start, start + len(line)) for f in _look(decoded, index, kinds)}
            found += (Finding(kind, a, b, f"{kind}:line") for kind, a, b in sorted(lines))
        start += len(line)
    return found


def _blanked(text: str, placeholders: Sequence[tuple[int, int]]) -> str:
    """*text*, as long as it was, with nothing where placeholders stand."""
    parts, end = list[str](), 0
    for start, stop in sorted(placeholders):
        parts += text[end:start], "\0" * (stop - max(start, end))
        end = max(end, stop)
    return "".join((*parts, text[end:]))


def _look(text: str, index: KnownIndex, kinds: Collection[str]) -> Iterator[Finding]:
    for kind, pattern in _PLAIN.items():
        if kind in kinds:
            for match in pattern.finditer(text):
                yield _left(kind, *match.span())
    yield from _names(text, index)
    for known in index.glued(text):
        yield _left(known.kind, known.start, known.end)
    for match in _DIGITS.finditer(text):
        if index.phone(match[0]):
            yield _left("PHONE", *match.span())


_DIGITS = re.compile(r"(?<!\d)\+?\d(?:[ ().\-/]{0,3}\d){6,17}(?!\d)")


def _left(kind: str, start: int, end: int) -> Finding:
    return Finding(kind, start, end, f"{kind}:left", detector="verification")


def _names(text: str, index: KnownIndex) -> Iterator[Finding]:
    words = list(word_pattern(text).finditer(text))
    folded = [fold(word[0]) for word in words]
    for first, word in enumerate(words):
        squeezed, end = "", word.start()
        for last in range(first, min(first + WORDS, len(words))):
            gap = text[end : words[last].start()]
            if len(gap) > 4 or "\0" in gap or gap.count("\n") > 1 or ";" in gap or ":" in gap:
                break
            squeezed, end = squeezed + folded[last], words[last].end()
            if index.knows(squeezed) and (
                last > first or is_telling(text, word.start(), word[0], alone=True)
            ):
                yield _left("PERSON", word.start(), end)


# ------------------------------------------------------------------------------------- decoding


def _decoded(line: str) -> str:
    """*line* with everything in it decoded that may be, as often as it is needed."""
    for _ in range(4):
        plainer = _once(line)
        if plainer == line:
            break
        line = plainer
    return line


def _once(line: str) -> str:
    if not line.isascii():
        line = unicodedata.normalize("NFKC", "".join(c for c in line if not is_invisible(c)))
    if "%" in line:
        line = unquote(line)
    if "&" in line:
        line = html.unescape(line)
    if "\\" in line:
        line = _ESCAPED.sub(lambda m: chr(int(m[1] or m[2], 16)), line)
        line = re.sub(r"\\[nrtbf]", " ", line).replace('\\"', '"').replace("\\/", "/")
    return _BASE64.sub(_from_base64, line)


_ESCAPED = re.compile(r"\\u([0-9A-Fa-f]{4})|\\x([0-9A-Fa-f]{2})")
_BASE64 = re.compile(r"(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{8,}={0,2}(?![A-Za-z0-9+/=])")


def _from_base64(match: re.Match[str]) -> str:
    bare = match[0].rstrip("=")
    try:
        text = base64.b64decode(bare + "=" * (-len(bare) % 4)).decode()
    except (binascii.Error, UnicodeDecodeError):
        return match[0]
    return f" {text} " if text.isprintable() else match[0]
