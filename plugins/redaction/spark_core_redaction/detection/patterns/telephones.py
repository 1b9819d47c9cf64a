"""Telephone numbers of any country, by the ways in which they are written."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .hits import Hit

__all__ = ["number_of", "telephones"]

_EXTENSION = (
    r"(?:\s?(?:,\s?)?(?:ext\.?|extension|x|w\.|kl\.|dw\.?|durchwahl|#)\s?:?\s?\d{1,6}(?!\d))?"
)
_GAP = r"[ \u00a0.\-\u2010-\u2015/()]{0,3}"

#: With the country: +43 (0)664 123-4567, 001-212-555-0123, 0043 1 234567.
_ABROAD = re.compile(
    rf"(?<![A-Za-z\d_+])(?:\(?\+{_GAP}|(?<![\d.,/-])00(?=[ \-./(]?[1-9]))(?:\d{_GAP}){{6,17}}(?<=\d){_EXTENSION}"
    rf"(?!\d)",
    re.IGNORECASE,
)

#: As North America writes: (212) 555-0123, 212.555.0123, 1-212-555-0123.
_AMERICAN = re.compile(
    rf"(?<![A-Za-z\d_.,-])(?:1[ .\-])?(?:\(\d{{3}}\)[ .\-]{{0,2}}|\d{{3}}[ .\-])\d{{3}}[ .\-]\d{{4}}{_EXTENSION}(?![\d-])",
    re.IGNORECASE,
)

#: With a leading zero or an area in brackets: 0664/123 45 67, (02) 9876 5432, 06-12345678.
_AT_HOME = re.compile(
    rf"(?<![A-Za-z\d_.,:/-])(?:(?:8[ .\-/]{{0,2}})?\(\d{{1,5}}\){_GAP}|\(0\d[ ./-]\d{{1,4}}\){_GAP}|0{_GAP}(?=[1-9]))(?:\d[ \u00a0.\-/]{{0,2}}){{5,13}}(?<=\d){_EXTENSION}(?![\d:])",
    re.IGNORECASE,
)

#: In groups without a zero: 603 123 456, 91 234 56 78, 9123 4567, 41 12 34 56.
_GROUPED = re.compile(
    rf"(?<![A-Za-z\d_.,:/+-])\d{{2,4}}(?:([ \u00a0.\-/])\d{{2,4}})(?:\1\d{{2,4}}){{1,4}}{_EXTENSION}(?![A-Za-z\d_:/]|[.,\-]\d)",
    re.IGNORECASE,
)
_PAIR = re.compile(
    rf"(?<![A-Za-z\d_.,:/+-])\d{{3,5}}[ .\-/]\d{{4,6}}{_EXTENSION}(?![A-Za-z\d_:/]|[.,\-]\d)",
    re.IGNORECASE,
)

#: All digits in one.
_SOLID = re.compile(r"(?<![A-Za-z\d_.,:/+#-])\d{7,12}(?![A-Za-z\d_:/]|[.,\-]\d)")

_CONTEXT = re.compile(
    r"(?:phone|mobile|mobil|cell|call|tel|fax|ring|sms|text me|whatsapp|signal|viber|hotline|"
    r"handy|rufnummer|anruf|nummer ist|erreich|téléphone|portable|appel|telefon|telefono|"
    r"cellulare|chiama|teléfono|móvil|llam|telemóvel|contact(?:o|to)?|ligue|telefoon|mobiel|"
    r"bel(?:len)?|ring|puhelin|soita|puh|gsm|komórk|zadzwo|volej|volat|числ|тел|моб|звон|"
    r"τηλ|κιν|電話|携帯|电话|手机|전화|휴대|هاتف|טלפון|number is|reach (?:me|him|her|us)|dial)"
    r"[^\n\d]{0,25}$",
    re.IGNORECASE,
)

_DATE = re.compile(
    r"(?:19|20)\d\d([-./ ])\d{1,2}\1\d{1,2}|\d{1,2}([-./ ])\d{1,2}\2(?:19|20)\d\d"
    r"|(?:19|20)\d\d[ \-](?:19|20)\d\d"
)
_CURRENCY = re.compile(r"\s?(?:[$€£¥₹₽]|EUR|USD|GBP|CHF|CZK|PLN|HUF|Kč|zł|Ft|kr|円|元|%)")


def telephones(text: str) -> Iterator[Hit]:
    """Everything that is written like a telephone number."""
    if _SOME_DIGITS.search(text) is None:
        return
    for pattern, score in ((_ABROAD, 1.0), (_AMERICAN, 0.9), (_AT_HOME, 0.8)):
        for match in pattern.finditer(text):
            if not _DATE.fullmatch(match[0]) and not _is_amount(text, match):
                yield _hit(match, score)
    for pattern in (_GROUPED, _PAIR, _SOLID):
        for match in pattern.finditer(text):
            if _may_be(text, match, pattern):
                yield _hit(match, 0.6)


_SOME_DIGITS = re.compile(r"\d\D{0,3}\d\D{0,3}\d\D{0,3}\d\D{0,3}\d")


def _hit(match: re.Match[str], score: float) -> Hit:
    start, end = match.span()
    if match[0].startswith("(") and ")" not in match[0]:
        start += 1  # a bracket that closes behind the number, if at all
    return Hit("PHONE", start, end, number_of(match[0]), score)


def number_of(written: str) -> str:
    """The digits of a number, with a ``+`` where it says its country."""
    number, _, extension = re.sub(
        r"(?i)[a-z#:.,\s]*(?:ext|x|w|kl|dw|#)[a-z:.\s]*", "x", written
    ).partition("x")
    digits = re.sub(r"\D", "", number.replace("(0)", ""))
    if number.strip(" (").startswith("+"):
        digits = f"+{digits}"
    elif digits.startswith("00"):
        digits = f"+{digits[2:]}"
    inner = re.sub(r"\D", "", extension)
    return f"{digits}x{inner}" if inner else digits


def _is_amount(text: str, match: re.Match[str]) -> bool:
    return _CURRENCY.match(text, match.end()) is not None and "+" not in match[0]


def _may_be(text: str, match: re.Match[str], pattern: re.Pattern[str]) -> bool:
    """Whether digits in groups are a telephone number, and no date, amount or range."""
    written = match[0]
    digits = sum(map(str.isdigit, written))
    if _DATE.fullmatch(written) or _is_amount(text, match) or digits > 15:
        return False
    if _CONTEXT.search(text, max(0, match.start() - 45), match.start()):
        return digits >= 6
    if pattern is _GROUPED:
        return _looks_grouped(written)
    return digits >= 9 if pattern is _SOLID else _HALVES.fullmatch(written) is not None


#: Eight digits in two groups, as in Singapore, Hong Kong and Norway; not a range of round numbers.
_HALVES = re.compile(r"[2-9]\d{3}[ -](?!\d{2}00(?!\d))\d{4}(?!\d)(?:\D.*)?")


def _looks_grouped(written: str) -> bool:
    groups = re.findall(r"\d+", written)
    digits = sum(map(len, groups))
    if set(groups[1:]) == {"000"}:
        return False  # 100 000 000
    if all(len(group) == 3 for group in groups[1:]) and "." in written and len(groups[0]) < 3:
        return False  # 1.234.567
    return 8 <= digits <= 15 and len(groups) >= 3
