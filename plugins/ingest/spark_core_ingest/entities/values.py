"""What people write into a CRM's columns, in the one form in which it can be compared.

Every function takes a value as it was read and gives what is to be compared, or nothing where
the value says nothing. All of them are pure: the same value gives the same result everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import date
from functools import lru_cache
from typing import Any

__all__ = [
    "address_parts",
    "birth_date",
    "email",
    "generation",
    "house_numbers",
    "identifier",
    "is_role",
    "name_words",
    "organization",
    "phone",
    "postcode",
    "split_name",
    "trigrams",
]

#: What is written where nothing is known.
_NOTHING = frozenset(
    {"", "-", "--", ".", "?", "n/a", "na", "none", "null", "nil", "unknown", "tbd", "xxx"}
)

#: The part before the @ of addresses that belong to an office and to nobody.
_ROLES = frozenset(
    [
        "abuse",
        "accounting",
        "accounts",
        "accueil",
        "admin",
        "administrator",
        "amministrazione",
        "bestellung",
        "bewerbung",
        "billing",
        "bookings",
        "buchhaltung",
        "careers",
        "compta",
        "comptabilite",
        "contabilidad",
        "contact",
        "contactus",
        "customerservice",
        "donotreply",
        "einkauf",
        "empfang",
        "enquiries",
        "example",
        "fakturace",
        "feedback",
        "hello",
        "help",
        "helpdesk",
        "hi",
        "hostmaster",
        "hr",
        "info",
        "information",
        "inquiries",
        "invoices",
        "it",
        "jobs",
        "kanzlei",
        "kontakt",
        "mail",
        "mailbox",
        "marketing",
        "media",
        "na",
        "news",
        "newsletter",
        "nobody",
        "noemail",
        "nomail",
        "none",
        "noreply",
        "obchod",
        "office",
        "orders",
        "personal",
        "post",
        "postmaster",
        "praxis",
        "press",
        "privacy",
        "purchasing",
        "recepce",
        "reception",
        "rechnung",
        "redaktion",
        "root",
        "sales",
        "secretary",
        "security",
        "sekretariat",
        "service",
        "support",
        "team",
        "test",
        "ucetni",
        "unknown",
        "vendite",
        "ventas",
        "verkauf",
        "vertrieb",
        "webmaster",
    ]
)

#: Words before and behind a name that are no part of it.
_TITLES = frozenset(
    [
        "mr",
        "mrs",
        "ms",
        "miss",
        "mx",
        "dr",
        "prof",
        "professor",
        "sir",
        "dame",
        "rev",
        "herr",
        "frau",
        "dipl",
        "ing",
        "bsc",
        "msc",
        "mba",
        "phd",
        "md",
        "jr",
        "sr",
        "ii",
        "iii",
        "iv",
        "esq",
        "mudr",
        "judr",
        "phdr",
        "rndr",
        "paeddr",
        "mvdr",
        "thdr",
        "mgr",
        "bc",
        "csc",
        "drsc",
        "mag",
        "dkfm",
        "llm",
    ]
)

#: Legal forms: a firm is written with and without them.
_FORMS = frozenset(
    [
        "ab",
        "ag",
        "as",
        "asa",
        "bv",
        "co",
        "company",
        "corp",
        "corporation",
        "doo",
        "gbr",
        "gesmbh",
        "gmbh",
        "inc",
        "incorporated",
        "kg",
        "kft",
        "llc",
        "llp",
        "ltd",
        "limited",
        "nv",
        "oy",
        "oyj",
        "plc",
        "pty",
        "sa",
        "sarl",
        "sas",
        "se",
        "spa",
        "spol",
        "sro",
        "srl",
        "sl",
        "aps",
        "zoo",
        "the",
        "and",
        "und",
        "et",
        "mbh",
        "ohg",
    ]
)

#: Words that begin a family name of several words.
_PARTICLES = frozenset(
    [
        "van",
        "von",
        "der",
        "den",
        "de",
        "del",
        "della",
        "di",
        "da",
        "dos",
        "du",
        "la",
        "le",
        "ter",
        "ten",
        "zu",
        "al",
        "bin",
        "ibn",
    ]
)

_WORD = re.compile(r"[a-z0-9]+")


def _known(value: Any) -> str:
    """*value* as text; ``""`` where somebody wrote that they know nothing."""
    text = "" if value is None else str(value).strip()
    return "" if text.casefold() in _NOTHING else text


@lru_cache(maxsize=50_000)
def _latin(text: str) -> str:
    """*text* in lower-case Latin letters without marks, whatever script it is in."""
    if text.isascii():
        return text.lower()
    from anyascii import anyascii

    return anyascii(text).lower()


#: Titles that are written with dots between their letters.
_DOTTED = re.compile(r"\b(?:ph\.\s?d|m\.d|[bmc]\.\s?sc|m\.\s?b\.\s?a|ll\.\s?m|[bm]\.\s?eng)\b\.?")

#: What tells a father from a son, at the end of a name. The short ones are names, too.
_GENERATION = re.compile(
    r"[\s,]+(?:(?P<younger>jr\.?|junior|jun\.|ml\.)|(?P<elder>sr\.?|senior|sen\.|st\.)|"
    r"(?P<number>i{2,3}|iv)\.?)\s*$"
)


def generation(value: Any) -> str | None:
    """``younger``, ``elder``, or a number such as ``iii``, where a name says so."""
    found = _GENERATION.search(_latin(_known(value)))
    return found and (found["number"] or found.lastgroup)


def name_words(value: Any) -> list[str]:
    """The words of a name or of a part of one, without titles: ``Dr. O'Hara`` is ``ohara``.

    What is written with a hyphen is one word.
    """
    text = _GENERATION.sub("", _DOTTED.sub("", _latin(_known(value))))
    text = re.sub(r"['`]|(?<=\w)-(?=\w)", "", text)
    words = _WORD.findall(text)
    return [word for word in words if word not in _TITLES] or words


def split_name(value: Any) -> tuple[list[str], list[str]]:
    """The words of a whole name that are given names, and those that are the family's.

    ``Lovelace, Ada`` and ``Ada King Lovelace`` are understood; a single word is a family name,
    since that is what it is compared with first. Words that name no person come out somehow.
    """
    text = _GENERATION.sub("", _latin(_known(value)))
    if "@" in text:  # an address where a name should be
        return [], []
    before, comma, behind = _DOTTED.sub("", text.casefold()).partition(",")
    if comma and name_words(behind) and any(word not in _TITLES for word in name_words(behind)):
        return name_words(behind), name_words(before)
    words = name_words(before if comma else text)
    family = len(words) - 1
    while family > 1 and words[family - 1] in _PARTICLES:
        family -= 1
    return words[: max(family, 0)], words[max(family, 0) :]


def email(value: Any) -> str:
    """An address in lower case, without a name around it and without what follows a ``+``."""
    text = _known(value)
    if "<" in text:
        text = text.partition("<")[2].partition(">")[0]
    text = text.strip().casefold().removeprefix("mailto:")
    local, at, domain = text.rpartition("@")
    local = local.partition("+")[0]
    if not (at and local and "." in domain) or any(c.isspace() for c in text):
        return ""
    return f"{local}@{domain.rstrip('.')}"


def is_role(address: str) -> bool:
    """Whether an e-mail address is an office's, whoever sits there: ``info@``, ``sales@``."""
    local = address.partition("@")[0]
    return re.sub(r"[^a-z]", "", local) in _ROLES


