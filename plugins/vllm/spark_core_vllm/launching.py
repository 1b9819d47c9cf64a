"""How a model is started: the launcher's command, out of a launch and the settings."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence

from spark_core.contracts.model_hosts import Launch
from spark_core.errors import InvalidRequest

from .settings import VllmSettings

__all__ = ["LABEL", "checked", "environment_file", "script"]

#: Tells whose a container is, on every machine.
LABEL = "spark-core.launch"

WORD = re.compile(r"\{(\w+)\}")


def checked(launch: Launch, settings: VllmSettings) -> Launch:
    """*launch*, if it can be started in the way that *settings* say.

    :raises InvalidRequest: it cannot, and why.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", launch.id):
        raise InvalidRequest("a launch's id is made of letters, digits, dots and dashes")
    if launch.is_local and not re.fullmatch(r"/[^\s,:'\"\\$`*?\[\]{}~;&|<>()#!]+", launch.model):
        raise InvalidRequest(
            f"{launch.name}: the path of a local model is absolute, without spaces, commas, colons "
            "and what a shell would replace, as launchers take it apart"
        )
    if launch.is_local and ".." in launch.model.split("/"):
        raise InvalidRequest(f"{launch.name}: the path of a local model does not lead upwards")
    if launch.model.startswith("-"):
        raise InvalidRequest(f"{launch.name}: a model's name does not begin with a dash")
    for name, value in launch.environment.items():
        if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) or re.search(r"[\n\r\0]", value):
            raise InvalidRequest(
                f"{launch.name}: {name!r} is no variable's name, or its value has several lines"
            )
    if any("\0" in word for word in (launch.model, launch.served_name, *launch.arguments)):
        raise InvalidRequest(f"{launch.name}: an argument has a null character")
    if settings.launch.command:
        _refuse_what_a_template_cannot(launch, settings.launch.command)
    return launch


def _refuse_what_a_template_cannot(launch: Launch, command: Sequence[str]) -> None:
    if launch.nodes > 1:
        raise InvalidRequest(f"{launch.name}: only launch-cluster.sh starts a model on two nodes")
    for has, place in ((launch.environment, "{env_file}"), (launch.is_local, "{mount}")):
        if has and not any(place in word for word in command):
            raise InvalidRequest(
                f"{launch.name}: the command has no place for what it needs",
                hint=f"add {place} to [plugins.vllm] launch.command, as in docker run",
            )


def environment_file(launch: Launch) -> bytes:
    """Its environment, for ``docker run --env-file``: so it is in no process list."""
    return "".join(f"{n}={value}\n" for n, value in launch.environment.items()).encode()


def script(launch: Launch, settings: VllmSettings, env_file: str) -> bytes:
    """What a shell runs on the first machine; *env_file* is where the environment lies there.

    :raises InvalidRequest: launch-cluster.sh would take that path apart.
    """
    if settings.launch.cluster:
        return _clustered(launch, settings, env_file).encode()
    return f"exec {shlex.join(_templated(launch, settings, env_file))}\n".encode()


def _arguments(launch: Launch) -> Sequence[str]:
    """Those of the server; the name that it serves is among them in any case."""
    names = ("--served-model-name", launch.served_name)
    return launch.arguments if names[0] in launch.arguments else (*names, *launch.arguments)


# ------------------------------------------------------------------------- launch-cluster.sh


def _clustered(launch: Launch, settings: VllmSettings, env_file: str) -> str:
    """The launcher stays in the foreground: with ``-d`` it would tell neither log nor end."""
    how = settings.launch
    extra = [*settings.docker_args.split(), "--label", f"{LABEL}={launch.id}"]
    if launch.environment:
        extra += ["--env-file", _whole(env_file)]
    if launch.is_local:
        extra += ["-v", f"{launch.model}:{launch.model}:ro"]
    serve = [*how.serve, launch.model, "--port", str(settings.port), *_arguments(launch)]
    if how.flattens:
        serve = [shlex.quote(word) for word in serve]
    placed = how.solo if launch.nodes == 1 else how.several
    words = ["--name", settings.container, *how.options, *placed, "exec", *serve]
    return (
        f"VLLM_SPARK_EXTRA_DOCKER_ARGS={shlex.quote(' '.join(extra))}\n"
        "export VLLM_SPARK_EXTRA_DOCKER_ARGS\n"
        f"exec {_at_home(str(how.cluster))} {shlex.join(words)}\n"
    )


def _whole(path: str) -> str:
    if re.search(r"\s", path):
        raise InvalidRequest(
            f"{path!r} has a space, and launch-cluster.sh would take it apart",
            hint="set [plugins.vllm] launch.folder to one without",
        )
    return path


def _at_home(path: str) -> str:
    """*path* for a shell, which knows where ``~`` is."""
    if path.startswith("~/"):
        return '"$HOME"/' + shlex.quote(path[2:])
    return shlex.quote(path)


# ------------------------------------------------------------------------------- a template


def _templated(launch: Launch, settings: VllmSettings, env_file: str) -> Sequence[str]:
    values = {
        "container": settings.container,
        "env_file": env_file,
        "label": f"{LABEL}={launch.id}",
        "launch": launch.id,
        "model": launch.model,
        "name": launch.name,
        "port": str(settings.port),
        "served_name": launch.served_name,
    }
    several = {
        "{args}": _arguments(launch),
        "{mount}": ("-v", f"{launch.model}:{launch.model}:ro") if launch.is_local else (),
    }
    return list(_filled(settings.launch.command, values, several))


def _filled(
    command: Sequence[str], values: dict[str, str], several: dict[str, Sequence[str]]
) -> Iterator[str]:
    for word in command:
        if word in several:
            yield from several[word]
        else:
            # Each once: what is filled in is not looked at again.
            yield WORD.sub(lambda match: values.get(match[1], match[0]), word)
