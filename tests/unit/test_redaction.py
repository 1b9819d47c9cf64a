"""URLs are shown without what is secret in them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_core.settings import redacted


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://ada:sesame@h:1/p", "http://***@h:1/p"),
        ("http://ada:ses/a?m#e @h:1/p", "http://***@h:1/p"),
        ("http://ada:ses@me@h/p", "http://***@h/p"),
        ("ada:sesame@h:1", "ada:***@h:1"),
        ("https://h/p?api-key=sesame&x=sesame", "https://h/p?***"),
        ("https://h/p?sesame", "https://h/p?***"),
        ("https://h/#access_token=sesame", "https://h/#***"),
        ("https://h:1/path", "https://h:1/path"),
        ("ada@example.org", "ada@example.org"),
        ("is it so?", "is it so?"),
    ],
)
def test_what_is_secret_in_a_url_is_hidden(url: str, shown: str) -> None:
    """Whoever the user is, whatever is asked for, and however odd the characters are."""
    assert redacted(url) == shown


@given(secret=st.text(alphabet="abc/?#@:&=% \n"))
def test_no_password_shows_through(secret: str) -> None:
    """Whatever characters it has."""
    assert redacted(f"http://ada:<{secret}>@host/") == "http://***@host/"
