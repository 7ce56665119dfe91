"""Writes ptq.onnx of a run folder whose stage `ptq` is done, without its QAT.

    python benchmarks/peers/export_ptq.py RUN_DIR

The stage `export` does the same with the fine-tuned model beside it; benchmarks/accuracy_vs_peers.py needs PTQ alone.
"""

from __future__ import annotations

import sys
from pathlib import Path

from edgegd.pipeline.models import model_to_quantize
from edgegd.pipeline.onnx_files import write_quantized
from edgegd.pipeline.run_folder import RunFolder
from edgegd.pipeline.stages.export import described_float_graph
from edgegd.pipeline.stored import stored_plan, stored_state


def main() -> None:
    """Exports what the command line names."""
    folder = RunFolder.open_existing(Path(sys.argv[1]))
    plan, graph = stored_plan(folder), described_float_graph(folder, model_to_quantize(folder))
    write_quantized(folder, graph, plan, stored_state(folder, "ptq", plan), "ptq", "ptq.onnx")


if __name__ == "__main__":
    main()
