"""Words that are names, too, and words that stand beside names."""

from __future__ import annotations

from ..words import words

__all__ = ["COMMON", "FORMS", "MONTHS", "TITLES"]

MONTHS = frozenset(words("months"))

#: Written like any other word these name nobody.
COMMON = frozenset(words("common"))

#: Before and behind names.
TITLES = frozenset(words("titles"))

#: Legal forms: a firm is written with and without them.
FORMS = frozenset(words("forms"))
