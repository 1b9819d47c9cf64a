"""Commands on a machine: what arrives there, and what comes back."""

from __future__ import annotations

import asyncio
import hashlib
import time
from contextlib import aclosing

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as limits
from hypothesis import strategies as st
from spark_core_ssh.machines import KEPT, SshMachines
from spark_core_ssh.opening import open_machines

from spark_core.contracts.machines import Machines
from spark_core.errors import BackendError, InvalidRequest, NotFound, TimedOut, Unavailable

pytestmark = pytest.mark.anyio

#: Anything that an argument of a program can be, and more of what shells take for their own.
ARGUMENT = st.text(
    st.one_of(
        st.sampled_from("'\"`$\\;&|<>(){}[]*?~!#=% \n\t\r-"),
        st.characters(codec="utf-8", exclude_characters="\0"),
    ),
    max_size=40,
)


async def until(holds):
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110 - a process elsewhere sets no event
            await asyncio.sleep(0.01)


async def told_to_end(spark, program):
    """The process ends; to those of root, sshd passes no signal on, and says so."""

    def holds():
        gone = not any(program in line for line in spark.running())
        return gone or "signalling requires" in (spark.folder / "sshd.log").read_text()

    await until(holds)


async def test_is_what_the_contract_says(machines):
    assert isinstance(machines, Machines)
    assert [machine.name for machine in machines.all] == ["spark1"]


