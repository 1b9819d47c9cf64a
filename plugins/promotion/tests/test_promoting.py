"""Section B of the contract, and system 4's items: what a promotion does, in which order."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.anyio


async def test_a_promotion_ships_restarts_and_verifies(office):
    """The whole of it: every phase in order, the new binary serves, and the receipt says so."""
    *events, receipt = await office.promote(verify=True, restart_consumers=True)
    phases = [event.text for event in events if event.kind == "phase"]
    assert phases == [
        *("admitted", "checked", "backed_up", "copied", "installed", "restarted", "bound"),
        *("consumers", "verified"),
    ]
    assert (receipt.outcome, receipt.failure) == ("ready", None)
    assert office.is_new()
