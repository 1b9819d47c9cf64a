"""Dates of birth, and other dates and times for who wants these, too."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .hits import Hit

__all__ = ["birth_dates", "dates", "day_of"]

_MONTHS = {
    name: number
    for number, names in enumerate(
        (
            "jan january januar jänner janvier gennaio enero janeiro januari ledna leden stycznia "
            "tammikuuta január januára января ianuarie siječnja січня ιανουαρίου ocak януари januarja",
            "feb february februar feber février febbraio febrero fevereiro februari února únor "
            "lutego helmikuuta február februára февраля februarie veljače лютого φεβρουαρίου şubat "
            "февруари februarja",
            "mar march märz mrz mars marzo março maart března březen marca maaliskuuta március марта maerz "
            "martie ožujka березня μαρτίου mart март marca",
            "apr april avril aprile abril dubna duben kwietnia huhtikuuta április apríla апреля aprilie travnja "
            "квітня απριλίου nisan април aprila",
            "may mai mag maggio mayo maio mei maj května květen maja toukokuuta május mája мая svibnja травня "
            "μαΐου mayıs май maja",
            "iunie lipnja червня ιουνίου haziran юни junija "
            "jun june juni juin giugno junio junho června červen czerwca kesäkuuta június júna июня",
            "jul july juli iulie srpnja липня ιουλίου temmuz юли julija juillet luglio julio julho července červenec lipca heinäkuuta július "
            "júla июля",
            "aug august kolovoza серпня αυγούστου ağustos avgusta août agosto augustus srpna srpen sierpnia elokuuta augusztus augusta августа",
            "septembrie rujna вересня σεπτεμβρίου eylül септември "
            "sep sept september septembre settembre septiembre setembro září września syyskuuta "
            "szeptember septembra сентября",
            "octombrie жовтня οκτωβρίου ekim октомври oktobra "
            "oct okt october oktober octobre ottobre octubre outubro října říjen października "
            "lokakuuta október októbra октября",
            "noiembrie studenoga листопада νοεμβρίου kasım ноември "
            "nov november novembre noviembre novembro listopadu listopad listopada marraskuuta "
            "novembra ноября",
            "decembrie prosinca грудня δεκεμβρίου aralık декември "
            "dec dez december dezember décembre dicembre diciembre dezembro prosince prosinec "
            "grudnia joulukuuta decembra декабря",
        ),
        start=1,
    )
    for name in names.split()
}
_MONTH = "(?:" + "|".join(sorted(_MONTHS, key=len, reverse=True)) + r")\.?"
_ORDINAL = r"(?:st|nd|rd|th|er|º|\.)?"
_FULL = re.compile(
    rf"""(?<![A-Za-z0-9_.,/-])(?:
    (?P<year_first>\d{{4}}\.?\s(?:m\.\s)?{_MONTH}\s\d{{1,2}}\.?)
    |(?P<iso>\d{{4}}[-./\ ]\d{{1,2}}[-./\ ]\d{{1,2}}(?:[T\ ]\d\d:\d\d(?::\d\d(?:\.\d{{1,9}})?)?)?)
    |(?P<numbers>\d{{1,2}}\s?[-./]\s?\d{{1,2}}\s?[-./]\s?(?:\d{{4}}|\d{{2}}))
    |(?P<day_first>\d{{1,2}}{_ORDINAL}[\ -]?(?:day\ )?(?:of\ |de\ |d')?{_MONTH}[\ ,-]{{1,2}}(?:de\ |del\ |roku\ )?\d{{4}})
    |(?P<roman>\d{{1,2}}\.\s?[IVX]{{1,4}}\.\s?\d{{4}})
    |(?P<month_first>(?=[^\W\d_]{{3,13}}\.?\ ?\d){_MONTH}\ ?\d{{1,2}}{_ORDINAL},?\ \d{{4}})
    |(?P<cjk>(?:\d{{4}}|[明大昭平令][治正和成]\s?\d{{1,2}})\s?[年년]\s?\d{{1,2}}\s?[月월]\s?\d{{1,2}}\s?[日일])
    )(?![A-Za-z0-9_/]|[.-]\d)""",
    re.IGNORECASE | re.VERBOSE,
)
_SOLID = re.compile(
    r"(?<![A-Za-z0-9_.,/-])(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?![A-Za-z0-9_.,/-])"
)

#: What may be a day where it is called one of birth: in any language, with two digits of a year.
_LOOSE = re.compile(
    r"""(?<![A-Za-z0-9_.,/-])(?:
    \d{1,2}[ .,·/-]{1,2}(?:\d{1,2}|[IVX]{1,4})[ .,·/-]{1,2}(?:\d{4}|'?\d{2})
    |[IVX]{1,4}[ ./-]{1,2}\d{1,2}[ ./-]{1,2}\d{4}
    |\d{1,2}\.?\s[^\s\d]{2,14},?\s(?:\d{4}|'\d{2})|\d{6}|\d{8}
    )(?![A-Za-z0-9_/]|[.-]\d)""",
    re.VERBOSE,
)

_BORN = re.compile(
    r"(?:\bborn|birth|\bb-?day|\bd\.?o\.?b\b|\bb\.|\baged? \d{1,3}|compleanno|cumplea|anniversaire|\bgeb(?:\.|oren|urt)|naissance|\bnée?\b|\bnat[oa]\b|nascita|"
    r"\bnacid|nacimiento|nascid|nascimento|geboorte|\bnar(?:\.|oze|od)|\bur(?:\.|odz)|syntym|synty|"
    r"\bszül|\bfödd?|\bfødt|\bfødd|\bfødsel|födelse|рожд|родил|роден|народ|\bд[./]\s?р\b|\bг\.\s?р\b|"
    r"nașter|născut|nascut|\brojen|\brođen|\bgim[eęi]|\bdzim|\bsünd|\blahir|ngày sinh|เกิด|जन्म|γεννή|γέννησ|doğum|生年月日|出生|"
    r"生まれ|생년월일|출생|ميلاد|לידה)[^\n]{0,35}\n?[^\n]{0,10}$"
    # an asterisk that begins no line of a list
    r"|(?:\*(?=\d)|(?<=[\w ,(])\*)\s?$",
    re.IGNORECASE,
)
#: A day in such a year is a birthday whatever stands around it: few other days are that old.
_OLDEST, _YOUNGEST = 1900, 2008


def birth_dates(text: str) -> Iterator[Hit]:
    """Days of birth: those that are called so, and days that lie long ago."""
    for pattern in (_FULL, _SOLID, _LOOSE):
        for match in pattern.finditer(text):
            day = day_of(match[0])
            called = _BORN.search(text, max(0, match.start() - 50), match.start())
            if called or (day and _OLDEST <= int(day[:4]) <= _YOUNGEST and pattern is _FULL):
                yield Hit("BIRTH_DATE", *match.span(), day or match[0], 1.0 if called else 0.6)


def day_of(written: str) -> str:
    """``YYYYMMDD`` of a day, the day before the month where both may be; else an empty text."""
    written = re.sub(r"[T ]\d\d:.*", "", written)
    numbers = [int(n) for n in re.findall(r"\d+", written)]
    if len(numbers) == 1 and len(written) == 8:
        return written
    named = re.search(r"[^\W\d_]{3,}", re.sub(r"(?i)\b(?:of|del?|d)\b", "", written))
    if named and named[0].casefold() in _MONTHS and len(numbers) == 2:
        return _joined(max(numbers), _MONTHS[named[0].casefold()], min(numbers))
    if len(numbers) != 3:
        return ""
    first, second, third = numbers
    if first > 31:
        return _joined(first, second, third)
    year = third + (0 if third > 99 else 1900 if third > 30 else 2000)
    return _joined(year, second, first) or _joined(year, first, second)


def _joined(year: int, month: int, day: int) -> str:
    return f"{year:04}{month:02}{day:02}" if 1 <= month <= 12 and 1 <= day <= 31 else ""


_PARTIAL = re.compile(
    rf"""(?<![\w.,/-])(?:
    \d{{1,2}}{_ORDINAL}\ (?:of\ )?{_MONTH}(?:\ \d{{2,4}})?|(?=[^\W\d_]{{3,13}}\.?\ \d){_MONTH}\ \d{{1,4}}{_ORDINAL}(?:,\ \d{{4}})?
    |\d{{1,2}}:\d{{2}}(?::\d{{2}})?(?:\ ?[ap]\.?m\.?)?|\d{{1,2}}\ ?[ap]m
    |(?:19|20)\d{{2}}
    |(?:mon|tues|wednes|thurs|fri|satur|sun)day
    )(?!\w)""",
    re.IGNORECASE | re.VERBOSE,
)


def dates(text: str) -> Iterator[Hit]:
    """All dates and times, for who wants none of them to be seen."""
    for pattern in (_FULL, _SOLID, _PARTIAL):
        for match in pattern.finditer(text):
            yield Hit("DATE", *match.span(), day_of(match[0]) or match[0].casefold(), 0.6)
