"""Hooks: one page, all of one shape."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spark_core import hookspecs
from spark_core.plugins import Plugins
from spark_core.testing.plugins import installed

HOOKS = {
    name: function
    for name, function in vars(hookspecs).items()
    if name.startswith("spark_register_")
}

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "hooks.md"


@pytest.mark.parametrize("hook", HOOKS.values(), ids=HOOKS)
def test_a_hook_says_what_it_is_for(hook: Callable[[], Any]) -> None:
    """Its docstring begins with what is offered, and ends its sentences."""
    text = inspect.getdoc(hook)
    assert text is not None
    assert text.startswith("Offer ")
    assert text.endswith(".")


@pytest.mark.parametrize("hook", HOOKS.values(), ids=HOOKS)
def test_a_hook_takes_nothing_and_returns_descriptions(hook: Callable[[], Any]) -> None:
    """No argument, no coroutine; an iterable of one kind, of which the spec has none."""
    assert not inspect.signature(hook).parameters
    assert not inspect.iscoroutinefunction(hook)
    assert inspect.signature(hook).return_annotation.startswith("Iterable[")
    assert hook() == ()


def test_every_function_of_the_page_is_a_hook() -> None:
    """Nothing else is defined there, so that it can be read as a list."""
    defined = {
        name
        for name, function in vars(hookspecs).items()
        if inspect.isfunction(function) and function.__module__ == hookspecs.__name__
    }
    assert defined == set(HOOKS)
    for hook in HOOKS.values():
        assert hasattr(hook, "spark_core_spec")


def test_every_hook_has_a_typed_method() -> None:
    """Hooks are called nowhere but in `Plugins`, which types what they return."""
    source = inspect.getsource(Plugins)
    providers = {
        "embedders",
        "rerankers",
        "vector_stores",
        "record_sources",
        "machines",
        "model_hosts",
    }
    for name in HOOKS:
        subject = name.removeprefix("spark_register_")
        assert subject in providers or f'self._items("{name}")' in source, name
    assert installed().providers("spark_register_embedders") == []


@pytest.mark.parametrize("name", HOOKS)
def test_a_hook_is_documented(name: str) -> None:
    """The reference has it."""
    assert f"## `{name}() -> " in REFERENCE.read_text("utf-8")
