"""Names of firms that nobody knows, by the legal form behind them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..letters import fold, word_pattern
from .hits import Hit

__all__ = ["firms"]

_UP = r"[A-ZÀ-ÖØ-ÞĀ-Ž\u0410-\u042f0-9]"
_NAMES = rf"{_UP}[\w'’.&/-]{{0,30}}+"
_FORM = (
    r"(?:Inc|Incorporated|Corp|Corporation|Co|Company|LLC|LLP|Ltd|Limited|PLC|plc|Pty|GmbH|AG|KG|OHG|mbH|SE|KGaA|S\.?A\.?S?|"
    r"SARL|S\.?r\.?l|S\.?p\.?A|SpA|B\.?V|N\.?V|AB|ASA?|A/S|ApS|Oyj?|s\.?\s?r\.?\s?o|a\.?\s?s|sp\.\s?z\s?o\.?\s?o|Kft|Zrt|Nyrt|"
    r"d\.?o\.?o|Lda|Ltda|ООО|ОАО|ЗАО|Bhd|Holdings?|Group|Bancorp|ETF|Fund|Trust|REIT|Associates|& Sons|and Sons)"
)
_FIRM = re.compile(
    rf"(?<![\w@.])(?P<names>{_NAMES}(?:(?:,?[ \u00a0]|[ ](?:&|and|of|und|et|e|y|a|de|for)[ ]){_NAMES}){{0,6}}?),?[ ]"
    rf"(?:{_FORM}\.?(?:[ ]{_FORM}\.?){{0,2}})(?!\w)"
)
#: A name that ends in a legal form without a space before it: ACME CO.LTD., HulicInc.
_GLUED = re.compile(
    rf"(?<![\w@.])(?:{_NAMES}[ ]){{0,3}}[A-Z][\w&]{{2,30}}?(?:CO\.,?LTD|Inc|INC|LTD|Corp|GmbH)\.(?!\w)"
)


def firms(text: str) -> Iterator[Hit]:
    """Words with capitals that end in a legal form."""
    for pattern in (_FIRM, _GLUED):
        for match in pattern.finditer(text):
            spelt = word_pattern(match[0]).findall(match[0])
            yield Hit("ORGANIZATION", *match.span(), " ".join(map(fold, spelt)), 0.85)
