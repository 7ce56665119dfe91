"""A tensor's own error. Oracle: torch, which does each operation in float on the codes that onnxruntime computed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from edgegd.export.float_graph import float_graph
from edgegd.export.graph import state_of
from edgegd.export.insert.quantized_graph import quantized_graph
from edgegd.plan.quantized_state import QuantizedState, Range
from edgegd.quant.attach import QuantizedModel
from edgegd.quant.calibration import calibrate
from edgegd.quant.plan_module import plan_module
from edgegd.signal_to_noise import decibel
from edgegd.verify.inner_tensors import run_exposed
from edgegd.verify.opened import OnnxFile
from edgegd.verify.own_errors import OwnErrors, TensorError, damage_rank, median_errors, unquantized_parameters

FIRST, SECOND, SILU = "first:conv2d:0", "second:conv2d:0", "act:silu:0"


class Small(nn.Module):
    """A convolution, a SiLU, and a second convolution."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.act = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1), nn.SiLU()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.second(self.act(self.first(image)))
        return result


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    """Pixels: their codes lose nothing."""
    return torch.randint(0, 256, (4, 3, 16, 16), generator=torch.Generator().manual_seed(1)) / 255


@pytest.fixture(scope="module", params=["x86-vnni", "arm64"])
def quantized(request: pytest.FixtureRequest, images: torch.Tensor) -> QuantizedModel:
    """With uint8 and with int8 activations."""
    model = Small().eval()
    quantized = QuantizedModel(model, plan_module(model, images[:1], request.param))
    calibrate(quantized, images.split(2), "minmax")
    return quantized.eval()


def opened(quantized: QuantizedModel, state: QuantizedState, folder: Path) -> tuple[OwnErrors, OnnxFile]:
    """The file of a state, compared with the float model."""
    graph = float_graph(quantized.model, 16, 17)
    onnx.save(quantized_graph(graph, quantized.plan, state), folder / "file.onnx")
    file = OnnxFile(folder / "file.onnx")
    parameters = unquantized_parameters(graph, quantized.plan, state_of(quantized), trained=False)
    return OwnErrors(graph, quantized.plan, parameters, file), file


def ratio(value: NDArray[np.float32], quantized: NDArray[np.float32]) -> float:
    signal, noise = value.astype(float), (quantized - value).astype(float)
    return decibel(float(np.sum(signal**2)), float(np.sum(noise**2)))


@torch.no_grad()
def test_against_torch(quantized: QuantizedModel, images: torch.Tensor, tmp_path: Path) -> None:
    errors, file = opened(quantized, state_of(quantized), tmp_path)
    image, model, state = images[:1], quantized.model, state_of(quantized)
    found = errors.of_image(image.numpy())
    with file.in_uint8() as canonical:
        _, codes = run_exposed(canonical.with_codes(), image.numpy())

    def given(address: str) -> torch.Tensor:
        chosen = state.range_of(quantized.plan, address)
        return torch.from_numpy((codes[address].astype(np.float32) - chosen.zero_point) * chosen.scale)

    gate = given(f"{SILU}/sigmoid")
    expected = {
        FIRST: (model.act(model.first(image)), model.act(given(FIRST))),  # as the SiLU sees it
        f"{SILU}/sigmoid": (given(FIRST).sigmoid(), gate),
        SILU: (given(FIRST) * gate, given(SILU)),
        SECOND: (model.second(given(SILU)), given(SECOND)),
    }
    assert list(found) == list(expected)
    for address, (value, own) in expected.items():
        assert found[address].own_sqnr_db == pytest.approx(ratio(value.numpy(), own.numpy()), abs=0.05)
    with_all_before = model.second(model.act(model.first(image)))
    assert found[SECOND].sqnr_db == pytest.approx(ratio(with_all_before.numpy(), given(SECOND).numpy()), abs=0.05)


def test_a_cut_range_clips_its_own_tensor_alone(
    quantized: QuantizedModel, images: torch.Tensor, tmp_path: Path
) -> None:
    state = state_of(quantized)
    group = quantized.plan.groups[FIRST]
    whole = state.ranges[group]
    cut = QuantizedState(
        state.parameters,
        {**state.ranges, group: Range(np.float32(whole.scale / 4), whole.zero_point)},
        state.weight_scales,
    )
    before = opened(quantized, state, tmp_path)[0].of_image(images[:1].numpy())
    after = opened(quantized, cut, tmp_path)[0].of_image(images[:1].numpy())
    assert after[FIRST].clipped > 0.05 > before[FIRST].clipped and after[SECOND].clipped == pytest.approx(0, abs=0.01)
    assert after[FIRST].own_sqnr_db < 15 and after[SECOND].own_sqnr_db > 30  # by itself the second is as good as before
    assert after[SECOND].sqnr_db < 15


def test_what_is_worse_than_usual_is_ranked_before_what_is_always_bad() -> None:
    always, usually = TensorError(20, 25, 0), TensorError(20, 40, 0)
    typical = median_errors({"a": [always] * 3, "b": [usually, usually, TensorError(9, 30, 0.2)]})
    assert typical["b"] == usually
    assert damage_rank(TensorError(9, 30, 0.2), typical["b"]) < damage_rank(always, typical["a"])
    assert damage_rank(TensorError(30, 45, 0), typical["b"]) == 45
