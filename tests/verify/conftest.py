"""Small exported models (tests/small_exports.py), made once a session."""

from small_exports import calibrated, exported, images, pictures, write

__all__ = ["calibrated", "exported", "images", "pictures", "write"]
