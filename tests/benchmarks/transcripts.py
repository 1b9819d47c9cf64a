"""Who said what: our labelling beside WhisperX's rule, on conversations whose truth is known.

::

    python tests/benchmarks/transcripts.py [--quick]

The conversations are made from seeds, so the figures are the same on every machine. The other
rule is the published one, written anew: a word goes to the speaker with the largest overlap,
one without times to nobody; ``fill_nearest`` gives words in silence to the turn whose middle
is nearest; a segment has one speaker.
"""

from __future__ import annotations

import argparse
import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from conversations import Conversation, Heard, Setting, converse
from meetings import likeness, meet
from spark_core_transcripts.chunks import Chunk, join
from spark_core_transcripts.labelling import label
from spark_core_transcripts.models import Segment, Turn, Word
from spark_core_transcripts.operation import LabelRequest, LocalChannel, label_transcript
from speaker_scores import cp_errors, wder_counts
from tables import show
from two_channels import TwoChannels, listen

#: Shares of the remote words that the local microphone hears.
LEVELS = (0.1, 0.3, 0.6, 0.9)

#: How many meet, and how unlike two voiceprints of one person are.
PEOPLE = (2, 4, 7, 10)
NOISES = (0.5, 0.8, 1.0)

Said = list[tuple[str | None, str]]

PLAIN = Setting()
SETTINGS = (
    PLAIN,
    Setting("every word timed", untimed=0.0, stretched=0.0),
    Setting("short replies", replies=0.6),
    Setting("turns joined over replies", replies=0.6, joins=2.0),
    Setting("overlaps", overlap=0.5, backchannels=0.2),
    Setting("untimed words", untimed=0.15, stretched=0.8),
    Setting("loose borders", jitter=0.3, ghosts=2.0),
    Setting("five people", speakers=5),
    Setting("a segment each sentence", cuts=1.0),
)


def plain(word: str) -> str:
    """*word* without case and punctuation, as it is compared."""
    return word.strip().strip(".,?!").casefold()


def said(pairs: Iterable[tuple[str | None, str]]) -> Said:
    """Words of texts, each with the speaker of its text."""
    return [(speaker, plain(word)) for speaker, text in pairs for word in text.split()]


# ------------------------------------------------------------------------------------ the two rules


def ours(conversation: Conversation, words: bool) -> tuple[Said, Said]:
    """Our words, and our segments' words."""
    transcript = label(
        [Word.model_validate(word) for word in conversation.words if words],
        [Segment.model_validate(segment) for segment in conversation.segments],
        [Turn.model_validate(turn) for turn in conversation.turns],
    )
    labelled = said((word.speaker, word.word) for word in transcript.words)
    return labelled, said((segment.speaker, segment.text) for segment in transcript.segments)


def largest(item: dict[str, Any], turns: Sequence[dict[str, Any]], nearest: bool) -> str | None:
    """The speaker with the largest overlap; of the turn with the nearest middle, if *nearest*."""
    if item["start"] is None:
        return None
    sums: Counter[str] = Counter()
    for turn in turns:
        shared = min(item["end"], turn["end"]) - max(item["start"], turn["start"])
        if shared > 0:
            sums[turn["speaker"]] += shared
    if sums:
        return sums.most_common(1)[0][0]
    middle = (item["start"] + item["end"]) / 2
    by_middle = min(turns, key=lambda turn: abs((turn["start"] + turn["end"]) / 2 - middle))
    return str(by_middle["speaker"]) if nearest else None


def theirs(conversation: Conversation, nearest: bool) -> tuple[Said, Said]:
    """The words and the segments' words by the other rule."""
    turns: Any = conversation.turns
    words: Any = conversation.words
    segments: Any = conversation.segments
    return (
        said((largest(word, turns, nearest), word["word"]) for word in words),
        said((largest(segment, turns, nearest), segment["text"]) for segment in segments),
    )


# --------------------------------------------------------------------------------------- measuring


def measure(setting: Setting, seeds: Iterable[int]) -> dict[tuple[str, str], tuple[float, ...]]:
    """Of each system, for words and for segments: WDER, cpWER, and the share without speaker."""
    systems: dict[str, Callable[[Conversation], tuple[Said, Said]]] = {
        "WhisperX": lambda c: theirs(c, nearest=False),
        "WhisperX, fill_nearest": lambda c: theirs(c, nearest=True),
        "ours": lambda c: ours(c, words=True),
        "ours, segments only": lambda c: ours(c, words=False),
    }
    totals: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for seed in seeds:
        conversation = converse(seed, setting)
        truth: Said = [(heard.speaker, plain(heard.word)) for heard in conversation.truth]
        for name, system in systems.items():
            for what, hypothesis in zip(("words", "segments"), system(conversation), strict=True):
                if hypothesis:
                    totals[name, what].update(_counts(truth, hypothesis))
    return {
        key: (
            total["wrong"] / total["aligned"],
            total["errors"] / total["reference"],
            total["unknown"] / total["words"],
        )
        for key, total in totals.items()
    }


