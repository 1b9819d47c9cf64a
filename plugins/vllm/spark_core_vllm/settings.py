"""``[plugins.vllm]``"""

from __future__ import annotations

import logging
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from spark_core import Env, Section
from spark_core.gateway.sections import BackendsSection, Host, Key, Port
from spark_core.settings import Settings

__all__ = ["LaunchSettings", "VllmSettings", "is_configured"]

#: Where vLLM listens on a Spark unless it is told otherwise.
PORT = 8888

#: What launch-cluster.sh calls its container unless it is told otherwise.
CONTAINER = "vllm_node"

log = logging.getLogger(__name__)


def _port(value: Any) -> Any:
    """A blank or senseless port is the usual one, and said so: a model should not be missed."""
    try:
        port = int(value)
    except (TypeError, ValueError):
        port = 0
    if 1 <= port <= 65535:
        return port
    log.warning("[plugins.vllm] port: not a port, so %d is used", PORT)
    return PORT


def _container(value: Any) -> Any:
    """A blank name is the usual one."""
    return CONTAINER if isinstance(value, str) and not value.strip() else value


class LaunchSettings(Section):
    """``[plugins.vllm.launch]``: how models are started and stopped, and where."""

    machines: tuple[str, ...] = Field(
        default=(),
        description="The machines' names, the first being where clients are served from; by "
        "default all that there are.",
    )
    cluster: str = Field(
        default="", description="Where launch-cluster.sh is on the first machine; ~/ is its home."
    )
    options: tuple[str, ...] = Field(
        default=(), description="More arguments of launch-cluster.sh, before its action."
    )
    solo: tuple[str, ...] = Field(
        default=("--solo",), description="Its arguments for a model on one machine."
    )
    several: tuple[str, ...] = Field(
        default=(), description="Its arguments for a model on several machines."
    )
    serve: tuple[str, ...] = Field(
        default=("vllm", "serve"), min_length=1, description="The server's program in a container."
    )
    flattens: bool = Field(
        default=False,
        description="Whether launch-cluster.sh joins the words after `exec` with spaces, as early "
        "versions do; newer ones quote them.",
    )
    command: tuple[str, ...] = Field(
        default=(),
        description="Instead of launch-cluster.sh: a program and its arguments, one each. "
        "{model}, {served_name}, {port}, {container}, {label}, {env_file}, {name} and {launch} are "
        "filled in; {args} and {mount}, alone, become several arguments or none.",
    )
    folder: str = Field(
        default="~/.spark-core",
        pattern=r"^(~/|/)[A-Za-z0-9._/-]+$",
        description="Where the machines keep what was launched.",
    )
    grace_s: int = Field(
        default=30, ge=0, le=600, description="How long a container may take to stop, in seconds."
    )

    @model_validator(mode="after")
    def _one_launcher(self) -> Self:
        if self.cluster and self.command:
            raise ValueError("cluster and command are both set: one of them starts models")
        if self.command and not any("{label}" in word for word in self.command):
            raise ValueError("command: {label} is missing, as in docker run --label {label}")
        if self.command and "{args}" not in self.command:
            raise ValueError("command: {args} is missing, as an argument of its own")
        return self


class VllmSettings(BackendsSection):
    """``[plugins.vllm]``: where vLLM is, and how its models are started."""

    host: Annotated[Host, Env("SPARK1_HOST")] = None
    port: Annotated[Port, Env("VLLM_PORT"), BeforeValidator(_port)] = PORT
    api_key: Annotated[Key, Env("VLLM_API_KEY")] = Field(
        default=None,
        description="What the gateway sends as a bearer token with its own questions, such as for "
        "the models; what callers ask is sent with their own.",
    )
    container: Annotated[
        str,
        Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"),
        Env("VLLM_CONTAINER"),
        BeforeValidator(_container),
    ] = Field(default=CONTAINER, description="The name of its container.")
    docker_args: Annotated[str, Env("VLLM_SPARK_EXTRA_DOCKER_ARGS")] = Field(
        default="", description="More arguments of docker run, which launch-cluster.sh passes on."
    )
    launch: LaunchSettings = Field(default_factory=lambda: LaunchSettings())

    def backend(self) -> str:
        """The name of the gateway's backend that launched models are reached at."""
        return self.backends[0].name if self.backends else "vllm"


def is_configured(settings: Settings) -> bool:
    """Whether it is said how models are started."""
    launch = settings.section(VllmSettings).launch
    return bool(launch.cluster or launch.command)
