"""`edgegd predict`: run an exported model on images."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("images", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option("--save", "save_dir", type=click.Path(path_type=Path, file_okay=False),
              help="Draw the boxes into copies of the images in this folder.")  # fmt: skip
@click.option("--conf", type=click.FloatRange(0, 1), default=0.25, show_default=True, help="Smallest score shown.")
@click.option("--json", "as_json", is_flag=True, help="Print the detections as JSON.")
def predict(model: Path, images: tuple[Path, ...], save_dir: Path | None, conf: float, as_json: bool) -> None:
    """Detect objects in IMAGES with MODEL.onnx. Needs onnxruntime and OpenCV only, no torch.

    \b
    edgegd predict runs/try1/qat.onnx street.jpg --save drawn/
    """
    from edgegd.errors import WouldOverwriteError
    from edgegd.runtime.detector import Detector
    from edgegd.runtime.draw import draw, read_image, write_image

    detector = Detector(model, conf=conf)
    results = []
    for path in images:
        target = save_dir / f"{path.stem}.png" if save_dir else None
        if target and target.exists():
            raise WouldOverwriteError(f"{target} exists already.", mend="choose another --save folder")
        image = read_image(path)
        found = detector(image)
        results.append({"image": str(path), **found.to_dict()})
        if target:
            target.parent.mkdir(parents=True, exist_ok=True)
            write_image(target, draw(image, found))
        if not as_json:
            click.echo(f"{path}: {len(found)} detections" + (f" -> {target}" if target else ""))
            for box, score, class_id in zip(found.xyxy, found.scores, found.class_ids, strict=True):
                x1, y1, x2, y2 = box
                click.echo(f"  {found.names[class_id]:<16} {score:.2f}  {x1:.0f} {y1:.0f} {x2:.0f} {y2:.0f}")
    if as_json:
        click.echo(json.dumps(results))