async def test_items_8_hostile_arguments_arrive_as_one_each(machines):
    """Spaces, quotes, semicolons, substitutions, newlines: item 8 of the cluster controller."""
    loop = asyncio.get_running_loop()

    @given(st.lists(ARGUMENT, min_size=1, max_size=6))
    @limits(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    def arrive(arguments: list[str]) -> None:
        command = ("printf", "<%s>|", *arguments)
        running = asyncio.run_coroutine_threadsafe(machines.run("spark1", command), loop)
        done = running.result(30)
        assert done.stdout == "".join(f"<{argument}>|" for argument in arguments)

    await asyncio.to_thread(arrive)


async def test_outputs_and_exit_code_come_back(machines):
    done = await machines.run("spark1", ["sh", "-c", "echo out; echo err >&2; exit 3"])
    assert (done.exit_code, done.stdout, done.stderr) == (3, "out\n", "err\n")


async def test_a_signal_counts_as_in_a_shell(machines):
    assert (await machines.run("spark1", ["sh", "-c", "kill -9 $$"])).exit_code == 137


async def test_input_arrives_byte_by_byte(machines):
    sent = bytes(range(256)) * 2000
    done = await machines.run("spark1", ["sha256sum"], stdin=sent)
    assert done.stdout.split()[0] == hashlib.sha256(sent).hexdigest()


async def test_input_that_nobody_reads_is_no_error(machines):
    assert (await machines.run("spark1", ["true"], stdin=b"x" * 500_000)).exit_code == 0


async def test_input_is_in_no_process_list_and_in_no_error(machines, spark):
    running = asyncio.create_task(
        machines.run("spark1", ["sh", "-c", "cat; sleep 60"], stdin=b"not-for-eyes", timeout_s=1)
    )
    await until(lambda: any("sleep 60" in line for line in spark.running()))
    assert not any("not-for-eyes" in line for line in spark.running())
    with pytest.raises(TimedOut) as caught:
        await running
    assert "not-for-eyes" not in f"{caught.value} {caught.value.__cause__}"


async def test_much_output_is_cut_and_the_command_ends(machines):
    done = await machines.run("spark1", ["sh", "-c", "yes | head -c 5000000; echo end >&2"])
    assert len(done.stdout) == KEPT
    assert (done.stderr, done.exit_code) == ("end\n", 0)


async def test_text_that_is_not_utf_8_is_replaced(machines):
    assert (await machines.run("spark1", ["printf", "a\\377b"])).stdout == "a\ufffdb"


@pytest.mark.parametrize("command", [[], ["echo", "a\0b"], ["echo", "\ud800"]], ids=repr)
async def test_what_is_no_command_is_refused(machines, command):
    with pytest.raises(InvalidRequest):
        await machines.run("spark1", command)


async def test_a_machine_that_there_is_not(machines):
    with pytest.raises(NotFound, match="spark1"):
        await machines.run("spark9", ["true"])


async def test_a_command_that_is_late_is_told_to_end(machines, spark):
    with pytest.raises(TimedOut, match="sleep"):
        await machines.run("spark1", ["sleep", "600"], timeout_s=0.5)
    await told_to_end(spark, "sleep 600")


async def test_a_command_that_is_given_up_is_told_to_end(machines, spark):
    running = asyncio.create_task(machines.run("spark1", ["sleep", "600"]))
    await until(lambda: any("sleep 600" in line for line in spark.running()))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await told_to_end(spark, "sleep 600")


async def test_many_commands_share_one_connection(machines):
    """More than sshd allows at once: the others wait."""
    command = ["sh", "-c", "echo $SSH_CONNECTION; sleep 0.05"]
    done = await asyncio.gather(*(machines.run("spark1", command) for _ in range(24)))
    assert len({each.stdout for each in done}) == 1
    assert {each.exit_code for each in done} == {0}


async def test_a_broken_connection_is_said_and_made_anew(machines, spark):
    running = asyncio.create_task(machines.run("spark1", ["sleep", "600"]))
    await until(lambda: any("sleep 600" in line for line in spark.running()))
    spark.drop()
    with pytest.raises(Unavailable, match="spark1"):
        await running
    assert (await machines.run("spark1", ["echo", "back"])).stdout == "back\n"


async def test_a_connection_that_broke_meanwhile_is_made_anew(machines, spark):
    await machines.run("spark1", ["true"])
    spark.stop_sshd()
    with pytest.raises(Unavailable):
        await machines.run("spark1", ["true"])
    spark.start_sshd()
    assert (await machines.run("spark1", ["echo", "back"])).stdout == "back\n"


async def test_items_26_a_machine_that_never_answers_is_bounded(machines, spark):
    spark.inject("ssh_hangs")
    with pytest.raises(TimedOut):
        await machines.run("spark1", ["true"], timeout_s=0.5)


async def test_nothing_is_left_when_closed(settings, spark):
    async with open_machines(settings()) as machines:
        await machines.run("spark1", ["true"])
        assert spark.drop() > 0
        await machines.run("spark1", ["true"])
    await until(lambda: spark.drop() == 0)


# ---------------------------------------------------------------------------------- following


async def collected(machines: SshMachines, *command: str, timeout_s: float = 30) -> list[str]:
    async with aclosing(machines.follow("spark1", command, timeout_s=timeout_s)) as lines:
        return [line async for line in lines]


async def test_lines_come_while_the_command_runs(machines, spark):
    command = ["sh", "-c", "echo one; echo two >&2; sleep 600"]
    async with aclosing(machines.follow("spark1", command, timeout_s=60)) as lines:
        assert {await anext(lines), await anext(lines)} == {"one", "two"}
    await told_to_end(spark, "sleep 600")


async def test_the_last_line_needs_no_end(machines):
    assert await collected(machines, "printf", "a\\r\\n\\nb") == ["a", "", "b"]


async def test_a_line_without_end_comes_in_parts(machines):
    lines = await collected(machines, "sh", "-c", "head -c 200000 /dev/zero | tr '\\0' x")
    assert len(lines) > 1
    assert "".join(lines) == "x" * 200_000


async def test_a_command_that_fails_says_so_at_the_end(machines):
    command = ["sh", "-c", "echo last words; exit 5"]
    async with aclosing(machines.follow("spark1", command, timeout_s=30)) as lines:
        assert await anext(lines) == "last words"
        with pytest.raises(BackendError, match="exit code 5"):
            await anext(lines)


async def test_following_is_bounded(machines):
    began = time.monotonic()
    with pytest.raises(TimedOut):
        await collected(machines, "sleep", "600", timeout_s=0.3)
    assert time.monotonic() - began < 30


async def test_following_ends_with_the_connection(machines, spark):
    command = ["sh", "-c", "echo one; sleep 600"]
    async with aclosing(machines.follow("spark1", command, timeout_s=60)) as lines:
        assert await anext(lines) == "one"
        spark.drop()
        with pytest.raises(Unavailable):
            await anext(lines)
