"""Made images of an explorer's page."""

from __future__ import annotations

from edgegd.report.explorer import Explorer, Shown

EVIL = '</script><script>window.hit = 1</script><img src=x onerror="window.hit = 1"> "\'&'
PIXEL = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"


def shown(name: str, split: str = "val", **values: float) -> Shown:
    """An image of 40 x 60 pixels with a label, what FP32 and INT8 found, and these values."""
    classes = ["car"] if name < "c" else ["car", EVIL]
    boxes = {
        "labels": [[1.0, 2.0, 11.0, 12.0, "car"]],
        "reference": [[1.5, 2.0, 11.0, 12.0, f"{EVIL} 0.80"]],
        "model": [] if name == "b" else [[2.0, 2.0, 12.0, 12.0, "car 0.70"]],
    }
    errors = ["lost"] if name == "b" else []
    learned = "forgotten" if split == "train" else ""
    place = None if name == "d" else (len(name) / 10, -0.5)
    return Shown(
        name, split, (40, 60), PIXEL, boxes, values, classes, ["small"], errors, learned, [f"of {name}"], place
    )


def explorer() -> Explorer:
    """Four images: two values of damage, one of a training loss, none."""
    images = [
        shown("a", damage=0.5, loss_model=0.1),
        shown("b", damage=2.5, loss_model=0.3),
        shown("c", "train", training_loss=4.0),
        shown("d"),
    ]
    return Explorer(EVIL, EVIL, images, [f"One sentence of {EVIL}."], [0.5, 0.25])
