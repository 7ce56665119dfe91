"""The `streets` data set: generated driving scenes with pedestrians, cars and traffic signs (numpy and OpenCV only)."""

from edgegd.data.streets.generate import make_streets
from edgegd.data.streets.scene import CLASS_NAMES, Scene, render_scene

__all__ = ["CLASS_NAMES", "Scene", "make_streets", "render_scene"]
