"""What is shipped is an ELF file that defines what it must."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spark_core_promotion.binary import _missing, examine, keep
from spark_core_promotion.models import Broken

from .conftest import digest

GUARD = ("FinanceAvellaneda",)


def test_a_symbol_that_is_defined_is_found(engines):
    binary = examine(engines("new"), GUARD)
    assert binary.digest == digest(engines("new"))
    assert binary.size == engines("new").stat().st_size
    assert binary.machine in ("x86_64", "aarch64")


@pytest.mark.parametrize("kind", ["without", "text"])
def test_a_text_is_no_symbol(engines, kind):
    """`strings` finds it in one of them."""
    with pytest.raises(Broken, match="does not define FinanceAvellaneda"):
        examine(engines(kind), GUARD)


def test_a_stripped_binary_defines_nothing(engines, tmp_path):
    stripped = tmp_path / "engine"
    shutil.copy(engines("new"), stripped)
    if shutil.which("strip") is None:
        pytest.skip("strip is not installed")
    subprocess.run(["strip", str(stripped)], check=True)
    with pytest.raises(Broken, match="its symbols were stripped"):
        examine(stripped, GUARD)
    assert examine(stripped, ()).digest == digest(stripped)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("FinanceAvellaneda", True),
        ("_ZN6engine17FinanceAvellaneda3newE", True),
        ("_RNvNtC6engine17FinanceAvellaneda3new", True),
        ("NoFinanceAvellaneda", False),
        ("FinanceAvellanedaOld", False),
    ],
)
def test_a_mangled_path_has_it_as_a_part(name, found):
    """As compilers of C++ and Rust write it: a length, and the name."""
    assert (_missing([name], ["FinanceAvellaneda"]) == []) is found


@given(st.binary(max_size=400), st.booleans())
def test_what_is_no_elf_file_is_refused(tmp_path_factory, content, begins):
    """Whatever is in it, also after the right first bytes."""
    file = tmp_path_factory.getbasetemp() / "noise"
    file.write_bytes((b"\x7fELF\x02\x01\x01" if begins else b"") + content)
    with pytest.raises(Broken):
        examine(file, GUARD)


@given(st.integers(0, 2000), st.binary(min_size=1, max_size=8))
def test_a_damaged_elf_file_is_refused_or_read(engines, tmp_path_factory, at, noise):
    """Never anything else, wherever the damage is."""
    damaged = bytearray(engines("new").read_bytes())
    damaged[at : at + len(noise)] = noise
    file = tmp_path_factory.getbasetemp() / "damaged"
    file.write_bytes(damaged)
    with suppress(Broken):
        assert examine(file, GUARD).digest == digest(file)


def test_what_was_examined_stays_what_it_was(engines, tmp_path):
    """A build that begins meanwhile changes nothing of it."""
    source, copy = tmp_path / "engine", tmp_path / "kept" / "id"
    shutil.copy(engines("new"), source)
    keep(source, copy)
    source.write_bytes(b"half")
    assert digest(copy) == digest(engines("new"))
    assert [file.name for file in copy.parent.iterdir()] == ["id"]
