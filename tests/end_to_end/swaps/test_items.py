"""Behaviours of the cluster controller, seen on machines from the catalog to the container."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from spark_core.errors import InvalidRequest
from spark_core.swaps import driving, machine
from spark_core.swaps.models import Phase, Swap

from .conftest import MODELS, Folder, Serve, machines

pytestmark = pytest.mark.anyio

#: What a shell would take apart, replace, or run.
HOSTILE = [
    "two words",
    "it's",
    'a "quote"',
    "a;touch pwned",
    "$(touch pwned)",
    "`touch pwned`",
    "$HOME",
    "*",
    "back\\slash",
    "line\nbreak",
    "--flag=a b",
    "",
    "ž–",
]


class Seen:
    """What was to be seen after a swap to a model with odd arguments, over another one."""

    def __init__(self, folder: Folder, weights: Path) -> None:
        self.folder, self.weights = folder, weights
        self.receipts: list[Swap] = []

    @property
    def container(self) -> dict[str, Any]:
        """What docker tells of the one that runs."""
        head = self.folder.pair[0]
        [found] = json.loads(head.docker("inspect", *head.docker("ps", "-q").stdout.split()).stdout)
        return dict(found)


@pytest.fixture(scope="module")
async def seen(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Seen]:
    """``small`` is up, then a local model with hostile arguments, where sudo would be told of."""
    weights = tmp_path_factory.mktemp("tuned")
    (weights / "chat_template.jinja").write_text("{{ messages }}")
    odd = {"local_path": str(weights), "args": ["--odd", *HOSTILE], "memory_gib": 60, "ready_s": 60}
    bad = {"repo": "lab/bad", "local_path": str(weights)}
    with machines() as pair, pytest.MonkeyPatch.context() as patch:
        folder = Folder(tmp_path_factory.mktemp("items"), pair)
        folder.write(models=f"{MODELS}  odd: {json.dumps(odd)}\n  bad: {json.dumps(bad)}\n")
        for spark in pair:
            sudo = spark.folder / "bin/sudo"
            sudo.write_text(f"#!/bin/sh\ntouch {spark.folder}/asked\nexit 1\n")
            sudo.chmod(0o755)
        patch.setattr(machine, "POLL", 0.1)
        patch.setattr(driving, "LOOK", 0.05)
        made = Seen(folder, weights)
        async with folder.open() as spark_core:
            for model in ("small", "odd"):
                made.receipts.append(await spark_core.call("swap", {"model": model, "wait": True}))
            yield made


async def test_items_6_a_swap_has_succeeded_when_the_model_is_listed_and_works(seen: Seen) -> None:
    assert [receipt.outcome for receipt in seen.receipts] == ["ready", "ready"]
    assert seen.folder.served() == ["odd"]


async def test_items_7_the_old_container_is_gone_before_the_new_one_is_launched(seen: Seen) -> None:
    """By the machine's own journal, and by the receipt."""
    entries = seen.folder.pair[0].journal
    assert [entry["what"] for entry in entries] == ["begins", "ended", "begins"]
    reached = {step.phase: step.at.timestamp() for step in seen.receipts[1].steps}
    _, ended, begins = (float(str(entry["at"])) for entry in entries)
    assert ended < reached[Phase.STOPPED] < begins


async def test_items_8_hostile_arguments_arrive_in_the_container_as_one_each(seen: Seen) -> None:
    """Through the catalog, SSH, launch-cluster.sh, docker and a shell in the container."""
    received = seen.folder.pair[0].received
    assert received is not None
    at = received[0].index("--odd") + 1
    assert received[0][at : at + len(HOSTILE)] == HOSTILE
    assert not [*seen.folder.pair[0].folder.rglob("pwned")]


async def test_items_9_a_local_model_is_mounted_at_its_own_path(seen: Seen) -> None:
    assert seen.container["HostConfig"]["Binds"] == [f"{seen.weights}:{seen.weights}:ro"]


async def test_items_9_an_entry_with_both_sources_is_left_out_and_the_rest_is_there(
    seen: Seen,
) -> None:
    done = seen.folder.spark("models", "list")
    assert "bad" in done.stdout + done.stderr
    assert "small" in done.stdout
    assert seen.folder.spark("models", "show", "bad").returncode != 0


async def test_items_9_a_local_models_files_are_never_deleted(seen: Seen) -> None:
    async with seen.folder.open() as spark:
        with pytest.raises(InvalidRequest, match="never deleted"):
            await spark.call("models.remove", {"name": "odd", "weights": True})
    assert (seen.weights / "chat_template.jinja").exists()


async def test_items_10_a_blank_container_is_called_vllm_node(seen: Seen) -> None:
    assert seen.container["Name"] == "/vllm_node"


async def test_items_25_swapping_needs_no_sudo(seen: Seen) -> None:
    assert [spark.name for spark in seen.folder.pair if (spark.folder / "asked").exists()] == []


async def test_items_21_a_page_of_another_site_swaps_nothing(folder: Folder, serve: Serve) -> None:
    """Neither with the browser's word for it, nor with an origin alone."""
    served = serve(workers=1)
    async with served.client() as http:
        for headers in ({"origin": "https://example.com"}, {"sec-fetch-site": "cross-site"}):
            asked = await http.post("/api/swap", json={"model": "small"}, headers=headers)
            assert asked.status_code == 403
        own = {"origin": served.url, "sec-fetch-site": "same-origin"}
        assert (
            await http.post("/api/swap", json={"model": "nope"}, headers=own)
        ).status_code == 404
        assert (await http.get("/api/swaps")).json()["swaps"] == []


async def test_items_26_a_missing_key_is_said_clearly_and_nothing_is_asked_for(
    folder: Folder,
) -> None:
    """The swap is refused, with the file's name; nobody waits at a prompt."""
    settings = folder.path / "spark.toml"
    missing = folder.path / "missing"
    settings.write_text(settings.read_text().replace(str(folder.pair[0].key), str(missing)))
    done = folder.spark("swap", "small", "--wait", "--yes")
    assert done.returncode != 0
    assert f"the SSH key {missing} cannot be read" in done.stderr
