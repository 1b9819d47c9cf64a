"""A processor that raises, hangs, allocates 10 GB or ends its process harms nobody else."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest
from spark_core_sessions.isolation import Failed

from spark_core.errors import PluginError

from .conftest import NotIsolated, alive, until

pytestmark = pytest.mark.anyio


async def failed(run, folder, what, by="bad"):
    """What is told of a file that makes its processor do *what*, between two good ones."""
    folder.write("ada/1.jsonl", {"do": "nothing"})
    folder.write("ada/2.jsonl", {"do": what})
    folder.write("ada/3.jsonl", {"do": "nothing"})
    answer = await run(by)
    details = answer.details
    assert (answer.ok, details.processed, details.errors) == (False, 2, 1)
    [error] = details.errors_detail
    assert error.session_file == "ada/2.jsonl"
    other = await run("count")  # another processor, and this very process, go on
    assert other.details.processed == 3
    return error.error


async def test_a_processor_that_raises_leaves_all_others_working(run, folder):
    """It is told what and where, and not what the session said."""
    error = await failed(run, folder, "raise")
    assert error.startswith("ValueError at sample_processors.py line ")
    assert "private" not in error


@pytest.mark.parametrize(
    "what",
    [
        pytest.param("hang", marks=pytest.mark.slow),
        "spin",
        pytest.param("block", marks=pytest.mark.slow),
    ],
)
async def test_a_processor_that_hangs_is_killed_in_its_time(run, folder, what):
    """Whether it awaits, computes or blocks its loop."""
    assert "did not end within" in await failed(run, folder, what)


async def test_a_processor_that_allocates_10_gb_is_refused_the_memory(run, folder):
    assert "MemoryError" in await failed(run, folder, "allocate", "greedy")


async def test_a_processor_that_calls_os_exit_is_named(run, folder):
    assert await failed(run, folder, "exit") == "it ended its process with exit code 7"


@pytest.mark.slow
async def test_a_processor_that_aborts_is_named(run, folder):
    assert await failed(run, folder, "abort") == "its process was ended by SIGABRT"


@pytest.mark.slow
async def test_a_processor_that_calls_sys_exit_is_named(run, folder):
    assert (await failed(run, folder, "sysexit")).startswith("SystemExit")


async def test_what_a_processor_prints_goes_nowhere(run, folder, capfd):
    folder.write("ada/1.jsonl", {"do": "print"})
    answer = await run("bad")
    assert (answer.ok, answer.details.items_extracted) == (True, 1)
    assert capfd.readouterr() == ("", "")


async def test_what_a_processor_started_is_killed_with_it(run, folder):
    folder.write("ada/1.jsonl", {"do": "children"})
    assert not (await run("bad")).ok
    child = int(folder.seen_file.with_name("child").read_text())
    await until(lambda: not alive(child))


async def test_a_signal_without_a_name_is_told_by_its_number(run, folder):
    number = signal.SIGRTMIN + 3
    assert await failed(run, folder, "signal") == f"its process was ended by signal {number}"


async def test_what_left_with_the_pipes_holds_nobody_up(run, folder):
    """A daemon in a session of its own is not found; a run does not wait for it either."""
    try:
        async with asyncio.timeout(60):
            assert "did not end within" in await failed(run, folder, "daemon")
    finally:
        os.kill(int(folder.seen_file.with_name("child").read_text()), signal.SIGKILL)


@pytest.mark.parametrize(
    "what",
    [
        "object",
        pytest.param("huge", marks=pytest.mark.slow),
        pytest.param("less", marks=pytest.mark.slow),
    ],
)
async def test_a_count_that_is_none_is_0(run, folder, what):
    """The processor did its work: the file is done."""
    folder.write("ada/1.jsonl", {"do": what})
    details = (await run("bad")).details
    assert (details.processed, details.errors, details.items_extracted) == (1, 0, 0)


async def test_the_process_is_gone_after_a_run(run, folder):
    """Also where all went well, and where the run was cancelled."""
    folder.write("ada/1.jsonl", {"do": "nothing"})
    await run("bad")
    assert not alive(folder.seen("bad")[0]["pid"])
    folder.write("ada/2.jsonl", {"do": "hang"})
    running = asyncio.create_task(run("bad"))
    await until(lambda: len(folder.seen("bad")) == 2)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not alive(folder.seen("bad")[1]["pid"])


async def test_one_process_serves_all_files_that_go_well(run, folder):
    for number in range(3):
        folder.write(f"ada/{number}.jsonl", {"n": number})
    await run()
    assert len({line["pid"] for line in folder.seen()}) == 1


async def test_a_processor_that_cannot_begin_fails_no_file(run, folder, spark):
    """Its files are not to blame."""
    folder.write("ada/1.jsonl", {"n": 1})
    with pytest.raises(PluginError, match=r"never cannot begin: .* exit code 9"):
        await run("never")
    assert (await spark.call("sessions.status")).processors
    for processor in (await spark.call("sessions.status")).processors:
        assert processor.quarantined == []


@pytest.mark.usefixtures("in_this_process")
async def test_e20_a_run_ends_when_its_time_is_over(run, folder, monkeypatch):
    """Files that take all of their time cannot hold it: what is left is for the next run."""

    async def hang(self, session, limit_s):
        await asyncio.sleep(limit_s)
        raise Failed("it did not end")

    monkeypatch.setattr(NotIsolated, "process", hang)
    for number in range(5):
        folder.write(f"ada/{number}.jsonl", {"do": "hang"})
    details = (await run("short")).details
    assert 1 <= details.errors <= 3
    assert details.errors + details.remaining == 5


@pytest.mark.usefixtures("in_this_process")
async def test_e20_a_run_does_only_so_many_files(make_spark, run, folder):
    for number in range(5):
        folder.write(f"ada/{number}.jsonl", {"n": number})
    spark = make_spark(max_per_run=2)
    try:
        done = [(await run(of=spark)).details for _ in range(3)]
    finally:
        await spark.resolver.aclose()
    assert [(d.processed, d.remaining) for d in done] == [(2, 3), (2, 1), (1, 0)]
    assert folder.numbers() == [0, 1, 2, 3, 4]


def test_session_processor_max_per_run_is_50_and_a_variable(make_spark):
    from spark_core_sessions.settings import SessionsSettings

    assert make_spark().settings.section(SessionsSettings).max_per_run == 50
    spark = make_spark(environ={"SESSION_PROCESSOR_MAX_PER_RUN": "7"})
    assert spark.settings.section(SessionsSettings).max_per_run == 7


async def test_the_process_ends_when_its_parent_is_killed(folder, tmp_path):
    """Nothing of ours is left to run on by itself."""
    folder.write("ada/1.jsonl", {"do": "hang"})
    samples = Path(__file__).parent / "samples"
    (tmp_path / "spark.toml").write_text(f'[plugins.sessions]\ndirectory = "{folder.path}"\n')
    program = f"""
import asyncio, sys
sys.path.insert(0, {str(samples)!r})
import sample_processors, spark_core_sessions
from spark_core import builtin
from spark_core.plugins import Plugin, Plugins
from spark_core.settings import Source
from spark_core.spark import compose
plugins = Plugins([
    Plugin("core", "a", "0", module=builtin),
    Plugin("sessions", "b", "0", module=spark_core_sessions),
    Plugin("samples", "c", "0", module=sample_processors),
])
spark = compose(Source.read({str(tmp_path / "spark.toml")!r}), plugins=plugins)
asyncio.run(spark.call("sessions.run", {{"processor": "bad"}}))
"""
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", program)
    await until(lambda: bool(folder.seen("bad")) or parent.returncode is not None)
    child = folder.seen("bad")[0]["pid"]
    parent.kill()
    await parent.wait()
    await until(lambda: not alive(child))
