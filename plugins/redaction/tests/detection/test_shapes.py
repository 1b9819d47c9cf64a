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
    ("EMAIL", "ada at example dot com"),
    ("EMAIL", "ada (zavináč) example.cz"),
    ("EMAIL", "ada @ example.com"),
    ("EMAIL", "ada@intern"),
    ("EMAIL", "ada@192.168.1.1"),
    ("EMAIL", "a" * 80 + "@example.com"),
    ("URL", "https://example.com/a_(b)"),
    ("URL", "example[.]com"),
    ("URL", "пример.рф"),
    ("URL", "git@example.com:ada/secret.git"),
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
    ("IBAN", "DE89  3704  0044  0532  0130  00"),
    ("CARD", "4111 1111 1111 1111"),  # a sample
    ("CARD", "4111_1111_1111_1111"),
    ("CARD", "411111 1111111111"),
    ("CARD", "4111-1111-1111-1112"),  # its check digit is wrong
    ("CARD", "378282246310005"),
    ("PHONE", "+43 664 123 45 67"),
    ("PHONE", "0043 (0)664/1234567"),
    ("PHONE", "(212) 555-0100"),  # reserved
    ("PHONE", "212.555.0100 x123"),
    ("PHONE", "0664/123 45 67"),
    ("PHONE", "+81 3-1234-5678"),
    ("PHONE", "8 (912) 345-67-89"),
    ("PHONE", "(06 1) 234 5678"),
    ("PHONE", "601/123/456"),
    ("PHONE", "601.123.456"),
    ("PHONE", "8123 4567"),
    ("PHONE", "601 123 456 ext. 12"),
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
    ("NATIONAL_ID", "1-85-05-78-006-084-36"),
    ("NATIONAL_ID", "AB-12-34-56-C"),
    ("NATIONAL_ID", "MORGA657054SM9IJ"),
    ("NATIONAL_ID", "12-34-56 12345678"),
    ("NATIONAL_ID", "19-2000145399/0800"),
    ("NATIONAL_ID", "736028 / 5163"),
    ("NATIONAL_ID", "736028 5163"),
    ("NATIONAL_ID", "211062 5629"),
    ("NATIONAL_ID", "RSS MRA 85T10 A562S"),
    ("NATIONAL_ID", "CA12345AA"),
    ("NATIONAL_ID", "12 345 678 Z"),
    ("NATIONAL_ID", "A-58.818.501"),
    ("NATIONAL_ID", "850730-033-28"),
    ("NATIONAL_ID", "NO 995 525 828 MVA"),
    ("NATIONAL_ID", "12345678 9 ZZ4"),
    ("NATIONAL_ID", "2-720216-1673"),
    ("NATIONAL_ID", "ATU 12345675"),
    ("NATIONAL_ID", "NL 0044.95.445.B.01"),
    ("NATIONAL_ID", "6433435 F"),
    ("NATIONAL_ID", "ABCDE 1234 F"),
    ("NATIONAL_ID", "27AAPFU0939F1ZV"),
    ("NATIONAL_ID", "110105 19491231 002X"),
    ("NATIONAL_ID", "390.533.447/05"),
    ("NATIONAL_ID", "2123 45670 1"),
    ("NATIONAL_ID", "AB12345678CD"),
    ("NATIONAL_ID", "138-83-02857"),
    ("NATIONAL_ID", "112-233-445 95"),
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
    ("ADDRESS", "Dlouhá 12, 110 00 Praha 1"),
    ("ADDRESS", "ul. Marszałkowska 12/34, 00-590 Warszawa"),
    ("ADDRESS", "Dorf 12, 6993 Mittelberg"),
    ("ADDRESS", "Mariahilfer Straße 45/3/12, 1060 Wien"),
    ("ADDRESS", "HAUPTSTRASSE 12"),
    ("ADDRESS", "Platz der Republik 1"),
    ("ADDRESS", "Straße des 17. Juni 135"),
    ("ADDRESS", "Невский проспект, 28"),
    ("ADDRESS", "Calle de Alcalá, 45, 3º B, 28014 Madrid"),
    ("ADDRESS", "U Lužického semináře 97/18"),
    ("ADDRESS", "Laan van Meerdervoort 50"),
    ("ADDRESS", "D-10115 Berlin"),
    ("ADDRESS", "שדרות הרצל 12"),
    ("SECRET", "sk-" + "proj-4eC39HqLyjWDarjtT1zdp7dc"),
    ("SECRET", "ghp_abcdefghijklmnopqrstuvwxyz0123456789"),
    ("SECRET", "AKIAIOSFODNN7EXAMPLE"),
    ("SECRET", "f3Zq8Lw0Xb7Rk2Vt9Yp4Mn6Js1Hd5Gc"),
    ("SECRET", "d41d8cd98f00b204e9800998ecf8427e"),
    ("CRYPTO", "0x52908400098527886E0F7030069857D2E4169EE7"),
    ("SECRET", "dp.pt." + "aB3dE5fG7hJ9kL1mN3pQ5rS7tU9vW1xY3zA5bC7dE9f"),
    ("SECRET", "VM5weVze6W8qCYTwmo8ZF8SL.2aHgYj.Virx7ZL1v3uY18jW7LXzacOcxse"),
    ("CRYPTO", "G" + "AAZI4TCR3TY5OJHCTJC2A4QSY6CJWJH5IAJTGKIN2ER7LBNVKOCCWN7"),
    ("CRYPTO", "1BoatSLRHtKNngkdXEeobR76b53LETtpyT"),
    ("CRYPTO", "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq"),
]


