"""Receipts hold nothing secret, and nothing that a terminal obeys."""

from __future__ import annotations

import pytest
from spark_core_promotion.telling import told

SECRET = "s3cr3t-of-ada-4711"


@pytest.mark.parametrize(
    "line",
    [
        f"Authorization: Bearer {SECRET}",
        f"GITEA_TOKEN={SECRET}",
        f"password: {SECRET}",
        f"fetching https://ada:{SECRET}@registry.invalid/x",
        f"fetching https://registry.invalid/x?token={SECRET}&y=1",
        f'"api_key": "{SECRET}"',
        f"tool --token {SECRET}",
        f"the value {SECRET} alone",
    ],
)
def test_secrets_are_left_out(line):
    """By how they are written, or because they are in this program's environment."""
    shown = told(line, {"SOME_PASSWORD": SECRET})
    assert SECRET not in shown
    assert "***" in shown


@pytest.mark.parametrize(
    "line",
    [
        "Compiling tokenizers v0.20.1",
        "Snapshot load progress 3/6",
        "engine.bak-20260101T000000Z: sha256 0123abcd",
        "error[E0308]: mismatched types, expected `Token`, found `Key`",
    ],
)
def test_what_is_no_secret_stays(line):
    assert told(line, {"HOME": "/root", "SECRET_SHORT": "1"}) == line


def test_nothing_steers_the_terminal():
    """Nor is there anything that PostgreSQL does not take as a text."""
    assert told("\x1b[1;31merror\x1b[0m: a\x00b\x07\x9b31mc\tx", {}) == "error: abc\tx"


@pytest.mark.anyio
@pytest.mark.slow
async def test_a_build_that_prints_a_token_leaves_none_behind(office, monkeypatch):
    """Neither in what is shown, nor anywhere in the state."""
    monkeypatch.setenv("REGISTRY_TOKEN", SECRET)
    office.plan["build"] = ["sh", "-c", 'echo "with $REGISTRY_TOKEN"']
    events = await office.promote(build=True, no_restart=True)
    assert any("with ***" in getattr(event, "text", "") for event in events)
    for file in (office.folder / ".spark").rglob("*"):
        assert not file.is_file() or SECRET.encode() not in file.read_bytes()
