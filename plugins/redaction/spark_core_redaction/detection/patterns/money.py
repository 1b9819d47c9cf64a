"""Accounts, cards and amounts of money."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .hits import Hit, compact

__all__ = ["amounts", "cards", "ibans"]

#: The length of an IBAN by its country.
_LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22,
    "BI": 27, "BR": 29, "BY": 28, "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DJ": 27,
    "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18, "FK": 18, "FO": 18, "FR": 27,
    "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HN": 28, "HR": 21, "HU": 28,
    "IE": 22, "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28,
    "LC": 32, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22,
    "MK": 19, "MN": 20, "MR": 27, "MT": 31, "MU": 30, "NI": 28, "NL": 18, "NO": 15, "OM": 23,
    "PK": 24, "PL": 28, "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22, "RU": 33, "SA": 24,
    "SC": 31, "SD": 18, "SE": 24, "SI": 19, "SK": 24, "SM": 27, "SO": 23, "ST": 25, "SV": 28,
    "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20, "YE": 30,
}  # fmt: skip

_IBAN = re.compile(
    r"(?:(?<![A-Za-z0-9])|(?<=(?i:iban)))[A-Za-z]{2}\d{2}(?:[ .\-\u00a0]{0,2}[A-Za-z0-9]){10,30}"
)


def ibans(text: str) -> Iterator[Hit]:
    """Account numbers by their shape; the check digits count for nothing."""
    for match in _IBAN.finditer(text):
        if hit := _iban(text, match):
            yield hit


def _iban(text: str, match: re.Match[str]) -> Hit | None:
    places = [p for p in range(*match.span()) if text[p].isalnum()]
    length = _LENGTHS.get(text[places[0] : places[0] + 2].upper())
    if length is None or len(places) < length or _goes_on(text, places[length - 1] + 1):
        # Of no known country, or not as long as one: what stands together in groups.
        end = _end_of_groups(text, match)
        length = sum(place < end for place in places)
    if length < 14:
        return None
    end = places[length - 1] + 1
    value = compact(text[match.start() : end])
    if sum(map(str.isdigit, value)) < 8:
        return None
    return Hit("IBAN", match.start(), end, value, 1.0 if _is_valid(value) else 0.8)


def _goes_on(text: str, end: int) -> bool:
    return text[end : end + 1].isalnum()


def _end_of_groups(text: str, match: re.Match[str]) -> int:
    """The end of the groups that have digits, as words that follow mostly have none."""
    end = match.start()
    for group in re.finditer(r"[A-Za-z0-9]+", match[0]):
        if not any(map(str.isdigit, group[0])) and not group[0].isupper():
            break
        end = match.start() + group.end()
    while text[end : end + 1].isalnum():
        end += 1
    return min(end, match.end())


def _is_valid(value: str) -> bool:
    digits = "".join(str(int(c, 36)) for c in value[4:] + value[:4])
    return int(digits) % 97 == 1


_CARD = re.compile(
    r"(?<![\d.,])(?<![A-Za-z0-9_]-)(?:\d{4}[ \-.\u2013/]{1,2}){3}\d{1,7}(?:[ \-.]\d{1,3})?(?!\d)"
    r"|(?<![\d.,])\d{4}[ \-.]{1,2}\d{6}[ \-.]{1,2}\d{4,5}(?!\d)"
    r"|(?<![A-Za-z0-9_])(?:\d{4}_){3}\d{4}(?![A-Za-z0-9_])"
    r"|(?<![A-Za-z0-9_.,-])[3-6](?:\d{5} \d{10}|\d{7} \d{8})(?![A-Za-z0-9_-])"
    r"|(?<![A-Za-z0-9_])\d{12,19}(?![A-Za-z0-9_])"
)


def cards(text: str) -> Iterator[Hit]:
    """Payment cards: four groups, the shapes of four-six-five, or all digits in one."""
    for match in _CARD.finditer(text):
        digits = compact(match[0])
        valid = passes_luhn(digits)
        grouped = not match[0].isdigit()
        if len(digits) < 12 or len(digits) > 23:
            continue
        if grouped or valid or (len(digits) >= 14 and digits[0] in "23456") or digits[0] in "45":
            yield Hit("CARD", *match.span(), digits, 1.0 if valid else 0.8)


def passes_luhn(digits: str) -> bool:
    """Whether the last digit is the check digit of those before."""
    doubled = (int(d) * 2 for d in digits[-2::-2])
    return (sum(map(int, digits[::-2])) + sum(d - 9 * (d > 9) for d in doubled)) % 10 == 0


_CODES = (
    "EUR|USD|GBP|CHF|CZK|PLN|HUF|SEK|NOK|DKK|RON|BGN|RSD|TRY|RUB|UAH|JPY|CNY|RMB|KRW|INR|AUD|CAD|"
    "NZD|BRL|MXN|ZAR|ILS|AED|SAR|THB|SGD|HKD|BTC|ETH"
)
_WORDS = (
    "euros?|dollars?|pounds?|francs?|franken|korun[ay]?|zloty(?:ch)?|forint|yen|yuan|kč|kr|zł|ft|"
    "lei|rubles?|bucks|円|元|원|руб(?:лей|ля|\\.)?"
)
_NUMBER = r"\d{1,3}(?:[ .,'\u2019\u202f\u00a0]\d{3}){1,5}(?:[.,]\d{1,2})?|\d{1,15}(?:[.,]\d{1,2})?"
_SCALE = r"(?:\s?(?:k|m|bn|mio\.?|mrd\.?|million(?:s|en)?|billion(?:s|en)?|thousand|tausend|tis\.?|mil\.?)(?!\w))?"
_AMOUNT = re.compile(
    rf"(?<![\w])(?:(?:{_CODES})\s?|(?:US|A|C|NZ|HK|S|R)?[$€£¥₹₽₴₩₺₪₫฿]\s?)[-+]?(?:{_NUMBER}){_SCALE}(?!\d)(?:[,.][-–])?"
    rf"|(?<![\w.,])[-+]?(?:{_NUMBER}){_SCALE}(?:[,.][-–])?\s?(?:[$€£¥₹₽₴₩₺₪₫฿]|(?:{_CODES}|{_WORDS})(?!\w))",
    re.IGNORECASE,
)


def amounts(text: str) -> Iterator[Hit]:
    """Amounts with their currency."""
    for match in _AMOUNT.finditer(text):
        yield Hit("MONEY", *match.span(), re.sub(r"\s", "", match[0]).upper())
