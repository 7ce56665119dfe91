"""How an image is stored: what is lost, or turned, on the way to the network's eight upright bits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_ORIENTATION, _BITS_PER_SAMPLE = 0x0112, 258  # tags of TIFF 6.0, which EXIF uses too
_PNG_DEPTH = 24  # where a PNG's header has its bits per sample (PNG specification, 11.2.2)


@dataclass(frozen=True)
class StoredForm:
    """`orientation` is EXIF's (1: upright, 2 to 8: mirrored or turned), `bits` those of a value, `is_gray` the kind."""

    orientation: int = 1
    bits: int = 8
    is_gray: bool = False


UPRIGHT = StoredForm()


def stored_form(path: Path) -> StoredForm:
    """The stored form of an image file; an upright one of 8 bits in colours where Pillow cannot tell.

    Only for files that were decoded before: what is too large, or damaged, was refused then.
    """
    from PIL import Image

    try:
        with Image.open(path) as opened:
            bits = 16 if opened.mode.startswith("I") else 8
            if opened.format == "PNG":
                with path.open("rb") as file:
                    bits = file.read(_PNG_DEPTH + 1)[_PNG_DEPTH]
            elif opened.format == "TIFF":
                bits = max(getattr(opened, "tag_v2", {}).get(_BITS_PER_SAMPLE, (bits,)))
            orientation = opened.getexif().get(_ORIENTATION, 1)
            is_gray = opened.mode[0] in "1LIF" and opened.mode != "LAB"
    except Exception:  # Pillow's plugins raise whatever they meet; the pixels were read, so nothing is lost
        return UPRIGHT
    return StoredForm(orientation if orientation in range(1, 9) else 1, int(bits), is_gray)
