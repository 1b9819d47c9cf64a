"""What goes over the owner's socket arrives as it was."""

from __future__ import annotations

import msgpack
import pytest
from spark_core_qdrant.owner import wire

from spark_core import errors

ERRORS = [
    errors.NotFound("there is no collection", hint="collections: others"),
    errors.InvalidRequest(
        "two things are wrong", problems=[errors.Problem("/a", "x"), errors.Problem("", "y")]
    ),
    errors.Unavailable("not now", retry_after=17.5, hint="later"),
    errors.TimedOut("too slow", retry_after=0.5),
    errors.StorageFull("no room"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.code)
def test_an_error_arrives_with_all_that_it_says(error: errors.SparkError) -> None:
    """Its class, its message and hint, its problems, and when to come back."""
    answer = msgpack.unpackb(msgpack.packb(wire.error_answer(error)))
    with pytest.raises(type(error)) as raised:
        wire.result_of(answer)
    assert vars(raised.value) == vars(error)


def test_another_exception_arrives_without_its_text() -> None:
    """Which may be somebody's."""
    with pytest.raises(errors.BackendError, match="ValueError") as raised:
        wire.result_of(wire.error_answer(ValueError("private")))
    assert "private" not in str(raised.value)
