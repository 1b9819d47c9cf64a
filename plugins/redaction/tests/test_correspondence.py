"""Letters in six languages, invented, as a firm may have them: nothing of anybody leaves.

Everything runs offline, with what is always installed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from spark_core_redaction.detection.detecting import Detection
from spark_core_redaction.scrubbing import Redaction

from spark_core.contracts.detection import KnownEntity

pytestmark = pytest.mark.anyio

FILE = Path(__file__).with_name("correspondence.json")
SHA256 = "c748636c6c27c843caff5fe990206c4b276ca29dbd807e1b9606aa0a34830510"
LETTERS: list[dict[str, Any]] = json.loads(FILE.read_text("utf-8"))["letters"]


def customers() -> list[KnownEntity]:
    rows = json.loads(FILE.read_text("utf-8"))["customers"]
    return [
        KnownEntity(**{k: tuple(v) if isinstance(v, list) else v for k, v in row.items()})
        for row in rows
    ]


class Crm:
    """Knows the firm's customers."""

    async def version(self) -> str:
        return "1"

    async def entities(self, *, batch: int = 5000) -> AsyncGenerator[Sequence[KnownEntity], None]:
        yield customers()


@pytest.fixture
def redaction(make_redaction: Callable[..., Redaction]) -> Redaction:
    return make_redaction(Detection(None, [Crm()]))


def test_item_19_the_letters_are_those_that_were_checked() -> None:
    """Whoever changes them looks through what is private in them, and writes the new digest."""
    assert hashlib.sha256(FILE.read_bytes()).hexdigest() == SHA256
    assert {letter["language"] for letter in LETTERS} == {"en", "de", "fr", "es", "cs", "zh"}
    for letter in LETTERS:
        assert [value for value in letter["private"] if value not in letter["text"]] == []


@pytest.mark.parametrize(
    "letter", LETTERS, ids=[f"{n}-{each['language']}" for n, each in enumerate(LETTERS)]
)
async def test_item_19_nothing_private_is_in_what_leaves(
    redaction: Redaction, letter: dict[str, Any]
) -> None:
    """In any case, and it comes back as it was, also streamed."""
    scrubbed = await redaction.scrub([letter["text"]])
    [text] = scrubbed.texts
    assert [v for v in letter["private"] if v.casefold() in text.casefold()] == []
    restorer = await redaction.restorer(scrubbed.handle)
    assert restorer.restore(text) == letter["text"]
    stream = restorer.another()
    pieces = [text[n : n + 3] for n in range(0, len(text), 3)]
    assert "".join([*map(stream.feed, pieces), stream.finish()]) == letter["text"]


async def test_one_case_in_six_languages_has_one_placeholder_for_each_person(
    redaction: Redaction,
) -> None:
    """All letters in one scope: no placeholder is two people, no person two numbers."""
    scrubbed = await redaction.scrub([letter["text"] for letter in LETTERS])
    restorer = await redaction.restorer(scrubbed.handle)
    assert [restorer.restore(text) for text in scrubbed.texts] == [each["text"] for each in LETTERS]
    again = await redaction.scrub(["Ada Example", "Karlovi Příkladnému"], scrubbed.scope)
    assert again.texts[0] in scrubbed.texts[0]
    assert again.texts[1] in scrubbed.texts[6]
