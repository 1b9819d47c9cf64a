"""The model host where something goes wrong: what is seen, and what still holds."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from spark_core.errors import BackendError, LeaseLost, NotConfigured, Unavailable
from spark_core.testing.model_hosts import a_launch, has_container, has_ended, read, until

from .conftest import TEMPLATE, open_rig

pytestmark = pytest.mark.anyio

GIB = 2**30


async def launched(rig, **fields):
    launch = a_launch(**fields)
    await rig.host.launch(launch, 1)
    return launch


async def loaded(rig, **fields):
    launch = await launched(rig, **fields)
    await until(rig, lambda state: state.nodes["spark1"].port_taken)
    return launch


async def stopped(rig):
    await rig.host.stop(1)
    await until(rig, lambda state: not has_container(state) and has_ended(state))


# ---------------------------------------------------------------------------- what is seen


async def test_a_loaded_model_has_its_port_and_memory(rig):
    before = await rig.host.observe()
    await loaded(rig)
    state = await rig.host.observe()
    taken = [
        before.nodes[name].memory_available - node.memory_available
        for name, node in state.nodes.items()
    ]
    assert taken == [60 * GIB, 0]
    assert [node.port_taken for node in state.nodes.values()] == [True, False]
    await stopped(rig)
    after = await rig.host.observe()
    assert [node.memory_available for node in after.nodes.values()] == [
        node.memory_available for node in before.nodes.values()
    ]


async def test_a_launcher_that_starts_nothing(rig):
    """It exits with 0, and there is no container."""
    rig.head.inject("starts_nothing")
    await launched(rig)
    state = await until(rig, has_ended)
    assert state.is_empty
    assert state.launch.exit_code == 0


async def test_a_container_that_stays_is_seen(rig):
    await loaded(rig)
    rig.head.inject("container_stays")
    await rig.host.stop(1)
    await asyncio.sleep(0.5)
    assert has_container(await rig.host.observe())
    rig.head.clear("container_stays")
    await rig.host.stop(1)
    await until(rig, lambda state: state.is_empty)


async def test_a_port_that_stays_is_seen(rig):
    await loaded(rig)
    rig.head.inject("port_stays", rig.head.vllm_port)
    await stopped(rig)
    state = await until(rig, lambda state: state.nodes["spark1"].port_taken)
    assert not state.is_empty


async def test_memory_that_stays_is_seen(rig):
    before = (await rig.host.observe()).nodes["spark1"].memory_available
    await loaded(rig)
    rig.head.inject("memory_stays")
    await stopped(rig)
    state = await rig.host.observe()
    assert before - state.nodes["spark1"].memory_available == 60 * GIB


async def test_a_model_that_crashes_while_it_loads_leaves_its_words(rig):
    rig.head.inject("loads_for_ever")
    launch = await launched(rig)
    await rig.crash("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 GiB")
    state = await until(rig, has_ended)
    assert state.launch.exit_code == 1
    assert "CUDA out of memory" in "\n".join(await read(rig.host, launch.id))


async def test_a_model_that_loads_for_ever_holds_no_port(rig):
    rig.head.inject("loads_for_ever")
    launch = await launched(rig)
    async with aclosing(rig.host.log(launch.id)) as lines:
        async for line in lines:
            if " 75% " in line:
                break
    state = await rig.host.observe()
    assert has_container(state)
    assert not state.nodes["spark1"].port_taken
    assert state.launch.exit_code is None
    await stopped(rig)


async def test_a_full_disk_is_seen_and_a_stop_still_works(rig):
    await loaded(rig)
    rig.head.inject("disk_full")
    assert (await rig.host.observe()).nodes["spark1"].disk_free == 0
    await stopped(rig)
    launch = await launched(rig)
    state = await until(rig, has_ended)
    assert state.is_empty
    assert "no space left on device" in "\n".join(await read(rig.host, launch.id))


async def test_a_second_node_that_is_dead_is_said_before_anything_begins(rig):
    await rig.cut("spark2")
    with pytest.raises(Unavailable, match="spark2"):
        await launched(rig, nodes=2)
    state = await rig.host.observe()
    assert state.nodes["spark2"].error
    assert state.nodes["spark1"].container is None
    assert state.launch is None


async def test_a_half_dead_pair_is_seen_and_cleaned_up(rig):
    """Node 2 lost its container, node 1 has its own: one stop ends both."""
    await loaded(rig, nodes=2)
    rig.other.docker("stop", "vllm_node")
    state = await rig.host.observe()
    assert [node.container is not None for node in state.nodes.values()] == [True, False]
    await rig.host.stop(1)
    await until(rig, lambda state: state.is_empty)


async def test_a_stop_ends_what_it_can_reach(rig):
    await loaded(rig, nodes=2)
    await rig.cut("spark2")
    with pytest.raises(Unavailable, match="spark2"):
        await rig.host.stop(1)
    await until(rig, lambda state: state.nodes["spark1"].container is None)
    rig.other.start_sshd()
    await rig.host.stop(1)
    await until(rig, lambda state: state.is_empty)


async def test_a_docker_that_does_not_answer_is_not_an_empty_machine(rig):
    broken = rig.head.folder / "bin" / "docker"
    broken.write_text("#!/bin/sh\necho 'Cannot connect to the Docker daemon' >&2\nexit 1\n")
    state = await rig.host.observe()
    assert "Docker daemon" in state.nodes["spark1"].error
    assert not state.is_empty
    with pytest.raises(BackendError, match="Docker daemon"):
        await rig.host.stop(1)


# ----------------------------------------------------------------------- connections that break


async def test_a_launch_survives_the_connection_and_the_controller(pair):
    """It goes on when the program that asked for it is gone."""
    pair[0].inject("load_seconds", 0.5)
    async with open_rig(pair) as rig:
        launch = await launched(rig)
        pair[0].drop()
    async with open_rig(pair) as rig:
        state = await until(rig, lambda state: state.nodes["spark1"].port_taken)
        assert state.launch.id == launch.id
        assert state.launch.exit_code is None


async def test_a_log_goes_on_after_connections_broke_and_no_line_comes_twice(rig):
    rig.head.inject("loads_for_ever")
    launch = await launched(rig)
    lines = []
    async with aclosing(rig.host.log(launch.id)) as log:
        async for line in log:
            lines.append(line)
            if " 75% " in line or line in ("more 100", "more 300"):
                rig.head.drop()
            if " 75% " in line:
                await rig.crash(*(f"more {n}" for n in range(500)))
    assert [line for line in lines if line.startswith("more")] == [f"more {n}" for n in range(500)]
    assert lines == await read(rig.host, launch.id)


async def test_a_command_that_was_cut_off_is_never_run(rig):
    """Half of a command is another command."""
    words = ["launch", "1", "half", "vllm_node", "100", "tiny"]
    with pytest.raises(BackendError, match="cut off"):
        await rig.host._change("spark1", words, b"touch ~/touched")
    assert not (rig.head.home / "touched").exists()
    assert (await rig.host.observe()).launch is None


# ------------------------------------------------------------------------- whoever asks


async def test_of_two_controllers_the_replaced_one_can_do_nothing(pair):
    """Each with its own connection; the fence is on the machines, on both of them."""
    async with open_rig(pair) as old, open_rig(pair) as new:
        await old.host.observe(fence=1)
        await new.host.observe(fence=2)
        with pytest.raises(LeaseLost):
            await old.host.launch(a_launch(nodes=2), 1)
        await new.host.launch(a_launch(nodes=2), 2)
        await until(new, has_container)
        with pytest.raises(LeaseLost):
            await old.host.stop(1)
        assert has_container(await new.host.observe())


async def test_a_stop_during_a_launch_leaves_nothing_behind(rig):
    """The launcher ends first, so that it starts nothing more."""
    await launched(rig, nodes=2)
    await rig.host.stop(1)
    await until(rig, has_ended)
    for _ in range(20):
        await rig.host.stop(1)
        if (await rig.host.observe()).is_empty:
            break
    assert (await rig.host.observe()).is_empty
    assert not rig.head.docker("ps", "-q").stdout


async def test_secrets_are_in_no_process_list_and_gone_with_the_model(rig):
    """HF_TOKEN reaches the server on both machines, and is in no command line."""
    await loaded(rig, nodes=2, environment={"HF_TOKEN": "not-for-eyes"})
    for spark in (rig.head, rig.other):
        assert not any("not-for-eyes" in line for line in spark.running())
        assert spark.received[1]["HF_TOKEN"] == "not-for-eyes"
    await rig.host.stop(1)
    await until(rig, lambda state: state.is_empty and has_ended(state))
    for spark in (rig.head, rig.other):
        files = [f for f in (spark.home / ".spark-core").rglob("*") if f.is_file()]
        assert not any(b"not-for-eyes" in file.read_bytes() for file in files)


async def test_a_launch_keeps_its_environment_while_what_ran_before_still_ends(pair):
    """The launcher before lingers for a while after its container is gone."""
    lingering = ("sh", "-c", 'trap "" TERM; "$@" & wait; sleep 2', "sh")
    async with open_rig(pair, command=(*lingering, *TEMPLATE)) as rig:
        await loaded(rig)
        await rig.host.stop(1)
        await until(rig, lambda state: not has_container(state))
        launch = await launched(rig, environment={"NAME": "value"})
        await until(rig, lambda state: state.nodes["spark1"].port_taken)
        assert rig.head.received[1]["NAME"] == "value", await read(rig.host, launch.id)


async def test_what_is_kept_there_is_for_its_owner_alone(rig):
    await launched(rig)
    kept = [rig.head.home / ".spark-core", *(rig.head.home / ".spark-core").rglob("*")]
    assert not any(file.stat().st_mode & 0o077 for file in kept if not file.is_symlink())


async def test_a_container_that_the_command_leaves_behind_is_followed(pair):
    """``docker run -d``: log and exit code are the container's, not the command's."""
    command = (
        *("docker", "run", "-d", "--name", "{container}", "--label", "{label}", "image"),
        *("vllm", "serve", "{model}", "--port", "{port}", "{args}"),
    )
    async with open_rig(pair, command=command) as rig:
        launch = await loaded(rig)
        assert not has_ended(await rig.host.observe())
        await rig.crash("RuntimeError: Engine core initialization failed")
        state = await until(rig, has_ended)
        assert state.launch.exit_code == 1
        assert any("Engine core" in line for line in await read(rig.host, launch.id))
        # The container that ended has the name still; the next launch removes it.
        rig.head.clear("crash")
        await loaded(rig)


async def test_a_local_model_is_mounted_at_the_same_path(rig):
    await loaded(rig, model="/models/mine", is_local=True)
    binds = rig.head.docker("inspect", "-f", "{{json .HostConfig.Binds}}", "vllm_node").stdout
    assert "/models/mine:/models/mine:ro" in binds


async def test_machines_are_named_in_settings(pair):
    with pytest.raises(NotConfigured, match="spark7"):
        async with open_rig(pair, cluster="~/launch-cluster.sh", machines=["spark7"]):
            pass
    async with open_rig(pair, cluster="~/launch-cluster.sh", machines=["spark2"]) as rig:
        assert list((await rig.host.observe()).nodes) == ["spark2"]
