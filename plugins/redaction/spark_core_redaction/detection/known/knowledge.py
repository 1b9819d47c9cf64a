"""What is known, by the records that tell it: what one tells no longer is found no longer."""

from __future__ import annotations

import json
import marshal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from spark_core.contracts.detection import KnownEntity

from .glued import Beginnings
from .index import KnownIndex, Tables
from .tables import Leads, Table
from .terms import Terms

__all__ = ["Knowledge", "Told", "indexed"]

#: So many entities are learnt in one go: few enough to stay near the processor.
TOGETHER = 20

TABLES = ("wholes", "families", "givens", "initials", "firms", "numbers", "tails", "towns")


class Knowledge:
    """All that leads to what is known. It is learnt and forgotten while indexes of it are read."""

    def __init__(self) -> None:
        self._leads = {table: Leads[str]() for table in TABLES}
        self._squeezed = Leads[int]()
        self._lengths: Table[str, int] = Table()
        self._longer: dict[str, int | None] = {}
        self._beginnings = Beginnings()

    def index(self) -> KnownIndex:
        """An index of all that is known now, which stays as it is."""
        if self._longer:
            self._lengths, self._longer = self._lengths.changed(self._longer), {}
        tables = {name: leads.table() for name, leads in self._leads.items()}
        squeezed = self._squeezed.table()
        return KnownIndex(Tables(self._lengths, squeezed, **tables, beginnings=self._beginnings))

    def learn(self, entities: Sequence[KnownEntity]) -> None:
        """Know *entities*, once more."""
        terms = [Terms(entity) for entity in entities]
        for table, leads in self._leads.items():
            leads.add(_all(terms, table))
        self._squeezed.add(_all(terms, "squeezed"))
        self._beginnings.add(value for each in terms for value in each.values())
        for each in terms:
            for words, length in each.lengths:
                self._lengthen(words, length)

    def _lengthen(self, words: Sequence[str], length: int) -> None:
        """*words* stand in names of this *length*, a bit, too."""
        longer = self._longer
        for word in words:
            before = longer.get(word)
            if before is None:
                before = self._lengths.get(word) or 0
            longer[word] = before | length

    def forget(self, entities: Sequence[KnownEntity]) -> None:
        """Know *entities* once less; their words may stay known as parts of whatever names."""
        terms = [Terms(entity) for entity in entities]
        for table, leads in self._leads.items():
            leads.remove(_all(terms, table))
        self._squeezed.remove(_all(terms, "squeezed"))


def _all(terms: Sequence[Terms], table: str) -> Iterator[tuple[Any, Any]]:
    """What is in one table of each of *terms*."""
    return chain.from_iterable(getattr(each, table).items() for each in terms)


def indexed(entities: Iterable[KnownEntity]) -> KnownIndex:
    """An index of *entities*."""
    knowledge = Knowledge()
    knowledge.learn(list(entities))
    return knowledge.index()


#: The different entities of one record, packed.
_Packed = tuple[bytes, ...]


class Told:
    """What one source told, record by record; *knowledge* follows."""

    def __init__(self, knowledge: Knowledge) -> None:
        self._knowledge = knowledge
        self._records: dict[str, _Packed] = {}

    def put(self, records: Mapping[str, Sequence[KnownEntity]]) -> None:
        """Each of *records* tells this now, and nothing that it told before."""
        reading: dict[str, _Packed] = {}
        for record, entities in records.items():
            reading[record] = ()
            fresh = [each for each in entities if self._is_new(record, each, reading)]
            self._knowledge.learn(fresh)
        for record, now in reading.items():
            before = self._records.pop(record, ())
            if now:
                self._records[record] = now
            self._forget(before, now)

    def take(self, batch: Sequence[KnownEntity], reading: dict[str, _Packed]) -> None:
        """Learn those of *batch* that were not told before; *reading* gets what all told."""
        for start in range(0, len(batch), TOGETHER):
            self._knowledge.learn(
                [
                    entity
                    for entity in batch[start : start + TOGETHER]
                    if self._is_new(entity.record or entity.id, entity, reading)
                ]
            )

    def have_read(self, reading: dict[str, _Packed]) -> None:
        """*reading* was all that is told now: forget the rest."""
        before, self._records = self._records, reading
        for record, packed in before.items():
            self._forget(packed, reading.get(record, ()))

    def _is_new(self, record: str, entity: KnownEntity, reading: dict[str, _Packed]) -> bool:
        """Whether *entity* was not told before, neither; it is put into *reading*."""
        packed, now = _pack(entity), reading.get(record, ())
        if packed in now:
            return False
        reading[record] = (*now, packed)
        return packed not in self._records.get(record, ())

    def _forget(self, before: _Packed, now: _Packed) -> None:
        if gone := [packed for packed in before if packed not in now]:
            self._knowledge.forget([KnownEntity(*marshal.loads(packed)) for packed in gone])


def _pack(entity: KnownEntity) -> bytes:
    """*entity* by its values; dates of birth lead to nobody."""
    values = (
        entity.id, entity.kind, entity.names, entity.given, entity.family, entity.emails,
        entity.phones, entity.addresses, (), entity.numbers,
    )  # fmt: skip
    try:
        return marshal.dumps(values, 2)  # later versions tell objects apart that are equal
    except ValueError:  # some are no mere texts
        return marshal.dumps(json.loads(json.dumps(values)), 2)
