"""Ultralytics' own engines, kept to the files that we name: nothing renamed, nothing fetched, nothing reported.

Ultralytics changes names before it opens files: an apostrophe goes out of a path, `yolov5n.pt` becomes `yolov5nu.pt`,
and what then is not there is downloaded (utils/downloads.py, attempt_download_asset; utils/checks.py). It loads whole
pickles unless ULTRALYTICS_SAFE_LOAD was set before it was imported (nn/tasks.py), fetches a font for pictures that
nobody draws (data/utils.py), and follows the user's settings about events and trackers. Inside `as_given` it does none
of that. The functions that are replaced are those of the tested versions (pyproject.toml); a test calls each of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from ultralytics.data import utils as data_utils
from ultralytics.nn import tasks
from ultralytics.utils import SETTINGS, checks, downloads
from ultralytics.utils.events import events

from edgegd.trust import is_trusted

_API_KEY = "ULTRALYTICS_API_KEY"  # with it, trainings are streamed to Ultralytics' platform
_REPORTING = ("sync", "clearml", "comet", "dvc", "mlflow", "raytune", "tensorboard", "wandb")


@contextmanager
def as_given() -> Iterator[None]:
    """Within this block Ultralytics opens files by the path it is given, and unpickles only classes that it knows.

    With EDGEGD_TRUST (edgegd.trust) it unpickles everything. Settings are changed in memory alone; the user's file of
    them stays as it is. Raises FileNotFoundError from within where a file is not there, instead of downloading it.
    """
    with ExitStack() as stack:
        stack.enter_context(replaced(downloads, "attempt_download_asset", _existing))
        stack.enter_context(replaced(checks, "check_yolov5u_filename", lambda file, verbose=True: file))
        stack.enter_context(replaced(tasks, "SAFE_LOAD", not is_trusted()))
        stack.enter_context(replaced(data_utils, "check_font", lambda font="": None))
        stack.enter_context(replaced(events, "enabled", False))
        stack.enter_context(_without_api_key())
        stack.enter_context(_settings({name: False for name in _REPORTING} | {"api_key": ""}))
        yield


def _existing(file: str | Path, *arguments: Any, **keywords: Any) -> str:
    if not Path(file).is_file():
        raise FileNotFoundError(f"{file} does not exist")
    return str(file)


@contextmanager
def replaced(module: Any, name: str, value: Any) -> Iterator[None]:
    """Within this block an attribute of a module has another value."""
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


@contextmanager
def _without_api_key() -> Iterator[None]:
    before = os.environ.pop(_API_KEY, None)
    try:
        yield
    finally:
        if before is not None:
            os.environ[_API_KEY] = before


@contextmanager
def _settings(values: dict[str, Any]) -> Iterator[None]:
    """Other values in the settings' memory: `dict.update` does not write their file, as their own `update` does."""
    before = {name: SETTINGS[name] for name in values if name in SETTINGS}
    dict.update(SETTINGS, {name: values[name] for name in before})
    try:
        yield
    finally:
        dict.update(SETTINGS, before)
