"""Names that are known are found in the forms that languages give them, with what hangs on them."""

from __future__ import annotations

import pytest
from spark_core_redaction.detection.detecting import Detection

from spark_core.contracts.detection import KnownEntity
from spark_core.testing.detection import FakeKnownEntities

pytestmark = pytest.mark.anyio


async def found(known: str, text: str) -> list[tuple[str, str]]:
    source = FakeKnownEntities([KnownEntity("1", names=(known,))])
    findings = await Detection(known=[source]).find(text)
    return [(text[f.start : f.end], f.identity) for f in findings]


@pytest.mark.parametrize(
    ("known", "written"),
    [
        ("Marie Veselá", "Marií Veselou"),
        ("Karel Čapek", "Karle Čapku"),
        ("Paweł Dąbrowski", "Pawłowi Dąbrowskiemu"),
        ("Павел Достоевский", "Павлу Достоевскому"),
        ("Павел Достоевский", "Павле Достоевском"),
        ("Matti Korhonen", "Matille Korhoselle"),
        ("Pekka Lahti", "Pekalle Lahdelle"),
        ("Kerttu Niemi", "Kertun Niemen"),
        ("Γιώργος Παπαδόπουλος", "Γιώργε Παπαδόπουλε"),
        ("Ólafur Þórðarson", "Ólafi Þórðarsyni"),
        ("გიორგი ბერიძე", "გიორგი ბერიძის"),
        ("Արամ Խաչատրյան", "Արամ Խաչատրյանին"),
        ("राहुल शर्मा", "राहुल शर्मा"),
        ("স্বপন দাশ", "স্বপন দাশ"),
        ("สมชาย ใจดี", "สมชายใจดี"),
        ("佐藤 花子", "佐藤・花子"),
        ("محمد السيد", "محـمد السيد"),
    ],
)
async def test_a_form_of_a_name_is_found(known: str, written: str) -> None:
    """All of it, as the one whose name it is."""
    assert await found(known, f"so: {written}, later") == [(written, "entity:1")]


@pytest.mark.parametrize(
    "written",
    ["603|123|456", "603,123,456", "603_123_456", "603•123•456", "tel603123456", "x603 123 456x"],
)
async def test_a_known_telephone_is_found_wherever_it_stands(written: str) -> None:
    """Whatever divides it, and letters may stand right beside it."""
    known = KnownEntity("1", names=("Ada Example",), phones=("+420 603 123 456",))
    text = f"so {written} it is"
    findings = await Detection(known=[FakeKnownEntities([known])]).find(text)
    assert [f.identity for f in findings] == ["PHONE:+420603123456"]
    assert text[findings[0].start : findings[0].end] == written.strip("telx")


async def test_a_lone_mark_is_no_name() -> None:
    """A text in Thai, whose vowels stand alone for a moment, is read like any other."""
    assert await found("สมชาย ใจดี", "คุณสมชาย ใจดีมาแล้ว") == [("สมชาย ใจดี", "entity:1")]


@pytest.mark.parametrize(
    ("known", "text", "name", "identity"),
    [
        ("Sean O'Neil", "So O'Neil wrote.", "O'Neil", "entity:1"),
        ("Sean O'Neil", "So O’Neil wrote.", "O’Neil", "entity:1"),
        ("Lena Vogt-Exampleova", "So Vogt-Exampleova wrote.", "Vogt-Exampleova", None),
        ("Ada Example", "So Example-Vogt wrote.", "Example-Vogt", None),
        ("Ada Example", "So Ada Example-based it is.", "Ada Example", "entity:1"),
    ],
)
async def test_what_hangs_on_a_name_goes_with_it(
    known: str, text: str, name: str, identity: str | None
) -> None:
    """The other half of a double name is private, too; it may be somebody else's."""
    ((written, whose),) = await found(known, text)
    assert written == name
    assert whose == identity or (identity is None and "entity" not in whose)
