"""What the first bytes of an image file say, without decoding it: its kind, its size in pixels, whether it is whole."""

from __future__ import annotations

import struct
from collections.abc import Iterator

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a length (ITU-T T.81, table B.1)
_FRAMES = frozenset({*range(0xC0, 0xD0)}) - {0xC4, 0xC8, 0xCC}  # SOF0 to SOF15 without DHT, JPG and DAC
_SOS, _EOI = 0xDA, 0xD9


def declared_size(content: bytes) -> tuple[int, int] | None:
    """(width, height) in pixels that a PNG, JPEG, GIF, BMP or WebP declares; None where it is told by none of them."""
    try:
        if content.startswith(PNG):
            return struct.unpack(">II", content[16:24])
        if content.startswith(JPEG):
            return next(
                (
                    (width, height)
                    for marker, start in _segments(content)
                    if marker in _FRAMES
                    for height, width in [struct.unpack(">HH", content[start + 3 : start + 7])]
                ),
                None,
            )
        if content[:6] in (b"GIF87a", b"GIF89a"):
            return struct.unpack("<HH", content[6:10])
        if content.startswith(b"BM"):
            width, height = struct.unpack("<ii", content[18:26])
            return abs(width), abs(height)
        if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
            return _webp_size(content)
    except struct.error:
        return None
    return None


def is_truncated(content: bytes) -> bool:
    """Whether a JPEG lacks its end-of-image marker, or a PNG its end chunk (OpenCV 4 decodes such files silently).

    What follows the end is not looked at, and bytes between the segments of a JPEG are passed over, as decoders do. The
    marker FF D9 is looked for only behind the start of scan: an EXIF thumbnail before it is a JPEG with an end of its
    own, while inside entropy-coded data a byte FF is always followed by 00 or a restart marker (ITU-T T.81, B.1.1.5).
    """
    if content.startswith(PNG):
        position = len(PNG)
        while position + 12 <= len(content):  # length, type, data, checksum
            length, kind = struct.unpack(">I4s", content[position : position + 8])
            position += 12 + length
            if kind == b"IEND":
                return position > len(content)
        return True
    if not content.startswith(JPEG):
        return False
    for marker, start in _segments(content):
        if marker == _SOS:
            return content.find(b"\xff\xd9", start) < 0
        if marker == _EOI:
            return False  # no picture in it, which its decoder will say
    return True


def _segments(content: bytes) -> Iterator[tuple[int, int]]:
    """The markers of a JPEG up to its first scan, each with where its length stands; one that is cut off ends them."""
    position = 2
    while (position := content.find(b"\xff", position)) >= 0 and position + 4 <= len(content):
        marker = content[position + 1]
        if marker in (0x00, 0xFF):  # a stray byte, a fill byte
            position += 1
            continue
        position += 2
        if marker in _ALONE:
            continue
        yield marker, position
        if marker in (_SOS, _EOI):
            return
        position += max(int.from_bytes(content[position : position + 2], "big"), 2)


def _webp_size(content: bytes) -> tuple[int, int] | None:
    """RFC 9649, 2.4 to 2.7: a simple file (lossy, lossless) or an extended one."""
    kind = content[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(content[24:27], "little"), 1 + int.from_bytes(content[27:30], "little")
    if kind == b"VP8 ":
        width, height = struct.unpack("<HH", content[26:30])
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L":
        bits = int.from_bytes(content[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return None
