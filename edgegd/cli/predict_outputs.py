"""What `edgegd predict --save` names: a folder of copies, a video, a file of JSON lines; none of them may exist."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import click

from edgegd.errors import WouldOverwriteError
from edgegd.runtime.results import JsonLines
from edgegd.runtime.sources import Source
from edgegd.safe_outputs import check_outputs

VIDEO, LINES = ".mp4", ".jsonl"


class Outputs:
    """The files that will be written, checked before anything is: `drawn` has one per source, or None.

    Raises click.UsageError for two of one kind, and for a video of several sources; WouldOverwriteError for what
    exists; what check_outputs raises.
    """

    def __init__(self, saves: Sequence[Path], sources: Sequence[Source]) -> None:
        kinds = {kind: [save for save in saves if _kind(save) == kind] for kind in ("folder", VIDEO, LINES)}
        drawings = [*kinds["folder"], *kinds[VIDEO]]
        if len(drawings) > 1 or len(kinds[LINES]) > 1:
            raise click.UsageError("--save takes one folder or .mp4, and one .jsonl")
        self._lines = kinds[LINES][0] if kinds[LINES] else None
        self.drawn: list[Path | None] = [None] * len(sources)
        if kinds[VIDEO]:
            if len(sources) > 1 or not sources[0].is_video:
                raise click.UsageError(f"--save {kinds[VIDEO][0]} takes one video or camera: name a folder")
            self.drawn = list(kinds[VIDEO])
        elif kinds["folder"]:
            self.drawn = list(_targets(sources, kinds["folder"][0]))
        files = [file for file in (*self.drawn, self._lines) if file]
        _require_new(files, bool(kinds["folder"]))
        checked = [*files[:1], *([self._lines] if self._lines else [])]
        paths = [source.path for source in sources if source.camera is None]
        check_outputs({f"--save, {file.name}:": (file, lambda head: False) for file in dict.fromkeys(checked)}, paths)

    def lines(self) -> AbstractContextManager[JsonLines | None]:
        """The file of JSON lines, made now; None where none was asked for."""
        return JsonLines(self._lines) if self._lines else nullcontext()


def _kind(save: Path) -> str:
    suffix = save.suffix.lower()
    return suffix if suffix in (VIDEO, LINES) and not save.is_dir() else "folder"


def _targets(sources: Sequence[Source], folder: Path) -> list[Path]:
    """A file in the folder for each source: STEM.png or STEM.mp4, STEM-2.png for the second of a stem, and so on."""
    targets: dict[Path, None] = {}
    numbers: dict[str, int] = {}
    for source in sources:
        stem = source.path.stem if source.camera is None else f"camera-{source.camera}"
        suffix = VIDEO if source.is_video else ".png"
        target = folder / f"{stem}{suffix}"
        while target in targets:
            numbers[stem] = numbers.get(stem, 1) + 1
            target = folder / f"{stem}-{numbers[stem]}{suffix}"
        targets[target] = None
    return list(targets)


def _require_new(files: Sequence[Path], in_folder: bool) -> None:
    existing = [str(file) for file in files if os.path.lexists(file)]
    if existing:
        raise WouldOverwriteError(
            f"{existing[0]} exists already" + (f", and {len(existing) - 1} more." if existing[1:] else "."),
            expected="no files of these names",
            mend=f"choose another --save {'folder' if in_folder else 'file'}, or remove them",
        )
