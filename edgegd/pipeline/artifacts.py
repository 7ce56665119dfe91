"""What stages read of each other as plain data: either as its stage wrote it, or one error that names it.

The hashes in a manifest tell a damaged artifact. A folder that came from elsewhere may hold artifacts and manifests
that agree and yet are not what any stage writes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from edgegd.pipeline.run_folder import RunFolder

MAKERS = {
    "data.json": "data",
    "activation.json": "activation",
    "adaptation.json": "adapt",
    "precision.json": "search",
    "plan.json": "ptq",
    "calibration.json": "ptq",
    "descent.json": "qat",
    "passes.json": "export",
    "verify.json": "verify",
    "accuracy.json": "accuracy",
    "latency.json": "latency",
    "report.json": "report",
}
"""Artifact -> the stage that makes it."""


@contextmanager
def as_made(folder: RunFolder, *names: str) -> Iterator[None]:
    """Within it, what goes wrong because an artifact is not what its stage writes is MissingArtifactError.

    `names` are all the artifacts that are read within, and only what they hold may decide what happens there.
    """
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, ArithmeticError, RecursionError) as error:
        unreadable = [name for name in names if not _is_json(folder, name)]
        blamed = unreadable or list(names)
        found = f"{' or '.join(blamed)}: {type(error).__name__}: {error}"
        what = f"{folder.artifact(blamed[0])} does not hold what its stage writes."
        if len(blamed) > 1:
            what = f"{folder.path} holds artifacts that are not what their stages write."
        wrong = folder.missing(what, MAKERS[blamed[0]])
        raise type(wrong)(wrong.what, expected=wrong.expected, found=found, mend=wrong.mend) from error


def _is_json(folder: RunFolder, name: str) -> bool:
    try:
        folder.read_json(name)
    except (ValueError, OSError):
        return False
    return True
