"""Every fault at every step: the new binary serves in the end, or the old one, byte for byte."""

from __future__ import annotations

import threading
from contextlib import suppress

import pytest

from spark_core.errors import BackendError

from .conftest import digest

pytestmark = pytest.mark.anyio

PHASES = ("admitted", "checked", "backed_up", "copied", "installed", "restarted", "bound")

#: Dies as its shell does: as if the machine's power failed in that very command.
DIES = "kill -9 $PPID; exit 1"


def away(office) -> None:
    office.machine.stop_sshd()


def away_briefly(office) -> None:
    office.machine.stop_sshd()
    threading.Timer(1.0, office.machine.start_sshd).start()


def dropped(office) -> None:
    office.machine.drop()


def update_fails(office) -> None:
    office.machine.inject("update_fails")


def container_killed(office) -> None:
    number = office.tasks()[0]["Status"]["ContainerStatus"]["ContainerID"]
    office.machine.docker("kill", number)


def failing(program: str, text: str = "exit 1"):
    def fault(office) -> None:
        office.breaks(program, text)

    fault.__name__ = f"{program} {text}"
    return fault


FAULTS = (
    *(away, away_briefly, dropped, update_fails, container_killed),
    *(failing(program) for program in ("sha256sum", "mv", "cp", "sync", "truncate")),
    *(failing(program, DIES) for program in ("mv", "sync", "truncate")),
)

#: This one is looked at in every run.
USUAL = {("copied", "mv exit 1")}


def params():
    for phase in PHASES:
        for fault in FAULTS:
            usual = (phase, fault.__name__) in USUAL
            marks = () if usual else (pytest.mark.slow,)
            yield pytest.param(phase, fault, marks=marks, id=f"{phase}-{fault.__name__}")


@pytest.mark.parametrize(("phase", "fault"), list(params()))
async def test_never_neither(office, phase, fault):
    """While it lasts the destination is whole; when it is over, so is the promotion."""
    office.settings["reach_s"] = 2
    office.at(phase, lambda: fault(office))
    with suppress(BackendError):
        await office.promote(verify=True)
    known = {digest(office.engines(kind)) for kind in ("old", "new")}
    assert digest(office.destination) in known
    office.patch.undo()
    office.tidy()
    receipt = (await office.status()).promotion
    if receipt.outcome == "halted":
        with suppress(BackendError):
            await office.promote()
        receipt = (await office.status()).promotion
    assert receipt.outcome in ("ready", "rolled_back", "refused"), receipt
    if receipt.outcome == "ready":
        assert "verified" in [step.phase for step in receipt.steps]
        assert office.is_new()
    else:
        assert receipt.failure is not None
        assert office.is_old()


@pytest.mark.slow
@pytest.mark.parametrize("program", ["truncate", "sync", "mv"])
async def test_items_6_killed_mid_install_the_destination_is_intact(office, program):
    """The command on the node dies in the middle; another promotion then works."""
    office.breaks(program, DIES)
    with pytest.raises(BackendError):
        await office.promote()
    assert digest(office.destination) == digest(office.engines("old"))
    office.tidy()
    await office.promote(no_restart=True)
    assert digest(office.destination) == digest(office.engines("new"))
    await office.promote("promote.rollback")
    assert digest(office.destination) == digest(office.engines("old"))
