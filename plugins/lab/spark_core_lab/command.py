"""``spark lab``: the stand-ins in this process, until a signal says to stop."""

from __future__ import annotations

import asyncio
import errno
import json
import resource
import signal
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, TypeVar

import click
from pydantic import ValidationError

from .answers import STAND_IN
from .faults import KINDS, Fault
from .running import BACKENDS, Lab, run

__all__ = ["command"]


Decorated = TypeVar("Decorated", bound=Callable[..., Any])


class FaultOption(click.ParamType[tuple[str, Fault]]):
    """``BACKEND:FAULT``, and details as ``,times=3,seconds=0.5,path=/v1/models``."""

    name = "fault"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, Fault]:
        """The backend and the fault that *value* names."""
        backend, _, rest = str(value).partition(":")
        kind, *details = rest.split(",")
        if backend not in BACKENDS or kind not in KINDS:
            known = f"{'|'.join(BACKENDS)}:{'|'.join(KINDS)}"
            self.fail(f"{value!r} is not like {known}", param, ctx)
        pairs = dict(detail.partition("=")[::2] for detail in details)
        try:
            return backend, Fault.model_validate({**pairs, "fault": kind})
        except ValidationError as error:
            self.fail(f"{value!r}: {error.errors()[0]['msg']}", param, ctx)


def _port(name: str) -> Callable[[Decorated], Decorated]:
    default = BACKENDS[name].default_port
    port = click.IntRange(0, 65535)
    text = f"The port of {name}; 0 takes a free one."
    return click.option(
        f"--{name.replace('_', '-')}-port", type=port, default=default, show_default=True, help=text
    )


@click.command("lab")
@_port("vllm")
@_port("parakeet")
@_port("kokoro")
@_port("bge_m3")
@click.option("--only", type=click.Choice(list(BACKENDS)), multiple=True, help="Run only this one.")
@click.option("--model", "models", multiple=True, help="A model that vLLM's stand-in serves.")
@click.option("--tokens", type=click.IntRange(1), default=16, help="Tokens of an answer.")
@click.option("--token-seconds", type=click.FloatRange(0), default=0.02, help="Between tokens.")
@click.option("--work-seconds", type=click.FloatRange(0), default=0.0, help="Before an answer.")
@click.option(
    "--fault", "faults", type=FaultOption(), multiple=True, help="Such as vllm:hang,times=1."
)
@click.option("--json", "as_json", is_flag=True, help="Answer with JSON.")
def command(
    only: Sequence[str],
    models: Sequence[str],
    tokens: int,
    token_seconds: float,
    work_seconds: float,
    faults: Sequence[tuple[str, Fault]],
    as_json: bool,
    **ports: int,
) -> None:
    """Run stand-ins for the model servers on this machine, until Ctrl-C.

    They speak the runtimes' APIs without any model: what they answer is made up.
    """
    if missing := {name for name, _ in faults} - set(only or BACKENDS):
        raise click.UsageError(f"--fault is for {', '.join(sorted(missing))}, which does not run")
    knobs = {"tokens": tokens, "token_seconds": token_seconds, "work_seconds": work_seconds}
    by_name = {name: ports[f"{name}_port"] for name in BACKENDS}
    _allow_many_connections()
    show = _in_json if as_json else _in_words
    asyncio.run(_run(run(only, by_name, models, knobs), faults, show))


def _allow_many_connections() -> None:
    """As many open files as this user may have; shells often begin with 1,024."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with suppress(ValueError, OSError):  # it is a little less then
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def _run(
    running: AbstractAsyncContextManager[Lab],
    faults: Sequence[tuple[str, Fault]],
    show: Callable[[Lab], str],
) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    try:
        async with running as lab:
            for name, fault in faults:
                lab.all[name].faults.add(fault)
            click.echo(show(lab))
            await stopped.wait()
    except OSError as error:
        raise click.ClickException(_why_not(error)) from error


def _why_not(error: OSError) -> str:
    reason = (error.strerror or type(error).__name__).partition(" (")[0]
    hint = "; options such as --vllm-port take another" if error.errno == errno.EADDRINUSE else ""
    return f"cannot listen at {error.filename}: {reason}{hint}"


def _in_json(lab: Lab) -> str:
    urls = {name: {"url": stand_in.url} for name, stand_in in lab.all.items()}
    return json.dumps({"note": STAND_IN, "backends": urls})


def _in_words(lab: Lab) -> str:
    """What runs where, and the settings that point to it."""
    all_ = lab.all.items()
    width = max(map(len, lab.all))
    return "\n".join(
        [
            "Stand-ins are running (no models: what they answer is made up); Ctrl-C stops",
            "",
            *(f"  {name:{width}}  {stand_in.url}" for name, stand_in in all_),
            "",
            "spark.toml:",
            "",
            *(f'[plugins.{name}]\nurl = "{stand_in.url}"' for name, stand_in in all_),
            "",
            "or the environment:",
            "",
            *(f"SPARK_PLUGINS_{name.upper()}_URL={stand_in.url}" for name, stand_in in all_),
        ]
    )