def _counts(truth: Said, hypothesis: Said) -> dict[str, int]:
    wrong, aligned = wder_counts(truth, hypothesis)
    errors, reference = cp_errors(truth, hypothesis)
    unknown = sum(speaker is None for speaker, _ in hypothesis)
    return {
        "wrong": wrong,
        "aligned": aligned,
        "errors": errors,
        "reference": reference,
        "unknown": unknown,
        "words": len(hypothesis),
    }


# ------------------------------------------------------------------------------------- two channels


def by_text_and_time(channels: TwoChannels) -> set[int]:
    """Our rule: the numbers of the local words that are left out."""
    request = LabelRequest(
        words=[_word(heard) for heard in channels.remote],
        local=LocalChannel(words=[_word(word.heard) for word in channels.local]),
    )
    kept = asyncio.run(label_transcript(request)).words
    times = {word.start for word in kept if word.channel == "local"}
    return {n for n, w in enumerate(channels.local) if round(w.heard.span[0], 6) not in times}


def by_time(channels: TwoChannels) -> set[int]:
    """Whatever is heard while somebody speaks on the remote side, as a gate does it."""
    return {number for number, word in enumerate(channels.local) if word.covered}


def by_text(channels: TwoChannels) -> set[int]:
    """Whatever the remote side says as well, within two seconds."""
    return {
        number
        for number, word in enumerate(channels.local)
        if any(
            plain(word.heard.word) == plain(heard.word)
            and abs(word.heard.span[0] - heard.span[0]) <= 2.0
            for heard in channels.remote
        )
    }


def _word(heard: Heard) -> Word:
    return Word(word=heard.word, start=heard.start, end=heard.end)


def measure_bleed(level: float, seeds: Iterable[int]) -> list[tuple[str, ...]]:
    """Of each rule: the bleed that is left out, and of local words those that stay."""
    rules = {"text and time (ours)": by_text_and_time, "time alone": by_time, "text alone": by_text}
    totals: dict[str, Counter[str]] = defaultdict(Counter)
    for seed in seeds:
        channels = listen(seed, level)
        for name, rule in rules.items():
            removed = rule(channels)
            for number, word in enumerate(channels.local):
                kinds = {"bleed": word.bleed, "own": not word.bleed}
                kinds["covered"] = word.covered and not word.bleed
                for kind in (kind for kind, is_one in kinds.items() if is_one):
                    totals[name][kind] += 1
                    totals[name][f"{kind} removed"] += number in removed
    return [(f"{level:.0%}: {name}", *_shares(total)) for name, total in totals.items()]


def _shares(total: Counter[str]) -> tuple[str, ...]:
    removed = {kind: total[f"{kind} removed"] / total[kind] for kind in ("bleed", "own", "covered")}
    shares = (removed["bleed"], 1 - removed["own"], 1 - removed["covered"])
    return tuple(f"{100 * share:.1f}" for share in shares)


# ---------------------------------------------------------------------------------- long recordings


def measure_chunks(people: int, noise: float, seeds: Sequence[int]) -> tuple[str, ...]:
    """How many are found, and how much of the speech is whose it should be."""
    found, right, whole = 0, 0.0, 0.0
    for seed in seeds:
        meeting = meet(seed, people, noise)
        matched = join([Chunk.model_validate(chunk) for chunk in meeting.chunks])
        found += matched.speakers
        right += meeting.agreeing([(t.start, t.end, t.speaker) for t in matched.turns])
        whole += meeting.speech
    return str(people), f"{found / len(seeds):.1f}", f"{100 * right / whole:.1f}"


def run(quick: bool = False) -> None:
    """Measure every setting, and print a table of each; then two channels, and long meetings."""
    for setting in SETTINGS[: 1 if quick else None]:
        short = replace(setting, seconds=120.0) if quick else setting
        scores = measure(short, range(3 if quick else 10))
        rows = [
            (f"{name}: {what}", *(f"{100 * score:.2f}" for score in scores[name, what]))
            for name, what in sorted(scores, key=lambda key: (key[1] != "words", key[0]))
        ]
        show(setting.name, ("percent", "WDER", "cpWER", "no speaker"), rows)
    seeds = 1 if quick else 5
    bleed = [row for level in LEVELS for row in measure_bleed(level, range(3 if quick else 10))]
    show("bleed", ("share of words heard", "left out", "own kept", "of those covered"), bleed)
    meetings = [
        (f"{likeness(noise):.2f}", *measure_chunks(people, noise, range(seeds)))
        for noise in NOISES
        for people in PEOPLE
    ]
    show("an hour in chunks of four", ("likeness", "people", "found", "speech right"), meetings)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one setting, less of it")
    run(parser.parse_args().quick)


if __name__ == "__main__":
    main()