@lru_cache(maxsize=50_000)
def phone(value: Any, region: str | None = None) -> str:
    """A number with its country: ``+436641234567``; without one the digits behind the zeros.

    *region*, such as ``AT``, is the country of numbers that are written without. A number
    that says its country is never the same as one that says another.
    """
    import phonenumbers

    text = _known(value)
    digits = re.sub(r"\D", "", text)
    if len(digits) < 6 or len(set(digits)) == 1 or "1234567890".startswith(digits.lstrip("0")):
        return ""
    if text.startswith("00"):
        text = "+" + text[2:]
    try:
        parsed = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return digits.lstrip("0")
    # E.164 leaves extensions out; they tell the people of one office apart.
    written = phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)
    return f"{written}x{parsed.extension}" if parsed.extension else written


_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_SEPARATED = re.compile(r"(\d{1,4})\D+(\d{1,2})\D+(\d{1,4})")
_NAMED = re.compile(
    r"(\d{1,2})\W*([a-z]{3})[a-z]*\W*(\d{4})|([a-z]{3})[a-z]*\W*(\d{1,2})\W+(\d{4})"
)


@lru_cache(maxsize=50_000)
def birth_date(value: Any) -> str:
    """A day as ``YYYYMMDD``: of ISO, ``31.12.1999``, ``12/31/1999``, ``31 Dec 1999``.

    With slashes the month comes first where only that gives a day, else the day does. Eight
    digits that are no day are kept, since one of them may be wrong. ``1900-01-01`` and the
    like, which programs fill in, say nothing.
    """
    text = _latin(_known(value)).partition("t0")[0].partition(" 0")[0]
    found = _day(text)
    return "" if found in ("19000101", "19700101", "00010101", "99991231", "00000000") else found


