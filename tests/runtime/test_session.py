"""Oracle: files made by onnx; each defect has its own error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgegd.errors import MetadataError, OnnxUnreadableError, OutputContractError
from edgegd.runtime.contract import ModelContract, OutputContract, Preprocessing
from edgegd.runtime.session import load_model, load_portable, load_session

CONTRACT = ModelContract(Preprocessing((32, 32)), OutputContract("end2end", (1, 5, 6)), ("car",), 32)
EDGE = replace(CONTRACT, preprocessing=Preprocessing.of_pixels(CONTRACT.preprocessing, 4), portable="qat.onnx")
OUTPUT = np.zeros((1, 5, 6), np.float32)
SaveModel = Callable[..., Path]


def test_a_good_file_gives_its_contract_and_the_options_asked_for(save_model: SaveModel) -> None:
    path = save_model(CONTRACT, OUTPUT)
    session, contract = load_model(path, threads=2, spinning=True)
    assert contract == CONTRACT
    options = session.get_session_options()
    assert options.intra_op_num_threads == 2
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "1"
    default = load_session(path).get_session_options()
    assert default.intra_op_num_threads == 1
    assert default.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_the_optimized_graph_is_written_and_optimization_can_be_off(save_model: SaveModel, tmp_path: Path) -> None:
    path = save_model(CONTRACT, OUTPUT)
    load_session(path, optimized_path=tmp_path / "off.onnx", optimization="disabled")
    written = onnx.load(tmp_path / "off.onnx").graph.node
    assert [node.op_type for node in written] == ["Cast", "ReduceMean", "Mul", "Add"]


def test_missing_truncated_and_foreign_files_are_unreadable(save_model: SaveModel, tmp_path: Path) -> None:
    path = save_model(CONTRACT, OUTPUT)
    with pytest.raises(OnnxUnreadableError, match="there is no ONNX file"):
        load_session(tmp_path / "absent.onnx")
    for content in (path.read_bytes()[:150], b"", b"not a protobuf"):
        path.write_bytes(content)
        with pytest.raises(OnnxUnreadableError, match="cannot load") as caught:
            load_session(path)
        assert len(caught.value.found) <= 200 and "\n" not in caught.value.found


def test_a_file_without_metadata_is_named(save_model: SaveModel) -> None:
    with pytest.raises(MetadataError, match=r"model\.onnx: the ONNX file carries no edgegd metadata"):
        load_model(save_model(CONTRACT, OUTPUT, metadata={}))


@pytest.mark.parametrize("what", ["output", "input"])
def test_other_shapes_than_promised_are_refused(save_model: SaveModel, what: str) -> None:
    if what == "output":
        path = save_model(CONTRACT, np.zeros((1, 4, 6), np.float32))
        expected, found = "output0 tensor(float) [1, 5, 6]", "output0 tensor(float) [1, 4, 6]"
    else:
        other = ModelContract(Preprocessing((64, 64)), CONTRACT.output, CONTRACT.names, CONTRACT.stride)
        path = save_model(CONTRACT, OUTPUT, metadata=other.to_metadata())
        expected, found = "images tensor(float) [1, 3, 64, 64]", "images tensor(float) [1, 3, 32, 32]"
    with pytest.raises(OutputContractError) as caught:
        load_model(path)
    assert (caught.value.expected, caught.value.found) == (expected, found)


def test_an_edge_file_given_for_floats_names_its_portable_file(save_model: SaveModel, tmp_path: Path) -> None:
    path = save_model(EDGE, OUTPUT)
    assert load_model(path)[1] == EDGE
    with pytest.raises(OutputContractError, match="is an edge file") as caught:
        load_portable(path)
    assert caught.value.expected == "images tensor(float) [1, 3, 32, 32]"
    assert caught.value.found == "images tensor(uint8) [1, 32, 32, 4]"
    assert str(tmp_path / "qat.onnx") in caught.value.mend
    assert load_portable(save_model(CONTRACT, OUTPUT))[1] == CONTRACT


@pytest.mark.parametrize(
    ("made", "expected", "found"),
    [
        (CONTRACT, "tensor(uint8) [1, 32, 32, 4]", "tensor(float) [1, 3, 32, 32]"),
        (
            replace(EDGE, preprocessing=Preprocessing.of_pixels(CONTRACT.preprocessing, 3)),
            "tensor(uint8) [1, 32, 32, 4]",
            "tensor(uint8) [1, 32, 32, 3]",
        ),
    ],
    ids=["layout", "channels"],
)
def test_uint8_input_of_another_shape_or_layout_is_refused(
    save_model: SaveModel, made: ModelContract, expected: str, found: str
) -> None:
    path = save_model(made, OUTPUT, metadata=EDGE.to_metadata())
    with pytest.raises(OutputContractError) as caught:
        load_model(path)
    assert (caught.value.expected, caught.value.found) == (f"images {expected}", f"images {found}")


def test_onnxruntime_itself_prints_nothing_of_a_file_that_it_cannot_load(tmp_path, capfd):
    from onnx import TensorProto, helper

    sides = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in ("a", "c")]
    weight = helper.make_tensor("\x1b[31mred", TensorProto.FLOAT, [2], bytes(8), raw=True)
    node = helper.make_node("Add", ["a", "\x1b[31mred"], ["c"])
    graph = helper.make_graph([node], "g", sides[:1], sides[1:], [weight])
    graph.initializer[0].raw_data = b"\0\0"
    path = tmp_path / "model.onnx"
    path.write_bytes(helper.make_model(graph).SerializeToString())
    with pytest.raises(OnnxUnreadableError) as caught:
        load_session(path)
    streams = capfd.readouterr()
    assert streams.out == streams.err == "" and "\x1b" not in caught.value.message()
