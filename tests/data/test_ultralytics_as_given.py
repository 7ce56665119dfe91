"""What Ultralytics does on its own outside of `as_given`, and does not do inside: the functions that are replaced."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest.importorskip("ultralytics")

from ultralytics.data import utils as data_utils
from ultralytics.nn import tasks
from ultralytics.utils import SETTINGS, checks, downloads
from ultralytics.utils.events import events

from edgegd.data.ultralytics_as_given import as_given
from edgegd.trust import trusting


def test_names_stay_as_they_are(tmp_path: Path) -> None:
    file = tmp_path / "yolov5n.pt"
    file.touch()
    assert checks.check_file(str(file), hard=False) == []  # it looked for yolov5nu.pt
    with as_given():
        assert checks.check_file(str(file)) == downloads.attempt_download_asset(file) == str(file)


def test_pickles_are_loaded_whole_only_where_they_are_trusted() -> None:
    before = tasks.SAFE_LOAD
    with as_given():
        assert tasks.SAFE_LOAD is True and tasks._SafeLoad.restricted()
    with trusting(), as_given():
        assert tasks.SAFE_LOAD is False and not tasks._SafeLoad.restricted()
    assert tasks.SAFE_LOAD is before


def test_nothing_is_reported_and_no_font_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.getaddrinfo", lambda *_: pytest.fail("a name was looked up"))
    monkeypatch.setattr(events, "enabled", True)
    monkeypatch.setenv("ULTRALYTICS_API_KEY", "mine")
    dict.update(SETTINGS, {"sync": True, "api_key": "ul_mine"})
    file = Path(SETTINGS.file)
    before = file.read_bytes()
    with as_given():
        assert not any(SETTINGS[key] for key in ("sync", "clearml", "comet", "dvc", "mlflow", "wandb", "api_key"))
        assert not events.enabled and "ULTRALYTICS_API_KEY" not in os.environ
        assert data_utils.check_font("Arial.ttf") is None
    assert SETTINGS["sync"] and SETTINGS["api_key"] == "ul_mine" and os.environ["ULTRALYTICS_API_KEY"] == "mine"
    assert events.enabled and file.read_bytes() == before
    dict.update(SETTINGS, {"api_key": ""})
