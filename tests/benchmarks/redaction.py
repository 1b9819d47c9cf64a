"""What is found in texts that nobody here wrote, beside Presidio, and how fast.

The texts are made by presidio-evaluator's generator, with the templates that it publishes and a
fixed seed. Needs an environment of its own::

    pip install -e . -e 'plugins/redaction[recogniser]' presidio-analyzer presidio-evaluator
    python tests/benchmarks/redaction.py [--texts 1500] [--entities 100000]
    python tests/benchmarks/redaction.py --loading  # needs neither presidio nor a model

A finding is right where it is of the kind of something private and covers the same letters
(intersection over union of at least one half); ``covered`` is the share of all private letters
and digits that are in any finding of whatever kind.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import resource
import statistics
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import Any, NamedTuple

from spark_core_redaction.detection.detecting import Detection
from spark_core_redaction.detection.known.following import Known
from spark_core_redaction.detection.recogniser import SMALL, Recogniser
from spark_core_redaction.detection.settings import KINDS, DetectionSettings

from spark_core.contracts.detection import KnownChanges, KnownEntity

#: The kinds that the generator marks and this is about, under the names that all are given here.
TRUE = {
    "PERSON": "PERSON",
    "ORGANIZATION": "ORGANIZATION",
    "GPE": "PLACE",
    "LOCATION": "PLACE",
    "STREET_ADDRESS": "PLACE",
    "ZIP_CODE": "PLACE",
    "PHONE_NUMBER": "PHONE",
    "EMAIL_ADDRESS": "EMAIL",
    "CREDIT_CARD": "CARD",
    "IBAN_CODE": "IBAN",
    "US_SSN": "NATIONAL_ID",
    "US_DRIVER_LICENSE": "NATIONAL_ID",
    "IP_ADDRESS": "IP",
    "DOMAIN_NAME": "URL",
    "URL": "URL",
    "DATE_TIME": "DATE",
    "NRP": "GROUP",
}
OURS = {"ADDRESS": "PLACE", "LOCATION": "PLACE", "BIRTH_DATE": "DATE", "NUMBER": "NATIONAL_ID"}


class Span(NamedTuple):
    """Something private from *start* to *end*."""

    kind: str
    start: int
    end: int


@dataclass
class Score:
    """How often a kind was there, was found, and was said to be there."""

    true: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    said: Counter[str] = field(default_factory=Counter)
    right: Counter[str] = field(default_factory=Counter)
    private: int = 0
    taken: int = 0
    both: int = 0

    def add(self, text: str, true: Sequence[Span], said: Sequence[Span]) -> None:
        """Count what was *said* of one text."""
        true, said = _joined(text, true), _joined(text, said)
        self.true.update(span.kind for span in true)
        self.said.update(span.kind for span in said)
        self.found.update(t.kind for t in true if any(_agree(t, s) for s in said))
        self.right.update(s.kind for s in said if any(_agree(t, s) for t in true))
        words = {m.span() for m in re.finditer(r"[^\W_]+", text)}
        private, taken = (
            {w for w in words if any(_meets(w, s) for s in these)} for these in (true, said)
        )
        self.private += len(private)
        self.taken += len(taken)
        self.both += len(private & taken)

    def recall(self, kind: str | None = None) -> float:
        """Of one kind, or of all."""
        return _share(self.found, self.true, kind)

    def precision(self, kind: str | None = None) -> float:
        """Of one kind, or of all."""
        return _share(self.right, self.said, kind)

    def f2(self, kind: str | None = None) -> float:
        """What weighs recall twice as much as precision."""
        p, r = self.precision(kind), self.recall(kind)
        return 5 * p * r / (4 * p + r) if p + r else 0.0


def _meets(word: tuple[int, int], span: Span) -> bool:
    return word[0] < span.end and span.start < word[1]


def _share(part: Counter[str], whole: Counter[str], kind: str | None) -> float:
    if kind is not None:
        return part[kind] / whole[kind] if whole[kind] else 0.0
    return part.total() / whole.total() if whole else 0.0


def _joined(text: str, spans: Iterable[Span]) -> list[Span]:
    """*spans*, those of one kind with nothing but signs and spaces between them as one."""
    joined: list[Span] = []
    for span in sorted(spans, key=lambda s: s.start):
        last = joined[-1] if joined else None
        if (
            last
            and last.kind == span.kind
            and not any(map(str.isalnum, text[last.end : span.start]))
        ):
            joined[-1] = Span(span.kind, last.start, max(last.end, span.end))
        else:
            joined.append(span)
    return joined


def _agree(one: Span, other: Span) -> bool:
    common = min(one.end, other.end) - max(one.start, other.start)
    union = max(one.end, other.end) - min(one.start, other.start)
    return one.kind == other.kind and 2 * common >= union


def generated(count: int, seed: int) -> list[tuple[str, list[Span]]]:
    """Texts with what is private in them."""
    from presidio_evaluator.data_generator import (  # type: ignore[import-not-found]
        PresidioSentenceFaker,
    )

    faker = PresidioSentenceFaker("en_US", lower_case_ratio=0.05, random_seed=seed)
    random.seed(seed)
    faker.seed(seed)
    made = []
    for sample in faker.generate_new_fake_sentences(count):
        spans = [
            Span(TRUE[s.entity_type], s.start_position, s.end_position)
            for s in sample.spans
            if s.entity_type in TRUE
        ]
        made.append((sample.full_text, spans))
    return made


def presidio() -> Callable[[str], list[Span]]:
    """Presidio as it is by default, with the small English model."""
    from presidio_analyzer import AnalyzerEngine  # type: ignore[import-not-found]
    from presidio_analyzer.nlp_engine import (  # type: ignore[import-not-found]
        NlpEngineProvider,
    )

    model = {"lang_code": "en", "model_name": SMALL[1]}
    engine = NlpEngineProvider(
        nlp_configuration={"nlp_engine_name": "spacy", "models": [model]}
    ).create_engine()
    analyzer = AnalyzerEngine(nlp_engine=engine, supported_languages=["en"])
    names = {
        **TRUE, "US_PASSPORT": "NATIONAL_ID", "US_ITIN": "NATIONAL_ID", "UK_NHS": "NATIONAL_ID",
        "US_BANK_NUMBER": "NATIONAL_ID", "MEDICAL_LICENSE": "NATIONAL_ID",
    }  # fmt: skip

    def find(text: str) -> list[Span]:
        found = analyzer.analyze(text, language="en")
        return [Span(names.get(f.entity_type, f.entity_type), f.start, f.end) for f in found]

    return find


class _Crm:
    """Entities of names that nobody has; the last of them changes whenever that is asked for."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.changed = 0

    async def version(self) -> str:
        return str(self.changed)

    async def changes(self, since: str) -> KnownChanges:
        name = f"Xandrel{self.changed} Quorvath{self.changed}"
        last = KnownEntity(str(self.count - 1), names=(name,), numbers=(f"X-{self.changed}",))
        return KnownChanges(await self.version(), {last.id: [last]})

    async def entities(self, *, batch: int = 5000) -> AsyncGenerator[list[KnownEntity], None]:
        chance = random.Random(7)
        syllables = [a + b for a in "klmrntvsbdpg" for b in "aeiou"]

        def name(least: int) -> str:
            return "".join(chance.choices(syllables, k=chance.randint(least, 4))).capitalize()

        for start in range(0, self.count, batch):
            yield [_entity(n, name) for n in range(start, min(start + batch, self.count))]


