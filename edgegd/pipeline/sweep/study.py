"""A search as an Optuna study in SQLite: points are asked for, run, and their objectives told.

The study is the one list of trials. A trial that was under way when the sweep was killed is still marked as running:
it is taken up again under its number, with its values and its run folder. Each trial's sampler is seeded by its number,
so that a killed sweep asks for no point a second time.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from edgegd.errors import EdgegdError, RunFolderMismatchError
from edgegd.json_files import read_json
from edgegd.pipeline.artifacts import DESCENT, QAT_CHECKPOINT
from edgegd.pipeline.diagnosis import epochs_in_checkpoint
from edgegd.pipeline.sweep.folder import STUDY, SweepFolder
from edgegd.pipeline.sweep.job import Job, Outcome
from edgegd.pipeline.sweep.objectives import Objective
from edgegd.recipe.ranges import Choices, Range, Space
from edgegd.safe_outputs import refuse_link

ERROR, SECONDS, MACHINE, SAME_AS = "error", "seconds", "machine", "same_as"
"""User attributes of a trial."""
_NAME = "sweep"
_BEGUN = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING)
HOPELESS = 3
"""When so many trials failed and none has ended otherwise, no further one is started."""
Point = Mapping[str, str | float]


class Search:
    """The work of a search; `job_of(number, point)` makes the run of a trial, and `on_end` hears of each one's end."""

    def __init__(
        self,
        folder: SweepFolder,
        space: Space,
        objectives: tuple[Objective, ...],
        *,
        trials: int,
        seed: int,
        prunes: bool,
        own: Point | None,
        job_of: Callable[[int, Point], Job],
        on_end: Callable[[FrozenTrial], None],
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._folder, self._space, self._objectives = folder, space, objectives
        self._seed, self._job_of, self._on_end = seed, job_of, on_end
        self._prunes, self._by_epoch = prunes, len(objectives) == 1 and objectives[0].by_epoch
        self.study = _open(folder.path / STUDY, objectives, own)
        self.study.pruner = optuna.pruners.MedianPruner() if prunes else optuna.pruners.NopPruner()
        points = space.count
        self.trials = trials if points is None else min(trials, points)
        if points is not None and points <= trials:
            for point in _points(space.ranges):
                self.study.enqueue_trial(dict(point), skip_if_exists=True)
        self._running: dict[Job, Trial] = {}
        self._stopped: set[Job] = set()
        self._failed_here = 0
        self._resumed = iter(self.study.get_trials(states=(TrialState.RUNNING,)))

    def next(self) -> Job | None:
        """A trial of before the kill, else a new one; none where the first trials all failed."""
        if self._failed_here >= HOPELESS and not self._all_of(TrialState.COMPLETE, TrialState.PRUNED):
            return None
        for frozen in self._resumed:
            self._seed_sampler(frozen.number)
            return self._job(Trial(self.study, frozen._trial_id))
        while (begun := len(self._all_of(*_BEGUN))) < self.trials:
            self._seed_sampler(begun)
            trial = self.study.ask()
            job = self._job(trial)
            if job:
                return job
        return None

    def is_hopeless(self, job: Job) -> bool:
        """Whether the mAP after the last epoch is below the median of the trials before; tells the study of epochs."""
        if not self._by_epoch:
            return False
        trial = self._running[job]
        reported = self._frozen(trial).intermediate_values
        new = {epoch: value for epoch, value in epochs_of(job.run_dir).items() if epoch not in reported}
        for epoch, value in sorted(new.items()):
            trial.report(value, epoch)
        if not (self._prunes and new and trial.should_prune()):
            return False
        self._stopped.add(job)
        return True

    def finish(self, job: Job, outcome: Outcome) -> None:
        """Tells the study."""
        trial = self._running[job]
        self.is_hopeless(job)  # the epochs since it was looked at last
        del self._running[job]
        trial.set_user_attr(SECONDS, round(outcome.seconds, 1))
        trial.set_user_attr(MACHINE, outcome.machine)
        error = outcome.error
        values: list[float] = []
        if error is None:
            try:
                values = [objective.of(job.run_dir) for objective in self._objectives]
            except EdgegdError as problem:
                error = problem
        if error is None:
            self.study.tell(trial.number, values)
        elif job in self._stopped:
            self.study.tell(trial.number, state=TrialState.PRUNED)
        else:
            self._failed_here += 1
            trial.set_user_attr(ERROR, error.message())
            self.study.tell(trial.number, state=TrialState.FAIL)
        self._on_end(self._frozen(trial))

    def _job(self, trial: Trial) -> Job | None:
        """The run of a trial; None where an earlier trial has the same values, whose objectives then serve."""
        point = {key: _suggest(trial, key, one) for key, one in self._space.ranges.items()}
        same = next((one for one in self._all_of(TrialState.COMPLETE) if one.params == point), None)
        if same:
            trial.set_user_attr(SAME_AS, same.number)
            self.study.tell(trial.number, same.values)
            self._on_end(self._frozen(trial))
            return None
        job = self._job_of(trial.number, point)
        self._running[job] = trial
        return job

    def _all_of(self, *states: TrialState) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False, states=states)

    def _frozen(self, trial: Trial) -> FrozenTrial:
        return self.study.get_trials(deepcopy=False)[trial.number]

    def _seed_sampler(self, number: int) -> None:
        self.study.sampler = optuna.samplers.TPESampler(seed=(self._seed * 100_003 + number) % 2**32)


