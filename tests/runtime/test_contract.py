"""Oracle: the contract itself; what is written must be read back, and nothing else may be read."""

from __future__ import annotations

import json

import pytest

from edgegd.errors import MetadataError
from edgegd.runtime.contract import ModelContract, OutputContract, Preprocessing

CONTRACT = ModelContract(
    Preprocessing((320, 640), letterbox_color=(1, 2, 3)), OutputContract("raw", (1, 6, 4200)), ("car", "sign"), 32,
    variant="qat", plan_sha256="ab" * 32, versions={"torch": "2.15.0"},
)  # fmt: skip


def test_metadata_restores_an_equal_contract_and_is_json_text() -> None:
    metadata = CONTRACT.to_metadata()
    assert set(metadata) == {f"edgegd.{key}" for key in (
        "schema", "preprocessing", "output", "names", "stride", "variant", "plan_sha256", "profile",
        "versions")}
    assert ModelContract.from_metadata({**metadata, "task": "detect"}) == CONTRACT
    assert json.loads(metadata["edgegd.names"]) == ["car", "sign"]


def test_a_file_without_metadata_or_of_another_schema_says_so() -> None:
    with pytest.raises(MetadataError, match="carries no edgegd metadata"):
        ModelContract.from_metadata({"task": "detect"})
    with pytest.raises(MetadataError, match=r"another schema(.|\n)*edgegd.schema = 2"):
        ModelContract.from_metadata({**CONTRACT.to_metadata(), "edgegd.schema": "2"})


@pytest.mark.parametrize(
    ("key", "text"),
    [("names", None), ("names", '"ab"'), ("names", "["), ("stride", '"32"'), ("stride", "7"), ("variant", '"int4"'),
     ("output", '{"kind": "raw", "shape": [1, 7, 4200]}'), ("output", '{"kind": "end2end", "shape": [1, 300, 7]}'),
     ("output", '{"kind": "queries", "shape": [1, 84, 300]}'), ("output", '{"kind": "boxes", "shape": [1, 300, 6]}'),
     ("output", "[]"), ("preprocessing", '{"imgsz": [320]}'), ("preprocessing", '{"imgsz": [320, 640], "size": 1}'),
     ("preprocessing", '{"imgsz": [320, 640], "layout": "nhwc"}')],
)  # fmt: skip
def test_missing_or_malformed_values_are_metadata_errors(key: str, text: str | None) -> None:
    metadata = CONTRACT.to_metadata()
    if text is None:
        del metadata[f"edgegd.{key}"]
    else:
        metadata[f"edgegd.{key}"] = text
    with pytest.raises(MetadataError, match="malformed"):
        ModelContract.from_metadata(metadata)
