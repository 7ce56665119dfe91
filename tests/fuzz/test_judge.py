"""What the fuzzing harness calls a fault: it must see each kind of them, or its zeros would mean nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from fuzz.judge import judge
from fuzz.place import Place
from fuzz.trial import Ending, Trial

GOOD = Ending(0, 0, False, 1.0, 10**8, 1.0, (), "all is well\n", "")
REFUSED = dataclasses.replace(GOOD, exit_code=10, out="", err="edgegd: the recipe has mistakes\n")
TRIAL = Trial(("recipe", "validate", "x.yaml"), "spoiled", owns=("new",))


def test_a_refusal_and_an_allowed_success_are_no_faults() -> None:
    assert judge(TRIAL, GOOD, {"new/run.json": "new", "home/.cache/x": "new"}) == ()
    assert judge(TRIAL, REFUSED, {}) == ()


@pytest.mark.parametrize(
    ("ending", "fault"),
    [
        (dataclasses.replace(REFUSED, exit_code=1), "unexpected exit"),
        (dataclasses.replace(REFUSED, exit_code=125), "undocumented exit"),
        (dataclasses.replace(REFUSED, exit_code=None, signal=11), "crash: signal 11"),
        (dataclasses.replace(REFUSED, exit_code=None, timed_out=True), "hang"),
        (dataclasses.replace(GOOD, peak_bytes=2_100_000_000), "memory: 2.1 GB"),
        (dataclasses.replace(REFUSED, err="Traceback (most recent call last):\n"), "traceback"),
        (dataclasses.replace(REFUSED, err="edgegd: one\nedgegd: two\n"), "2 error messages"),
        (dataclasses.replace(REFUSED, err=""), "no word of what is wrong"),
        (dataclasses.replace(REFUSED, err="edgegd: \x1b[31mred\n"), "control characters"),
        (dataclasses.replace(REFUSED, err="edgegd: a\nFORGED: PASS\n"), "a forged line"),
        (dataclasses.replace(GOOD, left_running=("worker.py",)), "left running: worker.py"),
    ],
)
def test_each_kind_of_fault_is_seen(ending: Ending, fault: str) -> None:
    assert any(one.startswith(fault) for one in judge(TRIAL, ending, {}))


def test_success_with_an_input_that_cannot_be_right() -> None:
    assert judge(dataclasses.replace(TRIAL, may_succeed=False), GOOD, {}) == ("success though wrong",)


def test_an_error_that_does_not_name_the_device() -> None:
    assert judge(dataclasses.replace(TRIAL, names="board"), REFUSED, {}) == ("the error does not name board",)


@pytest.mark.parametrize("out", ["PASS  (new/1)\n", "load 12.5 ms, then 2.00 ms\n", "liar  fp32  1.00x\n"])
def test_figures_of_a_device_that_lies(out: str) -> None:
    trial = dataclasses.replace(TRIAL, may_succeed=False, must_make="tmp/told")
    ending = dataclasses.replace(REFUSED, out=out)
    assert judge(trial, ending, {"tmp/told": "new"}) == ("success though wrong: figures of a device that lies",)


def test_an_error_may_quote_what_a_device_has_said() -> None:
    trial = dataclasses.replace(TRIAL, may_succeed=False, must_make="tmp/told")
    ending = dataclasses.replace(REFUSED, out='{"error": "WorkerError", "found": "FORGED: PASS"}\n')
    assert judge(trial, ending, {"tmp/told": "new"}) == ()


def test_json_that_is_none() -> None:
    trial = dataclasses.replace(TRIAL, arguments=("target", "ls", "--json"))
    assert judge(trial, dataclasses.replace(GOOD, out='{"a": NaN}'), {})[0].startswith("--json printed no JSON")
    assert judge(trial, dataclasses.replace(GOOD, out='{"a": null}'), {}) == ()


@pytest.mark.parametrize("what", ["lost", "changed", "new"])
def test_files_that_are_not_the_commands(what: str) -> None:
    assert judge(TRIAL, GOOD, {"set/images/1.jpg": what}) == (f"file {what}: set/images/1.jpg",)
    assert judge(TRIAL, REFUSED, {"new/run.json": what}) == (f"file {what}: new/run.json",)  # owned only by success


def test_where_the_command_line_says_where_files_go_they_may_be_new_but_not_lost() -> None:
    trial = dataclasses.replace(TRIAL, may_make=True)
    assert judge(trial, GOOD, {"elsewhere/x.png": "new"}) == ()
    assert judge(trial, GOOD, {"train.txt": "changed"}) == ("file changed: train.txt",)


def _emptied(folder: Path) -> None:
    (folder / "a.txt").write_bytes(b"")


def _removed(folder: Path) -> None:
    (folder / "deep/b.txt").unlink()


def _linked(folder: Path) -> None:
    (folder / "a.txt").unlink()
    (folder / "a.txt").symlink_to("deep/b.txt")


def _added(folder: Path) -> None:
    (folder / "deep/c.txt").write_text("new")


def _same_length(folder: Path) -> None:
    (folder / "a.txt").write_text("anna")


def _the_same_again(folder: Path) -> None:
    (folder / "a.txt").unlink()
    (folder / "a.txt").write_text("text")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (_emptied, {"a.txt": "changed"}),
        (_removed, {"deep/b.txt": "lost"}),
        (_linked, {"a.txt": "lost"}),
        (_added, {"deep/c.txt": "new"}),
        (_same_length, {"a.txt": "changed"}),
        (_the_same_again, {}),
    ],
)
def test_a_place_sees_every_change_and_is_restored(
    change: Callable[[Path], None], expected: dict[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / "place"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.txt").write_text("text")
    (folder / "deep/b.txt").write_text("more")
    place = Place.of(folder, tmp_path / "base")
    before = place.spoiled()
    change(folder)
    assert before.differences(place) == expected
    place.restore()
    assert (folder / "a.txt").read_text() == "text" and (folder / "deep/b.txt").read_text() == "more"
    assert not (folder / "deep/c.txt").exists() and not (folder / "a.txt").is_symlink()


def test_what_a_case_has_spoiled_counts_as_it_was_spoiled(tmp_path: Path) -> None:
    folder = tmp_path / "place"
    folder.mkdir()
    (folder / "a.txt").write_text("text")
    place = Place.of(folder, tmp_path / "base")
    (folder / "a.txt").write_text("spoiled")
    before = place.spoiled()
    (folder / "a.txt").write_text("spoileD")
    assert before.differences(place) == {"a.txt": "changed"}
