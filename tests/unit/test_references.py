"""References: what a declaration leads to is imported when it is used, and not before."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from spark_core.declarations import BackgroundService, Provider, Resource
from spark_core.errors import NotFound, PluginError
from spark_core.gateway.compositions import Composition
from spark_core.gateway.relays import CHAT
from spark_core.operations import Effect, Operation
from spark_core.plugins import Plugin, Plugins
from spark_core.references import name_of, resolved
from spark_core.testing.plugins import SparkOpener, installed, plugin

WORKS = '''
from contextlib import asynccontextmanager

from pydantic import BaseModel


class Request(BaseModel):
    name: str = "you"


class Answer(BaseModel):
    text: str


class Bell:
    sound = "ding"


@asynccontextmanager
async def open_bell():
    yield Bell()


async def greet(request: Request, bell: Bell) -> Answer:
    """Greet somebody.

    In full.
    """
    return Answer(text=f"{bell.sound}, {request.name}")


def shout(answer: Answer) -> str:
    return answer.text.upper()


async def bare(request) -> Answer:
    """Greet."""


Nickname = Bell
'''


@pytest.fixture(autouse=True)
def works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A module that can be imported, is not yet, and is forgotten at the end."""
    (tmp_path / "spark_test_works.py").write_text(WORKS)
    (tmp_path / "spark_test_exits.py").write_text("import sys; sys.exit('goodbye')")
    (tmp_path / "spark_test_interrupted.py").write_text("raise KeyboardInterrupt")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("spark_test_works", None)


def is_imported() -> bool:
    return "spark_test_works" in sys.modules


def greeting(handler: str = "spark_test_works:greet", **more: Any) -> Operation:
    return Operation("greet", handler, Effect.READ, **{"summary": "Greet somebody.", **more})


BELL: Resource[Any] = Resource("spark_test_works:Bell", "spark_test_works:open_bell")


def offering(**offers: object) -> Plugin:
    hooks: Any = {
        f"spark_register_{subject}": lambda offer=offer: [offer]
        for subject, offer in offers.items()
    }
    return plugin("by_name", **hooks)


# ------------------------------------------------------------------------------------- resolving


def test_a_thing_is_itself() -> None:
    """What is given and not named stays what it is."""
    assert resolved(is_imported) is is_imported
    assert not is_imported()


def test_a_reference_is_what_it_names() -> None:
    """Also an attribute of an attribute, as entry points have it."""
    assert resolved("os:path.join") is __import__("os").path.join


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("spark_test_nowhere:x", "ModuleNotFoundError: No module named 'spark_test_nowhere'"),
        ("spark_test_works:nothing", "AttributeError: .* no attribute 'nothing'"),
        ("spark_test_exits:x", "SystemExit: goodbye"),
        ("spark_test_works", "AttributeError"),
        (":x", "ValueError: Empty module name"),
        ("", "ValueError: Empty module name"),
    ],
)
def test_what_cannot_be_imported_is_a_plugin_error(reference: str, reason: str) -> None:
    """It names the reference, whose it is, and why."""
    with pytest.raises(PluginError, match=f"^'{reference}' of bells cannot be imported: {reason}"):
        resolved(reference, "bells")


def test_ctrl_c_while_importing_is_not_contained() -> None:
    """It is meant for the program."""
    with pytest.raises(KeyboardInterrupt):
        resolved("spark_test_interrupted:x")


def test_the_name_of_a_class_is_the_reference_to_it() -> None:
    """So that a need is found without importing what others need."""
    assert name_of(Resource) == "spark_core.declarations:Resource" == name_of(name_of(Resource))
    assert resolved(name_of(Resource)) is Resource


# ------------------------------------------------------------------------------------ operations


def test_declaring_an_operation_by_name_imports_nothing() -> None:
    """Nor does looking at what it says itself."""
    plugins = Plugins([offering(operations=greeting(), resources=BELL)], examined=False)
    assert [operation.summary for operation in plugins.operations()] == ["Greet somebody."]
    assert not is_imported()


def test_an_operation_by_name_is_presented_as_its_function() -> None:
    """Its models, its needs and its description are the function's."""
    operation = greeting()
    assert operation.request.__name__ == "Request"
    assert [model.__name__ for model in operation.response] == ["Answer"]
    assert list(operation.needs) == ["bell"]
    assert operation.description == "Greet somebody.\n\nIn full."
    assert operation.function is sys.modules["spark_test_works"].greet


