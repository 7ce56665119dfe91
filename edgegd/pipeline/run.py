"""Running stages under the folder's lock."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from edgegd.atomic_files import explaining_full_disk
from edgegd.errors import InterruptedRunError
from edgegd.pipeline.registry import STAGES
from edgegd.pipeline.run_folder import RunFolder
from edgegd.pipeline.stage import Stage, run_stage
from edgegd.pipeline.stages.profiles import PROFILE_STAGES
from edgegd.pipeline.target_profile import remarks
from edgegd.progress import Progress


def run_stages(folder: RunFolder, names: list[str], progress: Progress, *, force: bool = False) -> dict[str, str]:
    """Runs the named stages in order under the folder's lock; returns name -> `ran` or `unchanged`.

    Raises InterruptedRunError on Ctrl-C and SIGTERM, NoSpaceError on a full disk, and whatever a stage raises.
    Raises TrainingDeviceError before any work where a stage would train on devices that are not there.
    """
    if any(name in STAGES and STAGES[name].trains for name in names):
        from edgegd.descent.device import require_devices  # needs torch, which other stages do without

        require_devices(folder.recipe.train)
    outcome = {}
    for remark in remarks(folder.target, folder.path):
        progress.note(remark)
    with folder.locked(), explaining_full_disk(folder.path):
        for name in names:
            stage = _stage(name)
            progress.update(0, 1, stage.text)
            try:
                ran = run_stage(stage, folder, progress, force=force, run=_how(name, stage))
            except KeyboardInterrupt as interrupt:
                raise InterruptedRunError(
                    f"Interrupted in stage {name}.",
                    mend="run the same command again: finished stages are kept, training goes on from its checkpoint",
                ) from interrupt
            outcome[name] = "ran" if ran else "unchanged"
            progress.note(f"{name}: {'done' if ran else 'unchanged, skipped'}")
    return outcome


def _how(name: str, stage: Stage) -> Callable[[RunFolder, Progress], None]:
    """What runs a stage: itself, or for one that trains on several devices what starts it there."""
    if name not in STAGES or not STAGES[name].in_parallel:
        return stage.run
    from edgegd.pipeline.on_devices import run_on_devices

    return partial(run_on_devices, name)


def _stage(name: str) -> Stage:
    """The stage of a name as on the command line."""
    if name in STAGES:
        return STAGES[name].load()
    if name in PROFILE_STAGES:
        return PROFILE_STAGES[name]
    from edgegd.pipeline.stages.beside import BESIDE_STAGES

    return BESIDE_STAGES[name]
