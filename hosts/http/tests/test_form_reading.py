"""Forms: their fields and their file are found, in whatever pieces they come."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from spark_core_http.form_reading import (
    FIELD_BYTES,
    MOST_PARTS,
    FormReader,
    boundary_of,
    late_fields,
)

from spark_core.errors import InvalidRequest

BOUNDARY = b"xyz"


def part(name: str, value: bytes, more: bytes = b"") -> bytes:
    head = b'--xyz\r\nContent-Disposition: form-data; name="%b"%b' % (name.encode(), more)
    return head + b"\r\n\r\n" + value + b"\r\n"


def file(value: bytes) -> bytes:
    return part("file", value, b'; filename="a b.wav"\r\nContent-Type: audio/wav')


def read(form: bytes, size: int = 65536) -> FormReader:
    reader = FormReader(BOUNDARY)
    for start in range(0, len(form), size):
        reader.feed(form[start : start + size])
    reader.end()
    return reader


#: Bytes that look like what parts a form, but are none.
TRICKY = st.lists(
    st.sampled_from([b"\r\n", b"\r\n--xy", b"--xyz", b"\r", b"-", b"\r\n\r\n", b"z", b"\0"])
).map(b"".join)


@given(before=TRICKY, content=TRICKY, after=TRICKY, size=st.integers(1, 80))
def test_every_part_is_found_whatever_its_pieces(
    before: bytes, content: bytes, after: bytes, size: int
) -> None:
    assume(not any(b"\r\n--xyz" in value for value in (before, content, after)))
    form = part("one", before) + file(content) + part("two", after) + b"--xyz--\r\n"
    reader = read(form, size)
    assert [(field.name, bytes(field.value)) for field in reader.fields] == [
        ("one", before),
        ("two", after),
    ]
    assert reader.file is not None
    start = reader.file.start
    assert form[start : start + reader.file.size] == content
    assert reader.fields[0].start == form.index(b"\r\n\r\n") + 4
    assert reader.fields[1].start is None


def test_the_files_name_and_type_are_known() -> None:
    found = read(file(b"sound") + b"--xyz--").file
    assert found is not None
    assert (found.name, found.filename, found.media_type) == ("file", "a b.wav", "audio/wav")


@pytest.mark.parametrize(
    "form",
    [
        b"",
        b"no form",
        part("a", b"1"),
        part("a", b"1") * MOST_PARTS + part("b", b"1") + b"--xyz--",
        part("a", b"1" * (FIELD_BYTES + 1)) + b"--xyz--",
        file(b"") + part("a", b"1" * (FIELD_BYTES + 1)) + b"--xyz--",
    ],
    ids=["empty", "text", "cut off", "many parts", "large field", "large field at the end"],
)
def test_what_is_no_form_or_too_much_of_one_is_refused(form: bytes) -> None:
    with pytest.raises(InvalidRequest):
        read(form)


def test_late_fields_are_found_in_a_tail() -> None:
    tail = b"\0\1\2--xyz\r\n" + b"\r\n" + part("late", b"true") + b"--xyz--\r\n"
    assert [(field.name, field.text) for field in late_fields(tail, BOUNDARY)] == [("late", "true")]
    assert late_fields(b"\0\1\2\r\n--xyz--\r\n", BOUNDARY) == []


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        (b"multipart/form-data; boundary=xyz", b"xyz"),
        (b'Multipart/Form-Data; charset=utf-8; boundary="x y"', b"x y"),
        (b"multipart/form-data", None),
        (b"application/json", None),
        (b"", None),
    ],
)
def test_the_boundary_is_in_the_content_type(content_type: bytes, boundary: bytes | None) -> None:
    assert boundary_of(content_type) == boundary
