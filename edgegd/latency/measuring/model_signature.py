"""Which file a model is, what it takes and what it gives; only where the last two agree can models be gated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from edgegd.errors import OnnxUnreadableError
from edgegd.limits import MODEL_BYTES
from edgegd.runtime.contract import ModelContract
from edgegd.runtime.session import load_session


@dataclass(frozen=True)
class Tensor:
    """An input or output: name, element type as numpy calls it, and sides (a name for one that is not fixed)."""

    name: str
    dtype: str
    shape: tuple[int | str | None, ...]

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} ({', '.join(map(str, self.shape))})"


@dataclass(frozen=True)
class ModelSignature:
    """An ONNX file: hash, size in bytes, inputs and outputs in order; from edgegd's metadata, where there is any, the
    image size (height, width) in pixels and, of an edge file, the name of the portable file that it was made from."""

    sha256: str
    size_bytes: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    imgsz: tuple[int, int] | None = None
    portable: str = ""

    @property
    def takes_pixels(self) -> bool:
        """Whether the image is taken as uint8 pixels (N, H, W, C), as edge files take it."""
        return any(tensor.dtype == "uint8" for tensor in self.inputs)

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dict of every field."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ModelSignature:
        """What `to_json` gave. Raises KeyError or TypeError where something is missing."""
        tensors = {
            key: tuple(Tensor(t["name"], t["dtype"], tuple(t["shape"])) for t in data[key])
            for key in ("inputs", "outputs")
        }
        imgsz = data["imgsz"]
        return cls(
            data["sha256"],
            data["size_bytes"],
            **tensors,
            imgsz=tuple(imgsz) if imgsz else None,
            portable=data["portable"],
        )


def read_signature(path: Path) -> ModelSignature:
    """The signature of a file. Raises OnnxUnreadableError where onnxruntime cannot load it, MetadataError where
    its edgegd metadata is damaged."""
    session = load_session(path, optimization="disabled")
    metadata = session.get_modelmeta().custom_metadata_map
    contract = ModelContract.from_metadata(metadata) if "edgegd.schema" in metadata else None
    content = read_model(path)
    return ModelSignature(
        sha256(content).hexdigest(),
        len(content),
        _tensors(session.get_inputs()),
        _tensors(session.get_outputs()),
        imgsz=contract.preprocessing.imgsz if contract else None,
        portable=contract.portable if contract else "",
    )


def read_model(path: Path) -> bytes:
    """A model file's bytes; OnnxUnreadableError where it cannot be read, or has more than protobuf allows."""
    try:
        if path.stat().st_size <= MODEL_BYTES:
            return path.read_bytes()
    except OSError as error:
        raise OnnxUnreadableError(
            f"there is no ONNX file {path}", found=str(error), mend="check the path, or export the model first"
        ) from error
    raise OnnxUnreadableError(
        f"{path} is too long for an ONNX file.",
        expected=f"at most {MODEL_BYTES >> 30} GiB",
        found=f"{path.stat().st_size >> 30} GiB",
    )


def _tensors(nodes: Any) -> tuple[Tensor, ...]:
    # "tensor(float)", "tensor(uint8)", ...: of numpy's names only float32 and float64 are called otherwise
    types = {"float": "float32", "double": "float64"}
    found = ((node, node.type.removeprefix("tensor(").removesuffix(")")) for node in nodes)
    return tuple(Tensor(node.name, types.get(kind, kind), tuple(node.shape)) for node, kind in found)


def shape_differences(first: ModelSignature, second: ModelSignature) -> tuple[str, ...]:
    """Which of `inputs` and `outputs` are unlike in number, order, shape or type; their names do not matter."""
    return tuple(
        what
        for what in ("inputs", "outputs")
        if [(t.dtype, t.shape) for t in getattr(first, what)] != [(t.dtype, t.shape) for t in getattr(second, what)]
    )
