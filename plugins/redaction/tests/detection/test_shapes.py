"""What is found by its written shape."""

from __future__ import annotations

from itertools import pairwise

import pytest
from spark_core_redaction.detection.detecting import Detection
from spark_core_redaction.detection.known.following import Known
from spark_core_redaction.detection.settings import KINDS, DetectionSettings
from spark_core_redaction.detection.shapes import Shapes

from spark_core.testing.detection import TextDetectorConformance

pytestmark = pytest.mark.anyio


class TestShapes(TextDetectorConformance):
    @pytest.fixture
    def detector(self) -> Shapes:
        return Shapes(KINDS, Known())

    @pytest.fixture
    def private(self) -> tuple[str, str]:
        return "Write to ada@example.com soon.", "ada@example.com"


async def found(text: str, **settings: object) -> list[tuple[str, str]]:
    findings = await Detection(DetectionSettings(**settings)).find(text)
    return [(f.kind, text[f.start : f.end]) for f in findings]


SHAPES = [
    ("EMAIL", "ada.b+c@mail.example.co.uk"),
    ("EMAIL", "иван@пример.рф"),
    ("EMAIL", "用户@例子.公司"),
    ("EMAIL", "jörg@müller.example"),
    ("EMAIL", '"ada example"@example.com'),
    ("EMAIL", "ada [at] example [dot] com"),
    ("URL", "https://example.com/a/b?c=d#e"),
    ("URL", "postgres://db.internal:5432/crm"),
    ("URL", "www.example.org"),
    ("IP", "192.168.0.1"),
    ("IP", "999.1.1.1"),
    ("IP", "2001:db8::8a2e:370:7334"),
    ("IP", "fe80::1"),
    ("MAC", "00:1B:44:11:3A:B7"),
    ("MAC", "001b.4411.3ab7"),
    ("IBAN", "DE89 3704 0044 0532 0130 00"),
    ("IBAN", "DE00370400440532013000"),  # its check digits are wrong
    ("IBAN", "GB29-NWBK-6016-1331-9268-19"),
    ("CARD", "4111 1111 1111 1111"),  # a sample
    ("CARD", "4111-1111-1111-1112"),  # its check digit is wrong
    ("CARD", "378282246310005"),
    ("PHONE", "+43 664 123 45 67"),
    ("PHONE", "0043 (0)664/1234567"),
    ("PHONE", "(212) 555-0100"),  # reserved
    ("PHONE", "212.555.0100 x123"),
    ("PHONE", "0664/123 45 67"),
    ("PHONE", "+81 3-1234-5678"),
    ("NATIONAL_ID", "078-05-1120"),  # a sample
    ("NATIONAL_ID", "000-00-0000"),  # never given out
    ("NATIONAL_ID", "AB 12 34 56 C"),
    ("NATIONAL_ID", "736028/5163"),
    ("NATIONAL_ID", "RSSMRA85T10A562S"),
    ("NATIONAL_ID", "12345678Z"),
    ("NATIONAL_ID", "44051401358"),
    ("NATIONAL_ID", "131052-308T"),
    ("NATIONAL_ID", "756.9217.0769.85"),
    ("NATIONAL_ID", "123.456.789-09"),
    ("NATIONAL_ID", "110101199003074477"),
    ("NATIONAL_ID", "1 85 05 78 006 084 36"),
    ("ADDRESS", "12 Example Street, Apt 4"),
    ("ADDRESS", "Musterstraße 5, 1010 Wien"),
    ("ADDRESS", "12 bis, rue de la Paix, 75002 Paris"),
    ("ADDRESS", "Calle Mayor 5"),
    ("ADDRESS", "Via Roma, 12"),
    ("ADDRESS", "ul. Długa 5/7"),
    ("ADDRESS", "ул. Ленина, д. 5"),
    ("ADDRESS", "Kossuth utca 12."),
    ("ADDRESS", "Mannerheimintie 12"),
    ("ADDRESS", "北京市朝阳区建国路88号"),
    ("SECRET", "sk-" + "proj-4eC39HqLyjWDarjtT1zdp7dc"),
    ("SECRET", "ghp_abcdefghijklmnopqrstuvwxyz0123456789"),
    ("SECRET", "AKIAIOSFODNN7EXAMPLE"),
    ("SECRET", "f3Zq8Lw0Xb7Rk2Vt9Yp4Mn6Js1Hd5Gc"),
    ("SECRET", "d41d8cd98f00b204e9800998ecf8427e"),
    ("CRYPTO", "0x52908400098527886E0F7030069857D2E4169EE7"),
    ("CRYPTO", "1BoatSLRHtKNngkdXEeobR76b53LETtpyT"),
    ("CRYPTO", "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq"),
]


@pytest.mark.parametrize(("kind", "written"), SHAPES)
async def test_a_shape_is_found_whole(kind: str, written: str) -> None:
    """Alone, in a sentence, in brackets and at the end: valid or not, all of it and no more."""
    for text in (written, f"It is {written}, they say.", f"({written})", f"see: {written}\n"):
        assert (kind, written) in await found(text), text


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("born on 12 March 1985", "12 March 1985"),
        ("geb. 3.4.1971 in Graz", "3.4.1971"),
        ("née le 1er mars 2015", "1er mars 2015"),
        ("narozen 5. května 2012", "5. května 2012"),
        ("生年月日 1990年4月5日", "1990年4月5日"),
        ("DOB: 2019-02-03", "2019-02-03"),
    ],
)
async def test_a_day_of_birth_is_found(text: str, day: str) -> None:
    """In the words of many languages."""
    assert ("BIRTH_DATE", day) in await found(text)


ORDINARY = [
    "In 2024 we sold 1,234,567 units; 12 more came at 12:30 on 2024-11-21.",
    "Version 1.2.3 fixes order 4711, ticket 123456 and page 10-20.",
    "The total is 1.234.567,89 EUR, or 100 000 pieces.",
    "Maybe the May meeting will mark a new start. Will you come?",
    "def a::b(x): return x[0:10] # see std::vector",
    "The file config.py and README.md are in src/app; run it twice.",
    "Unfortunately, the Replacement of bearings takes 14 days.",
    "getElementsByClassName and application/octet-stream are long words.",
]


@pytest.mark.parametrize("text", ORDINARY)
async def test_ordinary_text_is_left_alone(text: str) -> None:
    """Not every number or word with a capital is private."""
    assert await found(text) == []


async def test_amounts_are_found_by_choice() -> None:
    """They stay, if nobody says otherwise."""
    text = "It costs € 1.200,50 or 30 USD."
    assert await found(text) == []
    assert await found(text, kinds={"MONEY"}) == [("MONEY", "€ 1.200,50"), ("MONEY", "30 USD")]


async def test_findings_do_not_overlap() -> None:
    """Whatever was found twice is one finding."""
    text = "https://ada@example.com/0664/1234567 Ada Example, 12 Ada Street, +43 664 1234567" * 3
    findings = await Detection(DetectionSettings(kinds=KINDS)).find(text)
    assert all(a.end <= b.start for a, b in pairwise(findings))
