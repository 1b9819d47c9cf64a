"""Names of people that nobody knows, by the words that stand before them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..known.vocabulary import COMMON, MONTHS
from ..letters import fold
from ..words import words
from .hits import Hit

__all__ = ["introduced"]

_UP = r"[A-ZÀ-ÖØ-ÞĀ-Ž\u0410-\u042f\u0386-\u03ab]"
_WORD = rf"{_UP}[^\W\d_]{{1,24}}(?:['’]{_UP}[^\W\d_]{{1,24}}|-{_UP}?[^\W\d_]{{1,24}}){{0,2}}"
_NAME = (
    rf"(?P<name>(?:{_UP}\.\s?){{0,3}}{_WORD}"
    rf"(?:\s(?:{_UP}\.\s?){{0,2}}(?:(?:van|von|de|der|den|del|della|di|da|dos|du|la|le|al|bin|el)\s){{0,2}}{_WORD}){{0,3}}"
    rf"|(?:{_UP}\.\s?){{1,3}}{_WORD})"
)

_TITLED = re.compile(
    rf"(?<!\w)(?:Mr|Mrs|Ms|Miss|Mx|Dr|Prof|Sir|Rev|Herrn?|Frau|Hr|Fr|Monsieur|Madame|Mme|Mlle|"
    rf"Se[ñn]or(?:a|ita)?|Sr|Sra|Srta|Don|Do[ñn]a|Signora?|Sig|Dott|Pan|Pani|Paní|pan|pani|paní|pana|panem|Ing|Mgr|MUDr|JUDr|"
    rf"Hra|Rouva|Fru|Herr|Dhr|Mevr|Mw|г-н|г-жа|господин|госпожа|κ|κα)\.?\s(?:(?:Dr|Prof|Ing|Mag)\.\s)?{_NAME}"
)
_INTRODUCED = re.compile(
    rf"(?<!\w)(?i:my name is|my name's|i am called|call me|this is|name:|ich hei(?:ß|ss)e|mein name ist|je m'appelle|mi chiamo|me llamo|"
    rf"mi nombre es|meu nome é|jmenuji se|nazywam się|меня зовут|nimeni on|mijn naam is|jag heter|signed,?|sincerely,?|"
    rf"best regards,?|kind regards,?|regards,?|cheers,?|yours truly,?|best,|grüßen,?|grüße,?|cordialement,?|saludos,?|saluti,?|"
    rf"s pozdravem,?|pozdrawiam,?|dear|hi|hello|hey|hallo|liebe[rs]?|cher|chère|querid[oa]|car[oa]|ahoj|dobrý den,?|cześć|hei|hej)"
    rf"[ \t]*\n{{0,2}}[ \t]*{_NAME}"
)


def introduced(text: str) -> Iterator[Hit]:
    """What stands behind a title, a greeting or a farewell and begins with a capital."""
    for match in _TITLED.finditer(text):
        yield _hit(match, 0.9)
    for match in _INTRODUCED.finditer(text):
        first = fold(match["name"].split()[0])
        if first not in COMMON and first not in MONTHS and first not in _NOBODY:
            yield _hit(match, 0.83)


_NOBODY = frozenset(words("nobody"))


def _hit(match: re.Match[str], score: float) -> Hit:
    words = [fold(word) for word in re.findall(r"[^\W\d_]+", match["name"])]
    return Hit("PERSON", *match.span("name"), " ".join(words), score)
