"""edgegd: quantization-aware gradient descent for Ultralytics detectors that must run on a small CPU.

`run_recipe` and `open_run` run a recipe and read its result (docs/api.md); `edgegd.runtime` runs an exported model.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from edgegd.dependency_defaults import hide_network_card, set_dependency_defaults

if TYPE_CHECKING:
    from edgegd.api import RunResult, Ship, open_run, run_recipe

__version__ = "0.1.0"
__all__ = ["RunResult", "Ship", "__version__", "open_run", "run_recipe"]

# Before any module of edgegd imports onnxruntime or Ultralytics.
set_dependency_defaults(os.environ)
hide_network_card()


def __getattr__(name: str) -> Any:
    """The names of edgegd.api, which is imported when one of them is asked for: `import edgegd` stays light."""
    if name in __all__:
        return getattr(import_module("edgegd.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names, whether they were imported already or not."""
    return sorted({*globals(), *__all__})
