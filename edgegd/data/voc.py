"""Pascal VOC annotations to YOLO label rows, with the defects that hand-made annotations have."""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree import ElementTree

from edgegd.errors import LabelError


@dataclass(frozen=True)
class Conversion:
    """The label text of one image, and how many of its boxes were kept, clipped at the border (kept) and dropped."""

    text: str
    boxes: int
    clipped: int
    dropped: int


def convert_annotation(xml: bytes, size: tuple[int, int], names: tuple[str, ...], origin: str) -> Conversion:
    """The rows `class cx cy w h` (six decimals, fractions of the image) of a VOC annotation, in its order.

    `size` is (width, height) in pixels of the image itself: the annotation's own <size> and <filename> are not
    trusted. Corners in the wrong order are exchanged, boxes are clipped to the image, and those without an area are
    dropped. Corners are taken as pixel edges, without VOC's offset of one, which annotation tools do not follow.
    Raises LabelError (naming `origin`) for broken XML, unknown classes and boxes without numbers.
    """
    width, height = size
    rows: list[str] = []
    clipped = dropped = 0
    try:
        objects = ElementTree.fromstring(xml).findall("object")
        corners = [
            (
                item.findtext("name", "").strip(),
                [float(item.findtext(f"bndbox/{corner}", "")) for corner in ("xmin", "xmax", "ymin", "ymax")],
            )
            for item in objects
        ]
    except (ElementTree.ParseError, ValueError) as error:
        raise LabelError(f"{origin} is not a Pascal VOC annotation", found=str(error)) from error
    for name, box in corners:
        if name not in names:
            raise LabelError(f"{origin} has an object of an unknown class", expected=", ".join(names), found=repr(name))
        x1, x2, y1, y2 = *sorted(box[:2]), *sorted(box[2:])
        inside = (min(max(x1, 0), width), min(max(x2, 0), width), min(max(y1, 0), height), min(max(y2, 0), height))
        is_clipped = inside != (x1, x2, y1, y2)
        x1, x2, y1, y2 = inside
        if x2 <= x1 or y2 <= y1:
            dropped += 1
            continue
        clipped += is_clipped
        values = ((x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height)
        rows.append(" ".join([str(names.index(name)), *(f"{value:.6f}" for value in values)]))
    return Conversion("".join(f"{row}\n" for row in rows), len(rows), clipped, dropped)
