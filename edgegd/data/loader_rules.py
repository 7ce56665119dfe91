"""Why Ultralytics' loader would leave an image out although OpenCV can decode it.

Its check (ultralytics/data/utils.py, check_image) opens a file with Pillow, which looks at the content and not at the
name, and accepts the formats of its list only. A file that fails is left out of training with a line in a log.
"""

from __future__ import annotations

from pathlib import Path

from edgegd.foreign_text import one_line

# Pillow's names of IMG_FORMATS; DNG files are TIFF to it.
_FORMATS = frozenset({"AVIF", "BMP", "DNG", "HEIC", "HEIF", "JPEG", "JPEG2000", "MPO", "PNG", "TIFF", "WEBP"})


def refused_by_loader(image: Path) -> str:
    """Why the loader would leave a file out, as a sentence; empty where it would not, or Pillow is not installed."""
    try:
        from PIL import Image
    except ImportError:  # without it there is no Ultralytics, and so no loader
        return ""
    try:
        with Image.open(image) as opened:
            kind = opened.format or "unknown"
            opened.verify()
    except Exception as error:  # Pillow's plugins raise whatever they meet
        return f"Ultralytics would leave it out of training: {one_line(str(error) or type(error).__name__, 200)}"
    if kind not in _FORMATS:
        return f"it is a {kind} whatever its name says, and Ultralytics would leave it out of training"
    return ""
