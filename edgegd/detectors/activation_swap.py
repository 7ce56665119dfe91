"""SiLUs of a detector and their replacement by ReLU, which an integer convolution absorbs at no cost.

Ultralytics shares one SiLU module among all its Conv blocks. So a SiLU is named by its path below the block that calls
it (`model.0.act`), which is what an address of quant/tracing.py holds before its first colon, and a swap sets that
block's own attribute. A swapped model pickles, and loads, with its ReLUs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from edgegd.errors import ActivationError


def silu_paths(model: nn.Module) -> tuple[str, ...]:
    """The path of every SiLU below its caller, in the model's order; a shared module appears under each of them."""
    return tuple(path for path, module in model.named_modules(remove_duplicate=False) if isinstance(module, nn.SiLU))


def require_silu(model: nn.Module) -> tuple[str, ...]:
    """As silu_paths; ActivationError where there is none."""
    paths = silu_paths(model)
    if not paths:
        kinds = sorted({type(module).__name__ for module in model.modules() if _is_activation(module)})
        raise ActivationError(
            "The model has no SiLU to replace.",
            expected="a detector with SiLUs (YOLOv8, v9, v10, 11, 12, 26)",
            found=f"activations {', '.join(kinds)}" if kinds else "no activation module",
            mend="leave quant.activation at silu: nothing is then replaced",
        )
    return paths


def _is_activation(module: nn.Module) -> bool:
    return type(module).__module__ == "torch.nn.modules.activation" and not isinstance(module, nn.MultiheadAttention)


def swap_to_relu(model: nn.Module, paths: Iterable[str]) -> None:
    """Replaces the SiLUs at `paths` by ReLUs, in place; all others, shared or not, stay.

    Raises ActivationError, before anything is changed, for a path at which there is no SiLU.
    """
    chosen, known = list(paths), set(silu_paths(model))
    if unknown := [path for path in chosen if path not in known]:
        raise ActivationError(
            f"The model has no SiLU at {unknown[0]}.",
            expected=f"paths among its {len(known)} SiLUs",
            found=f"{len(unknown)} others",
            mend="choose the activations anew: `edgegd activation --force RUN`",
        )
    for path in chosen:
        set_activation(model, path, nn.ReLU(inplace=True))  # in place as Ultralytics sets its own when it loads a model


def set_activation(model: nn.Module, path: str, activation: nn.Module) -> nn.Module:
    """Makes `activation` what the block at the path's parent calls under this name; returns what it called before."""
    parent, _, name = path.rpartition(".")
    block = model.get_submodule(parent)
    before = block.get_submodule(name)
    setattr(block, name, activation)
    return before


@dataclass(frozen=True)
class SwapUnit:
    """SiLUs (paths) that are swapped together, the time that saves, and what it does to the untrained model.

    `saved_ms` is the measured time of their integer kernels in one inference. `noise` is the mean squared change of the
    head's outputs over their variance, the mean over all outputs: the inverse of the signal-to-noise ratio. Small ones
    of several units add up. `swapped` says whether they were chosen.
    """

    paths: tuple[str, ...]
    saved_ms: float
    noise: float
    swapped: bool = False

    @property
    def signal_to_noise_db(self) -> float:
        """The signal-to-noise ratio at the head's outputs in dB; infinite where they do not change."""
        return -10 * math.log10(self.noise) if self.noise > 0 else math.inf


@dataclass(frozen=True)
class ActivationSwap:
    """A run's choice: `relu` are the paths that become ReLU, `silu` those that stay; together all SiLUs of the model.

    `activation` and `saving` are the recipe's quant.activation and quant.activation_saving. `units` are the rows of the
    measured choice (auto), most worthwhile first, `conditions` what it was measured under; both are empty for relu.
    """

    activation: str
    saving: float
    relu: tuple[str, ...]
    silu: tuple[str, ...]
    units: tuple[SwapUnit, ...] = ()
    conditions: Mapping[str, Any] = field(default_factory=dict)

    @staticmethod
    def from_data(data: Mapping[str, Any]) -> ActivationSwap:
        """Takes what dataclasses.asdict(swap) gave, through JSON or not; ActivationError for anything else."""
        try:
            units = tuple(SwapUnit(**{**unit, "paths": tuple(unit["paths"])}) for unit in data["units"])
            return ActivationSwap(**{**data, "relu": tuple(data["relu"]), "silu": tuple(data["silu"]), "units": units})
        except (KeyError, TypeError) as error:
            raise ActivationError(
                "activation.json is malformed.",
                expected="the file as the stage `activation` writes it",
                found=f"{type(error).__name__}: {error}",
                mend="choose anew: `edgegd activation --force RUN`",
            ) from error


def require_swapped(model: nn.Module, swap: ActivationSwap) -> None:
    """ActivationError where a model is not what the swap makes of the one that it was chosen for."""
    left, modules = silu_paths(model), dict(model.named_modules(remove_duplicate=False))
    wrong = [f"{path} is a SiLU" for path in left if path not in swap.silu]
    wrong += [f"{path} is no SiLU" for path in swap.silu if path not in left]
    wrong += [
        f"{path} is no ReLU" for path in swap.relu if path not in left and not isinstance(modules.get(path), nn.ReLU)
    ]
    if wrong:
        raise ActivationError(
            "The adapted model does not have the activations that were chosen.",
            expected=f"{len(swap.relu)} ReLUs in place of SiLUs, {len(swap.silu)} SiLUs",
            found="; ".join(wrong[:3]) + ("; ..." if len(wrong) > 3 else ""),
            mend="adapt it anew: `edgegd adapt --force RUN`",
        )
