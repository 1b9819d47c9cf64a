"""Commands of launchers: whatever is in an argument, it stays one."""

from __future__ import annotations

import shlex
import subprocess

import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st
from pydantic import ValidationError
from spark_core_vllm.launching import checked, environment_file, script
from spark_core_vllm.settings import VllmSettings

from spark_core.contracts.model_hosts import Launch
from spark_core.errors import InvalidRequest

ARGUMENT = st.text(
    st.one_of(
        st.sampled_from("'\"`$\\;&|<>(){}[]*?~!#=% \n\t\r-"),
        st.characters(codec="utf-8", exclude_characters="\0"),
    ),
    max_size=30,
)

#: Prints the arguments after ``exec``, one per NUL, as bash gets them through ``%q``.
SHOWN = r"""
while [ "$1" != exec ]; do shift; done; shift
bash -c "printf '%s\0' $(printf '%q ' "$@")"
"""
FLATTENED = r"""
while [ "$1" != exec ]; do shift; done; shift
bash -c "printf '%s\0' $*"
"""


def section(**launch):
    return VllmSettings.model_validate({"launch": launch or {"cluster": "~/launch-cluster.sh"}})


def a_launch(**fields):
    given = {"id": "one", "name": "tiny", "model": "lab/tiny", "served_name": "tiny", **fields}
    return Launch(**given)


def refused(settings=None, **fields):
    with pytest.raises(InvalidRequest) as caught:
        checked(a_launch(**fields), settings or section())
    return caught.value.message


@pytest.mark.parametrize("flattens", [False, True])
def test_items_8_hostile_arguments_pass_launch_cluster_as_one_each(tmp_path, flattens):
    """Item 8: through the shell on the machine, and through the launcher's own joining."""
    launcher = tmp_path / "launch-cluster.sh"
    launcher.write_text("#!/bin/bash\n" + (FLATTENED if flattens else SHOWN))
    launcher.chmod(0o755)
    settings = section(cluster=str(launcher), flattens=flattens)

    @given(st.lists(ARGUMENT, min_size=1, max_size=5))
    @limits(max_examples=60, deadline=None)
    def arrive(arguments):
        command = script(a_launch(arguments=tuple(arguments)), settings, "")
        done = subprocess.run(["sh"], input=command, capture_output=True, check=True)
        shown = done.stdout.decode().split("\0")[:-1]
        assert shown[-len(arguments) :] == arguments

    arrive()


@given(st.lists(ARGUMENT, max_size=5), ARGUMENT)
@limits(max_examples=60, deadline=None)
def test_items_8_hostile_arguments_pass_a_template_as_one_each(arguments, name):
    settings = section(command=("printf", "%s\\0", "{label}", "{served_name}", "{args}"))
    launch = a_launch(arguments=tuple(arguments), served_name=name)
    done = subprocess.run(["sh"], input=script(launch, settings, ""), capture_output=True)
    shown = done.stdout.decode().split("\0")[:-1]
    assert shown == ["spark-core.launch=one", name, "--served-model-name", name, *arguments]


def test_what_is_filled_in_is_not_filled_in_again():
    settings = section(command=("x", "--label={label}", "{served_name}", '{"a": {b}}', "{args}"))
    launch = a_launch(served_name="{port}", arguments=("{model}",))
    words = shlex.split(script(launch, settings, "").decode())
    assert words[3:5] == ["{port}", '{"a": {b}}']
    assert words[-1] == "{model}"


def test_docker_arguments_are_words_that_launchers_take_apart():
    """The label tells whose a container is; the environment goes by a file; models are mounted."""
    launch = a_launch(model="/models/mine", is_local=True, environment={"HF_TOKEN": "not-for-eyes"})
    settings = VllmSettings.model_validate(
        {"docker_args": "--shm-size 1g", "launch": {"cluster": "/opt/launch-cluster.sh"}}
    )
    text = script(launch, settings, "/home/ada/.spark-core/environments/one").decode()
    extra = shlex.split(text.splitlines()[0])[0].partition("=")[2]
    assert extra.split() == [
        *("--shm-size", "1g", "--label", "spark-core.launch=one"),
        *("--env-file", "/home/ada/.spark-core/environments/one"),
        *("-v", "/models/mine:/models/mine:ro"),
    ]
    assert "not-for-eyes" not in text
    assert environment_file(launch) == b"HF_TOKEN=not-for-eyes\n"


@pytest.mark.parametrize(
    "path", ["models/mine", "/models/my model", "/models/../etc", "/a:b", "/a,b", "/$(x)", "/a\nb"]
)
def test_items_8_paths_that_launchers_take_apart_are_refused(path):
    """Item 9: absolute, no traversal, no spaces."""
    assert "path of a local model" in refused(model=path, is_local=True)


@pytest.mark.parametrize("environment", [{"A B": "x"}, {"A": "two\nlines"}, {"": "x"}], ids=repr)
def test_variables_that_no_file_can_hold_are_refused(environment):
    message = refused(environment=environment)
    assert "two" not in message


def test_ids_are_names_of_files():
    assert "id" in refused(id="../up")


def test_a_model_is_no_option():
    assert "dash" in refused(model="--help")


def test_a_template_needs_a_place_for_what_a_model_needs():
    settings = section(command=("run", "{label}", "{args}"))
    assert "place" in refused(settings, environment={"A": "b"})
    assert "place" in refused(settings, model="/models/mine", is_local=True)
    checked(a_launch(), settings)


@pytest.mark.parametrize(
    "launch",
    [
        {"cluster": "/x", "command": ["a", "{label}", "{args}"]},
        {"command": ["docker", "run", "{args}"]},
        {"command": ["docker", "run", "{label}"]},
        {"folder": "relative"},
        {"folder": "/with space"},
    ],
    ids=repr,
)
def test_settings_that_could_not_work_are_refused(launch):
    with pytest.raises(ValidationError):
        section(**launch)


@pytest.mark.parametrize(("given_", "meant"), [("", "vllm_node"), (" ", "vllm_node"), ("a", "a")])
def test_items_10_a_blank_container_is_the_usual_one(given_, meant):
    """Blank VLLM_CONTAINER: vllm_node."""
    assert VllmSettings.model_validate({"container": given_}).container == meant


@pytest.mark.parametrize("port", ["", "0", "no", "70000"])
def test_items_10_a_bad_port_is_the_usual_one(port):
    """Blank or bad VLLM_PORT: 8888."""
    assert VllmSettings.model_validate({"port": port}).port == 8888