def _day(text: str) -> str:
    if re.fullmatch(r"\d{8}", text):
        return text
    if separated := _SEPARATED.match(text):
        first, second, third = separated.groups()
        orders = [(first, second, third)] if len(first) == 4 else [(third, second, first)]
        if "/" in text and len(first) < 4:
            orders.append((third, first, second))
        for year, month, day in orders:
            if written := _iso(year, int(month), int(day)):
                return written
    if named := _NAMED.search(text):
        day, month, year = named.group(1, 2, 3) if named[1] else named.group(5, 4, 6)
        if month in _MONTHS:
            return _iso(year, _MONTHS.index(month) + 1, int(day))
    return ""


def _iso(year: str, month: int, day: int) -> str:
    if len(year) == 2:  # a person of our days
        year = f"{'20' if int(year) <= 25 else '19'}{year}"
    try:
        return date(int(year), month, day).strftime("%Y%m%d").zfill(8)
    except ValueError:
        return ""


def postcode(value: Any) -> str:
    """A postcode in capitals without spaces; of ``4011.0``, as spreadsheets have it, the number."""
    text = re.sub(r"\.0$", "", _latin(_known(value)))
    return "".join(_WORD.findall(text)).upper()


def address_parts(value: Any) -> list[str]:
    """What stands between the commas and line ends of an address, each without spaces."""
    parts = re.split(r"[,;\n]", _latin(_known(value)))
    return [joined for part in parts if (joined := "".join(_WORD.findall(part)))]


def house_numbers(value: Any) -> list[str]:
    """The numbers in an address, without leading zeros."""
    numbers = re.findall(r"\d+", re.sub(r"(?<=\d)\.0\b", "", _latin(_known(value))))
    return [number.lstrip("0") for number in numbers if number.strip("0")]


def organization(value: Any) -> str:
    """A firm's name without its legal form: ``ACME Pumps, s.r.o.`` is ``acme pumps``."""
    text = _latin(_known(value)).replace("&", " and ")
    text = re.sub(
        r"\b((?:[a-z]\.\s?)+[a-z]?)(?=\W|$)", lambda m: re.sub(r"\W", "", m[0]) + " ", text
    )
    words = _WORD.findall(text)
    return " ".join(word for word in words if word not in _FORMS) or " ".join(words)


def identifier(value: Any) -> str:
    """A number of a register or a passport, without spaces and punctuation; zeros say nothing."""
    text = "".join(_WORD.findall(_latin(re.sub(r"\.0$", "", _known(value)))))
    return "" if set(text) <= {"0"} else text.upper()


def trigrams(parts: Iterable[str]) -> list[int]:
    """The groups of three letters in *parts*, as sorted numbers below 2^16."""
    return sorted({_number(gram) for part in parts for gram in _grams(f"  {part} ")})


def _grams(text: str) -> Iterator[str]:
    return (text[start : start + 3] for start in range(len(text) - 2))


_DIGITS = {letter: digit for digit, letter in enumerate(" abcdefghijklmnopqrstuvwxyz0123456789")}


@lru_cache(maxsize=65_536)
def _number(gram: str) -> int:
    first, second, third = (_DIGITS[letter] for letter in gram)
    return (first * 37 + second) * 37 + third
