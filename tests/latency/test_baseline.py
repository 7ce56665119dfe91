"""Baselines on disk: what is stored, what is refused, what is appended. Oracle: the files themselves."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from processes import END_S

from edgegd.errors import BaselineDamagedError, BaselineNotFoundError, BaselineShapeError, WouldOverwriteError
from edgegd.latency.baseline.baseline import Baseline, baseline_names
from edgegd.latency.baseline.history import HistoryEntry, append_history, fingerprint_hash, read_history

MakeModel = Callable[..., Path]
STATIC = {"bytes": 7, "nodes": {"MatMul": 1}}
ENTRY = HistoryEntry(
    "2026-01-02T03:04:05+00:00", "pi5", "0123456789ab", 11.5, 12.25, 1.065, "REGRESSED", "c" * 64, "b" * 64
)


@pytest.fixture
def stored(make_model: MakeModel, tmp_path: Path) -> Baseline:
    """A baseline `shipped` below tmp_path/baselines."""
    return Baseline.set(make_model("stored"), "shipped", static=STATIC, root=tmp_path / "baselines", note="release 1.4")


def test_a_baseline_is_a_copy_of_the_file_and_what_is_known_of_it(make_model: MakeModel, stored: Baseline) -> None:
    original = make_model("stored")
    assert stored.model.read_bytes() == original.read_bytes()
    loaded = Baseline.load("shipped", stored.folder.parent)
    assert loaded == stored and loaded.name == "shipped"
    assert loaded.signature.sha256 == sha256(original.read_bytes()).hexdigest()
    assert loaded.signature.size_bytes == original.stat().st_size
    (one,) = loaded.signature.inputs
    assert (one.name, one.dtype, one.shape) == ("images", "float32", (1, 64))
    assert (loaded.source, loaded.note, loaded.static) == (str(original), "release 1.4", STATIC)
    assert {path.name for path in stored.folder.iterdir()} == {"model.onnx", "baseline.json"}


def test_an_existing_baseline_is_replaced_only_by_force_and_keeps_its_history(
    make_model: MakeModel, stored: Baseline
) -> None:
    root, other = stored.folder.parent, make_model("other", products=2)
    append_history(stored.accepted("pi5", {"cpu": "Cortex-A76"}), ENTRY)
    with pytest.raises(WouldOverwriteError) as caught:
        Baseline.set(other, "shipped", static={}, root=root)
    assert caught.value.exit_code == 26 and Baseline.load("shipped", root).model.read_bytes() != other.read_bytes()
    replaced = Baseline.set(other, "shipped", static={}, root=root, force=True)
    assert Baseline.load("shipped", root) == replaced and replaced.model.read_bytes() == other.read_bytes()
    assert read_history(replaced) == (ENTRY,) and replaced.accepted_on == {}


def test_the_stored_model_can_be_set_again_under_its_own_name(stored: Baseline) -> None:
    again = Baseline.set(stored.model, "shipped", static=STATIC, root=stored.folder.parent, force=True)
    assert again.signature == stored.signature == Baseline.load("shipped", stored.folder.parent).signature


def test_the_devices_that_accepted_it_are_stored(stored: Baseline) -> None:
    stored.accepted("pi5", {"cpu": "Cortex-A76"}).accepted("server", {"cpu": "Xeon"}).accepted("pi5", {"cpu": "new"})
    assert Baseline.load("shipped", stored.folder.parent).accepted_on == {
        "pi5": {"cpu": "new"},
        "server": {"cpu": "Xeon"},
    }


def test_a_missing_baseline_is_answered_by_those_that_exist(make_model: MakeModel, stored: Baseline) -> None:
    root = stored.folder.parent
    Baseline.set(make_model("stored"), "canary", static={}, root=root)
    (root / "no-baseline").mkdir()
    assert baseline_names(root) == ["canary", "shipped"]
    with pytest.raises(BaselineNotFoundError) as caught:
        Baseline.load("shiped", root)
    assert caught.value.found == "canary, shipped" and "--name shiped" in caught.value.mend
    with pytest.raises(BaselineNotFoundError, match="none at all"):
        Baseline.load("shipped", root / "elsewhere")


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "a b"])
def test_a_name_that_leaves_the_folder_is_refused(make_model: MakeModel, tmp_path: Path, name: str) -> None:
    with pytest.raises(BaselineNotFoundError, match="no name of a baseline"):
        Baseline.set(make_model("stored"), name, static={}, root=tmp_path / "baselines")
    assert list(tmp_path.iterdir()) == []


def _other_bytes(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")


def _no_model(folder: Path) -> None:
    (folder / "model.onnx").unlink()


def _cut(folder: Path) -> None:
    (folder / "baseline.json").write_text((folder / "baseline.json").read_text()[:100])


def _other_schema(folder: Path) -> None:
    facts = json.loads((folder / "baseline.json").read_text())
    (folder / "baseline.json").write_text(json.dumps(facts | {"schema": 99}))


def _without_hash(folder: Path) -> None:
    facts = json.loads((folder / "baseline.json").read_text())
    del facts["model"]["sha256"]
    (folder / "baseline.json").write_text(json.dumps(facts))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_other_bytes, "43 bytes"),
        (_no_model, "no such file"),
        (_cut, "JSONDecodeError"),
        (_other_schema, "schema 99"),
        (_without_hash, "sha256"),
    ],
    ids=["another model", "no model", "cut", "schema", "without hash"],
)
def test_a_damaged_baseline_is_refused_with_the_reason(
    stored: Baseline, damage: Callable[[Path], None], said: str
) -> None:
    damage(stored.folder)
    with pytest.raises(BaselineDamagedError) as caught:
        Baseline.load("shipped", stored.folder.parent)
    assert said in caught.value.found and caught.value.exit_code == 95 and "git lfs pull" in caught.value.mend


MEASURED = {
    "made_by": {"cpu": "x"},
    "bytes": 7,
    "nodes": {"MatMul": 1},
    "float_nodes": {},
    "integer_convolutions": [],
    "float_convolutions": ["a"],
}


@pytest.mark.parametrize(
    "change",
    [
        {"nodes": "long"},
        {"nodes": {"MatMul": "1"}},
        {"nodes": {"MatMul": -1}},
        {"bytes": True},
        {"bytes": 10**30},
        {"float_convolutions": [1]},
        {"integer_convolutions": {}},
        {"made_by": []},
        {"float_nodes": None},
    ],
    ids=str,
)
def test_facts_that_no_measurement_gives_are_damage(stored: Baseline, change: dict[str, object]) -> None:
    path = stored.folder / "baseline.json"
    facts = json.loads(path.read_text())
    path.write_text(json.dumps(facts | {"static": MEASURED}))
    assert Baseline.load("shipped", stored.folder.parent).static == MEASURED
    path.write_text(json.dumps(facts | {"static": MEASURED | change}))
    with pytest.raises(BaselineDamagedError, match=f"static.{next(iter(change))}"):
        Baseline.load("shipped", stored.folder.parent)


def test_a_candidate_of_the_same_shape_is_taken(make_model: MakeModel, stored: Baseline) -> None:
    candidate = make_model("candidate", products=3)
    assert stored.require_same_shape(candidate).sha256 == sha256(candidate.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("changed", "expected", "found", "mend"),
    [
        ({"shape": (2, 64)}, "images float32 (1, 64)", "images float32 (2, 64)", "export the candidate with"),
        ({"shape": ("batch", 64)}, "images float32 (1, 64)", "images float32 (batch, 64)", "export the candidate with"),
        ({"dtype": "uint8"}, "images float32 (1, 64)", "images uint8 (1, 64)", "takes floats: gate the portable file"),
    ],
    ids=["sides", "side that is not fixed", "type"],
)
def test_a_candidate_of_another_shape_is_refused_with_what_differs(
    make_model: MakeModel, stored: Baseline, changed: dict[str, Any], expected: str, found: str, mend: str
) -> None:
    candidate = make_model("another", **changed)
    with pytest.raises(BaselineShapeError) as caught:
        stored.require_same_shape(candidate)
    error = caught.value
    assert error.exit_code == 93 and expected in error.expected and found in error.found and mend in error.mend
    assert "shipped" in error.what and str(candidate) in error.what


def test_a_baseline_of_pixels_names_the_candidates_edge_file(make_model: MakeModel, tmp_path: Path) -> None:
    baseline = Baseline.set(make_model("pixels", dtype="uint8"), "edge", static={}, root=tmp_path / "baselines")
    portable = tmp_path / "qat.onnx"
    portable.write_bytes(make_model("stored").read_bytes())
    with pytest.raises(BaselineShapeError) as caught:
        baseline.require_same_shape(portable)
    assert f"gate the candidate's edge file, {tmp_path / 'qat.edge.onnx'} (not there)" in caught.value.mend


def test_an_edge_candidate_names_the_portable_file_that_it_was_made_from(
    make_model: MakeModel, stored: Baseline, tmp_path: Path
) -> None:
    onnx = pytest.importorskip("onnx")
    from edgegd.runtime.contract import ModelContract, OutputContract, Preprocessing

    contract = ModelContract(
        Preprocessing.of_pixels(Preprocessing((64, 64)), 3),
        OutputContract("raw", (1, 5, 10)),
        ("ant",),
        32,
        "qat",
        portable="qat.onnx",
    )
    model = onnx.load(make_model("pixels", dtype="uint8"))
    onnx.helper.set_model_props(model, contract.to_metadata())
    onnx.save(model, tmp_path / "qat.edge.onnx")
    (tmp_path / "qat.onnx").write_bytes(b"")
    with pytest.raises(BaselineShapeError) as caught:
        stored.require_same_shape(tmp_path / "qat.edge.onnx")
    assert f"gate the portable file, {tmp_path / 'qat.onnx'};" in caught.value.mend
    kept = Baseline.set(tmp_path / "qat.edge.onnx", "edge", static={}, root=tmp_path / "baselines")
    assert (kept.signature.imgsz, kept.signature.portable) == ((64, 64), "qat.onnx")
    assert Baseline.load("edge", tmp_path / "baselines") == kept


def test_history_is_lines_that_are_only_appended(stored: Baseline) -> None:
    assert read_history(stored) == ()
    append_history(stored, ENTRY)
    first = (stored.folder / "history.jsonl").read_bytes()
    refused = HistoryEntry(ENTRY.date, "pi5", "0" * 12, None, None, None, "INVALID", "d" * 64, "b" * 64)
    append_history(stored, refused)
    assert (stored.folder / "history.jsonl").read_bytes().startswith(first) and first.endswith(b"}\n")
    assert read_history(stored) == (ENTRY, refused)


def test_gates_at_once_do_not_mix_their_lines(stored: Baseline) -> None:
    def work(number: int) -> None:
        entry = HistoryEntry(ENTRY.date, f"target{number}" * 200, "f", 1.0, 1.0, 1.0, "PASS", "c", "b")
        for _ in range(20):
            append_history(stored, entry)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(END_S)
    assert sorted(entry.target for entry in read_history(stored)) == sorted(
        f"target{number}" * 200 for number in range(4) for _ in range(20)
    )


def test_a_number_that_is_none_is_not_stored(stored: Baseline) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        append_history(stored, HistoryEntry(ENTRY.date, "pi5", "f", float("nan"), 1.0, 1.0, "PASS", "c", "b"))
    assert read_history(stored) == ()


@pytest.mark.parametrize("line", ["<<<<<<< HEAD", '{"date": "2026-01-01"}', "[1]"])
def test_a_line_that_is_none_is_named(stored: Baseline, line: str) -> None:
    append_history(stored, ENTRY)
    with (stored.folder / "history.jsonl").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(BaselineDamagedError, match="Line 2 of") as caught:
        read_history(stored)
    assert caught.value.found == line


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("candidate_ms", 1e308),
        ("baseline_ms", -1.0),
        ("ratio", 1e30),
        ("baseline_ms", True),
        ("candidate_ms", "5"),
        ("ratio", float("nan")),
    ],
    ids=str,
)
def test_numbers_of_a_history_are_plausible(stored: Baseline, key: str, value: object) -> None:
    (stored.folder / "history.jsonl").write_text(json.dumps(vars(ENTRY) | {key: value}) + "\n")
    with pytest.raises(BaselineDamagedError, match="Line 1 of"):
        read_history(stored)


def test_entries_are_comparable_on_one_device_with_one_baseline() -> None:
    def like(**changed: str) -> HistoryEntry:
        return HistoryEntry(**(vars(ENTRY) | changed))

    assert like(candidate_sha256="e" * 64, date="later").continues(ENTRY)
    assert not any(like(**{key: "another"}).continues(ENTRY) for key in ("target", "fingerprint", "baseline_sha256"))


def test_the_hash_of_a_fingerprint_is_that_of_its_content() -> None:
    one = {"cpu": "Xeon", "session": {"threads": 1}}
    assert fingerprint_hash(one) == fingerprint_hash(dict(reversed(one.items()))) and len(fingerprint_hash(one)) == 12
    assert fingerprint_hash(one) != fingerprint_hash(one | {"session": {"threads": 2}})
