"""Scrubbing: stable placeholders, exact restoring, and a verdict that fails closed."""

from __future__ import annotations

import asyncio
import json
import traceback
from collections.abc import Callable

import pytest
from spark_core_redaction.forms import JsonText
from spark_core_redaction.scrubbing import Redaction, Scrubbed
from spark_core_redaction.withheld import Withheld

from spark_core.errors import NotFound, PluginError, TimedOut

pytestmark = pytest.mark.anyio

ADA = {
    "Ada Example": "",
    "ADA EXAMPLE": "",
    "Example, Ada": "",
    "Ada": "given",
    "Example": "family",
}
BEN = {"Ben Sample": "", "Ben": "given"}
PEOPLE = {"entity:1": ADA, "entity:2": BEN}


@pytest.fixture
def redaction(make_redaction: Callable[..., Redaction]) -> Redaction:
    return make_redaction(people=PEOPLE)


async def restored(redaction: Redaction, scrubbed: Scrubbed) -> list[str]:
    restorer = await redaction.restorer(scrubbed.handle)
    return [restorer.restore(text) for text in scrubbed.texts]


async def test_a_person_is_one_placeholder_in_every_text_and_call(redaction: Redaction) -> None:
    """And two persons are two."""
    first = await redaction.scrub(["Ada Example wrote.", "Ben Sample, then Ada Example."])
    second = await redaction.scrub(["Ada Example"], first.scope)
    assert first.texts == ["[PERSON_1] wrote.", "[PERSON_2], then [PERSON_1]."]
    assert (second.texts, second.handle) == (["[PERSON_1]"], first.handle)
    assert first.counts == {"PERSON": 3}


async def test_parts_and_other_spellings_are_seen_to_be_of_the_same_person(
    redaction: Redaction,
) -> None:
    """And each comes back letter for letter."""
    text = "Ada Example; later Ada said: ADA EXAMPLE. Signed Example, Ada. Yours, Example"
    scrubbed = await redaction.scrub([text])
    assert scrubbed.texts == [
        "[PERSON_1]; later [PERSON_1_GIVEN] said: [PERSON_1_2]. Signed [PERSON_1_3]. Yours, "
        "[PERSON_1_FAMILY]"
    ]
    assert await restored(redaction, scrubbed) == [text]


async def test_a_dropped_part_or_variant_is_still_that_person(redaction: Redaction) -> None:
    """Also where the whole name was never written."""
    scrubbed = await redaction.scrub(["Ada called Ben Sample"])
    restorer = await redaction.restorer(scrubbed.handle)
    assert scrubbed.texts == ["[PERSON_1_GIVEN] called [PERSON_2]"]
    assert restorer.restore("[PERSON_1] and [PERSON_2]") == "Ada and Ben Sample"
    assert restorer.restore("[PERSON_2_GIVEN]") == "[PERSON_2_GIVEN]"
    assert restorer.unknown == ["[PERSON_2_GIVEN]"]


@pytest.mark.parametrize(
    "text",
    [
        "[PERSON_1] is not Ada Example", "PERSON_1, person_1 and [[PERSON_1]] Ada",
        "[LITERAL_1][LITERAL_2] Ada", "[Ada Example]", "[[Ada]]", "\\[Ada Example\\]", "[Ada_1]",
        "PERSON_Ada_1", "PERSON_1AdaPERSON_1", "[PERSON_1]PERSON_1[PERSON_1", "Ada_1", "%5BAda%5D",
        "[PERSON_\x00Ada1]", "\u202eAda Example\u202c\x07\r\n\t\v", "𝔸da Ada 👩‍👩‍👧", "", "\\",
        "[FOO_1]", "[PERSON_1_2] [PERSON_1_GIVEN]Ada", "【PERSON_1】", "PERSON\\_1",
    ],
)  # fmt: skip
async def test_what_looks_like_a_placeholder_comes_back_as_it_was(
    redaction: Redaction, text: str
) -> None:
    scrubbed = await redaction.scrub([text])
    assert await restored(redaction, scrubbed) == [text]


async def test_what_looks_like_a_placeholder_of_the_same_scope_is_none(
    redaction: Redaction,
) -> None:
    """Nor does it become one when the scope grows."""
    first = await redaction.scrub(["Ada Example, [PERSON_2]"])
    second = await redaction.scrub(["Ben Sample and PERSON_2"], first.scope)
    assert second.texts == ["[PERSON_2] and [LITERAL_2]"]
    restorer = await redaction.restorer(first.handle)
    assert restorer.restore(first.texts[0]) == "Ada Example, [PERSON_2]"
    assert restorer.restore(second.texts[0]) == "Ben Sample and PERSON_2"
    assert second.counts == {"PERSON": 1}


async def test_scrubbing_what_was_scrubbed_can_be_undone_twice(redaction: Redaction) -> None:
    first = await redaction.scrub(["Ada Example [x]"])
    second = await redaction.scrub(first.texts, first.scope)
    restorer = await redaction.restorer(first.handle)
    once = restorer.restore(second.texts[0])
    assert once == first.texts[0]
    assert restorer.restore(once) == "Ada Example [x]"


async def test_arguments_in_json_come_back_byte_for_byte(
    make_redaction: Callable[..., Redaction],
) -> None:
    """However they were escaped; and in prose the value is what it says."""
    names = {'Ren\\u00e9e "': "", 'Renée "': "", "Ren\\u00e9e": "", "Renée": ""}
    redaction = make_redaction(people={"entity:1": names})
    raw = JsonText('{"to": "Ren\\u00e9e", "cc": "Renée"}')
    scrubbed = await redaction.scrub([raw])
    assert scrubbed.texts == ['{"to": "[PERSON_1]", "cc": "[PERSON_1_2]"}']
    in_json = await redaction.restorer(scrubbed.handle, json=True)
    assert in_json.restore(scrubbed.texts[0]) == raw
    assert in_json.another().restore("[PERSON_1] [PERSON_1_2]") == "Renée Renée"


