"""Arrays in PostgreSQL's binary format, put together from elements that are encoded once.

psycopg encodes a list element by element in Python, some 0.8 µs each: for a statement of eleven arrays that is a third
of what storing a webhook costs. Here an element that many rows share is encoded once, and an array is one join.

Format: `array_send` in PostgreSQL's src/backend/utils/adt/arrayfuncs.c.
"""

import struct
from collections.abc import Iterable
from typing import Final

from psycopg import AsyncConnection
from psycopg.abc import Buffer
from psycopg.adapt import Dumper
from psycopg.pq import Format
from psycopg.rows import DictRow
from typing_extensions import override

TEXT_OID: Final = 25
BYTEA_OID: Final = 17
INT4_OID: Final = 23

#: Number of dimensions, whether an element is null, the elements' type; then of the one dimension: size, first index.
_HEADER = struct.Struct("!iiIii")
_LENGTH = struct.Struct("!i")
_INT4 = struct.Struct("!ii")

#: An element that is null.
NULL: Final = _LENGTH.pack(-1)


class TextArray(bytes):
    """A `text[]`, ready to be sent."""


class ByteaArray(bytes):
    """A `bytea[]`, ready to be sent."""


class Int4Array(bytes):
    """An `int4[]`, ready to be sent."""


def text_element(value: str | None) -> bytes:
    """One element of a `text[]`.

    Raises:
        UnicodeEncodeError: the text holds a lone surrogate, which no UTF-8 can.
    """
    return NULL if value is None else bytea_element(value.encode())


def bytea_element(value: bytes | None) -> bytes:
    """One element of a `bytea[]`."""
    return NULL if value is None else _LENGTH.pack(len(value)) + value


def int4_element(value: int) -> bytes:
    """One element of an `int4[]`."""
    return _INT4.pack(_INT4.size - _LENGTH.size, value)


def text_array(elements: Iterable[bytes]) -> TextArray:
    """The `text[]` of these elements."""
    return TextArray(_array(TEXT_OID, tuple(elements)))


def bytea_array(elements: Iterable[bytes]) -> ByteaArray:
    """The `bytea[]` of these elements."""
    return ByteaArray(_array(BYTEA_OID, tuple(elements)))


def int4_array(elements: Iterable[bytes]) -> Int4Array:
    """The `int4[]` of these elements."""
    return Int4Array(_array(INT4_OID, tuple(elements)))


async def take_binary_arrays(connection: AsyncConnection[DictRow]) -> None:
    """Have a new connection of a pool send such arrays as they are."""
    for kind, dumper in _DUMPERS:
        connection.adapters.register_dumper(kind, dumper)


def _array(element_oid: int, elements: tuple[bytes, ...]) -> bytes:
    if not elements:
        return _HEADER.pack(0, 0, element_oid, 0, 0)[:12]
    return _HEADER.pack(1, 1, element_oid, len(elements), 1) + b"".join(elements)


class _AsItIs(Dumper):
    format = Format.BINARY

    @override
    def dump(self, obj: Buffer) -> Buffer:
        return obj


class _TextArrayDumper(_AsItIs):
    oid = 1009


class _ByteaArrayDumper(_AsItIs):
    oid = 1001


class _Int4ArrayDumper(_AsItIs):
    oid = 1007


_DUMPERS: Final = ((TextArray, _TextArrayDumper), (ByteaArray, _ByteaArrayDumper), (Int4Array, _Int4ArrayDumper))