def test_an_operation_by_name_says_its_summary() -> None:
    """It cannot be read from a docstring that is not imported."""
    with pytest.raises(PluginError, match="operation greet: its handler is given by name, but no"):
        greeting(summary="")


def test_a_function_may_have_another_summary() -> None:
    """What is said is told instead of the docstring."""
    function: Any = resolved("spark_test_works:greet")
    operation = Operation("greet", function, Effect.READ, summary="Hi.")
    assert operation.summary == "Hi."


@pytest.mark.anyio
async def test_what_is_declared_by_name_works(spark_open: SparkOpener) -> None:
    """The operation and what it needs; it can be called by its name and as the function."""
    async with spark_open(offering(operations=greeting(), resources=BELL)) as spark:
        assert (await spark.call("greet", {"name": "Ada"})).text == "ding, Ada"
        works = sys.modules["spark_test_works"]
        assert (await spark.call(works.greet)).text == "ding, you"
        with pytest.raises(NotFound, match="open_bell is not an installed operation"):
            await spark.call(works.open_bell)


OURS = [
    operation
    for found in [Plugins.discover(examined=False)]
    for operation in found.operations()
    if found.distribution_of(operation).startswith("spark-core")
]


@pytest.mark.parametrize("operation", OURS, ids=lambda operation: operation.name)
def test_our_own_summaries_are_those_of_the_docstrings(operation: Operation) -> None:
    """What is said twice is said alike."""
    assert operation.summary == operation.description.partition("\n")[0]


# ----------------------------------------------------------------------------------- examination

NOWHERE = "spark_test_nowhere:x"

BROKEN: dict[str, Any] = {
    "operations": [
        greeting(NOWHERE),
        greeting(render=NOWHERE),
        greeting(precondition=NOWHERE),
        greeting(in_use=NOWHERE),
    ],
    "resources": [Resource(NOWHERE, NOWHERE), Resource(Plugins, NOWHERE)],
    "embedders": [
        Provider("bell", NOWHERE),
        Provider("bell", "spark_test_works:open_bell", configured=NOWHERE),
        Provider("bell", "spark_test_works:open_bell", preload=NOWHERE),
    ],
    "background_services": [BackgroundService("bell", NOWHERE)],
    "compositions": [Composition(CHAT, "bell", NOWHERE)],
}


@pytest.mark.parametrize(
    ("subject", "offer"), [(subject, offer) for subject in BROKEN for offer in BROKEN[subject]]
)
def test_a_reference_that_leads_nowhere_is_found_at_examination(subject: str, offer: Any) -> None:
    """Its plugin is named with it, and offers nothing there any more."""
    bad = offering(**{subject: offer})
    plugins = Plugins([bad], examined=False)
    assert bad.status == "ok"
    plugins.examine()
    reason = f"PluginError: '{NOWHERE}' cannot be imported: ModuleNotFoundError: "
    assert bad.error is not None
    assert bad.error.startswith(f"spark_register_{subject}: {reason}")
    assert not plugins._items(f"spark_register_{subject}")


def test_annotations_are_checked_at_examination() -> None:
    """Those of a function that is given are checked at once, as they always were."""
    bad = offering(operations=greeting("spark_test_works:bare"))
    assert not installed(bad).relays()
    assert bad.error == (
        "spark_register_operations: PluginError: bare: parameter request has no annotation"
    )


def test_a_type_is_named_where_it_is_defined() -> None:
    """By another name it would never be found."""
    bad = offering(resources=Resource("spark_test_works:Nickname", "spark_test_works:open_bell"))
    installed(bad)
    assert bad.error is not None
    assert "'spark_test_works:Nickname' is another name of 'spark_test_works:Bell'" in bad.error


def test_a_type_by_name_clashes_with_the_type() -> None:
    """It is the same resource."""
    bell: Any = resolved("spark_test_works:Bell")
    given: Resource[Any] = Resource(bell, "spark_test_works:open_bell")
    with pytest.raises(PluginError, match=r"resource spark_test_works\.Bell is offered twice"):
        installed(offering(resources=BELL), plugin("b", spark_register_resources=lambda: [given]))
