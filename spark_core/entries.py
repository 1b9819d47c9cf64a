"""Files of named entries, such as ``models.yaml``, and the overrides that take entries' places.

::

    models:
      small:
        repo: example/small

An entry in the overrides takes the place of the whole entry of its name; one that is empty
takes it away. One that is wrong is left out, with a warning, and the rest stays.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Generic, TypeAlias, TypeVar

from pydantic import BaseModel, ValidationError

from .errors import Conflict, SettingsError, StorageFull
from .settings import nearest

__all__ = ["Entries", "EntryFiles", "problems_of"]

M = TypeVar("M", bound=BaseModel)

#: The largest file that is read, in bytes: some ten thousand entries.
LARGEST: Final = 1024**2

_NOTE: Final = "# Written by spark; entries may be changed here, but comments are not kept.\n"

#: What tells that a file has changed.
_Stamp: TypeAlias = "tuple[int, int, int] | None"


@dataclass
class Entries(Generic[M]):
    """The entries of all files together, in order.

    ``origins`` says in which file each is, ``head`` holds the single values beside the table of
    entries, and ``warnings`` what is wrong.
    """

    values: dict[str, M] = field(default_factory=dict)
    origins: dict[str, Path] = field(default_factory=dict)
    head: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Raw:
    """An entry as it was read; ``problem`` is why it has no value."""

    file: Path
    line: int
    value: Any = None
    problem: str | None = None


class EntryFiles(Generic[M]):
    """Reads entries of *model* below *key*, and reads them again when a file has changed.

    The last of *files* is the one with overrides, the only one that is ever written. *heads* are
    the names of single values that may stand beside the entries. *check* is given each entry and
    those before it, and raises ValueError where they cannot be together.
    """

    def __init__(
        self,
        key: str,
        model: type[M],
        files: Sequence[Path],
        *,
        heads: Sequence[str] = (),
        check: Callable[[M, Mapping[str, M]], None] = lambda entry, others: None,
    ) -> None:
        self.files = tuple(files)
        self._key = key
        self._model = model
        self._heads = heads
        self._check = check
        self._stamps: Sequence[_Stamp] = ()
        self._entries = Entries[M]()

    def read(self) -> Entries[M]:
        """What the files hold now. Files that are not there hold nothing."""
        stamps = [_stamp(file) for file in self.files]
        if stamps != self._stamps:
            self._entries, self._stamps = self._read(), stamps
        return self._entries

    def _read(self) -> Entries[M]:
        found = Entries[M]()
        raws: dict[str, list[_Raw]] = {}
        for file in self.files:
            try:
                self._read_file(file, found, raws)
            except (ValueError, OSError) as error:
                found.warnings.append(f"{file} is left out: {_reason(error)}")
        for name, alternatives in raws.items():
            self._take(name, alternatives, found)
        return found

    def _read_file(self, file: Path, found: Entries[M], raws: dict[str, list[_Raw]]) -> None:
        from . import yaml_text  # only where there is such a file

        seen: set[str] = set()
        for key, _, node in yaml_text.pairs(yaml_text.parse(_text(file))):
            if key == self._key:
                for name, line, entry in yaml_text.pairs(node):
                    raw = _raw(file, line, entry)
                    if name in seen:
                        found.warnings.append(f"{self._place(name, raw)}: it stands there twice")
                    else:
                        seen.add(name)
                        raws.setdefault(name, []).append(raw)
            elif key in self._heads:
                found.head[key] = str(yaml_text.value_of(node) or "")
            else:
                known = (self._key, *self._heads)
                found.warnings.append(f"{file}: {key!r} means nothing{nearest(key, known)}")

    def _take(self, name: str, alternatives: Sequence[_Raw], found: Entries[M]) -> None:
        """Take the last of *alternatives* that is right; one that is empty takes all away."""
        for raw in reversed(alternatives):
            if raw.value is None and raw.problem is None:
                return
            try:
                entry = self._made(name, raw)
                self._check(entry, found.values)
            except ValueError as error:
                found.warnings.append(f"{self._place(name, raw)}: {_reason(error)}")
            else:
                found.values[name], found.origins[name] = entry, raw.file
                return

    def _made(self, name: str, raw: _Raw) -> M:
        if raw.problem is not None:
            raise ValueError(raw.problem)
        if not isinstance(raw.value, dict):
            raise ValueError("it must be a mapping")
        if "name" in raw.value:
            raise ValueError("its name is the key that it stands under")
        try:
            # A path in an entry is relative to the file that says it.
            context = {"directory": raw.file.parent}
            return self._model.model_validate({**raw.value, "name": name}, context=context)
        except ValidationError as error:
            raise ValueError(problems_of(error, self._model)) from None

    def _place(self, name: str, raw: _Raw) -> str:
        return f"{raw.file} line {raw.line}: {self._key} {name!r} is left out"

    def put(self, name: str, entry: M, *, replace: bool = False) -> None:
        """Write *entry*, called *name*, into the overrides, for good.

        :raises Conflict: there is one of that name, and *replace* is false; or it cannot be
            together with the others.
        :raises SettingsError: the overrides cannot be read or written.
        """
        with self._changing() as overrides:
            others = dict(self.read().values)
            if others.pop(name, None) is not None and not replace:
                raise Conflict(f"there is a {self._key.rstrip('s')} {name!r} already")
            try:
                self._check(entry, others)
            except ValueError as error:
                raise Conflict(f"{name}: {error}") from None
            overrides[name] = _written(entry)

    def remove(self, name: str) -> None:
        """Take the entry *name* away, also where another file than the overrides has it.

        :raises SettingsError: the overrides cannot be read or written.
        """
        with self._changing() as overrides:
            overrides.pop(name, None)
            if any(name in self._names(file) for file in self.files[:-1]):
                overrides[name] = None

    def _names(self, file: Path) -> set[str]:
        from . import yaml_text

        try:
            tables = yaml_text.pairs(yaml_text.parse(_text(file)))
            entries = next((node for key, _, node in tables if key == self._key), None)
            return {name for name, *_ in yaml_text.pairs(entries)}
        except (ValueError, OSError):
            return set()

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Any]]:
        """The entries of the overrides, which are written at the end; one process at a time."""
        from . import yaml_text

        file = self.files[-1]
        with _locked(file):
            try:
                document = {
                    key: yaml_text.value_of(node)
                    for key, _, node in yaml_text.pairs(yaml_text.parse(_text(file)))
                }
            except (ValueError, OSError) as error:
                raise SettingsError(
                    f"{file} cannot be changed: {_reason(error)}", hint="repair it first"
                ) from None
            entries = document[self._key] = dict(document.get(self._key) or {})
            yield entries
            _replace(file, _NOTE + yaml_text.dump(document))


def problems_of(error: ValidationError, model: type[BaseModel]) -> str:
    """What is wrong with each field, in one line; no value is told, for it may be secret."""
    return "; ".join(_problem(dict(found), model) for found in error.errors(include_url=False))


def _problem(found: Mapping[str, Any], model: type[BaseModel]) -> str:
    path = [str(part) for part in found["loc"]]
    place = ".".join(path)
    if found["type"] == "extra_forbidden":
        known = model.model_fields if len(path) == 1 else ()
        return f"{place} is not one of its fields{nearest(path[-1], known)}"
    if found["type"] == "missing":
        return f"{place} is missing"
    message = str(found["msg"]).removeprefix("Value error, ")
    return f"{place}: {message}" if place else message


def _written(entry: BaseModel) -> dict[str, Any]:
    """*entry* as it is written to a file: what was said of it, its secrets readable."""
    fields = entry.model_dump(
        mode="json", exclude={"name"}, exclude_unset=True, context={"reveal": True}
    )
    return {name: value for name, value in fields.items() if value is not None}


def _raw(file: Path, line: int, node: Any) -> _Raw:
    from . import yaml_text

    try:
        return _Raw(file, line, yaml_text.value_of(node))
    except ValueError as error:
        return _Raw(file, line, problem=str(error))


def _text(file: Path) -> str:
    """What is in *file*; nothing where it is not there."""
    try:
        if file.stat().st_size > LARGEST:
            raise ValueError(f"it is larger than {LARGEST} bytes")
        return file.read_text("utf-8")
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not valid UTF-8 (byte {error.start})") from None


def _stamp(file: Path) -> _Stamp:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _reason(error: Exception) -> str:
    return (error.strerror or "") if isinstance(error, OSError) else str(error)


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """While the block runs no other process is in such a block for *file*."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(f"{file}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SettingsError(f"{file} cannot be written: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _replace(file: Path, text: str) -> None:
    """Put *text* in the place of what is in *file*, at once and for good."""
    new = file.with_name(f"{file.name}.new")
    try:
        with open(os.open(new, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as out:
            out.write(text.encode())
            out.flush()
            os.fsync(out.fileno())
        new.replace(file)
    except OSError as error:
        new.unlink(missing_ok=True)
        if error.errno == errno.ENOSPC:
            raise StorageFull(f"{file} cannot be written: the disk is full") from error
        raise SettingsError(f"{file} cannot be written: {error.strerror}") from error
