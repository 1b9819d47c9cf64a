"""WAV files, cut into windows on the disk."""

from __future__ import annotations

import io
import struct
import tempfile
import wave
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spark_core_transcripts.chunks import Window, plan
from spark_core_transcripts.recordings import open_recording

from spark_core.gateway.forms import FilePart, Span


@pytest.fixture
def stored() -> Iterator[Callable[[bytes], Span]]:
    """Writes bytes to the disk, behind others."""
    with tempfile.TemporaryFile(buffering=0) as file:

        def store(content: bytes) -> Span:
            file.write(b"before" + content)
            return Span(file.fileno(), 6, len(content))

        yield store


def wav(sound: bytes, channels: int = 1, width: int = 2, rate: int = 1000) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((channels, width, rate, 0, "NONE", ""))
        out.writeframes(sound)
    return file.getvalue()


def read(part: FilePart) -> tuple[wave._wave_params, bytes]:
    with wave.open(io.BytesIO(part.head + part.content.read())) as file:
        return file.getparams(), file.readframes(file.getnframes())


@given(
    channels=st.integers(1, 3),
    width=st.sampled_from([1, 2, 3, 4]),
    seconds=st.integers(1, 90),
)
def test_windows_are_wav_files_that_hold_the_whole_recording(
    channels: int, width: int, seconds: int
) -> None:
    rate, frame = 10, channels * width
    sound = bytes(n % 251 for n in range(rate * seconds * frame))
    with tempfile.TemporaryFile(buffering=0) as file:
        size = file.write(wav(sound, channels, width, rate))
        recording = open_recording(Span(file.fileno(), 0, size))
        assert recording is not None
        assert recording.duration == seconds
        windows = plan(recording.duration, window=20.0, overlap=10.0)
        for window in windows:
            params, part = read(recording.cut(window))
            assert (params.nchannels, params.sampwidth, params.framerate) == (channels, width, rate)
            start = round(window.start * rate) * frame
            assert part == sound[start : start + len(part)]
            assert abs(len(part) / frame / rate - (window.end - window.start)) <= 0.1
        assert sound.endswith(part)


@pytest.mark.parametrize("claimed", [0, 0xFFFFFFFF])
def test_a_recording_that_does_not_know_its_length_has_what_is_there(
    stored: Callable[[bytes], Span], claimed: int
) -> None:
    """As those that are written to a pipe."""
    file = bytearray(wav(b"ab" * 1000))
    file[40:44] = struct.pack("<I", claimed)
    recording = open_recording(stored(bytes(file)))
    assert recording is not None
    assert recording.duration == 1.0


@pytest.mark.parametrize(
    "content",
    [b"", b"RIFF", b"fLaC and so on", wav(b"")[:30], wav(b"").replace(b"\1\0\1\0", b"\3\0\1\0", 1)],
    ids=["empty", "cut off", "flac", "half a head", "floats"],
)
def test_what_is_no_pcm_is_none(stored: Callable[[bytes], Span], content: bytes) -> None:
    assert open_recording(stored(content)) is None


def test_a_recording_of_no_rate_is_none(stored: Callable[[bytes], Span]) -> None:
    file = bytearray(wav(b"ab"))
    file[24:28] = bytes(4)
    assert open_recording(stored(bytes(file))) is None


def test_a_window_beyond_the_end_is_empty(stored: Callable[[bytes], Span]) -> None:
    recording = open_recording(stored(wav(b"ab" * 1000)))
    assert recording is not None
    assert read(recording.cut(Window(start=5, end=6)))[1] == b""
