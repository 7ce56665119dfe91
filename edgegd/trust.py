"""Whether files that run code when they are opened may be opened. They may not, unless the user says so.

One mechanism for the command line, the Python API and the pytest plugin: the environment variable EDGEGD_TRUST, which
`--trust` sets for one command and `trusting()` for a block of Python. See SECURITY.md.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

TRUST_VARIABLE = "EDGEGD_TRUST"
_YES = frozenset({"1", "true", "yes", "on"})


def is_trusted(environment: Mapping[str, str] | None = None) -> bool:
    """Whether the user trusts the files that this process opens; anything but 1, true, yes and on means no."""
    value = (os.environ if environment is None else environment).get(TRUST_VARIABLE, "")
    return value.strip().lower() in _YES


@contextmanager
def trusting() -> Iterator[None]:
    """Within this block every file is trusted: pickles are loaded whole, scripts and commands in files are run."""
    before = os.environ.get(TRUST_VARIABLE)
    os.environ[TRUST_VARIABLE] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[TRUST_VARIABLE]
        else:
            os.environ[TRUST_VARIABLE] = before
