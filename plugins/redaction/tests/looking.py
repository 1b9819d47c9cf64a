"""Looks for what tests name, so that they know exactly what is found."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from spark_core.contracts.detection import Finding

EMAIL = re.compile(r"[\w.+-]+@[\w-]+\.[\w.]*\w")


@dataclass
class Known:
    """Finds *people* by all that each is called, and e-mail addresses.

    Of ``{"ada": {"Ada Example": "", "Ada": "given"}}`` the first is a whole name, the second the
    given one. What is *missed* is not found, but is seen when it is looked again.
    """

    people: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    missed: Sequence[str] = ()
    failing: Exception | None = None

    async def find(self, text: str) -> list[Finding]:
        if self.failing:
            raise self.failing
        found = [*self._people(text), *self._emails(text)]
        return list(_apart(sorted(found, key=lambda f: (f.start, -f.end))))

    async def verify(self, text: str, placeholders: Sequence[tuple[int, int]]) -> list[Finding]:
        left = [*self._people(text), *self._emails(text)]
        for value in self.missed:
            found = (m.span() for m in re.finditer(re.escape(value), text))
            left += [Finding("MISSED", start, end, value) for start, end in found]
        return [f for f in left if not any(a <= f.start and f.end <= b for a, b in placeholders)]

    def _people(self, text: str) -> Iterable[Finding]:
        for person, names in self.people.items():
            for name, part in names.items():
                for found in re.finditer(re.escape(name), text):
                    yield Finding("PERSON", *found.span(), person, part)

    def _emails(self, text: str) -> Iterable[Finding]:
        for found in EMAIL.finditer(text):
            yield Finding("EMAIL", *found.span(), found[0].casefold())


def _apart(findings: Iterable[Finding]) -> Iterable[Finding]:
    """*findings* without what is in earlier ones."""
    end = 0
    for finding in findings:
        if finding.end > end:
            yield replace(finding, start=max(finding.start, end))
            end = finding.end
