"""For any text and anybody who is known: it comes back, and nobody known is in what leaves."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from types import ModuleType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from spark_core_redaction.forms import Form, JsonText, Mention
from spark_core_redaction.keys import KeyRing
from spark_core_redaction.placeholders import written
from spark_core_redaction.scopes import Lifetime
from spark_core_redaction.scrubbing import Redaction
from spark_core_redaction.vault import Vault

from spark_core.clock import SystemClock
from spark_core.declarations import StateSchema
from spark_core.state import Leases, State

#: How many examples the slow one tries.
EXAMPLES = int(os.environ.get("SPARK_REDACTION_EXAMPLES", "100000"))

# No capital alone: a placeholder is made of capitals, so what is known would be in it.
WORD = st.text(st.characters(codec="utf-8", categories=["L"]), min_size=1, max_size=6).map(
    lambda word: word + "a"
)
NAME = st.lists(WORD, min_size=1, max_size=3).map(" ".join)
PEOPLE = st.dictionaries(
    st.integers(0, 5).map("entity:{}".format),
    st.dictionaries(NAME, st.sampled_from(["", "given", "family"]), min_size=1, max_size=3),
    max_size=4,
)
ODD = st.sampled_from(
    [
        "[PERSON_1]", "PERSON_1", "person_2", "[LITERAL_1]", "[", "]", "[[", "]]", "\\", "_", "1",
        "PERSON_", "[PERSON_1_GIVEN]", "[PERSON_1_2]", "【", "%5B", "%5D", "s", "'s", " ", "\x00",
        "\u202e", "\u200b", "\r\n", "ada@example.org", "[EMAIL_1]", "EMAIL_1_2", "\U0001f600", "[ ",
    ]
)  # fmt: skip
ANY = st.text(st.characters(codec="utf-8"), max_size=8)


@st.composite
def letters(draw: st.DrawFn) -> tuple[dict[str, dict[str, str]], list[str]]:
    """People who are known, and texts that are about them, and about anything."""
    people = draw(PEOPLE)
    names = [name for named in people.values() for name in named] or [""]
    piece = st.sampled_from(names) | ODD | ANY
    text = st.lists(piece, max_size=10).map("".join)
    return people, draw(st.lists(text, min_size=1, max_size=3))


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def vault(
    runner: asyncio.Runner,
    tmp_path_factory: pytest.TempPathFactory,
    schema: StateSchema,
    lifetime: Lifetime,
) -> Iterator[Vault]:
    """One vault for all examples: each has a scope of its own."""
    folder = tmp_path_factory.mktemp("vault")
    stack = AsyncExitStack()
    state = runner.run(stack.enter_async_context(State.open(folder / "state.db", [schema])))
    clock = SystemClock()
    yield Vault(state, clock, Leases(state, clock), KeyRing(None, folder / "vault.key"), lifetime)
    runner.run(stack.aclose())


def check(
    runner: asyncio.Runner, redaction: Redaction, texts: list[str], known: Iterable[str]
) -> None:
    """All comes back, whole and in single characters, and nothing that is *known* leaves."""
    scrubbed = runner.run(redaction.scrub(texts))
    restorer = runner.run(redaction.restorer(scrubbed.handle))
    assert [restorer.restore(text) for text in scrubbed.texts] == texts
    for text, original in zip(scrubbed.texts, texts, strict=True):
        streamed = restorer.another()
        assert "".join([*map(streamed.feed, text), streamed.finish()]) == original
    assert restorer.unknown == []
    assert [name for name in known for text in scrubbed.texts if name in text] == []


def named(people: Mapping[str, Mapping[str, str]]) -> list[str]:
    return [name for names in people.values() for name in names]


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(letters())
def test_it_comes_back_and_nobody_known_leaves(
    runner: asyncio.Runner,
    vault: Vault,
    looking: ModuleType,
    letter: tuple[dict[str, dict[str, str]], list[str]],
) -> None:
    people, texts = letter
    check(runner, Redaction(looking.Known(people), vault), texts, named(people))


class Notebook(Vault):
    """Numbers as the vault does, but on a page that is thrown away, so that it is quick."""

    def __init__(self) -> None:
        self._keys: dict[Mention, str] = {}

    async def replace(
        self, mentions: Sequence[Mention], scope: str | None = None
    ) -> tuple[str, Mapping[Mention, str]]:
        entities = list(dict.fromkeys((m.kind, m.identity) for m in mentions))
        for mention in mentions:
            number = entities.index((mention.kind, mention.identity)) + 1
            same = [m for m in self._keys if _slot(m) == _slot(mention) and m != mention]
            key = written(mention.kind, number, mention.part, len(same) + 1)
            self._keys.setdefault(mention, key)
        return "page", self._keys

    async def forms(self, handle: str) -> Mapping[str, Form]:
        return {key: mention.form for mention, key in self._keys.items()}


def _slot(mention: Mention) -> tuple[str, str, str]:
    return mention.kind, mention.identity, mention.part


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(letters())
def test_arguments_of_calls_come_back_however_they_are_escaped(
    runner: asyncio.Runner,
    looking: ModuleType,
    letter: tuple[dict[str, dict[str, str]], list[str]],
) -> None:
    """Also what is no JSON after all."""
    people, texts = letter
    redaction = Redaction(looking.Known(people), Notebook())
    dumped = [json.dumps({"a": text}, ensure_ascii=len(text) % 2 == 0) for text in texts]
    arguments = [JsonText(text) for text in (*dumped, *texts)]
    scrubbed = runner.run(redaction.scrub(arguments))
    restorer = runner.run(redaction.restorer(scrubbed.handle, json=True))
    assert [restorer.restore(text) for text in scrubbed.texts] == arguments


@pytest.mark.slow
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(letters())
def test_it_comes_back_however_many_are_tried(
    runner: asyncio.Runner,
    looking: ModuleType,
    letter: tuple[dict[str, dict[str, str]], list[str]],
) -> None:
    people, texts = letter
    check(runner, Redaction(looking.Known(people), Notebook()), texts, named(people))