def _entity(number: int, name: Callable[[int], str]) -> KnownEntity:
    if number % 5 == 0:
        return KnownEntity(f"{number}", "ORGANIZATION", (f"{name(3)} {name(2)} GmbH",))
    given, family = name(2), name(3)
    return KnownEntity(
        f"{number}",
        names=(f"{given} {family}",),
        emails=(f"{given}.{family}@example.com".lower(),),
        phones=(f"+43 664 {number:07}",),
        addresses=(f"{name(3)}gasse {number % 90}, 1010 Wien",),
        numbers=(f"K-{number}",),
    )


async def measured(detection: Detection, texts: Iterable[str]) -> tuple[list[list[Span]], float]:
    """What is found in each of *texts*, and the CPU seconds that it took."""
    begun, found = time.process_time(), []
    for text in texts:
        findings = await detection.find(text)
        found.append([Span(OURS.get(f.kind, f.kind), f.start, f.end) for f in findings])
    return found, time.process_time() - begun


class Loaded(NamedTuple):
    """Seconds of CPU time and megabytes that it takes to know all, and seconds of a change."""

    seconds: float
    megabytes: float
    change: float


async def load(count: int) -> Loaded:
    """Load *count* entities into this process, which must be a new one, and change one of them."""
    crm = _Crm(count)
    begun = time.process_time()
    async for _ in crm.entities():
        pass
    making = time.process_time() - begun
    known = Known([crm])
    before, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    await known.current()
    took = time.process_time() - begun - making
    size = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    changes = []
    for crm.changed in range(1, 100):
        begun = time.process_time()
        await known.current()
        changes.append(time.process_time() - begun)
    return Loaded(took, size, statistics.median(changes))


