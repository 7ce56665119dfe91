"""Latency workers for other runtimes: one file each, put together from what they share and what is the runtime's own.

A device gets one file that imports nothing of edgegd. Here the parts stand apart, as modules that are read, checked and
tested: edgegd.device.latency_worker, which is onnxruntime's worker and all workers' protocol, clock and blocks;
edgegd.device.runtimes.other_model; and a module for each runtime. `worker_text` writes them one below the other.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

ONNXRUNTIME = "onnxruntime"
_FOLDER = Path(__file__).parent
_SHARED = ("latency_worker.py", "runtimes/other_model.py")


@dataclass(frozen=True)
class RuntimeWorker:
    """A runtime's module below edgegd.device.runtimes, and the class in it that is its model."""

    module: str
    model: str


WORKERS = {
    "openvino": RuntimeWorker("openvino_model", "OpenVinoModel"),
    "openvino-f32": RuntimeWorker("openvino_model", "OpenVinoFloat32Model"),
    "ncnn": RuntimeWorker("ncnn_model", "NcnnModel"),
    "mnn": RuntimeWorker("mnn_model", "MnnModel"),
    "litert": RuntimeWorker("litert_model", "LiteRtModel"),
}
"""Runtime -> its worker; onnxruntime's is edgegd/device/latency_worker.py itself."""


@contextmanager
def worker_files(runtimes: Iterable[str]) -> Iterator[dict[str, Path]]:
    """Runtime -> its worker's file, for as long as the block lasts; KeyError for a runtime that has none."""
    with TemporaryDirectory(prefix="edgegd-workers-") as folder:
        files = {}
        for runtime in set(runtimes) - {ONNXRUNTIME}:
            files[runtime] = Path(folder, f"{runtime}_worker.py")
            files[runtime].write_text(worker_text(runtime), encoding="utf-8")
        yield files | {ONNXRUNTIME: _FOLDER / _SHARED[0]}


def worker_text(runtime: str) -> str:
    """The program of another runtime's worker."""
    worker = WORKERS[runtime]
    first, *others = (
        (_FOLDER / name).read_text(encoding="utf-8") for name in (*_SHARED, f"runtimes/{worker.module}.py")
    )
    parts = [_without(first, _is_start), *(_without(text, _is_of_a_module) for text in others)]
    return "\n\n".join(part.strip("\n") + "\n" for part in parts) + (
        f'\n\nif __name__ == "__main__":\n    main({worker.model})\n'
    )


def _without(text: str, is_left_out: Callable[[ast.stmt], bool]) -> str:
    """A module's text without some of its statements."""
    lines = text.splitlines()
    for node in ast.parse(text).body:
        if is_left_out(node):
            assert node.end_lineno is not None
            lines[node.lineno - 1 : node.end_lineno] = [""] * (node.end_lineno - node.lineno + 1)
    return "\n".join(lines)


def _is_start(node: ast.stmt) -> bool:
    """Whether a statement is `if __name__ == "__main__": main()`, and not the one that mends the search path."""
    return isinstance(node, ast.If) and ast.unparse(node).endswith("\n    main()")


def _is_of_a_module(node: ast.stmt) -> bool:
    """Whether a statement makes sense in a module of its own alone: its docstring, and imports of edgegd's modules."""
    if isinstance(node, ast.ImportFrom):
        return node.module == "__future__" or (node.module or "").partition(".")[0] == "edgegd"
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
