"""One case from beginning to end: the place is restored, spoiled, the command run, the ending judged."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from fuzz import forked
from fuzz.judge import judge
from fuzz.place import Place
from fuzz.trial import Ending, Kind, Result, Trial, generator

NOTHING = Ending(None, 0, False, 0.0, 0, 0.0, (), "", "")


def run_case(kind: Kind, number: int, seed: int, place: Place, logs: Path, *, debug: bool = False) -> Result:
    """The result of a case, with `debug` of `edgegd --debug`.

    One that takes too long is run once more, with time that allows for this machine's load.
    """
    result = _once(kind, number, seed, place, logs, forked.TIME_LIMIT_S, debug)
    if not result.ending.timed_out:
        return result
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    limit_s = forked.TIME_LIMIT_S * max(1.0, 1.5 * load)
    again = _once(kind, number, seed, place, logs, limit_s, debug)
    note = f"{again.trial.mutation}  [needed {again.ending.seconds:.0f} s at a load of {load:.1f} for each core]"
    return replace(again, trial=replace(again.trial, mutation=note))


def _once(kind: Kind, number: int, seed: int, place: Place, logs: Path, limit_s: float, debug: bool) -> Result:
    place.restore()
    try:
        trial = forked.prepare(kind, generator(seed, kind.name, number), number, place.path)
    except forked.NotPrepared as error:
        return Result(case_name(kind, number), Trial((), "not prepared"), NOTHING, (f"the fuzzer failed: {error}",))
    if debug:
        trial = replace(trial, arguments=("--debug", *trial.arguments))
    before = place.spoiled()
    ending = forked.run(trial, place.path, logs, limit_s)
    faults = judge(trial, ending, before.differences(place))
    return Result(case_name(kind, number), trial, ending, faults)


def case_name(kind: Kind, number: int) -> str:
    """What `--case` takes."""
    return f"{kind.name.replace(' ', '-')}-{number}"
