"""Patches: files that are laid over those in a container, once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from spark_core_lab.sparks.machine import Spark as Machine
from spark_core_services.sightings import Sightings

from spark_core import Spark
from spark_core.errors import BackendError, Conflict, SettingsError

from .conftest import Open, program, steps_of

pytestmark = pytest.mark.anyio

SERVICES = "{speech: {kind: docker, patches: {folder: patches/speech, into: /app}}}"


@pytest.fixture
def patches(spark_home: Path) -> Path:
    folder = spark_home / "patches" / "speech"
    (folder / "nemo").mkdir(parents=True)
    (folder / "server.py").write_text("patched = True\n")
    (folder / "nemo" / "a file; with $(odd) name.py").write_text("too = True\n")
    return folder


@pytest.fixture
def speech(machine: Machine) -> Machine:
    machine.docker("run", "-d", "--name", "speech", "image")
    return machine


async def patch(spark: Spark) -> list[Any]:
    return await steps_of(spark, "services.patch", {"name": "speech"})


def inside(machine: Machine, file: str) -> str:
    return machine.docker("exec", "speech", "cat", file).stdout


def started(machine: Machine) -> str:
    return machine.docker("inspect", "-f", "{{.State.StartedAt}}", "speech").stdout


async def test_items_27_patches_are_copied_then_it_is_restarted_and_checked(
    opened: Open, speech: Machine, patches: Path
) -> None:
    """In this order, each as a step; files in folders and with odd names, too."""
    before = started(speech)
    async with opened(SERVICES) as spark:
        steps = await patch(spark)
    assert list(dict.fromkeys(step.phase for step in steps)) == [
        *("compare", "copy", "restart", "health", "verify")
    ]
    assert steps[-1].line == "speech runs with 2 patches"
    assert inside(speech, "/app/server.py") == "patched = True\n"
    assert inside(speech, "/app/nemo/a file; with $(odd) name.py") == "too = True\n"
    assert started(speech) > before


async def test_items_27_a_second_time_changes_nothing(
    opened: Open, speech: Machine, patches: Path
) -> None:
    async with opened(SERVICES) as spark:
        await patch(spark)
        before = started(speech)
        steps = await patch(spark)
    assert [(step.phase, step.state) for step in steps][-1] == ("compare", "unchanged")
    assert started(speech) == before


async def test_a_patch_that_changed_is_copied(opened: Open, speech: Machine, patches: Path) -> None:
    async with opened(SERVICES) as spark:
        await patch(spark)
        (patches / "server.py").write_text("patched = 2\n")
        await patch(spark)
    assert inside(speech, "/app/server.py") == "patched = 2\n"


async def test_a_file_that_was_changed_inside_is_patched_again(
    opened: Open, speech: Machine, patches: Path
) -> None:
    async with opened(SERVICES) as spark:
        await patch(spark)
        speech.docker("exec", "speech", "sh", "-c", "echo other > app/server.py")
        await patch(spark)
    assert inside(speech, "/app/server.py") == "patched = True\n"


async def test_a_container_that_was_made_anew_is_patched_again(
    opened: Open, speech: Machine, patches: Path
) -> None:
    async with opened(SERVICES) as spark:
        await patch(spark)
        speech.docker("rm", "-f", "speech")
        speech.docker("run", "-d", "--name", "speech", "image")
        await patch(spark)
    assert inside(speech, "/app/server.py") == "patched = True\n"


async def test_files_that_were_copied_and_never_loaded_are_not_taken_for_done(
    opened: Open, speech: Machine, patches: Path
) -> None:
    """Whoever copied them was killed before the restart."""
    async with opened(SERVICES) as spark:
        await patch(spark)
        await (await spark.resolver.get(Sightings)).set_patched("speech", None)
        before = started(speech)
        await patch(spark)
    assert started(speech) > before


async def test_a_container_that_does_not_run_is_patched_and_started(
    opened: Open, speech: Machine, patches: Path
) -> None:
    speech.docker("stop", "-t", "0", "speech")
    async with opened(SERVICES) as spark:
        await patch(spark)
    assert inside(speech, "/app/server.py") == "patched = True\n"


async def test_patches_that_do_not_stay_are_a_failure(
    opened: Open, speech: Machine, patches: Path
) -> None:
    """A container that is made anew with each start cannot be patched; that is told."""
    real = speech.folder / "bin" / "docker"
    real.rename(speech.folder / "bin" / "docker.real")
    program(
        speech,
        "docker",
        f"""
        {real}.real "$@"; code=$?
        [ "$1" = restart ] && {real}.real exec speech rm -r app
        exit $code
        """,
    )
    async with opened(SERVICES) as spark:
        with pytest.raises(BackendError, match="not there any more after the restart"):
            await patch(spark)


async def test_a_copy_that_fails_is_a_failure(opened: Open, speech: Machine, patches: Path) -> None:
    """And nothing is restarted."""
    real = speech.folder / "bin" / "docker"
    real.rename(speech.folder / "bin" / "docker.real")
    program(
        speech,
        "docker",
        f'[ "$1" = cp ] && {{ echo "no space left" >&2; exit 1; }}\nexec {real}.real "$@"\n',
    )
    before = started(speech)
    async with opened(SERVICES) as spark:
        with pytest.raises(BackendError, match="cannot be copied: no space left"):
            await patch(spark)
    assert started(speech) == before


async def test_a_container_that_is_not_there_is_told(opened: Open, patches: Path) -> None:
    async with opened(SERVICES) as spark:
        with pytest.raises(BackendError, match="there is no container speech"):
            await patch(spark)


async def test_a_service_without_patches_is_refused(opened: Open, speech: Machine) -> None:
    async with opened("{speech: {kind: docker}}") as spark:
        with pytest.raises(Conflict, match="speech has no patches"):
            await patch(spark)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "link").symlink_to("/etc/passwd"), "no regular file"),
        (lambda folder: (folder / "a\nb").touch(), "name cannot be copied"),
        (lambda folder: (folder / "a\\b").touch(), "name cannot be copied"),
        (lambda folder: folder.rename(folder.with_name("elsewhere")), "there are no patches"),
    ],
    ids=["a link", "a line end", "a backslash", "no folder"],
)
async def test_what_cannot_be_copied_is_told_before_anything_is(
    opened: Open, speech: Machine, patches: Path, spoil: Any, message: str
) -> None:
    spoil(patches)
    before = started(speech)
    async with opened(SERVICES) as spark:
        with pytest.raises(SettingsError, match=message):
            await patch(spark)
    assert started(speech) == before


@pytest.mark.parametrize("into", ["app", "/", "/app/../etc", "/app//x"])
async def test_patches_go_nowhere_else(opened: Open, into: str) -> None:
    services = f"{{speech: {{kind: docker, patches: {{folder: x, into: '{into}'}}}}}}"
    async with opened(services) as spark:
        tiles = await spark.call("services.list")
    assert "patches.into: must be absolute" in tiles.warnings[0]
