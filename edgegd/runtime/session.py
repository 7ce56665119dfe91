"""onnxruntime sessions with every option that changes numbers or timing written out, and the check of the contract."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import onnxruntime

from edgegd.device.threads import bound
from edgegd.errors import MetadataError, OnnxUnreadableError, OutputContractError, TuningError
from edgegd.runtime.contract import INPUT_NAME, OUTPUT_NAME, ModelContract

OPTIMIZATION_LEVELS = {
    "disabled": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
}
LONGEST_REASON = 200  # characters of onnxruntime's own text that a message shows


def load_session(
    path: str | Path,
    *,
    threads: int = 1,
    spinning: bool = False,
    optimized_path: str | Path | None = None,
    optimization: str = "all",
    signed_activations: bool = False,
    cores: Sequence[int] = (),
) -> onnxruntime.InferenceSession:
    """A CPU session for the model file, whatever its inputs and outputs are.

    `threads` is the intra-op thread count; `spinning` lets threads spin for work while an inference runs, and until
    its end (session.intra_op.allow_spinning, session.force_spinning_stop); the session's own threads are bound to
    `cores`, if any are given, but not the caller, who takes part in every inference;
    `optimized_path` makes onnxruntime write its optimized graph there; `optimization` is a key of OPTIMIZATION_LEVELS;
    `signed_activations` fuses int8 activations on x86 too (session.qdqisint8allowed), where they are slower than float.

    Raises:
        OnnxUnreadableError: the file is missing, truncated, or onnxruntime cannot load it.
        TuningError: this process may not use the cores.
    """
    path = Path(path)
    if not path.is_file():
        raise OnnxUnreadableError(f"there is no ONNX file {path}", mend="check the path, or export the model first")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = OPTIMIZATION_LEVELS[optimization]
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spinning else "0")
    options.add_session_config_entry("session.force_spinning_stop", "1")  # otherwise a core burns between the frames
    if signed_activations:
        options.add_session_config_entry("session.qdqisint8allowed", "1")
    # Fatal ones only. Saving an optimized graph warns that it suits this machine. An error is an exception too, and its
    # line on stderr would come before ours, with escape sequences for colours and whatever names the file holds.
    options.log_severity_level = 4
    if optimized_path is not None:
        options.optimized_model_filepath = str(optimized_path)
    try:
        with bound(cores):  # threads are bound to what binds the one that makes them
            return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except TuningError:
        raise
    except Exception as error:  # onnxruntime's exceptions have no common base class
        raise OnnxUnreadableError(
            f"onnxruntime cannot load {path}",
            expected=f"an ONNX file that onnxruntime {onnxruntime.__version__} can run",
            found=_short_reason(error),
            mend="the file may be truncated or no ONNX file: copy or export it again",
        ) from error


def read_contract(session: onnxruntime.InferenceSession, path: str | Path) -> ModelContract:
    """The contract in the session's metadata, after checking that the session keeps it.

    Raises:
        MetadataError: the file carries no, another schema's, or malformed edgegd metadata.
        OutputContractError: an input or output has another name, shape or type than the contract says.
    """
    try:
        contract = ModelContract.from_metadata(session.get_modelmeta().custom_metadata_map)
    except MetadataError as error:
        raise MetadataError(
            f"{path}: {error.what}", expected=error.expected, found=error.found, mend=error.mend
        ) from error
    image = contract.preprocessing
    image_type = "tensor(uint8)" if image.takes_pixels else "tensor(float)"
    _require_tensor(path, "inputs", session.get_inputs(), _describe(INPUT_NAME, image.input_shape, image_type))
    _require_tensor(
        path, "outputs", session.get_outputs(), _describe(OUTPUT_NAME, contract.output.shape, "tensor(float)")
    )
    return contract


def load_model(
    path: str | Path, *, threads: int = 1, spinning: bool = False
) -> tuple[onnxruntime.InferenceSession, ModelContract]:
    """A fully optimized session for an edgegd model together with its checked contract.

    Raises:
        OnnxUnreadableError, MetadataError, OutputContractError: see `load_session` and `read_contract`.
    """
    session = load_session(path, threads=threads, spinning=spinning)
    return session, read_contract(session, path)


def load_portable(
    path: str | Path, *, threads: int = 1, spinning: bool = False
) -> tuple[onnxruntime.InferenceSession, ModelContract]:
    """As `load_model`, for callers that feed float32 images (1, C, H, W), as torch does: an edge file is refused.

    Raises:
        OutputContractError: the file is an edge file; the message names its portable file.
        OnnxUnreadableError, MetadataError, OutputContractError: see `load_model`.
    """
    session, contract = load_model(path, threads=threads, spinning=spinning)
    require_portable(contract, path)
    return session, contract


def require_portable(contract: ModelContract, path: str | Path) -> None:
    """OutputContractError for the contract of an edge file, which takes pixels and not float32 images."""
    if contract.preprocessing.takes_pixels:
        portable = Path(path).with_name(contract.portable)
        raise OutputContractError(
            f"{path} is an edge file: it takes the image's own pixels, but float32 images were to be fed",
            expected=_describe(
                INPUT_NAME, (1, contract.preprocessing.image_channels, *contract.preprocessing.imgsz), "tensor(float)"
            ),
            found=_describe(INPUT_NAME, contract.preprocessing.input_shape, "tensor(uint8)"),
            mend=f"use the portable file it was made from, {portable}" + ("" if portable.exists() else " (not there)"),
        )


def _require_tensor(path: str | Path, what: str, nodes: list[onnxruntime.NodeArg], expected: str) -> None:
    found = "; ".join(_describe(node.name, tuple(node.shape), node.type) for node in nodes)
    if found != expected:
        raise OutputContractError(
            f"the {what} of {path} are not those its metadata promises",
            expected=expected,
            found=found,
            mend="export the model again; the file was changed after its export",
        )


def _describe(name: str, shape: tuple[object, ...], onnx_type: str) -> str:
    return f"{name} {onnx_type} {list(shape)}"


def _short_reason(error: Exception) -> str:
    first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    # "[ONNXRuntimeError] : 7 : INVALID_PROTOBUF : Load model from ..." -> "INVALID_PROTOBUF : Load model from ..."
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : ", "", first_line)
    return text if len(text) <= LONGEST_REASON else text[: LONGEST_REASON - 3] + "..."
