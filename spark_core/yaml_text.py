"""YAML of which every plain value is text, as it is written: ``no`` is no switch, 1e3 no number.

The models that check it know what each value ought to be. Nothing in it makes an object of any
class, and a key that stands twice is an error instead of a silent choice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

__all__ = ["dump", "pairs", "parse", "value_of"]


_KEPT = ("tag:yaml.org,2002:null", "tag:yaml.org,2002:merge")


class _Loader(yaml.SafeLoader):
    # Of the tags that a value would be given by its looks, only these are.
    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag in _KEPT]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _ in node.value if key.tag != _KEPT[1]]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"{twice[0]} stands there twice")
        return super().construct_mapping(node, deep)


def pairs(node: yaml.Node | None) -> Iterator[tuple[str, int, yaml.Node]]:
    """Each key of a mapping, the line it is in, and its value; nothing where there is nothing.

    :raises ValueError: it is no mapping.
    """
    if node is None or node.tag == _KEPT[0]:
        return
    if not isinstance(node, yaml.MappingNode):
        raise ValueError("it must be a mapping")
    yield from ((str(key.value), key.start_mark.line + 1, value) for key, value in node.value)


def parse(text: str) -> yaml.Node | None:
    """The document in *text*, nothing of which is made into values yet.

    :raises ValueError: it is no YAML, and where.
    """
    try:
        return yaml.compose(text, _Loader)
    except yaml.YAMLError as error:
        raise ValueError(_described(error)) from None


def value_of(node: yaml.Node) -> Any:
    """What *node* holds: texts, lists and mappings of such, and None.

    :raises ValueError: it is tagged as something else, or goes round in a circle.
    """
    loader = _Loader("")
    try:
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        raise ValueError(_described(error)) from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    finally:
        loader.dispose()


def dump(value: Mapping[str, Any]) -> str:
    """*value* as text that is read back the same."""
    # Escapes, because some characters of Unicode end a line in YAML.
    return yaml.safe_dump(value, allow_unicode=False, sort_keys=False)


def _described(error: yaml.YAMLError) -> str:
    """What is wrong and where, without a piece of the text: it may hold a secret."""
    mark = getattr(error, "problem_mark", None)
    place = f"line {mark.line + 1}: " if mark else ""
    return f"{place}{getattr(error, 'problem', None) or 'it is not valid YAML'}"
