"""Reads TensorBoard's event files, plainly, after the format's description."""

from __future__ import annotations

import struct


def records(data):
    """Each record's content, its checksums held against a bit-by-bit CRC-32C."""
    found = []
    while data:
        length, check = struct.unpack("<QI", data[:12])
        content, end = data[12:12 + length], struct.unpack("<I", data[12 + length:16 + length])[0]
        for part, told in ((data[:8], check), (content, end)):
            crc = plain_crc(part)
            assert told == ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32
        found.append(content)
        data = data[16 + length:]
    return found


def plain_crc(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0x82F63B78 * (crc & 1)
    return crc ^ 0xFFFFFFFF


def fields(data):
    """Number -> value of a protocol buffer's message."""
    found, at = {}, 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at, value, shift = at + 1, value | (byte & 0x7F) << shift, shift + 7
            if byte < 0x80:
                return value

    while at < len(data):
        key = varint()
        number, wire = key >> 3, key & 7
        if wire == 0:
            found[number] = varint()
        else:
            size = {1: 8, 5: 4}.get(wire) or varint()
            value, at = data[at:at + size], at + size
            found[number] = struct.unpack("<d" if wire == 1 else "<f", value)[0] if wire in (1, 5) else value
    return found
