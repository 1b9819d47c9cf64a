"""What can be told of the Dockerfile without building it."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest

PLUGIN = Path(__file__).parents[2]
ROOT = PLUGIN.parents[1]


@pytest.fixture
def steps() -> list[tuple[str, str]]:
    """Each instruction with what follows it, lines joined and comments left out."""
    lines = [
        line
        for line in (PLUGIN / "Dockerfile").read_text().splitlines()
        if line[:1] not in ("#", "")
    ]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines()
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in joined)]


def of(steps: list[tuple[str, str]], word: str) -> list[str]:
    return [rest for name, rest in steps if name == word]


def installs(steps: list[tuple[str, str]]) -> list[list[str]]:
    """The words after each ``pip install``."""
    runs = [shlex.split(run) for run in of(steps, "RUN")]
    return [words[2:] for words in runs if words[:2] == ["pip", "install"]]


def constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return {name.lower(): version for name, _, version in (line.partition("==") for line in lines)}


def test_the_base_is_pinned_and_for_arm(steps: list[tuple[str, str]]) -> None:
    """One image, of one version to the last number, for the Spark's processor."""
    (base,) = of(steps, "FROM")
    assert re.fullmatch(r"--platform=linux/arm64 python:\d+\.\d+\.\d+-slim-\w+", base)


def test_everything_that_is_installed_is_pinned(steps: list[tuple[str, str]]) -> None:
    """By its own version or by constraints.txt, which has all that the extra needs."""
    commands = installs(steps)
    assert commands
    assert all(words[words.index("-c") + 1] == "constraints.txt" for words in commands)
    (torch,) = [word for word in commands[0] if word.startswith("torch")]
    assert torch == f"torch=={constraints()['torch']}"
    extra = tomllib.loads((PLUGIN / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]["server"]
    assert {re.split(r"[<>=]", requirement)[0] for requirement in extra} <= constraints().keys()


def test_a_torch_without_cuda_is_no_success(steps: list[tuple[str, str]]) -> None:
    """It would start, and be a hundred times slower."""
    assert "assert torch.version.cuda" in of(steps, "RUN")[0]


def test_nothing_else_comes_from_outside(steps: list[tuple[str, str]]) -> None:
    """Files come from the repository, and packages through pip alone."""
    assert not of(steps, "ADD")
    assert not re.search(r"\b(apt|curl|wget|git)\b", " ".join(of(steps, "RUN")))
    for copied in of(steps, "COPY"):
        assert all((ROOT / source).exists() for source in copied.split()[:-1])


def test_what_is_copied_is_not_ignored(steps: list[tuple[str, str]]) -> None:
    """The build sees these files and no others."""
    lines = (PLUGIN / "Dockerfile.dockerignore").read_text().splitlines()
    seen = {line[1:] for line in lines if line.startswith("!")}
    assert lines[0] == "*"
    assert seen == {source for copied in of(steps, "COPY") for source in copied.split()[:-1]}


def test_it_does_not_run_as_root(steps: list[tuple[str, str]]) -> None:
    """The user is a number, so that Kubernetes, too, can tell that it is not root."""
    names = [name for name, _ in steps]
    assert int(of(steps, "USER")[-1]) > 0
    assert names.index("USER") > max(n for n, name in enumerate(names) if name == "RUN")


def test_its_health_is_asked_of_the_route(steps: list[tuple[str, str]]) -> None:
    """With a program that is there, on the port that is served."""
    (check,) = of(steps, "HEALTHCHECK")
    command = json.loads(check.partition("CMD ")[2])
    compile(command[2], "healthcheck", "exec")
    assert command[:2] == ["python", "-c"]
    assert "/health" in command[2]
    assert of(steps, "EXPOSE") == ["8081"]
    assert of(steps, "ENTRYPOINT") == ['["spark-embed"]']
