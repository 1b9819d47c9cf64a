"""The binary that is shipped: whether it is one, what it defines, and what it was just now."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Final

from .models import Broken

__all__ = ["Binary", "examine", "keep"]

PIECE: Final = 2**20

#: What ``uname -m`` says where a binary of that kind runs, and kinds of files that are programs.
MACHINES: Final = {"EM_X86_64": "x86_64", "EM_AARCH64": "aarch64", "EM_RISCV": "riscv64"}
PROGRAMS: Final = ("ET_EXEC", "ET_DYN")


@dataclass(frozen=True)
class Binary:
    """What is known of it. ``machine`` is the kind it runs on, as ``uname`` or ELF calls it."""

    digest: str
    size: int
    machine: str


def keep(source: Path, copy: Path) -> None:
    """Copy *source* to *copy*: whatever becomes of it, one binary is examined and shipped.

    :raises Broken: it is no file that can be run.
    """
    _runnable(source)
    copy.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    new = copy.with_name(f".{copy.name}.{os.getpid()}")
    try:
        with _opened(source) as from_, new.open("wb") as to:
            while piece := from_.read(PIECE):
                to.write(piece)
            to.flush()
            os.fsync(to.fileno())
        new.replace(copy)
    except OSError as error:
        raise Broken("not_kept", f"{source} cannot be copied: {error.strerror}") from error
    finally:
        new.unlink(missing_ok=True)


def examine(file: Path, symbols: Iterable[str]) -> Binary:
    """What *file* is, if it is an ELF file that defines *symbols*.

    :raises Broken: it is none, or lacks one of them.
    """
    _runnable(file, executable=False)
    with _opened(file) as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
        machine = _elf(opened, file, list(symbols))
        return Binary(digest, os.fstat(opened.fileno()).st_size, machine)


def _runnable(file: Path, *, executable: bool = True) -> None:
    try:
        mode = file.stat().st_mode
    except OSError as error:
        raise Broken("binary_missing", f"{file}: {error.strerror}") from error
    if not stat.S_ISREG(mode) or (executable and not os.access(file, os.X_OK)):
        raise Broken("binary_missing", f"{file} is no file that can be run")


def _opened(file: Path) -> BufferedReader:
    try:
        return file.open("rb")
    except OSError as error:
        raise Broken("binary_missing", f"{file}: {error.strerror}") from error


def _elf(opened: BufferedReader, file: Path, symbols: list[str]) -> str:
    from elftools.elf.elffile import ELFFile

    try:
        elf = ELFFile(opened)
        missing = _missing(_defined(elf), symbols) if symbols else []
        kind, number = elf["e_type"], str(elf["e_machine"])
    except Exception as error:  # whatever a reader of files that may be damaged raises
        raise Broken("not_elf", f"{file} is no ELF file: {error or type(error).__name__}") from None
    if kind not in PROGRAMS:
        raise Broken("not_elf", f"{file} is no program, but another kind of ELF file ({kind})")
    if missing:
        raise Broken(
            "guard_symbol",
            f"{file.name} does not define {', '.join(missing)}: it was made of other sources, or "
            "its symbols were stripped",
        )
    return MACHINES.get(number, number)


def _missing(defined: Iterable[str], symbols: list[str]) -> list[str]:
    """Those of *symbols* that no name in *defined* is, or has as a part of its mangled path."""
    left = set(symbols)
    parts = {symbol: f"{len(symbol)}{symbol}" for symbol in symbols}
    for name in defined:
        left -= {each for each in left if each == name or parts[each] in name}
        if not left:
            break
    return sorted(left)


def _defined(elf: object) -> Iterator[str]:
    """The names of the symbols that the file itself defines."""
    from elftools.elf.sections import SymbolTableSection

    for section in elf.iter_sections():  # type: ignore[attr-defined]
        if isinstance(section, SymbolTableSection):
            for symbol in section.iter_symbols():
                if symbol["st_shndx"] != "SHN_UNDEF" and symbol.name:
                    yield symbol.name
