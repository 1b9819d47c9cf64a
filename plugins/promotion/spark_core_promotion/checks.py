"""What must hold before anything is changed; nothing here changes anything."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from .binary import Binary, examine
from .models import Broken, Mark, Options
from .nodes import Nodes, NodeState
from .places import Places
from .services import Service, Services
from .settings import Consumer, Plan

__all__ = ["Found", "Look", "check", "is_whole"]


@dataclass(frozen=True)
class Look:
    """What is looked at; without a ``file``, all but that: it is still to be built."""

    plan: Plan
    options: Options
    file: Path | None
    nodes: Nodes
    services: Services


@dataclass(frozen=True)
class Found:
    """What there is: the binary, each node, and the service."""

    binary: Binary | None
    nodes: dict[str, NodeState]
    mark: Mark


async def check(look: Look) -> Found:
    """See whether the binary can be shipped.

    :raises Broken: it cannot.
    """
    plan = look.plan
    is_whole(plan, look.options, look.nodes.places)
    binary = await asyncio.to_thread(examine, look.file, plan.guard_symbols) if look.file else None
    states = await asyncio.gather(*(look.nodes.look(node, plan.to) for node in plan.nodes))
    nodes = dict(zip(plan.nodes, states, strict=True))
    for node, state in nodes.items():
        if binary is not None:
            _fits(binary, node, state)
    consumers = plan.consumers or ()
    service, *others = await look.services.look_at([plan.serves, *(c.service for c in consumers)])
    _can_be_watched(service)
    _is_here(service, nodes)
    for consumer, other in zip(consumers, others, strict=True):
        _is_as_required(consumer, other)
        if look.options.restart_consumers:
            _can_be_watched(other)
    return Found(binary, nodes, service.mark)


def is_whole(plan: Plan, options: Options, places: Places) -> None:
    """Whether the plan says what *options* need.

    :raises Broken: it does not.
    :raises NotConfigured: it names a machine that nobody knows.
    """
    if options.build and not plan.build:
        raise Broken("build", "the plan has no command that builds the binary")
    if options.restart_consumers and not plan.consumers:
        raise Broken("consumer", "the plan has no consumers, so none could be restarted")
    if options.verify and not plan.verify:
        raise Broken("verify", "the plan has no queries, so nothing could be verified")
    for query in plan.verify if options.verify else ():
        places.of(query.on)


def _fits(binary: Binary, node: str, state: NodeState) -> None:
    if state.machine != binary.machine:
        raise Broken(
            "wrong_machine", f"the binary is for {binary.machine}, {node} is {state.machine}"
        )
    needed = binary.size + state.size
    if state.free < needed:
        raise Broken("no_room", f"{node}: {state.free} bytes are free, and {needed} are needed")


def _can_be_watched(service: Service) -> None:
    if service.replicas is None:
        raise Broken(
            "mode", f"the service {service.name} is not replicated: its tasks have no number"
        )


def _is_here(service: Service, nodes: dict[str, NodeState]) -> None:
    if service.updating:
        raise Broken("updating", f"an update of the service {service.name} is under way")
    if service.returns:
        raise Broken(
            "returns",
            f"swarm takes the service {service.name} back by its own rule when an update fails, "
            "and this would, too: docker service update --update-failure-action pause "
            f"{service.name}",
        )
    if service.replicas == 0:
        raise Broken("no_tasks", f"the service {service.name} is to have no tasks")
    known = {state.id for state in nodes.values()}
    if any(task.node not in known for task in service.present if task.node):
        names = ", ".join(nodes)
        raise Broken("wrong_node", f"the service {service.name} runs on another node than {names}")


def _is_as_required(consumer: Consumer, service: Service) -> None:
    for key, value in consumer.environment.items():
        found = service.environment.get(key)
        if found != value:
            told = "is not set" if found is None else "is another one"
            raise Broken(
                "consumer", f"the consumer {consumer.service}: {key} {told}; it must be {value}"
            )
