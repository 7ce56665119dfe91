"""One of the processes that train a stage together: `train.devices` starts them (edgegd.pipeline.on_devices)."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from edgegd.cli.stop import sigterm_interrupts
from edgegd.cli.unforeseen import documented
from edgegd.errors import EdgegdError, InterruptedRunError
from edgegd.launched import end_with_parent, launched_as


def main() -> None:
    """Runs the stage of `PARENT STAGE RUN_DIR CHANNEL` as one of several processes; exits with the code of an error."""
    end_with_parent(int(sys.argv[1]))
    stage, run_dir, channel = sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4])
    os.environ.setdefault("YOLO_VERBOSE", "false")
    launched = launched_as()
    try:
        with contextlib.redirect_stdout(sys.stderr):
            _train(stage, run_dir, channel)
    except KeyboardInterrupt:
        sys.exit(InterruptedRunError.exit_code)
    except Exception as error:
        from edgegd.descent.ranks import OtherEndedError
        from edgegd.pipeline.on_devices import tell_error

        if isinstance(error, OtherEndedError):
            sys.exit(error.exit_code)  # whatever ended the other is told there, or seen by the launcher
        told = error if isinstance(error, EdgegdError) else documented(error)
        tell_error(channel, launched.rank if launched else 0, told)
        sys.exit(told.exit_code)


def _train(stage: str, run_dir: Path, channel: Path) -> None:
    from edgegd.descent.ranks import joined_ranks
    from edgegd.pipeline.on_devices import ToldProgress
    from edgegd.pipeline.registry import STAGES
    from edgegd.pipeline.run_folder import RunFolder
    from edgegd.progress import Silent

    with joined_ranks() as ranks:
        progress = ToldProgress(channel) if ranks.is_first else Silent()
        work, folder = STAGES[stage].load(), RunFolder.open_existing(run_dir)
        with sigterm_interrupts():  # until here SIGTERM ends it at once: an exception might get lost in an import
            work.run(folder, progress)


if __name__ == "__main__":
    main()