@pytest.mark.parametrize(
    "names",
    [["042bAda"], ["bAda"], ["Ada\\"], ["Ada\\u00"], ["de00"], ["nAda"], ["Ada\\u", "00e9"]],
)
async def test_no_escape_of_json_is_cut(
    make_redaction: Callable[..., Redaction], names: list[str]
) -> None:
    """Whatever a detector takes for a name: what is left is JSON, and all comes back."""
    redaction = make_redaction(people={name: {name: ""} for name in names})
    text = JsonText(r'{"a": "\u042bAda\u00e9 \ud83d\ude00 \nAda\\ \"Ada\" \\\\"}')
    scrubbed = await redaction.scrub([text])
    assert "[PERSON_1" in json.loads(scrubbed.texts[0])["a"]
    restorer = await redaction.restorer(scrubbed.handle, json=True)
    assert restorer.restore(scrubbed.texts[0]) == text


# ---------------------------------------------------------------------------------- the verdict


async def test_what_is_left_keeps_the_text_from_leaving(
    make_redaction: Callable[..., Redaction],
) -> None:
    """It is told where and of which kind, never what."""
    redaction = make_redaction(people=PEOPLE, missed=["Graz", "Brno"])
    texts = ["nothing", "Ada Example of Graz", "Brno"]  # a traceback quotes the line of the call
    with pytest.raises(Withheld) as caught:
        await redaction.scrub(texts, pointers=["/a", "/b", "/c"])
    told = [(problem.pointer, problem.detail) for problem in caught.value.problems]
    assert told == [
        ("/b", "MISSED at characters 15 to 19"),
        ("/c", "MISSED at characters 0 to 4"),
    ]
    assert caught.value.counts == {"MISSED": 2}
    assert caught.value.message == "private text is left: 2 MISSED"
    assert "Graz" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (TimedOut("the detector names took longer than 5 s"), "the detector names took longer"),
        (RuntimeError("in the text Ada Example"), "looking for private text failed: RuntimeError"),
    ],
)
async def test_where_a_detector_fails_nothing_leaves(
    make_redaction: Callable[..., Redaction], error: Exception, message: str
) -> None:
    """Whatever it raised, which may quote the text."""
    redaction = make_redaction(failing=error)
    with pytest.raises(Withheld, match=message) as caught:
        await redaction.scrub(["Ada Example"])
    assert "Ada" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert [problem.pointer for problem in caught.value.problems] == ["/texts/0"]


async def test_findings_that_overlap_are_refused(make_redaction: Callable[..., Redaction]) -> None:
    """Half of one would be left."""

    class Overlapping:
        async def find(self, text: str) -> list[object]:
            from spark_core.contracts.detection import Finding

            return [Finding("PERSON", 0, 5, "a"), Finding("PERSON", 3, 8, "b")]

        async def verify(self, text: str, placeholders: object) -> list[object]:
            return []

    with pytest.raises(PluginError):
        await make_redaction(Overlapping()).scrub(["Ada Example"])


# ------------------------------------------------------------------------------------ scopes


async def test_scopes_know_nothing_of_each_other(redaction: Redaction) -> None:
    """The same placeholder is somebody else in another scope."""
    ada = await redaction.scrub(["Ada Example"])
    ben = await redaction.scrub(["Ben Sample"])
    assert ada.texts == ben.texts == ["[PERSON_1]"]
    assert ada.handle != ben.handle
    assert await restored(redaction, ben) == ["Ben Sample"]


@pytest.mark.parametrize("handle", ["", "x", "scope_" + "A" * 43, "case-17", "\x00", "é" * 300])
async def test_a_handle_that_opens_nothing_is_not_found(redaction: Redaction, handle: str) -> None:
    await redaction.scrub(["Ada Example"], "case-17")
    with pytest.raises(NotFound) as caught:
        await redaction.restorer(handle)
    assert caught.value.message == "there is no such scope (any more)"


async def test_who_knows_a_name_gets_the_placeholders_and_not_the_values(
    redaction: Redaction,
) -> None:
    """A name can be guessed: each handle opens what was replaced with it."""
    ours = await redaction.scrub(["Ada Example and Ben Sample"], "case-17")
    theirs = await redaction.scrub(["Ben Sample"], "case-17")
    assert theirs.texts == ["[PERSON_2]"]
    restorer = await redaction.restorer(theirs.handle)
    assert restorer.restore("[PERSON_1] [PERSON_2]") == "[PERSON_1] Ben Sample"
    again = await redaction.scrub(["Ada"], ours.scope)
    restorer = await redaction.restorer(ours.handle)
    assert restorer.restore(again.texts[0] + "[PERSON_2]") == "AdaBen Sample"


async def test_many_at_once_never_give_one_placeholder_to_two(redaction: Redaction) -> None:
    first = await redaction.scrub(["x"])
    texts = [f"u{n % 7}@example.org and v{n}@example.org" for n in range(24)]
    scrubbed = await asyncio.gather(*(redaction.scrub([t], first.scope) for t in texts))
    restorer = await redaction.restorer(first.handle)
    assert [restorer.restore(s.texts[0]) for s in scrubbed] == texts
    assert len({s.texts[0].split()[0] for s in scrubbed}) == 7
