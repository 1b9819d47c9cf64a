"""Which machines there are, by settings or by the environment."""

from __future__ import annotations

import logging

import pytest
from pydantic import ValidationError
from spark_core_ssh.machines import SshMachines
from spark_core_ssh.settings import SshSettings

import spark_core
from spark_core.contracts.machines import Machine, Machines
from spark_core.errors import NotConfigured

pytestmark = pytest.mark.anyio

NAMED = {"SPARK1_HOST": "192.168.7.11", "SPARK1_USER": "ada"}


async def machines_of(environ):
    async with spark_core.open(environ=environ) as spark:
        return (await spark.resolver.get(Machines)).all


async def test_the_environment_names_two():
    second = {"SPARK2_HOST": "192.168.7.12", "SPARK2_USER": "grace"}
    assert await machines_of({**NAMED, **second}) == (
        Machine("spark1", "192.168.7.11", "ada"),
        Machine("spark2", "192.168.7.12", "grace"),
    )


async def test_a_blank_second_one_is_none():
    blank = {"SPARK2_HOST": "", "SPARK2_USER": ""}
    assert [machine.name for machine in await machines_of({**NAMED, **blank})] == ["spark1"]


async def test_without_any_there_is_nothing_to_reach():
    assert await machines_of({}) == ()


async def test_somebody_must_run_the_commands():
    with pytest.raises(NotConfigured, match="SPARK1_USER"):
        await machines_of({"SPARK1_HOST": "192.168.7.11"})


async def test_settings_win_over_the_environment():
    listed = '[{"name": "left", "host": "fe80::1", "user": "ada", "port": 2222}]'
    assert await machines_of({**NAMED, "SPARK_PLUGINS_SSH_MACHINES": listed}) == (
        Machine("left", "fe80::1", "ada", 2222),
    )


@pytest.mark.parametrize(
    "wrong", [{"host": "-oProxyCommand=x"}, {"user": "a b"}, {"name": ""}, {"port": 0}], ids=repr
)
def test_what_could_mean_something_else_is_refused(wrong):
    machine = {"name": "spark1", "host": "192.168.7.11", "user": "ada", **wrong}
    with pytest.raises(ValidationError):
        SshSettings.model_validate({"machines": [machine]})


def test_a_name_is_used_once():
    machine = {"name": "spark1", "host": "192.168.7.11", "user": "ada"}
    with pytest.raises(ValidationError, match="twice"):
        SshSettings.model_validate({"machines": [machine, machine]})


async def test_local_names_are_warned_of(caplog):
    machine = {"name": "spark1", "host": "spark-4f2a.local", "user": "ada"}
    with caplog.at_level(logging.WARNING):
        SshMachines(SshSettings.model_validate({"machines": [machine]}))
    assert ".local" in caplog.text
