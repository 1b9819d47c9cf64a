"""For any text and anybody who is known: it comes back, and nobody known is in what leaves."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import AsyncExitStack
from types import ModuleType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from spark_core_redaction.keys import KeyRing
from spark_core_redaction.scopes import Lifetime
from spark_core_redaction.scrubbing import Redaction
from spark_core_redaction.vault import Vault

from spark_core.clock import SystemClock
from spark_core.declarations import StateSchema
from spark_core.state import Leases, State

#: How many examples are tried; 100000 were, once.
EXAMPLES = int(os.environ.get("SPARK_REDACTION_EXAMPLES", "150"))

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


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(letters())
def test_it_comes_back_and_nobody_known_leaves(
    runner: asyncio.Runner,
    vault: Vault,
    looking: ModuleType,
    letter: tuple[dict[str, dict[str, str]], list[str]],
) -> None:
    people, texts = letter
    redaction = Redaction(looking.Known(people), vault)
    scrubbed = runner.run(redaction.scrub(texts))
    restorer = runner.run(redaction.restorer(scrubbed.handle))
    assert [restorer.restore(text) for text in scrubbed.texts] == texts
    for pieces in (list(text) for text in scrubbed.texts):
        streamed = restorer.another()
        assert "".join([*map(streamed.feed, pieces), streamed.finish()]) in texts
    assert restorer.unknown == []
    known = [name for named in people.values() for name in named]
    assert [name for name in known for text in scrubbed.texts if name in text] == []
