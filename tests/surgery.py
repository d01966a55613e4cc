"""Changes in media files that no muxer makes: stamps that are wrong, edit lists of any kind, flags of tracks.

Everything takes the bytes of a file and gives back those of another. MP4 files must end with their index.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence

Edit = tuple[float, float | None]  # seconds it lasts; seconds of the media that it shows, None for nothing


# --- MP4 -------------------------------------------------------------------------------------------------------------
def boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(kind, content) of each box."""
    at = 0
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        yield kind, data[at + 8 : at + size]
        at += size


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", len(content) + 8, kind) + content


def inside(data: bytes, path: Sequence[bytes], change, track: int | None = None) -> bytes:
    """The boxes with the content of those at `path` changed, in one track or in all."""
    found, number = b"", -1
    for kind, content in boxes(data):
        number += kind == b"trak"
        if kind == path[0] and (kind != b"trak" or track in (None, number)):
            content = change(content) if len(path) == 1 else inside(content, path[1:], change, track)
        found += box(kind, content)
    return found


def only(data: bytes, *path: bytes, track: int = 0) -> bytes:
    """The content of the box at a path."""
    for kind in path:
        matching = [content for name, content in boxes(data) if name == kind]
        data = matching[track if kind == b"trak" else 0]
    return data


def with_edits(data: bytes, edits: Mapping[int, Sequence[Edit] | None], rate: float = 1.0) -> bytes:
    """Other edit lists for some tracks; None for no list. What a list calls second 0 is the first frame's own."""
    for track, entries in edits.items():
        moov = only(data, b"moov")
        movie_scale = struct.unpack_from(">I", only(moov, b"mvhd"), 12)[0]
        media_scale = struct.unpack_from(">I", only(moov, b"trak", b"mdia", b"mdhd", track=track), 12)[0]
        first = struct.unpack_from(">i", only(moov, b"trak", b"edts", b"elst", track=track), 12)[0]

        def changed(trak: bytes, entries=entries, movie=movie_scale, media=media_scale, first=first) -> bytes:
            rest = b"".join(box(kind, content) for kind, content in boxes(trak) if kind != b"edts")
            if entries is None:
                return rest
            rows = [
                struct.pack(
                    ">Iii", round(s * movie), -1 if m is None else first + round(m * media), round(rate * 65536)
                )
                for s, m in entries
            ]
            return box(b"edts", box(b"elst", struct.pack(">II", 0, len(rows)) + b"".join(rows))) + rest

        data = inside(data, (b"moov", b"trak"), changed, track)
    return data


def with_flags(data: bytes, flags: Mapping[int, int]) -> bytes:
    """Other flags for the headers of some tracks; 3 is enabled, 2 is not."""
    for track, value in flags.items():
        data = inside(data, (b"moov", b"trak", b"tkhd"), lambda b, value=value: b[:3] + bytes([value]) + b[4:], track)
    return data


def _mp4_moved(data: bytes, moves: Mapping[int, float]) -> bytes:
    """By the offsets of presentation from decoding, which may be negative."""
    moov = only(data, b"moov")
    scale = struct.unpack_from(">I", only(moov, b"trak", b"mdia", b"mdhd"), 12)[0]
    table = only(moov, b"trak", b"mdia", b"minf", b"stbl")
    parts = dict(boxes(table))
    offsets = [0] * struct.unpack_from(">I", parts[b"stsz"], 8)[0]
    if b"ctts" in parts:
        runs = struct.iter_unpack(">Ii", parts[b"ctts"][8:])
        offsets = [offset for count, offset in runs for _ in range(count)]
    for number, seconds in moves.items():
        offsets[number] += round(seconds * scale)
    rows = b"".join(struct.pack(">Ii", 1, offset) for offset in offsets)
    ctts = box(b"ctts", struct.pack(">II", 1 << 24, len(offsets)) + rows)

    def changed(stbl: bytes) -> bytes:
        kept = [box(kind, content) for kind, content in boxes(stbl) if kind != b"ctts"]
        return b"".join(kept) + ctts

    return inside(data, (b"moov", b"trak", b"mdia", b"minf", b"stbl"), changed, 0)


