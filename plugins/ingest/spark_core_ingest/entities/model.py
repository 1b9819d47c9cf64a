"""How much each agreement and each difference says: Fellegi and Sunter's model, with fixed weights.

``m`` is how often two records of one person look so, ``u`` how often two of different people do;
log2(m/u) is the weight, in bits. They are not learned from the data, so that five people are told
apart as well as five million, the same on every machine and whatever is added. What is measured
is how often a name occurs: agreeing on a rare one says more. ``docs/explanation/entities.md``
has the figures, and decision 0021 the reasons.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

__all__ = [
    "CERTAIN",
    "COMPARISONS",
    "DOUBTS",
    "SUGGESTED",
    "TRUST",
    "Comparison",
    "Doubt",
    "Level",
    "settings",
]

#: Up to so many records count as so many: what two of a few people share by chance is no proof.
SMALL = 1000

#: Pairs are compared because they share something; so many per record are expected to be one.
EXPECTED = 16

#: From this probability on a pair that nothing speaks against is one person.
CERTAIN = 0.95

#: From this probability on a pair is worth a person's look.
SUGGESTED = 0.5


@dataclass(frozen=True)
class Level:
    """One way in which two records may agree; the first that holds counts."""

    name: str
    condition: str
    m: float
    u: float
    frequency_of: str | None = None


@dataclass(frozen=True)
class Comparison:
    """The ways in which two records may agree in one respect, the best first; else they differ.

    ``known`` holds where both say something.
    """

    name: str
    known: str
    levels: Sequence[Level]
    differ: tuple[float, float]

    def code(self, level: str) -> int:
        """What Splink calls *level*: 0 where they differ, more the better they agree."""
        names = [each.name for each in self.levels]
        return len(names) - names.index(level)

    def level(self, code: int) -> Level | None:
        """The level that Splink calls *code*, none where they differ."""
        return self.levels[len(self.levels) - code] if code > 0 else None


def _both(column: str) -> str:
    return f"len({column}_l) > 0 AND len({column}_r) > 0"


def _shared(column: str) -> str:
    return f"list_has_any({column}_l, {column}_r)"


def _any_close(column: str, most: int) -> str:
    """Whether two values, one of each, can be made equal by at most *most* changes."""
    return (
        f"list_min(flatten(list_transform({column}_l, lambda a: list_transform({column}_r, "
        f"lambda b: damerau_levenshtein(a, b))))) <= {most}"
    )


def _name(column: str, other: str, least: float) -> str:
    return (
        f"jaro_winkler_similarity({column}_l, {column}_r) >= {least} OR "
        f"(jaro_winkler_similarity({column}_l, {other}_r) >= {least} AND "
        f"jaro_winkler_similarity({other}_l, {column}_r) >= {least})"
    )


_EXCHANGED = "given_l = family_r AND family_l = given_r"

#: Of a single word nobody knows whether it is a given name.
_LONE = "(given_l IS NULL AND family_l = given_r) OR (given_r IS NULL AND family_r = given_l)"

_BEGINS = "starts_with(given_l, given_r) OR starts_with(given_r, given_l)"


def _feminine(man: str, woman: str) -> str:
    """Whether *woman* is the form of the given name *man* that women have: Jan, Jana."""
    forms = [f"{man} || '{ending}'" for ending in ("a", "e", "ie", "ina", "ine", "ella", "iska")]
    forms.append(f"left({man}, -2) || right({man}, 1) || 'a'")  # Pavel, Pavla
    alike = f"{woman} IN ({', '.join(forms)}) AND NOT ends_with({man}, 'ann')"
    italian = f"ends_with({man}, 'o') AND {woman} = left({man}, -1) || 'a'"
    return f"({alike}) OR ({italian}) OR {man} = {woman} || 's'"  # Andreas, Andrea


#: Of a man and a woman, who may be a couple, or of two generations.
_COUPLE = f"{_feminine('given_l', 'given_r')} OR {_feminine('given_r', 'given_l')}"

_HOUSE = "len(list_intersect(houses_l, houses_r)) = least(len(houses_l), len(houses_r))"

_ALIKE = "2 * len(list_intersect(grams_l, grams_r)) >= {least} * (len(grams_l) + len(grams_r))"

_PHONE = (
    "list_has_any(phones_l, phones_r) OR list_has_any(bare_l, tails_r) "
    "OR list_has_any(tails_l, bare_r)"
)

#: One letter: numbered addresses differ in a digit, and are different people's.
_CLOSE_EMAIL = (
    "list_min(flatten(list_transform(emails_l, lambda a: list_transform(emails_r, lambda b: "
    "CASE WHEN least(length(a), length(b)) >= 12 AND regexp_replace(a, '[^0-9]', '', 'g') = "
    "regexp_replace(b, '[^0-9]', '', 'g') THEN damerau_levenshtein(a, b) END)))) <= 1"
)

#: Long numbers are mistyped; short ones are counted up.
_CLOSE_IDS = (
    "list_min(flatten(list_transform(ids_l, lambda a: list_transform(ids_r, lambda b: "
    "CASE WHEN least(length(split_part(a, '=', -1)), length(split_part(b, '=', -1))) >= 8 "
    "THEN damerau_levenshtein(a, b) END)))) <= 1"
)

_FIRM = "is_firm_l AND is_firm_r AND "

_SIMILAR_FIRM = (
    "list_max(flatten(list_transform(organizations_l, lambda a: list_transform(organizations_r, "
    "lambda b: jaro_winkler_similarity(a, b))))) >= 0.93"
)

COMPARISONS: dict[str, Comparison] = {
    comparison.name: comparison
    for comparison in (
        Comparison(
            "given",
            "given_l IS NOT NULL AND given_r IS NOT NULL",
            [
                Level("same", "given_l = given_r", 0.70, 0.01, "given"),
                Level("exchanged", _EXCHANGED, 0.02, 3e-4),
                Level("close", f"{_name('given', 'family', 0.92)} OR {_BEGINS}", 0.13, 0.006),
                Level("near", _name("given", "family", 0.8), 0.05, 0.03),
            ],
            (0.10, 0.954),
        ),
        Comparison(
            "family",
            "family_l IS NOT NULL AND family_r IS NOT NULL",
            [
                Level("same", "family_l = family_r", 0.70, 0.004, "family"),
                Level("exchanged", _EXCHANGED, 0.02, 3e-4),
                Level("close", _name("family", "given", 0.92), 0.13, 0.004),
                Level("near", f"{_name('family', 'given', 0.8)} OR {_LONE}", 0.05, 0.02),
            ],
            (0.10, 0.972),
        ),
        Comparison(
            "email",
            _both("emails"),
            [
                Level("same", _shared("emails"), 0.60, 1e-6),
                Level("close", _CLOSE_EMAIL, 0.05, 1e-5),
                Level("local", _shared("locals"), 0.10, 5e-4),
            ],
            (0.25, 0.9995),
        ),
        Comparison("phone", _both("phones"), [Level("same", _PHONE, 0.55, 1e-5)], (0.45, 0.99999)),
        Comparison(
            "birth",
            _both("births"),
            [
                Level("same", _shared("births"), 0.85, 1e-4),
                Level("close", _any_close("births", 1), 0.06, 0.006),
                Level("near", _any_close("births", 2), 0.03, 0.04),
            ],
            (0.06, 0.954),
        ),
        Comparison(
            "ids",
            f"{_shared('ids')} OR {_shared('registers')}",
            [
                Level("same", _shared("ids"), 0.85, 1e-7),
                Level("close", _CLOSE_IDS, 0.08, 0.01),
            ],
            (0.07, 0.99),
        ),
        Comparison(
            "organization",
            _both("organizations"),
            [
                Level("same_firm", _FIRM + _shared("organizations"), 0.70, 1e-5),
                Level("close_firm", _FIRM + _SIMILAR_FIRM, 0.15, 5e-4),
                Level("same", "NOT is_firm_l AND " + _shared("organizations"), 0.60, 0.01),
                Level("close", "NOT is_firm_l AND " + _SIMILAR_FIRM, 0.15, 0.005),
            ],
            (0.25, 0.985),
        ),
        Comparison(
            "postcode",
            _both("postcodes"),
            [
                Level("same", _shared("postcodes"), 0.78, 0.003),
                Level("close", _any_close("postcodes", 1), 0.12, 0.012),
            ],
            (0.10, 0.985),
        ),
        Comparison(
            "address",
            _both("grams"),
            [
                Level("same", _ALIKE.format(least=0.9), 0.36, 3e-5),
                Level("close", _ALIKE.format(least=0.7), 0.26, 2e-4),
                Level("near", _ALIKE.format(least=0.5), 0.18, 0.005),
                Level("far", _ALIKE.format(least=0.3), 0.12, 0.06),
            ],
            (0.08, 0.93),
        ),
        # What these two say is no evidence either way; doubts ask for it.
        Comparison("house", _both("houses"), [Level("same", _HOUSE, 0.5, 0.5)], (0.5, 0.5)),
        Comparison(
            "kin",
            "generation_l IS NOT NULL OR generation_r IS NOT NULL OR given_l <> given_r",
            [
                Level("elder", "generation_l <> generation_r", 0.25, 0.25),
                Level("couple", _COUPLE, 0.25, 0.25),
                Level("perhaps", "(generation_l IS NULL) <> (generation_r IS NULL)", 0.25, 0.25),
            ],
            (0.25, 0.25),
        ),
    )
}


@dataclass(frozen=True)
class Doubt:
    """Why a pair is not one person for certain, however much it agrees in.

    ``condition`` is of ``scored``. ``trust`` names the respect that the doubt trusts in.
    """

    name: str
    condition: str
    words: str
    trust: str | None = None


def _at_least(comparison: str, level: str) -> str:
    return f"gamma_{comparison} >= {COMPARISONS[comparison].code(level)}"


def _all(*conditions: str) -> str:
    return " AND ".join(f"({condition})" for condition in conditions)


def _any(*conditions: str) -> str:
    return " OR ".join(f"({condition})" for condition in conditions)


_PERSONAL = _any(_at_least("email", "same"), _at_least("ids", "same"))
_NAMED = _any(_at_least("given", "near"), _at_least("family", "near"))
_SAME_HOUSE = _all(_at_least("address", "close"), _at_least("postcode", "same"))
_SAME_BIRTH = _at_least("birth", "near")
_SAME_PLACE = _any(
    _at_least("address", "near"),
    _all(_at_least("address", "far"), _at_least("postcode", "same")),
)
_SAME_LIFE = _all(_SAME_BIRTH, _SAME_PLACE)
_CONTRADICTED = _any(*(f"gamma_{name} = 0" for name in ("email", "phone", "birth", "address")))
_EVIDENCE = _any(
    _at_least("email", "close"),
    _at_least("phone", "same"),
    _at_least("ids", "same"),
    _at_least("birth", "close"),
    _all(_at_least("organization", "same_firm"), "gamma_postcode <> 0", "gamma_address <> 0"),
    _all(
        "gamma_organization BETWEEN {} AND {}".format(
            COMPARISONS["organization"].code("close"), COMPARISONS["organization"].code("same")
        ),
        f"NOT ({_CONTRADICTED})",
        _at_least("given", "exchanged"),
        _at_least("family", "close"),
    ),
)


def _kin(level: str) -> str:
    return f"gamma_kin = {COMPARISONS['kin'].code(level)}"


#: The first that holds keeps a pair from being certain.
DOUBTS = (
    Doubt("ids", "gamma_ids = 0", "their numbers differ"),
    Doubt(
        "names",
        _all("gamma_given = 0", "gamma_family = 0", f"NOT ({_SAME_LIFE})"),
        "their names have nothing in common",
    ),
    Doubt(
        "household",
        _all("gamma_given = 0", "gamma_ids <= 0"),
        "two people of one household or office may share as much",
        trust="given",
    ),
    Doubt(
        "family",
        _all("gamma_family = 0", f"NOT ({_any(_PERSONAL, _SAME_BIRTH)})", "gamma_ids <= 0"),
        "their family names differ, and nothing personal agrees",
        trust="family",
    ),
    Doubt("elder", _kin("elder"), "one is the elder and one the younger of their name"),
    Doubt(
        "couple",
        _all(_kin("couple"), f"NOT ({_SAME_BIRTH})", "gamma_ids <= 0"),
        "one given name is a man's, the other the same one of a woman",
        trust="given",
    ),
    Doubt(
        "generation",
        _all(_kin("perhaps"), f"NOT ({_any(_PERSONAL, _SAME_BIRTH)})"),
        "father and son of one name may share as much",
    ),
    Doubt(
        "birth",
        _all("gamma_birth = 0", "gamma_ids <= 0"),
        "their birth dates differ",
        trust="birth",
    ),
    Doubt(
        "nameless",
        f"NOT ({_any(_NAMED, _PERSONAL, _SAME_LIFE, _at_least('organization', 'close_firm'))})",
        "no name says who it is",
    ),
    Doubt(
        "alone",
        f"NOT ({_any(_EVIDENCE, _SAME_PLACE)})",
        "a name alone does not tell people of one name apart",
    ),
    Doubt(
        "place",
        f"NOT ({_any(_EVIDENCE, 'gamma_house = 1')})",
        "people of one name may live in one town or street",
        trust="house",
    ),
)


@dataclass(frozen=True)
class Trust:
    """How it is seen that a field is often wrong: of the pairs that ``agree``, how many ``differ``.

    It is no such sign where pairs that are ``apart`` are there, too: of two people in truth.
    """

    agree: str
    field: str
    apart: str = "false"


_AT_HOME = _all(_at_least("family", "close"), _SAME_HOUSE)
_NAMESAKES = _all(_at_least("given", "close"), _at_least("family", "close"))

#: Where a field is wrong as often as people mistype, a difference in it is no doubt.
TRUST = {
    "given": Trust(
        _all(_AT_HOME, _at_least("birth", "close")),
        "gamma_given",
        apart=_all(_AT_HOME, "gamma_given = 0", "gamma_birth = 0"),
    ),
    "family": Trust(
        _all(_at_least("given", "close"), _SAME_HOUSE, _at_least("birth", "close")), "gamma_family"
    ),
    "birth": Trust(_all(_NAMESAKES, _SAME_HOUSE), "gamma_birth"),
    "house": Trust(
        _all(_NAMESAKES, _at_least("birth", "close"), _at_least("postcode", "same")),
        "gamma_house",
    ),
}

#: At least so many pairs tell how often a field is mistyped, and it is within these bounds.
TOLD_BY = 100
MISTYPED = (0.02, 0.20)


def settings(records: int) -> dict[str, Any]:
    """The model as Splink reads it, for a database of so many *records*."""
    return {
        "link_type": "dedupe_only",
        "unique_id_column_name": "n",
        "probability_two_random_records_match": EXPECTED / max(records, SMALL),
        "blocking_rules_to_generate_predictions": [],  # pairs come from elsewhere
        "comparisons": [_written(comparison) for comparison in COMPARISONS.values()],
        "retain_matching_columns": True,
        "retain_intermediate_calculation_columns": False,
    }


def _written(comparison: Comparison) -> dict[str, Any]:
    unknown = {"sql_condition": f"NOT coalesce({comparison.known}, false)", "is_null_level": True}
    differ = dict(zip(("m_probability", "u_probability"), comparison.differ, strict=True))
    levels = [
        {
            "sql_condition": level.condition,
            "m_probability": level.m,
            "u_probability": level.u,
            "label_for_charts": level.name,
            **_by_frequency(level),
        }
        for level in comparison.levels
    ]
    return {
        "output_column_name": comparison.name,
        "comparison_levels": [unknown, *levels, {"sql_condition": "ELSE", **differ}],
    }


def _by_frequency(level: Level) -> dict[str, Any]:
    if level.frequency_of is None:
        return {}
    return {
        "tf_adjustment_column": level.frequency_of,
        "tf_adjustment_weight": 1.0,
        "tf_minimum_u_value": level.u / 20,
    }
