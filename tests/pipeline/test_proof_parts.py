"""What an unfinished proof keeps, and with how many threads files are timed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgegd.device.threads import ThreadSetting
from edgegd.errors import OutputFileError, RunFolderBusyError
from edgegd.latency.measuring.record import Block
from edgegd.pipeline.artifacts import of_target
from edgegd.pipeline.proof import settings
from edgegd.pipeline.proof.unfinished import Unfinished
from edgegd.recipe.schema import LatencySection

IDENTITY = {"files": {"qat": "0" * 64}, "budget_mb": 500.0}


def test_a_part_is_made_once(tmp_path: Path) -> None:
    made = []

    def make() -> dict[str, Any]:
        made.append(1)
        return {"images": (1, 2)}

    for _ in range(2):
        with Unfinished.taken_up(tmp_path / "proof", IDENTITY) as unfinished:
            assert unfinished.part("codes", make) == {"images": [1, 2]}
    assert len(made) == 1


def test_outputs_are_kept_with_the_hash_of_the_whole(tmp_path: Path) -> None:
    output = np.random.default_rng(0).random((1, 6, 10), dtype=np.float32)
    with Unfinished.taken_up(tmp_path / "proof", IDENTITY) as unfinished:
        unfinished.store_output("qat", 3, output, "abc")
    with Unfinished.taken_up(tmp_path / "proof", IDENTITY) as unfinished:
        assert unfinished.has_output("qat", 3) and not unfinished.has_output("qat", 2)
        np.testing.assert_array_equal(unfinished.output("qat", 3), output)
        assert unfinished.output_sha256("qat", 3) == "abc"
        unfinished.remove()
    assert not (tmp_path / "proof").exists()


def test_what_another_proof_has_left_is_removed(tmp_path: Path) -> None:
    with Unfinished.taken_up(tmp_path / "proof", IDENTITY) as unfinished:
        unfinished.part("codes", dict)
        unfinished.store_output("qat", 0, np.zeros(3, np.float32), "abc")
    with Unfinished.taken_up(tmp_path / "proof", IDENTITY | {"budget_mb": 1.0}) as unfinished:
        assert not unfinished.has_output("qat", 0)
        assert unfinished.part("codes", lambda: {"new": True}) == {"new": True}


def test_a_part_that_was_cut_off_is_made_again(tmp_path: Path) -> None:
    with Unfinished.taken_up(tmp_path / "proof", IDENTITY) as unfinished:
        unfinished.part("codes", dict)
        (tmp_path / "proof/codes.json").write_text('{"images"')
        assert unfinished.part("codes", lambda: {"new": True}) == {"new": True}


def test_two_processes_do_not_prove_the_same(tmp_path: Path) -> None:
    with (
        Unfinished.taken_up(tmp_path / "proof", IDENTITY),
        pytest.raises(RunFolderBusyError, match="Another process proves"),
        Unfinished.taken_up(tmp_path / "proof", IDENTITY),
    ):
        pass


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "proof").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputFileError), Unfinished.taken_up(tmp_path / "proof", IDENTITY):
        pass
    assert not [*(tmp_path / "elsewhere").iterdir()]


@pytest.mark.parametrize(
    ("recipe", "cores", "best", "expected", "judged"),
    [
        (1, 4, None, {"one thread": 1, "all cores": 4}, "one thread"),
        (4, 4, None, {"one thread": 1, "all cores": 4}, "all cores"),
        (2, 4, None, {"one thread": 1, "all cores": 4, "the recipe's": 2}, "the recipe's"),
        (1, 1, None, {"one thread": 1}, "one thread"),
        (1, 4, 3, {"one thread": 1, "all cores": 4, "tuned": 3}, "tuned"),
        (2, 4, 4, {"one thread": 1, "all cores": 4}, "all cores"),
    ],
)
def test_the_settings_of_threads_and_which_of_them_limits_are_about(
    monkeypatch: pytest.MonkeyPatch, recipe: int, cores: int, best: int | None, expected: dict[str, int], judged: str
) -> None:
    folder: Any = SimpleNamespace(recipe=SimpleNamespace(latency=LatencySection(threads=recipe)))
    monkeypatch.setattr(settings, "tuned_setting", lambda folder, target: best and ThreadSetting(threads=best))
    found = settings.settings_of(folder, "pi5", cores)
    assert {name: setting.threads for name, setting in found.items()} == expected
    assert settings.judged(folder, "pi5", found) == judged


def test_the_p95_is_that_of_the_slowest_launch() -> None:
    """Pooled, the p95 of these inferences would be 100 ms: of 400 only 10 take longer."""
    blocks = [
        Block(launch, 0, 0, "edge", 1, durations)
        for launch, durations in (
            (0, (100_000_000,) * 300),
            (1, (100_000_000,) * 90 + (200_000_000,) * 10),
            (2, (100_000_000,) * 100),
        )
    ]
    result: Any = SimpleNamespace(blocks=(*blocks, Block(0, 0, 1, "fp32", 1, (900_000_000,))))
    assert settings.slowest_p95_ms(result, "edge") == 200.0


def test_a_file_of_a_target_has_a_name_that_a_disk_takes() -> None:
    assert of_target("device", "pi5", "prove") == "device-pi5.json"
    assert of_target("device", "ssh://pi@host:22", "prove") == "device-ssh%3A%2F%2Fpi%40host%3A22.json"
    long = [of_target("device", "command:" + "x" * 300 + end, "prove") for end in "ab"]
    assert len(set(long)) == 2 and all(len(name) < 200 and "/" not in name for name in long)