def epochs_of(run_dir: Path) -> dict[int, float]:
    """Epoch -> mAP50-95 on the images that choose the epoch, of a descent that runs or ended."""
    checkpoint = run_dir / QAT_CHECKPOINT
    try:
        record = epochs_in_checkpoint(checkpoint) if checkpoint.exists() else read_json(run_dir / DESCENT)
        return {int(row["epoch"]): float(row["map50_95"]) for row in record.get("epochs", ())}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _open(path: Path, objectives: tuple[Objective, ...], own: Point | None) -> optuna.Study:
    """The study in a file; a new one begins with the recipe's own values, and appears as a whole."""
    refuse_link(path)
    if not path.exists():
        new = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        new.unlink(missing_ok=True)
        storage = _storage(new)
        directions = [StudyDirection.MAXIMIZE if one.maximize else StudyDirection.MINIMIZE for one in objectives]
        study = optuna.create_study(storage=storage, study_name=_NAME, directions=directions)
        if own is not None:
            study.enqueue_trial(dict(own))
        storage.engine.dispose()
        os.replace(new, path)
    try:
        return optuna.load_study(storage=_storage(path), study_name=_NAME)
    except Exception as error:  # whatever SQLAlchemy and Optuna make of a file that is no study
        raise RunFolderMismatchError(
            f"{path} is not the study of a sweep.",
            found=f"{type(error).__name__}: {str(error).splitlines()[0]}",
            mend="choose another --sweep-dir",
        ) from error


def _storage(path: Path) -> Any:
    return optuna.storages.RDBStorage(f"sqlite:///{path}", engine_kwargs={"connect_args": {"timeout": 60}})


def _suggest(trial: Trial, key: str, one: Range) -> str | float:
    if isinstance(one, Choices):
        return trial.suggest_categorical(key, one.values)
    if one.whole:
        return trial.suggest_int(key, int(one.low), int(one.high), log=one.logarithmic)
    return trial.suggest_float(key, one.low, one.high, log=one.logarithmic)


def _points(ranges: Mapping[str, Range]) -> Iterator[Point]:
    """Every point of ranges that have finitely many."""
    values: list[Any] = [
        one.values if isinstance(one, Choices) else range(int(one.low), int(one.high) + 1) for one in ranges.values()
    ]
    for chosen in itertools.product(*values):
        yield dict(zip(ranges, chosen, strict=True))
