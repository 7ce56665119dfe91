"""`python -m fuzz`: see fuzz/__init__.py."""

from __future__ import annotations

import argparse
import contextlib
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fuzz import isolation


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description="Malformed inputs and lying devices.")
    parser.add_argument("--seed", type=int, default=0, help="of everything; another seed is other cases")
    parser.add_argument("--case", action="append", default=[], help="only this case, by its name, such as recipes-17")
    parser.add_argument("--kind", action="append", default=[], help="only cases of this kind, such as recipes")
    parser.add_argument("--for-s", type=float, help="stop after so many seconds in all; one of each kind is always run")
    parser.add_argument("--jobs", type=int, default=1, help="processes at once")
    parser.add_argument("--share", default="1/1", help="I/N: the I-th of N shares, for N processes at once")
    parser.add_argument("--json", type=Path, help="write every case and its faults into this file")
    parser.add_argument("--debug", action="store_true", help="let edgegd show its traceback, which is a fault")
    parser.add_argument("--folder", type=Path, help="where the cases run; kept.  [default: a temporary folder]")
    return parser.parse_args()


def main() -> int:
    """Runs the cases; returns 1 where one has a fault."""
    asked, start = _arguments(), time.monotonic()
    with contextlib.ExitStack() as stack:
        root = asked.folder or stack.enter_context(_temporary_folder())
        if asked.jobs > 1:
            return _in_shares(asked, start, root)
        place, logs = root.resolve() / "place", root.resolve() / "logs"
        for folder in (place / "home", place / "tmp", logs):
            folder.mkdir(parents=True)
        isolation.set_environment(place)
        network = isolation.leave_the_network()
        isolation.adopt_orphans()
        ssh = stack.enter_context(_sshd(root.resolve() / "sshd"))
        _import_everything()
        return _run(asked, start, place, logs, ssh, network)


def _in_shares(asked: argparse.Namespace, start: float, root: Path) -> int:
    from fuzz.jobs import run_shares

    arguments = ["--seed", str(asked.seed)]
    arguments += [] if asked.for_s is None else ["--for-s", str(asked.for_s)]
    arguments += [part for name in ("case", "kind") for one in getattr(asked, name) for part in (f"--{name}", one)]
    found = run_shares(arguments, asked.jobs, root)
    facts = {key: found[0][key] for key in ("seed", "network", "sshd", "complete")}
    return _finish(asked, start, [case for one in found for case in one["cases"]], facts)


def _run(
    asked: argparse.Namespace, start: float, place: Path, logs: Path, ssh: tuple[str, str] | None, network: str
) -> int:
    from fuzz.base import make_base, make_more
    from fuzz.case import case_name, run_case
    from fuzz.kinds import BY_SSH, DEVICES, INPUTS, OTHER_RUNS, in_turn
    from fuzz.place import Place
    from fuzz.table import as_data, write

    chosen = [one.replace(" ", "-") for one in (*asked.case, *asked.kind)]
    has_more = asked.for_s is None and (not chosen or any(one.startswith("other-runs") for one in chosen))
    kinds = (*INPUTS, *DEVICES, *((BY_SSH,) if ssh else ()), *((OTHER_RUNS,) if has_more else ()))
    make_base(place, logs, ssh)
    if has_more:
        make_more(place, logs)
    prepared = Place.of(place, place.with_name("base"))
    share, shares = map(int, asked.share.split("/"))
    facts = {"seed": asked.seed, "network": network, "sshd": ssh is not None}
    cases: list[dict[str, Any]] = []
    for turn, (kind, number) in enumerate(in_turn(kinds)):
        name = case_name(kind, number)
        is_asked = not chosen or name in chosen or kind.name.replace(" ", "-") in chosen
        if not is_asked or turn % shares != share - 1:
            continue
        if asked.for_s and number > 0 and time.monotonic() - start > asked.for_s:
            break
        result = run_case(kind, number, asked.seed, prepared, logs, debug=asked.debug)
        cases.append(as_data(result))
        if result.faults or asked.case:
            _show(result, asked.seed)
        if asked.json and len(cases) % 20 == 0:
            write(asked.json, cases, {**facts, "complete": False})
    return _finish(asked, start, cases, {**facts, "complete": True})


def _finish(asked: argparse.Namespace, start: float, cases: list[dict[str, Any]], facts: dict[str, Any]) -> int:
    """Prints the table and writes the file; returns 1 where a case has a fault."""
    from fuzz.table import table, write

    seconds = time.monotonic() - start
    if asked.share == "1/1":  # of a part, whoever has asked for all of them shows the whole
        print(f"\n{table(cases)}")
    print(f"\nseed {facts['seed']}, {len(cases)} cases in {seconds:.0f} s; network: {facts['network']}")
    if not facts["sshd"]:
        print("no sshd is installed: no case of SSH")
    if asked.json:
        write(asked.json, cases, {**facts, "seconds": round(seconds)})
    return int(any(case["faults"] for case in cases))


def _show(result: Any, seed: int) -> None:
    print(
        f"\n{result.case}: {'; '.join(result.faults) or 'no fault'}\n"
        f"  edgegd {shlex.join(result.trial.arguments)[:300]}\n"
        f"  {result.trial.mutation[:300]!r}\n  exit {result.ending.exit_code}, {result.ending.seconds:.1f} s\n"
        f"  python -m fuzz --seed {seed} --case {result.case}"
    )
    for text in (result.ending.out[-600:], result.ending.err[-3000:]):
        if text.strip():
            print("    " + ascii(text)[1:-1].replace("\\n", "\n    "))
    sys.stdout.flush()


@contextlib.contextmanager
def _temporary_folder() -> Iterator[Path]:
    """A folder that is removed at the end of this process; TemporaryDirectory would remove it in the first fork's."""
    folder = Path(tempfile.mkdtemp(prefix="edgegd-fuzz-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _sshd(folder: Path) -> Iterator[tuple[str, str] | None]:
    """The URL and the ssh_config of an sshd of this machine's own, None where none is installed."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from loopback_sshd import running_device, sshd_program

    if sshd_program() is None:
        yield None
        return
    folder.mkdir()
    with running_device(folder) as device:
        isolation.keep(device.sshd.pid)
        yield device.url, str(device.config)


def _import_everything() -> None:
    """What takes seconds to import is imported before the first fork."""
    import cv2  # noqa: F401
    import onnx  # noqa: F401
    import onnxruntime  # noqa: F401
    import pycocotools.cocoeval  # noqa: F401
    import scipy.optimize  # noqa: F401
    import torch  # noqa: F401

    import edgegd.cli.main
    import edgegd.pipeline.run  # noqa: F401

    isolation.require_one_thread()


if __name__ == "__main__":
    sys.exit(main())
