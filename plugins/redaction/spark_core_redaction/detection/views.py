"""Ways to read a text: as it is typed, and with what is encoded in it decoded.

A view knows where each of its pieces stands in the text that it was made of, so that what is
found in the view is found in the text.
"""

from __future__ import annotations

import base64
import binascii
import html
import re
import string
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from .letters import CONTROLS, MARKS, plain, visual

__all__ = ["View", "views"]

#: How often what was decoded is decoded again: encodings are put into each other.
DEPTH = 4


@dataclass
class View:
    """``text`` is read; ``span`` says where a piece of it stands in the original.

    Pieces that were read differently are ``(start, end)`` in the view and ``(start, end)`` in
    ``inner``, of which it was made; between them both run alike.
    """

    text: str
    inner: View | None = None
    starts: list[int] = field(default_factory=list)
    pieces: list[tuple[int, int, int, int]] = field(default_factory=list)

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Where ``text[start:end]``, which is not empty, stands in the original."""
        if self.inner is None:
            return start, end
        return self.inner.span(self._origin(start)[0], self._origin(end - 1)[1])

    def _origin(self, place: int) -> tuple[int, int]:
        """The start and end of what the letter at *place* was made of."""
        index = bisect_right(self.starts, place) - 1
        if index < 0:
            return place, place + 1
        _, end, begun, ended = self.pieces[index]
        if place < end:
            return begun, ended
        return ended + place - end, ended + place - end + 1

    def holds_more(self, start: int, end: int) -> bool:
        """Whether what ``text[start:end]`` was made of, such as base64, holds more than that."""
        if self.inner is None:
            return False
        first, last = self._piece(start), self._piece(end - 1)
        if (first and first[0] < start) or (last and last[1] > end):
            return True
        return self.inner.holds_more(self._origin(start)[0], self._origin(end - 1)[1])

    def _piece(self, place: int) -> tuple[int, int, int, int] | None:
        index = bisect_right(self.starts, place) - 1
        return self.pieces[index] if index >= 0 and place < self.pieces[index][1] else None

    def layer_over(self, below: View) -> View | None:
        """The view that was made of *below*, among those that this one was made of."""
        view: View | None = self
        while view is not None and view.inner is not below:
            view = view.inner
        return view

    def whole(self, start: int, end: int) -> tuple[int, int]:
        """``[start, end)`` of what this was made of, begun and ended where no piece is torn."""
        for _, _, begun, ended in self.pieces:
            if begun < start < ended:
                start = begun
            if begun < end < ended:
                end = ended
        return start, end


def views(text: str) -> Iterator[View]:
    """The ways in which *text* may be read, from the plainest on; each reads anew something."""
    view = View(text)
    typed = _typed(view)
    yield typed
    for _ in range(DEPTH):
        decoded = _rewritten(typed, _decodings(typed.text))
        if decoded is None:
            break
        typed = _typed(decoded)
        yield typed
    if turned := _rewritten(view, _turned(text)):
        yield _typed(turned)


def _turned(text: str) -> _Rewrites:
    """What is shown from right to left, as it is seen."""
    return ((*match.span(), match[0][::-1]) for match in _FROM_RIGHT.finditer(text))


_FROM_RIGHT = re.compile("(?<=\u202e)[^\u202c\u202e\n]{2,500}")


_Rewrites = Iterator[tuple[int, int, str]]


def _rewritten(view: View, rewrites: _Rewrites) -> View | None:
    """*view* with some pieces written otherwise; None where there are none."""
    parts: list[str] = []
    made = View("", view)
    read = written = 0
    for start, end, new in rewrites:
        if start < read:
            continue
        parts += view.text[read:start], new
        written += start - read
        made.starts.append(written)
        made.pieces.append((written, written + len(new), start, end))
        written += len(new)
        read = end
    if not parts:
        return None
    made.text = "".join((*parts, view.text[read:]))
    return made


# ------------------------------------------------------------------------------- as it is typed


def _typed(view: View) -> View:
    """*view* without what is not seen, in letters as they are typed."""
    if view.text.isascii() and not _CONTROL.search(view.text):
        return view
    odd = {letter for letter in set(view.text) if plain(letter) != letter}
    if odd:
        view = _rewritten(view, _plain_letters(view.text, odd)) or view
    return _rewritten(view, _disguised(view.text)) or view


_CONTROL = re.compile(f"[{CONTROLS}]")


def _plain_letters(text: str, odd: set[str]) -> _Rewrites:
    pattern = re.compile("[" + "".join(map(re.escape, sorted(odd))) + "]")
    return ((m.start(), m.end(), plain(m[0])) for m in pattern.finditer(text))


_LATIN = "A-Za-z\u00c0-\u024f"
_LOOKALIKE = (
    "\u0370-\u03ff\u0400-\u052f\u0530-\u058f\u13a0-\u13f4\ua4d0-\ua4ff"
    "\u0250-\u02af\u1d00-\u1d2f\ua731"
)

#: A word of Latin letters or of others that look like them.
_SOME = re.compile(rf"[{_LATIN}{_LOOKALIKE}{MARKS}\d_]++")
_HAS_LATIN = re.compile(f"[{_LATIN}]")
_HAS_OTHERS = re.compile(f"[{_LOOKALIKE}]")


def _disguised(text: str) -> _Rewrites:
    """Letters of other scripts amid Latin ones, as the Latin ones that they look like."""
    if not _HAS_OTHERS.search(text):
        return
    for word in _SOME.finditer(text):
        if _HAS_OTHERS.search(word[0]) and _HAS_LATIN.search(word[0]):
            for place, letter in enumerate(word[0], word.start()):
                if (seen := visual(letter)) != letter:
                    yield place, place + 1, seen


# ------------------------------------------------------------------------------------- decoded

#: Where something may be encoded.
_ENCODED = re.compile(
    r"""
    (?P<percent>(?:%[0-9A-Fa-f]{2})++)
    |(?P<entity>&(?:\#\d{1,7};?|\#[xX][0-9A-Fa-f]{1,6};?|[A-Za-z][A-Za-z0-9]{1,31};))
    |(?P<escape>(?:\\u[0-9A-Fa-f]{4}|\\u\{[0-9A-Fa-f]{1,6}\}|\\U[0-9A-Fa-f]{8}|\\x[0-9A-Fa-f]{2}
        |\\[0-7]{3}|\\[nrtbf"'/\\])++)
    |(?P<broken>(?<=[^\W\d_])-\r?\n(?=[^\W\d_A-Z]))
    |(?P<spaced>(?<![\w])(?:[0-9A-Fa-f]{2}[ :]){5,}[0-9A-Fa-f]{2}(?!\w))
    |(?P<quoted>(?:=[0-9A-F]{2})++|=\n)
    |(?P<wrapped>(?<![A-Za-z0-9+/=])(?:[A-Za-z0-9+/]{60,76}\r?\n)++[A-Za-z0-9+/]{0,76}={0,2})
    |(?P<base64>(?<![A-Za-z0-9+/_-])(?:[A-Za-z0-9+/_-]{4}){2,}+[A-Za-z0-9+/_-]{0,3}={0,2}
        (?![A-Za-z0-9+/_-]))
    """,
    re.VERBOSE,
)

_MAY_BE = re.compile(r"[%&\\=]|-\r?\n|[0-9A-Fa-f]{2}[ :][0-9A-Fa-f]{2}|[A-Za-z0-9+/_-]{8}")


def _decodings(text: str) -> _Rewrites:
    if not _MAY_BE.search(text):
        return
    for match in _ENCODED.finditer(text):
        start = match.start()
        for first, last, decoded in _WAYS[match.lastgroup or ""](match[0]):
            if decoded != match[0][first:last]:
                yield start + first, start + last, decoded


def _bytes(written: str) -> _Rewrites:
    """Bytes that take three letters each, %41 or =41, letter by letter of what they say."""
    if written == "=\n":
        yield 0, 2, ""
        return
    raw = bytes(int(written[n + 1 : n + 3], 16) for n in range(0, len(written), 3))
    place = 0
    while place < len(raw):
        size = 1 + sum(raw[place] >= limit for limit in (0xC0, 0xE0, 0xF0))
        letter = raw[place : place + size].decode(errors="replace")
        if len(letter) != 1 or letter == "\ufffd":
            size, letter = 1, raw[place : place + 1].decode("latin-1")
        yield place * 3, (place + size) * 3, letter
        place += size


def _broken(written: str) -> _Rewrites:
    """The hyphen of a word that goes on in the next line."""
    yield 0, len(written), ""


def _entity(written: str) -> _Rewrites:
    yield 0, len(written), html.unescape(written)


_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}
_ESCAPE = re.compile(
    r"(\\u[dD][89abAB][0-9A-Fa-f]{2}\\u[dD][c-fC-F][0-9A-Fa-f]{2})"  # two halves of a letter
    r"|\\(?:u\{([0-9A-Fa-f]+)\}|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|x([0-9A-Fa-f]{2})|([0-7]{3})|(.))",
    re.DOTALL,
)


def _escape(written: str) -> _Rewrites:
    for match in _ESCAPE.finditer(written):
        yield *match.span(), _unescaped(match)


def _unescaped(match: re.Match[str]) -> str:
    if match[1]:
        halves = bytes.fromhex(match[1][2:6] + match[1][8:])
        return halves.decode("utf-16-be")
    if match[7]:
        return _ESCAPES.get(match[7], match[7])
    if match[6]:
        return chr(int(match[6], 8))
    code = int(match[2] or match[3] or match[4] or match[5], 16)
    return "\ufffd" if code > 0x10FFFF or 0xD800 <= code < 0xE000 else chr(code)


_PRINTABLE = frozenset(string.printable)


def _block(written: str) -> _Rewrites:
    """A block of base64, or what is between the slashes of one that is a path."""
    decoded = _base64(written)
    if decoded is not None:
        yield 0, len(written), decoded
    elif "/" in written:
        for part in _SEGMENT.finditer(written):
            if (decoded := _base64(part[0])) is not None:
                yield *part.span(), decoded


_SEGMENT = re.compile(r"[^/]{8,}")


def _base64(written: str) -> str | None:
    """What is written in base64, hexadecimal or either's relatives, where it is a text."""
    bare = re.sub(r"[\r\n= :]", "", written).removeprefix("0x")
    if bare.isdigit() or (bare.isalpha() and (bare[1:].islower() or bare.isupper())):
        return None  # a number or a word
    if len(bare) % 2 == 0 and len(bare) >= 16 and _HEXADECIMAL.fullmatch(bare):
        return _text_of(bytes.fromhex(bare))
    standard = bare.replace("-", "+").replace("_", "/")
    try:
        return _text_of(base64.b64decode(standard + "=" * (-len(bare) % 4), validate=True))
    except (binascii.Error, ValueError):
        return None


_HEXADECIMAL = re.compile(r"[0-9A-Fa-f]+")


def _text_of(raw: bytes) -> str | None:
    """*raw* as text; None where it is none."""
    wide = len(raw) % 2 == 0 and raw.count(0) * 3 > len(raw)
    try:
        text = raw.decode("utf-16" if wide else "utf-8")
    except UnicodeDecodeError:
        return None
    is_text = all(letter in _PRINTABLE or letter.isprintable() for letter in text)
    return text if is_text else None


_WAYS: dict[str, Callable[[str], _Rewrites]] = {
    "percent": _bytes,
    "quoted": _bytes,
    "entity": _entity,
    "escape": _escape,
    "broken": _broken,
    "spaced": _block,
    "wrapped": _block,
    "base64": _block,
}
