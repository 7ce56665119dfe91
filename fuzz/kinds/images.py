"""Image files of data sets and of `predict`, and what else `predict` takes."""

from __future__ import annotations

import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random

from fuzz.spoil import spoil
from fuzz.trial import Kind, Trial

_NEW = "new"


def _png(width: int, height: int, bits: int = 8, colour: int = 2, content: bytes = b"") -> bytes:
    """A PNG whose header says this, whatever its content is."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", content) + chunk(b"IEND", b"")


def _encoded(suffix: str) -> Callable[[Path], bytes]:
    """The image, written in another format than its name says."""

    def made(path: Path) -> bytes:
        import cv2

        image = cv2.imread(str(path))
        assert image is not None
        return bytes(cv2.imencode(suffix, image)[1])

    return made


def _gif(path: Path) -> bytes:
    return (
        b"GIF89a\x02\x00\x02\x00\x80\x00\x00\xff\x00\x00\x00\xff\x00,\x00\x00\x00\x00\x02\x00\x02\x00\x00"
        b"\x02\x03\x44\x02\x05\x00;"
    )


_SPECIAL: dict[str, tuple[Callable[[Path], bytes], bool]] = {
    "a GIF": (_gif, True),
    "a header of 32000 x 32000": (lambda path: _png(32000, 32000, content=zlib.compress(bytes(1000))), False),
    "a PNG of 32000 x 32000": (lambda path: _png(32000, 32000, 8, 0, zlib.compress(bytes(32001) * 200)), False),
    "a header of 2^31": (lambda path: _png((1 << 31) - 1, (1 << 31) - 1), False),
    "a header of 0 x 0": (lambda path: _png(0, 0), False),
    "16 bits": (lambda path: _png(8, 8, 16, 2, zlib.compress(bytes(8 * 49))), True),
    "one bit": (lambda path: _png(8, 8, 1, 0, zlib.compress(bytes(16))), True),
    "a kind of colour that does not exist": (lambda path: _png(8, 8, 8, 9, zlib.compress(bytes(200))), False),
    "a BMP": (_encoded(".bmp"), True),
    "a TIFF": (_encoded(".tiff"), True),
    "a WEBP": (_encoded(".webp"), True),
    "a PNG": (_encoded(".png"), True),
    "bytes after its end": (lambda path: path.read_bytes() + bytes(9000), True),
    "half of it": (lambda path: path.read_bytes()[: path.stat().st_size // 2], False),
    "without its last bytes": (lambda path: path.read_bytes()[:-2], True),
    "an SVG": (lambda path: b"<svg xmlns='http://www.w3.org/2000/svg'><image href='/etc/passwd'/></svg>", False),
    "a BMP header of 2^31": (
        lambda path: (
            b"BM"
            + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, (1 << 31) - 1, (1 << 31) - 1, 1, 24, 0, 0, 0, 0, 0, 0)
        ),
        False,
    ),
    "a TIFF of nothing": (lambda path: b"II*\x00\x08\x00\x00\x00\x00\x00\x00\x00", False),
    "a PFM": (lambda path: b"PF\n99999999 99999999\n-1.0\n", False),
    "a PGM": (lambda path: b"P5 40000 40000 255\n", False),
    "an HDR": (lambda path: b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 60000 +X 60000\n", False),
    "the start of a JPEG": (lambda path: b"\xff\xd8\xff\xe0\x00\x10JFIF\x00", False),
}
_NAMES = (
    "a\nb.jpg",
    "\x1b[31m.jpg",
    " .jpg",
    "ü中.jpg",
    "-rf.jpg",
    "x" * 240 + ".jpg",
    "a,b;c.jpg",
    "*.jpg",
    "[a].jpg",
    "?.jpg",
    "'.jpg",
    '".jpg',
    "%s.jpg",
    "a.JPG",
    "a.jpeg.jpg",
    ".hidden.jpg",
)


def _spoil_image(random: Random, path: Path) -> tuple[str, bool, Path]:
    """What was done to the image, whether it may still be right, and its path."""
    way = random.random()
    if way < 0.55:
        name = random.choice(list(_SPECIAL))
        change, may = _SPECIAL[name]
        path.write_bytes(change(path))
        return f"{path.name} is {name}", may, path
    if way < 0.65:
        renamed = path.with_name(random.choice(_NAMES))
        path.rename(renamed)
        return f"an image is named {renamed.name!r}", True, renamed
    what, may, _ = spoil(random, path)
    return what, may, path


def _of_a_set(random: Random, place: Path, number: int) -> Trial:
    split = random.choice(("train", "val"))
    image = random.choice(sorted((place / f"set/images/{split}").iterdir()))
    what, may, _ = _spoil_image(random, image)
    # A folder of images is what lies in it: a file that is gone, or a folder in its place, are no image of the set.
    gone = any(f": {one} in" in what for one in ("nothing", "a folder", "a link to a folder"))
    until = "data" if random.random() < 0.8 else "ptq"
    return Trial(("run", "tiny.yaml", "--run-dir", _NEW, "--until", until), what, (_NEW,), (_NEW,), may or gone)


def _predicted(random: Random, place: Path, number: int) -> Trial:
    image = random.choice(sorted((place / "frames").iterdir()))
    what, may, path = _spoil_image(random, image)
    model = random.choice(("qat.onnx", "qat.edge.onnx", "fp32.onnx"))
    more = random.choice(((), ("--json",), ("--timings",), ("--save", "drawn"), ("--timings", "--json")))
    named = "frames" if random.random() < 0.2 else f"frames/{path.name}"
    return Trial(("predict", f"run/{model}", named, *more), what, ("drawn",), ("drawn",), may or named == "frames")


def _sources(random: Random, place: Path, number: int) -> Trial:
    """Lists, folders, patterns, videos."""
    name = random.choice(
        (
            "clip.avi",
            "train.txt",
            "frames",
            "frames/*.jpg",
            "set/**/*.jpg",
            "home",
            "none",
            "tiny.yaml",
            "run/qat.onnx",
            "clip.mp4",
            "frames.txt",
            "device",
        )
    )
    what, may = name, True
    if name in ("clip.avi", "train.txt"):
        what, may, _ = spoil(random, place / name)
    elif name == "clip.mp4":
        shutil.copy(place / "clip.avi", place / name)
        what, may, _ = spoil(random, place / name)
    elif name == "frames.txt":
        (place / name).write_text(
            "\n".join(
                random.choice(("frames", "none.jpg", "frames.txt", "clip.avi", "\x1b[31m", "frames/*.jpg", ""))
                for _ in range(3)
            )
        )
    more = random.choice(((), ("--json",), ("--save", "drawn")))
    return Trial(("predict", "run/qat.onnx", name, *more), what, ("drawn",), ("drawn",), may)


KINDS = (
    Kind("images of a set", 90, _of_a_set),
    Kind("images to predict", 70, _predicted),
    Kind("sources to predict", 30, _sources),
)
