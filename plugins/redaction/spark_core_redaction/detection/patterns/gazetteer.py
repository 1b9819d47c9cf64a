"""Names of people that nobody knows, by the given names that are common; countries and peoples."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..known.vocabulary import COMMON, MONTHS
from ..letters import fold, word_pattern
from ..words import words
from .hits import Hit

__all__ = ["countries", "given_names", "peoples"]

_GIVEN = frozenset(words("given")) - COMMON - MONTHS
_UP = r"[A-ZÀ-ÖØ-ÞĀ-Ž]"
_SPELT = rf"{_UP}[^\W\d_]{{1,24}}+"

#: Words with capitals, of which the first may be a given name; initials may stand between.
_NAME = re.compile(
    rf"(?<![\w@])(?:{_UP}\.\s)?(?P<given>{_SPELT})(?:-{_SPELT})?"
    rf"(?P<rest>(?:[ \u00a0](?:{_UP}\.?[ ]|{_UP}\.){{0,2}}(?:(?:van|von|de|der|den|del|della|di|da|dos|du|la|le|al|bin|el|ten|ter)[ ]){{0,2}}"
    rf"(?:Mc|Mac|O['’]|D['’])?{_SPELT}(?:-{_SPELT})?){{0,3}})"
)


def given_names(text: str) -> Iterator[Hit]:
    """A common given name in capitals, with the names that follow it."""
    place = 0
    while match := _NAME.search(text, place):
        if fold(match["given"]) not in _GIVEN:
            place = match.end("given")
            continue
        end = _end(text, match)
        names = " ".join(
            map(fold, word_pattern(text[match.start() : end]).findall(text[match.start() : end]))
        )
        yield Hit("PERSON", match.start(), end, names, 0.82)
        place = end


def _end(text: str, match: re.Match[str]) -> int:
    """Where the name ends: before words with capitals that are no names."""
    end = match.end("given")
    for word in re.finditer(r"\S+", match["rest"]):
        bare = fold(word[0].strip(".,"))
        if len(bare) > 2 and bare in _NO_FAMILY:
            break
        end = match.start("rest") + word.end()
    return max(end, match.start("rest"))


#: Words that stand behind a given name, begin with a capital, and are no family name.
_NO_FAMILY = MONTHS | frozenset(words("nobody"))


def countries(text: str) -> Iterator[Hit]:
    """Countries by their names."""
    return (Hit("LOCATION", *m.span(), m[0].casefold(), 0.7) for m in _COUNTRY.finditer(text))


def peoples(text: str) -> Iterator[Hit]:
    """Nationalities, faiths and the like."""
    return (Hit("GROUP", *m.span(), m[0].casefold(), 0.7) for m in _PEOPLE.finditer(text))


_LONG = (
    "United States of America|United States|United Kingdom|Great Britain|United Arab Emirates|"
    "South Africa|South Korea|North Korea|New Zealand|Saudi Arabia|Czech Republic|Sri Lanka|"
    "Costa Rica|El Salvador|Puerto Rico|Hong Kong|Ivory Coast|Dominican Republic|San Marino|"
    "Bosnia and Herzegovina|North Macedonia|Papua New Guinea|Sierra Leone|Burkina Faso"
)
_COUNTRY = re.compile(rf"(?<!\w)(?:{_LONG}|{'|'.join(words('countries'))})(?!\w)")
_PEOPLE = re.compile(rf"(?<!\w)(?:{'|'.join(words('peoples'))})s?(?!\w)")
