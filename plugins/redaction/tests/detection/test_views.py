"""However something is hidden in a text, it is found, and where it stands."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spark_core_redaction.detection.detecting import Detection
from spark_core_redaction.detection.views import views

from spark_core.contracts.detection import KnownEntity
from spark_core.testing.detection import FakeKnownEntities

pytestmark = pytest.mark.anyio

ADA = KnownEntity("1", names=("Ada Example",))


def styled(text: str) -> str:
    """*text* in the bold letters of mathematics."""
    first = {True: 0x1D400 - ord("A"), False: 0x1D41A - ord("a")}
    return "".join(chr(ord(c) + first[c.isupper()]) if c.isalpha() else c for c in text)


HIDDEN = {
    "zero width": "A\u200bd\u200da E\u2060xam\ufeffple",
    "soft hyphen": "Ada Ex\u00adam\u00adple",
    "bidi marks": "\u202eAda\u202c Exa\u200emple",
    "variation selectors": "A\ufe0fda Example",
    "tags": "Ada Exam\U000e0041ple",
    "wide letters": "Ａｄａ　Ｅｘａｍｐｌｅ",
    "styled letters": styled("Ada Example"),
    "no-break space": "Ada\u00a0Example",
    "marks": "A\u0301da Exa\u0308mple",
    "Cyrillic": "Аdа Ехаmрlе",
    "Greek": "Αda Εxαmple",
    "percent": quote("Ada Example"),
    "percent throughout": "".join(f"%{ord(c):02x}" for c in "Ada Example"),
    "twice percent": quote(quote("Ada Example")),
    "entities": "Ada&#32;&#x45;xample",
    "named entities": "Ada&nbsp;Example",
    "escapes": "\\u0041da\\u0020Example",
    "hexadecimal escapes": "\\x41da Example",
    "quoted-printable": "Ada=20Exam=70le",
    "octal escapes": "\\101da Example",
    "entities without an end": "&#65&#100a Example",
    "a word that goes on": "Ada Exam-\nple",
    "controls": "A\x00da Ex\x1bample",
    "case": "aDA eXAMPLE",
    "underscore": "ada_example",
    "camel case": "AdaExample",
}


@pytest.mark.parametrize("written", HIDDEN.values(), ids=HIDDEN.keys())
async def test_what_is_hidden_is_found(written: str) -> None:
    """Exactly where it stands, from its first letter to its last."""
    text = f"So {written} wrote."
    findings = await Detection(known=[FakeKnownEntities([ADA])]).find(text)
    assert [text[f.start : f.end] for f in findings] == [written.strip("\u202e")]


@pytest.mark.parametrize(
    "encoded",
    [
        base64.b64encode(b"Ada Example wrote.").decode(),
        base64.urlsafe_b64encode("Grüße, Ada Example?>".encode()).decode().rstrip("="),
        base64.b64encode(base64.b64encode(b"Ada Example wrote")).decode(),
        b"Ada Example wrote".hex(),
        b"Ada Example wrote".hex(" "),
        "0x" + b"Ada Example wrote".hex(),
        base64.b64encode("Ada Example".encode("utf-16")).decode(),
    ],
)
async def test_a_block_is_taken_as_a_whole(encoded: str) -> None:
    """Of what is in base64 nothing can be taken out alone."""
    text = f"see {encoded} there"
    (finding,) = await Detection(known=[FakeKnownEntities([ADA])]).find(text)
    assert text[finding.start : finding.end] == encoded


async def test_what_runs_from_right_to_left_is_read_as_it_is_seen() -> None:
    """A name may be typed from its end and turned by a mark that nobody sees."""
    text = "see \u202eelpmaxE adA\u202c there"
    (finding,) = await Detection(known=[FakeKnownEntities([ADA])]).find(text)
    assert text[finding.start : finding.end] == "elpmaxE adA"


async def test_a_block_that_holds_more_is_nobody() -> None:
    """What stands for a person is not what stands for a letter that names the person."""
    detection = Detection(known=[FakeKnownEntities([ADA])])
    whole, more = (base64.b64encode(text).decode() for text in (b"Ada Example", b"Ada Example!"))
    identities = [(await detection.find(text))[0].identity for text in (whole, more)]
    assert identities[0] == "entity:1"
    assert identities[1].startswith("ENCODED:")


async def test_escapes_are_not_torn() -> None:
    """The n of a line's end is no letter of an address."""
    text = json.dumps({"a": "To:\nada@example.com\n\tAda Example"})
    findings = await Detection(known=[FakeKnownEntities([ADA])]).find(text)
    assert [text[f.start : f.end] for f in findings] == ["ada@example.com", "Ada Example"]
    assert findings[0].identity == "EMAIL:ada@example.com"


async def test_code_blocks_are_read_too() -> None:
    """What stands in a fence is text like any other."""
    text = "```python\nname = 'Ada Example'\n```"
    findings = await Detection(known=[FakeKnownEntities([ADA])]).find(text)
    assert [text[f.start : f.end] for f in findings] == ["Ada Example"]


@given(st.text(alphabet=st.sampled_from("aA%4120&#;\\u0061=\u200bａаé QWRh\n"), max_size=60))
def test_every_piece_of_a_view_stands_in_the_text(text: str) -> None:
    """Spans are never empty, never outside, and go on as the view does."""
    for view in views(text):
        last = 0
        for place in range(len(view.text)):
            start, end = view.span(place, place + 1)
            assert 0 <= start < end <= len(text)
            assert start >= last
            last = start
