"""Validation in shares: detections are judged in the order of the images, whoever made them. No model is run."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch")

from edgegd.descent.ranks import Ranks
from edgegd.pipeline import descent_run
from edgegd.progress import Silent


class OfTwo(Ranks):
    """The first of two processes, to which the other one has sent what it found."""

    def gather(self, value: Any) -> list[Any]:
        """Its own and the other's."""
        return [value, ["1", "3"]]

    def of_first(self, make: Any) -> Any:
        """This is the first."""
        return make()


def test_detections_of_two_processes_are_judged_in_the_images_order(monkeypatch: pytest.MonkeyPatch) -> None:
    truth = SimpleNamespace(image_paths=[Path(str(number)) for number in range(5)])
    judged: list[Any] = []

    def score(found: list[str], given: Any, max_det: int) -> Any:
        judged.extend(found)
        return SimpleNamespace(map50_95=0.5)

    monkeypatch.setattr(descent_run, "current_ranks", lambda: OfTwo(0, 2))
    monkeypatch.setattr(descent_run, "selection_truth", lambda folder: truth)
    monkeypatch.setattr(descent_run, "torch_detections", lambda student, model, folder, paths: [p.name for p in paths])
    monkeypatch.setattr(descent_run, "score", score)
    folder: Any = SimpleNamespace(recipe=SimpleNamespace(accuracy=SimpleNamespace(max_det=300)))
    student: Any = SimpleNamespace(eval=lambda: None, model=None)
    kind: Any = SimpleNamespace(how="in float")
    listener = descent_run._StageListener(folder, Silent(), student, 1, kind, lambda: None, None, None)  # type: ignore[arg-type]
    assert listener.evaluate() == 0.5 and judged == ["0", "1", "2", "3", "4"]
