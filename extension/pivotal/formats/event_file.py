"""TensorBoard's event files, written without TensorBoard.

A file is a row of records: length (8 bytes), its checksum, an Event in protocol buffers, its checksum (tensorflow,
core/lib/io/record_writer.cc and core/util/event.proto). Checksums are CRC-32C, turned and shifted.
"""

from __future__ import annotations

import struct
import time
from functools import lru_cache
from io import BufferedWriter
from pathlib import Path

_CASTAGNOLI = 0x82F63B78  # CRC-32C's polynomial, lowest bit first
_MASK = 0xA282EAD8  # added to a checksum, for records may hold records (core/lib/hash/crc32c.h)
_VARINT, _DOUBLE, _BYTES, _FLOAT = 0, 1, 2, 5  # wire types


class EventFile:
    """An event file that grows.

    Raises:
        OSError: it cannot be made or written.
    """

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        # TensorBoard shows all files of a folder as one run; a number that grows keeps them in order.
        path = folder / f"events.out.tfevents.{time.time_ns() // 1000}.pivotal"
        self._file: BufferedWriter = path.open("xb")
        self._write(_field(3, b"brain.Event:2"))

    def scalar(self, tag: str, value: float, step: int) -> None:
        """One point of the curve `tag`."""
        self._summary(tag, _key(2, _FLOAT) + struct.pack("<f", value), step)

    def image(self, tag: str, png: bytes, height: int, width: int, step: int) -> None:
        """A picture, encoded as PNG."""
        picture = (_key(1, _VARINT) + _varint(height) + _key(2, _VARINT) + _varint(width) + _key(3, _VARINT) + _varint(3)
                   + _field(4, png))
        self._summary(tag, _field(4, picture), step)

    def flush(self) -> None:
        """Brings what was written to the disk, where TensorBoard sees it."""
        self._file.flush()

    def close(self) -> None:
        """Ends the file."""
        self._file.close()

    def _summary(self, tag: str, value: bytes, step: int) -> None:
        entry = _field(1, tag.encode("utf-8")) + value
        self._write(_key(2, _VARINT) + _varint(step) + _field(5, _field(1, entry)))

    def _write(self, event: bytes) -> None:
        event = _key(1, _DOUBLE) + struct.pack("<d", time.time()) + event
        length = struct.pack("<Q", len(event))
        self._file.write(length + _checksum(length) + event + _checksum(event))


def _key(number: int, wire: int) -> bytes:
    return _varint(number << 3 | wire)


def _field(number: int, content: bytes) -> bytes:
    return _key(number, _BYTES) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; the high bit says that more follow."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _checksum(data: bytes) -> bytes:
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + _MASK) & 0xFFFFFFFF)


def crc32c(data: bytes) -> int:
    """CRC-32C (RFC 3720, appendix B.4)."""
    table, crc = _table(), 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


@lru_cache(maxsize=1)
def _table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (_CASTAGNOLI if value & 1 else 0)
        table.append(value)
    return tuple(table)
