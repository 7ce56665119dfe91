"""Oracle: the contract itself; what is written must be read back, and nothing else may be read."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from edgegd.errors import MetadataError
from edgegd.runtime.contract import ModelContract, OutputContract, Preprocessing

CONTRACT = ModelContract(
    Preprocessing((320, 640), letterbox_color=(1, 2, 3)),
    OutputContract("raw", (1, 6, 4200)),
    ("car", "sign"),
    32,
    variant="qat",
    plan_sha256="ab" * 32,
    versions={"torch": "2.15.0"},
)


def test_metadata_restores_an_equal_contract_and_is_json_text() -> None:
    metadata = CONTRACT.to_metadata()
    assert set(metadata) == {
        f"edgegd.{key}"
        for key in (
            "schema",
            "preprocessing",
            "output",
            "names",
            "stride",
            "variant",
            "plan_sha256",
            "profile",
            "versions",
            "portable",
        )
    }
    assert ModelContract.from_metadata({**metadata, "task": "detect"}) == CONTRACT
    assert json.loads(metadata["edgegd.names"]) == ["car", "sign"]


@pytest.mark.parametrize("channels", [3, 4])
def test_an_edge_file_says_all_of_its_input(channels: int) -> None:
    edge = replace(CONTRACT, preprocessing=Preprocessing.of_pixels(CONTRACT.preprocessing, channels), portable="a.onnx")
    assert ModelContract.from_metadata(edge.to_metadata()) == edge
    image = edge.preprocessing
    assert (image.input_shape, image.takes_pixels) == ((1, 320, 640, channels), True)
    assert (image.imgsz, image.letterbox_color) == ((320, 640), (1, 2, 3))
    assert CONTRACT.preprocessing.input_shape == (1, 3, 320, 640)


def test_files_of_before_edge_files_are_portable() -> None:
    metadata = CONTRACT.to_metadata()
    old = {key: value for key, value in json.loads(metadata["edgegd.preprocessing"]).items() if key != "channels"}
    del metadata["edgegd.portable"]
    assert ModelContract.from_metadata({**metadata, "edgegd.preprocessing": json.dumps(old)}) == CONTRACT


@pytest.mark.parametrize(
    "values",
    [
        {"layout": "nhwc"},
        {"channels": 4},
        {"dtype": "uint8"},
        {"dtype": "uint8", "layout": "nhwc"},
        {"dtype": "uint8", "layout": "nhwc", "scale": 1.0},
        {"dtype": "uint8", "layout": "nchw", "scale": 1.0, "channel_order": "bgr"},
        {"dtype": "uint8", "layout": "nhwc", "scale": 1.0, "channel_order": "bgr", "channels": 2},
        {"dtype": "int8", "layout": "nhwc", "scale": 1.0, "channel_order": "bgr"},
    ],
    ids=["float nhwc", "float of 4", "uint8 nchw", "uint8 scaled", "uint8 rgb", "uint8 planes", "uint8 of 2", "int8"],
)
def test_inputs_that_contradict_themselves_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Preprocessing((320, 320), **values)


@pytest.mark.parametrize(
    "values",
    [
        {"channel_order": "gray"},
        {"channel_order": "stored"},
        {"channels": 1},
        {"channels": 9},
        {"channels": 0},
        {"channels": 4, "channel_order": "stored"},
        {"channels": 2, "channel_order": "gray", "letterbox_color": (1, 1)},
        {"channels": 1, "channel_order": "stored", "letterbox_color": (114,)},
        {"channels": True},
        {"channels": 1, "channel_order": "gray", "letterbox_color": (114, 114, 114)},
        {"channel_order": "cmyk"},
    ],
    ids=str,
)
def test_channels_that_contradict_their_order_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Preprocessing((320, 320), **values)  # type: ignore[arg-type]


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 8])
def test_channels_and_a_rectangle_survive_the_metadata(channels: int) -> None:
    portable = Preprocessing.of_images((64, 96), channels)
    assert portable.image_channels == channels and portable.input_shape == (1, channels, 64, 96)
    edge = Preprocessing.of_pixels(portable, channels)
    assert edge.image_channels == channels and edge.input_shape == (1, 64, 96, channels)
    for image, name in ((portable, ""), (edge, "qat.onnx")):
        contract = replace(CONTRACT, preprocessing=image, portable=name)
        assert ModelContract.from_metadata(contract.to_metadata()) == contract


@pytest.mark.parametrize("portable", ["", "folder/qat.onnx"])
def test_an_edge_file_must_name_the_portable_file_beside_it(portable: str) -> None:
    with pytest.raises(ValueError, match="portable"):
        replace(CONTRACT, preprocessing=Preprocessing.of_pixels(CONTRACT.preprocessing, 4), portable=portable)
    with pytest.raises(ValueError, match="portable"):
        replace(CONTRACT, portable="qat.onnx")


def test_a_file_without_metadata_or_of_another_schema_says_so() -> None:
    with pytest.raises(MetadataError, match="carries no edgegd metadata"):
        ModelContract.from_metadata({"task": "detect"})
    with pytest.raises(MetadataError, match=r"another schema(.|\n)*edgegd.schema = 2"):
        ModelContract.from_metadata({**CONTRACT.to_metadata(), "edgegd.schema": "2"})


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("names", None),
        ("names", '"ab"'),
        ("names", "["),
        ("stride", '"32"'),
        ("stride", "7"),
        ("variant", '"int4"'),
        ("output", '{"kind": "raw", "shape": [1, 7, 4200]}'),
        ("output", '{"kind": "end2end", "shape": [1, 300, 7]}'),
        ("output", '{"kind": "queries", "shape": [1, 84, 300]}'),
        ("output", '{"kind": "boxes", "shape": [1, 300, 6]}'),
        ("output", "[]"),
        ("preprocessing", '{"imgsz": [320]}'),
        ("preprocessing", '{"imgsz": [320, 640], "size": 1}'),
        ("preprocessing", '{"imgsz": [320, 640], "layout": "nhwc"}'),
    ],
)
def test_missing_or_malformed_values_are_metadata_errors(key: str, text: str | None) -> None:
    metadata = CONTRACT.to_metadata()
    if text is None:
        del metadata[f"edgegd.{key}"]
    else:
        metadata[f"edgegd.{key}"] = text
    with pytest.raises(MetadataError, match="malformed"):
        ModelContract.from_metadata(metadata)
