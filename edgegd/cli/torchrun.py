"""`torchrun ... -m edgegd.cli.main qat RUN`: the same command in several processes, of which the first does the work.

The others wait, train with it where it trains, and end with it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from edgegd.errors import EdgegdError, InterruptedRunError, TrainingDeviceError
from edgegd.launched import launched_as
from edgegd.pipeline.registry import STAGES

COMMANDS = ("run", *(name for name, entry in STAGES.items() if entry.in_parallel))
"""The commands that train on several devices."""


@contextmanager
def taking_part(arguments: Sequence[str]) -> Iterator[bool]:
    """Yields whether this process does the command's work: without torchrun, or as the first of its processes.

    Raises TrainingDeviceError for a command that does not train on several devices.
    """
    launched = launched_as()
    command = next((argument for argument in arguments if not argument.startswith("-")), None)
    if launched is None or command is None or {"-h", "--help"} & {*arguments}:
        yield launched is None or launched.rank == 0
    elif launched.rank:
        _follow_the_first(command)
        yield False
    elif command not in COMMANDS:
        raise TrainingDeviceError(
            f"edgegd {command} was started in {launched.size} processes, and works in one.",
            expected=f"one process, or a command that trains on several devices: {', '.join(COMMANDS)}",
            mend=f"start it without torchrun: `edgegd {' '.join(arguments)}`",
        )
    else:
        from edgegd.descent.ranks import joined_ranks

        with joined_ranks() as ranks:
            yield True
            ranks.of_first(lambda: None)  # to `follow`: the end


def _follow_the_first(command: str) -> None:
    """Errors are the first process's to tell, or torchrun's."""
    if command not in COMMANDS:
        sys.exit(TrainingDeviceError.exit_code)
    try:
        from edgegd.descent.ranks import joined_ranks
        from edgegd.pipeline.on_devices import follow

        with joined_ranks() as ranks:
            follow(ranks)
    except KeyboardInterrupt:
        sys.exit(InterruptedRunError.exit_code)
    except EdgegdError as error:
        sys.exit(error.exit_code)