@pytest.mark.parametrize(("kind", "written"), SHAPES)
async def test_a_shape_is_found_whole(kind: str, written: str) -> None:
    """Alone, in a sentence, in brackets and at the end: valid or not, all of it and no more."""
    for text in (written, f"It is {written}, they say.", f"({written})", f"see: {written}\n"):
        assert (kind, written) in await found(text), text


NUMBERS = {"IP", "MAC", "IBAN", "CARD", "PHONE", "NATIONAL_ID", "SECRET", "CRYPTO"}


@pytest.mark.parametrize(("kind", "written"), [s for s in SHAPES if s[0] in NUMBERS])
async def test_a_number_needs_no_spaces_around_it(kind: str, written: str) -> None:
    """Chinese and Japanese sentences have none."""
    text = f"号码{written}的"
    findings = await Detection().find(text)
    covered = {place for f in findings for place in range(f.start, f.end)}
    assert covered >= {n for n in range(2, len(text) - 1) if text[n].isalnum()}


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("born on 12 March 1985", "12 March 1985"),
        ("geb. 3.4.1971 in Graz", "3.4.1971"),
        ("née le 1er mars 2015", "1er mars 2015"),
        ("narozen 5. května 2012", "5. května 2012"),
        ("生年月日 1990年4月5日", "1990年4月5日"),
        ("DOB: 2019-02-03", "2019-02-03"),
        ("date_of_birth: 12.3.2019", "12.3.2019"),
        ("dateOfBirth 12/3/2019", "12/3/2019"),
        ("b. 12.3.2019", "12.3.2019"),
        ("Geburtsdatum:\n12.3.2019", "12.3.2019"),
        ("data nașterii 12 martie 2019", "12 martie 2019"),
        ("született: 2019. március 12.", "2019. március 12."),
        ("doğum tarihi 12 Mart 2019", "12 Mart 2019"),
        ("д.р. 12.3.2019", "12.3.2019"),
        ("народилася 12 березня 2019", "12 березня 2019"),
        ("γεννήθηκε 12 Μαρτίου 2019", "12 Μαρτίου 2019"),
        ("rođen 12. ožujka 2019", "12. ožujka 2019"),
        ("narozen 12. března roku 2019", "12. března roku 2019"),
        ("geb. 12.III.2019", "12.III.2019"),
        ("born 12 mar '19", "12 mar '19"),
        ("birthday 12031985", "12031985"),
        ("תאריך לידה 12 במרץ 2019", "12 במרץ 2019"),
        ("生年月日 昭和60年3月12日", "昭和60年3月12日"),
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
    "Bearing 6204 fits; Engineering 12 was asked, and Monitoring 3.",
    "* 2024-11-21: released, with 100 000 000 rows and 27.000.000 more.",
    "pan 500 g flour, 200 g sugar 10 min; see (a) e.g. this.",
    "pip install package@latest; from 2000-3000 to 5000 6000 pieces.",
    "getElementsByClassName and application/octet-stream are long words.",
]


@pytest.mark.parametrize("text", ORDINARY)
async def test_ordinary_text_is_left_alone(text: str) -> None:
    """Not every number or word with a capital is private."""
    assert await found(text) == []


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("https://blob.example/x?sv=1&sig=S18mc0YNHiAdTupEVWMfwE7jrvXbypEmhNPW1DVPbcF", ""),
        ("AccountKey=S18mc0YNHiAdTupEVWMfwE7jrvXbypEmhNPW1DVPbcF", "S18mc0YNHiAdTup"),
        ('password = "correct horse battery staple"', "correct horse battery staple"),
        ("PASSWORD=P@ss,w0rd;1", "P@ss,w0rd;1"),
        ("User=ada;Password=hunter2;Database=crm", "hunter2"),
        ("run --password hunter2", "hunter2"),
        ("passwd 'hunter2'", "hunter2"),
        ("pw: hunter2", "hunter2"),
    ],
)
async def test_a_secret_is_found_whole(text: str, secret: str) -> None:
    """Behind whatever names it, in quotes or not, to its last letter and no further."""
    findings = await found(text)
    assert any(written.startswith(secret) and "database" not in written for _, written in findings)
    assert not secret or "S18mc0" in secret or ("SECRET", secret) in findings
    assert all("S18mc0YNHiAd" in written for _, written in findings if "S18" in text)


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
