"""The detectors that are installed, the vault's numbers and restoring: whoever is known is gone."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Iterator, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from spark_core_redaction.detection.detecting import Detection
from spark_core_redaction.detection.known.knowledge import indexed
from spark_core_redaction.drafts import Draft
from spark_core_redaction.forms import Form, Mention
from spark_core_redaction.placeholders import written
from spark_core_redaction.restoring import Restorer

from spark_core.contracts.detection import KnownEntity

#: How many texts the slow one tries.
EXAMPLES = int(os.environ.get("SPARK_REDACTION_EXAMPLES", "100000"))

NAMES = (
    "Ada Example", "Ben Sampleworth", "Jörg Beispielmann", "Éloïse Exemplaire", "Jana Vzorníková",
    "欧阳示例", "Gerlinde Musterhuber-Vogt", "Olena Зразок",
)  # fmt: skip


def entity(number: int, name: str) -> KnownEntity:
    words = name.split() if " " in name else ["", ""]
    return KnownEntity(
        str(number),
        names=(name,),
        given=words[0],
        family=words[-1],
        emails=(f"p{number}@mail.example",),
        numbers=(f"C-{48000 + number}",),
    )


class Crm:
    """Knows *NAMES*."""

    async def version(self) -> str:
        return "1"

    async def entities(self, *, batch: int = 5000) -> AsyncGenerator[Sequence[KnownEntity], None]:
        yield [entity(number, name) for number, name in enumerate(NAMES)]


def spellings(name: str) -> list[str]:
    words = name.split()
    return [
        name, name.upper(), name.lower(), words[0], words[-1], ", ".join(reversed(words)),
        f"{name}'s", name.replace(" ", "\u00a0"), name.replace("a", "а"),
        f"{name[:2]}\u200b{name[2:]}",
    ]  # fmt: skip


PEOPLE = [spelling for name in NAMES for spelling in spellings(name)]
FACTS = [v for n in range(len(NAMES)) for v in (f"p{n}@mail.example", f"C-{48000 + n}")]
OTHER = ["[PERSON_1]", "person_1", "[", "]", "\\", "+44 20 7946 0123", "192.0.2.7", "\x00", "é"]
BETWEEN = st.sampled_from([" ", ", ", "\n", ". ", " (", ") ", "; ", "! "])
TEXTS = st.lists(
    st.tuples(st.sampled_from(PEOPLE + FACTS + OTHER) | st.text(max_size=6), BETWEEN).map("".join),
    max_size=10,
).map("".join)


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def detection() -> Detection:
    return Detection(None, [Crm()])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(TEXTS)
def test_whoever_is_known_is_gone_in_any_spelling_and_comes_back(
    runner: asyncio.Runner, detection: Detection, text: str
) -> None:
    draft = Draft.of(text, runner.run(detection.find(text)))
    keys = numbered([piece.mention for piece in draft.pieces])
    out = draft.written(keys)
    forms: dict[str, Form] = {key: mention.form for mention, key in keys.items()}
    assert Restorer(forms).restore(out.text) == text
    known = [value.casefold() for value in (*NAMES, *FACTS)]
    assert [value for value in known if value in out.text.casefold()] == []
    assert len(out.placeholders) == len(draft.pieces)


GLUED = st.lists(
    st.sampled_from([*NAMES, *FACTS, *OTHER, "Kranz", "x", "7", "KD-", "@", "\u0301", "\u200b"])
    | st.text(max_size=3),
    max_size=6,
).map("".join)  # fmt: skip


def leaves_nobody(runner: asyncio.Runner, detection: Detection, text: str) -> bool:
    """Whether *text* leaves; then without anybody known, and it comes back."""
    draft = Draft.of(text, runner.run(detection.find(text)))
    keys = numbered([piece.mention for piece in draft.pieces])
    out = draft.written(keys)
    if runner.run(detection.verify(out.text, out.placeholders)):
        return False  # it is withheld
    assert Restorer({key: m.form for m, key in keys.items()}).restore(out.text) == text
    assert [value for value in (*NAMES, *FACTS) if value in out.text] == []
    return True


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(GLUED)
def test_whoever_is_known_never_leaves_though_glued_to_anything(
    runner: asyncio.Runner, detection: Detection, text: str
) -> None:
    leaves_nobody(runner, detection, text)


@pytest.mark.slow
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(GLUED | TEXTS)
def test_whoever_is_known_never_leaves_in_a_hundred_thousand_texts(
    runner: asyncio.Runner, detection: Detection, text: str
) -> None:
    leaves_nobody(runner, detection, text)


@pytest.mark.parametrize(
    "text",
    [
        "AdaAda ExamplePERSON_1", "xC-48001", "C-48001s", "C-48002C-48003Jana VzorníkováC-48004",
        "abcAda Examplexyz", "Ben SampleworthAda Example", "C-48005\u0301", "7Ada Example7",
    ],
)  # fmt: skip
def test_what_is_glued_is_found_and_not_only_withheld(
    runner: asyncio.Runner, detection: Detection, text: str
) -> None:
    assert leaves_nobody(runner, detection, text)


def test_a_short_number_within_a_longer_one_is_another() -> None:
    """Else a hundred thousand customers' numbers would be in every number."""
    index = indexed([KnownEntity("1", numbers=("48000",))])
    assert [match.start for match in index.find("48000, 148000 and A48000")] == [0, 19]


def numbered(mentions: Sequence[Mention]) -> dict[Mention, str]:
    """A placeholder of its own for each mention."""
    different = dict.fromkeys(mentions)
    return {m: written(m.kind, n, m.part, 1) for n, m in enumerate(different, 1)}