def loaded(count: int, runs: int = 7) -> Loaded:
    """The least that new processes took: others may have been busy beside some of them."""
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool:
        each = list(pool.map(_loaded_here, [count] * runs))
    return Loaded(*(min(column) for column in zip(*each, strict=True)))


def _loaded_here(count: int) -> Loaded:
    return asyncio.run(load(count))


def tell_loading(entities: int) -> None:
    """Print what it takes to load so many."""
    seconds, megabytes, change = loaded(entities)
    print(f"{entities} entities loaded in {seconds:.2f} s of CPU time, {megabytes:.0f} MB")
    print(f"one of them changed in {change * 1000:.2f} ms of CPU time, with the next text")


async def main(texts: int, entities: int, seed: int, show: bool) -> None:
    """Print the tables."""
    tell_loading(entities)
    crm = _Crm(entities)
    samples = generated(texts, seed)
    written = [text for text, _ in samples]
    size = sum(map(len, written))
    theirs_of = presidio()
    theirs_of(written[0])
    begun = time.process_time()
    theirs = [theirs_of(text) for text in written]
    took = {"Presidio": time.process_time() - begun}
    shapes = Detection(DetectionSettings(kinds=KINDS), [crm])
    await shapes.find(written[0])
    _, took["ours, no model"] = await measured(shapes, written)
    model = Recogniser(SMALL[1])
    whole = Detection(DetectionSettings(kinds=KINDS), [crm], [model])
    await whole.find(written[0])
    ours, took["ours"] = await measured(whole, written)
    report(samples, theirs, ours)
    for name, time_ in took.items():
        print(f"{name}: {size / time_:,.0f} characters/s, {took['Presidio'] / time_:.1f} times")
    if show:
        tell(samples, ours)


def report(samples: Any, theirs: list[list[Span]], ours: list[list[Span]]) -> None:
    """Recall, precision and F2 of each kind, for both."""
    scores = [Score(), Score()]
    for (text, true), *said in zip(samples, theirs, ours, strict=True):
        for score, spans in zip(scores, said, strict=True):
            score.add(text, true, [span for span in spans if span.kind in set(TRUE.values())])
    print(f"{'kind':14}{'count':>6}   Presidio P / R / F2      ours P / R / F2")
    for kind in [*sorted(scores[0].true), None]:
        row = [f"{s.precision(kind):.3f} / {s.recall(kind):.3f} / {s.f2(kind):.3f}" for s in scores]
        count = scores[0].true[kind] if kind else scores[0].true.total()
        print(f"{kind or 'all':14}{count:6}   " + "    ".join(row))
    for name, score in zip(("Presidio", "ours"), scores, strict=True):
        p, r = score.both / max(score.taken, 1), score.both / max(score.private, 1)
        print(f"words, of whatever kind: {name} {p:.3f} / {r:.3f} / {5 * p * r / (4 * p + r):.3f}")


def tell(samples: Any, ours: list[list[Span]]) -> None:
    """What was missed, and what was found where nothing is."""
    for (text, true), said in zip(samples, ours, strict=True):
        missed = [
            (t.kind, text[t.start : t.end]) for t in true if not any(_agree(t, s) for s in said)
        ]
        wrong = [
            (s.kind, text[s.start : s.end]) for s in said if not any(_agree(t, s) for t in true)
        ]
        if missed or wrong:
            print(repr(text), "\n    missed", missed, "\n    wrong", wrong, file=sys.stderr)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--texts", type=int, default=1500)
    parser.add_argument("--entities", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--show", action="store_true", help="print what is wrong to stderr")
    parser.add_argument("--loading", action="store_true", help="measure loading alone")
    given = parser.parse_args()
    if given.loading:
        tell_loading(given.entities)
    else:
        asyncio.run(main(given.texts, given.entities, given.seed, given.show))
