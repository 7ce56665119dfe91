"""The threshold that a file recommends for itself. Oracle: the text in its metadata."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgegd.errors import MetadataError
from edgegd.runtime.contract import ModelContract, OutputContract, Preprocessing
from edgegd.runtime.detector import Detector
from edgegd.runtime.recommended import METADATA_KEY, metadata_text

CONTRACT = ModelContract(Preprocessing((64, 64)), OutputContract("end2end", (1, 3, 6)), ("cell", "dust"), stride=32)
OUTPUT = np.array([[[8, 8, 24, 24, 0.9, 0], [30, 30, 50, 50, 0.4, 1], [1, 1, 9, 9, 0.2, 0]]], np.float32)


@pytest.fixture
def with_text(save_model: Callable[..., Path]) -> Callable[[str | None], Path]:
    """with_text(text): a file that carries this text under the key, or None for no such key."""

    def save(text: str | None) -> Path:
        return save_model(CONTRACT, OUTPUT, CONTRACT.to_metadata() | ({} if text is None else {METADATA_KEY: text}))

    return save


def test_a_detector_takes_the_files_threshold_only_if_asked(with_text: Callable[[str | None], Path]) -> None:
    model = with_text(metadata_text("recall", 0.5, {"cell": 0.6, "dust": None}))
    image = np.zeros((64, 64, 3), np.uint8)
    assert Detector(model).conf == 0.25 and len(Detector(model)(image)) == 2
    recommended = Detector(model, conf="recommended")
    assert recommended.conf == 0.5 and len(recommended(image)) == 1
    assert len(Detector(model, conf=0.1)(image)) == 3


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "[]",
        "0.5",
        '{"schema": 1}',
        '{"schema": 2, "conf": 0.5}',
        *(f'{{"schema": 1, "conf": {value}}}' for value in ("1.5", "NaN", "true", "null", "[]")),
    ],
)
def test_no_threshold_or_a_damaged_one_is_named(text: str | None, with_text: Callable[[str | None], Path]) -> None:
    with pytest.raises(MetadataError, match=r"recommends no score threshold|damaged edgegd\.conf"):
        Detector(with_text(text), conf="recommended")


def test_another_word_is_refused(with_text: Callable[[str | None], Path]) -> None:
    with pytest.raises(ValueError, match="expected a score threshold"):
        Detector(with_text(None), conf="best")
