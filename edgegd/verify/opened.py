"""What is verified, opened once: an ONNX file with its sessions, and images as networks read them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime

from edgegd.export.graph_forms import has_signed_activations, with_codes_as_outputs, with_unsigned_activations
from edgegd.export.load_onnx import load_onnx
from edgegd.runtime.contract import ModelContract, Preprocessing
from edgegd.runtime.images import read_for
from edgegd.runtime.letterbox import LetterboxGeometry, preprocess
from edgegd.runtime.session import load_session, read_contract, require_portable
from edgegd.verify.exact_session import exact_form, load_exact
from edgegd.verify.optimized_graph import load_with_graph


class OnnxFile:
    """An ONNX file; its graph, contract and sessions are made when they are first asked for, and then kept.

    Each property raises OnnxUnreadableError for a file that cannot be read or loaded.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._with_codes: dict[str, onnxruntime.InferenceSession] = {}

    @property
    def name(self) -> str:
        """The file's name."""
        return self.path.name

    @cached_property
    def graph(self) -> onnx.ModelProto:
        """The file as it is."""
        return load_onnx(self.path)

    @cached_property
    def has_signed_activations(self) -> bool:
        """Whether its activations are int8."""
        return has_signed_activations(self.graph)

    @cached_property
    def _plain(self) -> tuple[onnxruntime.InferenceSession, onnx.ModelProto]:
        return load_with_graph(self.path)

    @property
    def session(self) -> onnxruntime.InferenceSession:
        """A plain session with all optimizations."""
        return self._plain[0]

    @property
    def optimized(self) -> onnx.ModelProto:
        """The graph that onnxruntime makes of it on this machine."""
        return self._plain[1]

    @cached_property
    def contract(self) -> ModelContract:
        """Its contract; MetadataError, OutputContractError as edgegd.runtime.session.read_contract."""
        return read_contract(self.session, self.path)

    @property
    def portable_contract(self) -> ModelContract:
        """The contract of a file that float32 images are fed to; OutputContractError for an edge file."""
        require_portable(self.contract, self.path)
        return self.contract

    @cached_property
    def exact(self) -> onnxruntime.InferenceSession:
        """An exact session (edgegd.verify.exact_session)."""
        form = exact_form(self.graph)
        return self.session if form is self.graph else load_exact(form)

    @cached_property
    def signed(self) -> onnxruntime.InferenceSession:
        """A session in which int8 activations run in integers on every CPU."""
        return load_session(self.path, signed_activations=True)

    def with_codes(self, optimization: str = "all") -> onnxruntime.InferenceSession:
        """A session with the codes of all quantized activations as further outputs.

        onnxruntime fuses the same integer kernels with and without them (a test counts); codes that leave its NHWC
        kernels are transposed. With all optimizations the session is exact; with fewer (as for load_session)
        convolutions are float.
        """
        if optimization not in self._with_codes:
            exposed = with_codes_as_outputs(self.graph)
            if optimization == "all":
                self._with_codes[optimization] = load_exact(exposed)
            else:
                with tempfile.TemporaryDirectory() as folder:
                    onnx.save(exposed, Path(folder) / self.name)
                    self._with_codes[optimization] = load_session(Path(folder) / self.name, optimization=optimization)
        return self._with_codes[optimization]

    @contextmanager
    def in_uint8(self) -> Iterator[OnnxFile]:
        """The file's form with uint8 activations, under the same name, for as long as the block lasts."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / self.name
            onnx.save(with_unsigned_activations(self.graph), path)
            yield OnnxFile(path)


class Picture(NamedTuple):
    """An image: its file, its pixels, the float32 input (1, C, H, W) that a network reads, and how that was made."""

    path: Path
    pixels: np.ndarray
    network_input: np.ndarray
    geometry: LetterboxGeometry


class Pictures:
    """Real images, read and letterboxed once for each way in which networks want them."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = tuple(paths)
        self._of: dict[Preprocessing, list[Picture]] = {}

    def __len__(self) -> int:
        return len(self.paths)

    def of(self, preprocessing: Preprocessing) -> list[Picture]:
        """All images for a network of this preprocessing."""
        if preprocessing not in self._of:
            self._of[preprocessing] = [self._read(path, preprocessing) for path in self.paths]
        return self._of[preprocessing]

    @staticmethod
    def _read(path: Path, preprocessing: Preprocessing) -> Picture:
        pixels = read_for(path, preprocessing)
        return Picture(path, pixels, *preprocess(pixels, preprocessing))
