"""The rules by which a history is judged find each violation that is planted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from .history import Asked, Event, Happened, Row, violations


def events(swap: str, at: float, *texts: str) -> list[Event]:
    return [Event(swap, text, at + number / 10) for number, text in enumerate(texts)]


def good() -> Happened:
    """Ada reserves, renews, swaps and ends it; bob is told to wait, and swaps afterwards."""
    ran = ("admitted", "drained", "stopped", "released", "launched", "loading", "ready", "end")
    return Happened(
        asked=[
            Asked("ada", "acquire", 10, 10.1, 201, "A", ttl=20, expires=30.05),
            Asked("bob", "acquire", 11, 11.1, 409, ttl=5),
            Asked("bob", "swap", 12, 12.1, 423, model="large"),
            Asked("ada", "swap", 13, 13.1, 202, "A", model="small", swap="s1"),
            Asked("bob", "swap", 13.5, 13.6, 403, "rubbish", model="large"),
            Asked("ada", "swap", 13.5, 13.6, 409, "A", model="large"),
            Asked("ada", "renew", 15, 15.1, 200, "A", ttl=30, expires=45.05),
            Asked("ada", "release", 35, 35.1, 204, "A"),
            Asked("ada", "release", 35.2, 35.3, 404, "A"),
            Asked("bob", "swap", 36, 36.1, 404, model="nope"),
            Asked("bob", "swap", 37, 37.1, 202, model="large", swap="s2"),
            Asked("ada", "swap", 37.2, 37.3, 409, model="small"),
            Asked("bob", "acquire", 40, 40.1, 201, "B", ttl=5, expires=45.05),
            Asked("eve", "force", 41, 41.1, 204),
            Asked("bob", "renew", 42, 42.1, 404, "B", ttl=5),
        ],
        rows=[Row("s1", 13.05, 13.9, "small"), Row("s2", 37.05, 37.9, "large")],
        events=events("s1", 13.05, *ran) + events("s2", 37.05, *ran),
        locked=["acquired", "released", "acquired", "forced"],
        launches=["s1", "s2"],
        containers=[("begins", "x"), ("ended", "x"), ("begins", "y")],
        models=frozenset({"small", "large"}),
        answers="large",
    )


def test_what_keeps_to_the_rules_is_not_complained_about() -> None:
    assert violations(good()) == []


@pytest.mark.parametrize(
    ("number", "change", "words"),
    [
        (1, {"status": 201, "token": "C", "expires": 16.0}, "two had reserved at once"),
        (1, {"status": 201, "token": "A", "expires": 16.0}, "a token was given twice"),
        (2, {"status": 202, "swap": "s1"}, "admitted while somebody else had reserved"),
        (2, {"status": 404}, "not heeded"),
        (2, {"status": 500}, "no swap is answered so"),
        (2, {"start": 36, "end": 36.1}, "locked, and nobody had reserved"),
        (3, {"status": 423}, "locked, though a token was shown"),
        (4, {"status": 202, "swap": "s1"}, "worth nothing was not forbidden"),
        (5, {"status": 403}, "the right token was forbidden"),
        (5, {"start": 20, "end": 20.1}, "a conflict, and no swap ran"),
        (6, {"status": 404}, "not found, though somebody had reserved"),
        (6, {"token": "rubbish"}, "worth nothing was not forbidden"),
        (7, {"status": 403}, "the right token was forbidden"),
        (8, {"status": 204, "token": "old"}, "worth nothing was not forbidden"),
        (8, {"status": 403}, "forbidden, though nobody had reserved"),
        (9, {"status": 202, "swap": "s2"}, "against the catalog"),
        (10, {"model": "nope"}, "against the catalog"),
        (10, {"status": 403}, "though no token was shown"),
        (10, {"swap": "s9"}, "were written down"),
        (12, {"status": 422}, "in bounds, or was not"),
        (12, {"status": 409}, "a conflict, and nobody had reserved"),
        (14, {"status": 403}, "forbidden, though nobody had reserved"),
        (13, {"start": 50, "end": 50.1}, "though nobody had reserved"),
        (13, {"status": 404}, "not found, though somebody had reserved"),
    ],
)
def test_an_answer_against_the_rules(number: int, change: dict[str, object], words: str) -> None:
    happened = good()
    happened.asked[number] = replace(happened.asked[number], **change)
    assert any(words in violation for violation in violations(happened)), violations(happened)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("launches", ["s1"], "on the machine: ['s1']"),
        ("launches", ["s1", "s2", "s2"], "on the machine"),
        ("containers", [("begins", "x"), ("begins", "y")], "two containers ran at once"),
        ("answers", "small", "large should answer, and small does"),
        ("answers", None, "large should answer"),
        ("locked", ["acquired", "acquired"], "acquired after one was acquired"),
        ("locked", ["acquired", "released", "expired"], "expired after one was released"),
        ("rows", [*good().rows, Row("s3", 50, 51, "large")], "3 were written down"),
        (
            "events",
            [*events("s1", 13, "admitted"), *events("s2", 13.2, "admitted", "end")],
            "two swaps ran at once",
        ),
        (
            "events",
            [*events("s1", 13, "admitted", "end"), *events("s1", 13.2, "launched")],
            "s1 reached launched, and None ran",
        ),
    ],
)
def test_a_record_against_the_rules(field: str, value: object, words: str) -> None:
    happened = replace(good(), **{field: value})
    assert any(words in violation for violation in violations(happened)), violations(happened)


def test_a_reservation_that_ran_out_is_known_to_have() -> None:
    """One renewed to end later is not, until then; and one that may have ended is not certain."""
    happened = good()
    swap = Asked("bob", "swap", 32, 32.1, 202, model="small", swap="s1")
    assert any("admitted while" in v for v in violations(with_asked(happened, swap)))
    happened.asked[6] = replace(happened.asked[6], status=None)  # perhaps it was never renewed
    assert not any("admitted while" in v for v in violations(with_asked(happened, swap)))


def with_asked(happened: Happened, *more: Asked) -> Happened:
    return replace(happened, asked=[*happened.asked, *more])