# --- Matroska and WebM -----------------------------------------------------------------------------------------------
SEGMENT, CLUSTER, GROUP, TIME, SIMPLE, BLOCK = 0x18538067, 0x1F43B675, 0xA0, 0xE7, 0xA3, 0xA1


def elements(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(kind, first byte of the content, byte after it), those within segments, clusters and groups too."""
    while at < end:
        length = 9 - data[at].bit_length()
        kind = int.from_bytes(data[at : at + length], "big")
        at += length
        length = 9 - data[at].bit_length()
        size = int.from_bytes(data[at : at + length], "big") & ((1 << 7 * length) - 1)
        unknown = size == (1 << 7 * length) - 1
        at += length
        stop = end if unknown else min(at + size, end)
        yield kind, at, stop
        if kind in (SEGMENT, CLUSTER, GROUP):
            yield from elements(data, at, stop)
            if unknown:
                return
        at = stop


def _matroska_moved(data: bytes, moves: Mapping[int, float]) -> bytes:
    changed, number, cluster = bytearray(data), 0, 0
    for kind, at, end in elements(data, 0, len(data)):
        if kind == TIME:
            cluster = int.from_bytes(data[at:end], "big")
        elif kind in (SIMPLE, BLOCK) and data[at] == 0x81:  # the first track
            offset = struct.unpack_from(">h", data, at + 1)[0]
            if number in moves:
                wanted = offset + round(moves[number] * 1000)
                assert cluster + wanted >= 0
                struct.pack_into(">h", changed, at + 1, wanted)
            number += 1
    return bytes(changed)


# --- FLV -------------------------------------------------------------------------------------------------------------
def _flv_moved(data: bytes, moves: Mapping[int, float]) -> bytes:
    changed, at, number = bytearray(data), 13, 0
    while at + 11 < len(data):
        size = int.from_bytes(data[at + 1 : at + 4], "big")
        if data[at] == 9 and data[at + 12] == 1:  # a picture, not the decoder's configuration
            if number in moves:
                stamp = int.from_bytes(data[at + 4 : at + 7], "big") + round(moves[number] * 1000)
                changed[at + 4 : at + 7] = stamp.to_bytes(3, "big")
            number += 1
        at += 11 + size + 4
    return bytes(changed)


# --- MPEG-TS ---------------------------------------------------------------------------------------------------------
def _ts_moved(data: bytes, moves: Mapping[int, float]) -> bytes:
    changed, number = bytearray(data), 0
    for at in range(0, len(data), 188):
        packet = data[at : at + 188]
        if not packet[1] & 0x40:
            continue
        start = 4 + (1 + packet[4] if packet[3] & 0x20 else 0)
        if packet[start : start + 3] != b"\0\0\1" or packet[start + 3] & 0xF0 != 0xE0:
            continue
        if number in moves:
            for place in (start + 9, start + 14)[: 1 + (packet[start + 7] >> 6 == 3)]:
                b = packet[place : place + 5]
                stamp = (b[0] >> 1 & 7) << 30 | b[1] << 22 | (b[2] >> 1) << 15 | b[3] << 7 | b[4] >> 1
                stamp += round(moves[number] * 90_000)
                changed[at + place : at + place + 5] = bytes(
                    [b[0] & 0xF1 | stamp >> 29 & 0x0E, stamp >> 22 & 0xFF, stamp >> 14 & 0xFE | 1, stamp >> 7 & 0xFF,
                     stamp << 1 & 0xFE | 1]
                )  # fmt: skip
        number += 1
    return bytes(changed)


MOVERS = {".mp4": _mp4_moved, ".mkv": _matroska_moved, ".webm": _matroska_moved, ".flv": _flv_moved, ".ts": _ts_moved}


def moved(data: bytes, suffix: str, moves: Mapping[int, float]) -> bytes:
    """The file with other stamps for some packets of its picture: their number in the file, and by how many seconds."""
    return MOVERS[suffix](data, moves)
