"""A swap is followed over HTTP: from the beginning, from where somebody was, or not at all."""

from __future__ import annotations

import re

import pytest

from .conftest import Serve, receipt

pytestmark = pytest.mark.anyio

SSE = {"accept": "text/event-stream"}


@pytest.mark.usefixtures("folder")
async def test_who_comes_back_goes_on_after_the_last_event_that_they_have(serve: Serve) -> None:
    """As browsers do by themselves; and what is not there is no stream."""
    async with serve(workers=1).client() as http:
        begun = (await http.post("/api/swap", json={"model": "small"})).json()["id"]
        await receipt(http, begun)
        url = f"/api/swaps/{begun}/events"
        numbers = re.findall(r"(?m)^id: (\d+)$", (await http.get(url, headers=SSE)).text)
        back = await http.get(url, headers={**SSE, "last-event-id": numbers[2]})
        assert re.findall(r"(?m)^id: (\d+)$", back.text) == numbers[3:]
        assert "event: result" in back.text
        missing = await http.get("/api/swaps/nope/events", headers=SSE)
        assert (missing.status_code, missing.json()["title"]) == (404, "Not found")
