"""Models that use one parameter at several places."""

from __future__ import annotations

from torch import nn

from edgegd.errors import UnsupportedModelError


def require_own_parameters(model: nn.Module, source: object) -> None:
    """UnsupportedModelError where a parameter appears under two modules, as one nn.PReLU for all blocks does.

    Each place would have its own range and its own place in the stored state, but there is one tensor.
    """
    first: dict[int, str] = {}
    for path, parameter in model.named_parameters(remove_duplicate=False):
        other = first.setdefault(id(parameter), path)
        if other != path:
            raise UnsupportedModelError(
                f"Modules of {source} share a parameter.",
                expected="parameters of their own for every module",
                found=f"{other} and {path} are one tensor",
                mend="give every block a module of its own (copy.deepcopy), train it a little, and save it again",
            )
