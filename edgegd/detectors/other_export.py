"""Ultralytics' exports for other runtimes: a checkpoint becomes one .zip that edgegd.device.runtimes opens.

    python -m edgegd.detectors.other_export FLOAT.pt OUT.zip --format ncnn --imgsz 640 640

A program of its own, because these exporters print on stdout from C++, start compilers, and may end the process. Two of
them report to their makers: MNN's tools, when they are imported, install a package for logging with `pip`, and report
each conversion with the machine's identifier; OpenVINO and NNCF report through openvino_telemetry, with an identifier
that it writes into the home folder. Here neither module can be imported, which they take as a wish for silence.
"""

from __future__ import annotations

import edgegd  # noqa: F401 -- before Ultralytics, which reads the environment that it sets

# isort: split

import argparse
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from ultralytics import YOLO

from edgegd.data.ultralytics_as_given import as_given

REPORTING = ("MNN.tools.utils.log", "openvino_telemetry")
"""Modules that are kept from being imported."""
PARTS = {
    "openvino": (".xml", ".bin"),
    "ncnn": (".param", ".bin"),
    "mnn": (".mnn",),
    "litert": (".tflite",),
}
"""Ultralytics' name of a format -> the suffixes of its files."""
_EPOCH = (1980, 1, 1, 0, 0, 0)  # of every part: equal files make an equal .zip


def export_other(
    checkpoint: Path,
    out: Path,
    form: str,
    size: tuple[int, int],
    *,
    quantize: int | None = None,
    data: Path | None = None,
    end2end: bool = False,
) -> None:
    """Writes `out`, a .zip, from a float checkpoint of Ultralytics'; `form` is a key of PARTS, `size` (h, w) in pixels.

    `quantize` 8 asks for Ultralytics' INT8 of that format, for which some calibrate on the split `val` of the data YAML
    `data`; `end2end` for the head that needs no NMS, where the format has one. Raises what the exporter raises.
    """
    for name in REPORTING:
        sys.modules[name] = None  # type: ignore[assignment]
    settings: dict[str, Any] = {"quantize": quantize} if quantize else {}
    settings |= {"data": str(data)} if data else {}
    settings |= {"nms": False} if end2end else {}
    with tempfile.TemporaryDirectory() as folder:
        copied = Path(shutil.copy(checkpoint, Path(folder, "model.pt")))  # exporters write beside the checkpoint
        with as_given():
            model: Any = YOLO(copied)
            exported = Path(model.export(format=form, imgsz=list(size), batch=1, device="cpu", **settings))
        channels = next(iter(model.model.parameters())).shape[1]
        with zipfile.ZipFile(out, "w") as archive:
            for suffix in PARTS[form]:
                (part,) = exported.glob(f"*{suffix}") if exported.is_dir() else (exported,)
                _add(archive, f"model{suffix}", part.read_bytes())
            _add(archive, "shape.txt", " ".join(map(str, (1, channels, *size))).encode())


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    archive.writestr(zipfile.ZipInfo(name, _EPOCH), content)


def main() -> None:
    """Exports what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--format", choices=PARTS, required=True)
    parser.add_argument("--imgsz", type=int, nargs=2, required=True, metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--quantize", type=int, choices=(8,))
    parser.add_argument("--data", type=Path, help="the data YAML whose split val INT8 is calibrated on")
    parser.add_argument("--end2end", action="store_true", help="export the head that needs no NMS")
    given = parser.parse_args()
    export_other(
        given.checkpoint,
        given.out,
        given.format,
        tuple(given.imgsz),
        quantize=given.quantize,
        data=given.data,
        end2end=given.end2end,
    )


if __name__ == "__main__":
    main()
