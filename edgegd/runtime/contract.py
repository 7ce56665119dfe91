"""What an exported model promises: its preprocessing, its output, its classes; stored in the ONNX file's metadata.

Every value of the metadata is a JSON text, so that any reader of ONNX metadata_props (all strings) can take it apart.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from edgegd.errors import MetadataError
from edgegd.limits import CHARACTERS_OF_A_NAME, CLASSES, SIDE_PX
from edgegd.variants import VARIANTS

METADATA_SCHEMA = "1"
INPUT_NAME = "images"
OUTPUT_NAME = "output0"
ORDERS = ("rgb", "bgr", "gray", "stored")
MOST_CHANNELS = 8
"""Of an image; more are no camera that Ultralytics' formats (TIFF, PNG) were tried with."""
BORDER = 114
"""What Ultralytics' letterbox fills the border with, in every channel."""


def _require(condition: bool, rule: str, found: object) -> None:
    if not condition:
        raise ValueError(f"{rule}, not {found!r}")


def _are_integers(values: tuple[Any, ...], minimum: int) -> bool:
    return all(type(value) is int and value >= minimum for value in values)


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes the network's input; the one value that calibration, validation and runtime share.

    `imgsz` is (height, width) in pixels; `letterbox_color` fills the border, a value for each of the image's channels
    in their own order. `channel_order` is rgb or bgr for the three colours, gray for one channel, stored for the 2 or 4
    to 8 bands of a multispectral file, which keep their order.
    A portable file takes float32 NCHW; `scale` multiplies the 8-bit values (computed as a float32 division by
    1 / scale, as Ultralytics divides by 255). An edge file takes the uint8 pixels themselves, NHWC in the image's own
    channel order (scale 1), and colours in three channels or in four of which the network ignores the last.
    Raises ValueError for values that the runtime has no implementation of.
    """

    imgsz: tuple[int, int]
    letterbox_color: tuple[int, ...] = (114, 114, 114)
    scale: float = 1 / 255
    channel_order: str = "rgb"
    interpolation: str = "linear"
    layout: str = "nchw"
    dtype: str = "float32"
    channels: int = 3

    def __post_init__(self) -> None:
        _require(len(self.imgsz) == 2 and _are_integers(self.imgsz, 1), "imgsz must be (height, width)", self.imgsz)
        _require(max(self.imgsz) <= SIDE_PX, f"imgsz must be at most {SIDE_PX} pixels a side", self.imgsz)
        color = self.letterbox_color
        _require(self.channel_order in ORDERS, f"channel_order must be one of {', '.join(ORDERS)}", self.channel_order)
        _require(
            type(self.channels) is int and 1 <= self.channels <= MOST_CHANNELS,
            f"channels must be 1 to {MOST_CHANNELS}",
            self.channels,
        )
        count = self.image_channels
        _require(
            len(color) == count and _are_integers(color, 0) and max(color) <= 255,
            f"letterbox_color must be {count} integers in 0..255",
            color,
        )
        _require(
            isinstance(self.scale, float) and 0 < self.scale < math.inf, "scale must be a positive float", self.scale
        )
        _require(self.interpolation == "linear", "interpolation must be linear", self.interpolation)
        _require(self.dtype in ("float32", "uint8"), "dtype must be float32 or uint8", self.dtype)
        if self.dtype == "float32":
            _require(self.layout == "nchw", "layout must be nchw for float32", self.layout)
            self._require_channels((3,))
        else:
            _require(self.layout == "nhwc", "layout must be nhwc for uint8", self.layout)
            self._require_channels((3, 4))
            _require(self.scale == 1.0, "scale must be 1.0 for uint8", self.scale)
            _require(
                self.channel_order != "rgb", "channel_order must be bgr, gray or stored for uint8", self.channel_order
            )

    def _require_channels(self, of_colours: tuple[int, ...]) -> None:
        if self.channel_order in ("rgb", "bgr"):
            _require(
                self.channels in of_colours,
                f"channels must be {' or '.join(map(str, of_colours))} for {self.dtype}",
                self.channels,
            )
        else:
            bands = "gray" if self.channels == 1 else "stored"
            _require(
                self.channel_order == bands and self.channels != 3,
                "channel_order must be gray for 1 channel, rgb or bgr for 3, stored for others",
                f"{self.channel_order} for {self.channels}",
            )

    @classmethod
    def of_images(cls, imgsz: tuple[int, int], channels: int = 3) -> Preprocessing:
        """A portable file's preprocessing as Ultralytics does it, for images of so many channels."""
        order = {1: "gray", 3: "rgb"}.get(channels, "stored")
        return cls(imgsz, letterbox_color=(BORDER,) * channels, channel_order=order, channels=channels)

    @classmethod
    def of_pixels(cls, portable: Preprocessing, channels: int) -> Preprocessing:
        """What an edge file's input is, made from the file with preprocessing `portable`.

        `channels` are the portable file's, or 4 where it has the three colours.
        """
        order = "bgr" if portable.channel_order == "rgb" else portable.channel_order
        return replace(portable, scale=1.0, channel_order=order, layout="nhwc", dtype="uint8", channels=channels)

    @property
    def image_channels(self) -> int:
        """Channels of the image (H, W, C) that the network looks at."""
        return 3 if self.channel_order in ("rgb", "bgr") else self.channels

    @property
    def takes_pixels(self) -> bool:
        """Whether the network takes the uint8 pixels themselves, as edge files do."""
        return self.dtype == "uint8"

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        """Shape of the network's input: (1, channels, height, width) float32, or (1, height, width, channels) uint8."""
        height, width = self.imgsz
        return (1, height, width, self.channels) if self.takes_pixels else (1, self.channels, height, width)


@dataclass(frozen=True)
class OutputContract:
    """The network's one output, float32; boxes are in pixels of the network's input where nothing else is said.

    `end2end`: shape (1, K, 6), rows x1 y1 x2 y2 score class, best score first, no NMS needed.
    `queries` (RT-DETR): the same, but rows are cx cy w h score class, boxes in fractions of the input.
    `raw`: shape (1, 4 + classes, N), columns cx cy w h and a score in 0..1 per class; needs NMS.
    """

    kind: str
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        _require(self.kind in ("end2end", "queries", "raw"), "output kind must be end2end, queries or raw", self.kind)
        _require(
            len(self.shape) == 3 and _are_integers(self.shape, 1) and self.shape[0] == 1,
            "output shape must be three positive integers, the first 1",
            self.shape,
        )
        if self.kind == "raw":
            _require(self.shape[1] > 4, "a raw output has shape (1, 4 + classes, N)", self.shape)
        else:
            _require(self.shape[2] == 6, f"an output of kind {self.kind} has shape (1, K, 6)", self.shape)


@dataclass(frozen=True)
class ModelContract:
    """Everything a loader must know of a model: see the fields' types; `stride` in pixels.

    `plan_sha256` is the hash of the quantization plan and `profile` the runtime profile that it is for, both empty for
    fp32; `versions` maps a package to its version. `portable` is the name of the portable file that an edge file was
    made from and that lies beside it, empty in a portable file.
    Raises ValueError where the fields contradict each other.
    """

    preprocessing: Preprocessing
    output: OutputContract
    names: tuple[str, ...]
    stride: int
    variant: str = "fp32"
    plan_sha256: str = ""
    profile: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    portable: str = ""

    def __post_init__(self) -> None:
        are_names = isinstance(self.names, tuple) and all(isinstance(name, str) for name in self.names)
        _require(are_names and len(self.names) > 0, "names must be a tuple of class names", self.names)
        _require(
            len(self.names) <= CLASSES and max(map(len, self.names)) <= CHARACTERS_OF_A_NAME,
            f"names must be at most {CLASSES}, of at most {CHARACTERS_OF_A_NAME} characters",
            len(self.names),
        )
        _require(_are_integers((self.stride,), 1), "stride must be a positive integer", self.stride)
        _require(self.variant in VARIANTS, f"variant must be one of {', '.join(VARIANTS)}", self.variant)
        _require(isinstance(self.plan_sha256, str), "plan_sha256 must be a string", self.plan_sha256)
        _require(isinstance(self.profile, str), "profile must be a string", self.profile)
        _require(isinstance(self.versions, dict), "versions must be a mapping", self.versions)
        _require(
            isinstance(self.portable, str) and "/" not in self.portable,
            "portable must be a file's name without its folder",
            self.portable,
        )
        _require(
            bool(self.portable) == self.preprocessing.takes_pixels,
            "an edge file (uint8 input), and no other, must name its portable file",
            self.portable,
        )
        _require(
            all(side % self.stride == 0 for side in self.preprocessing.imgsz),
            f"imgsz must be a multiple of the stride {self.stride}",
            self.preprocessing.imgsz,
        )
        if self.output.kind == "raw":
            _require(
                self.output.shape[1] == 4 + len(self.names),
                f"a raw output for {len(self.names)} classes has {4 + len(self.names)} rows",
                self.output.shape,
            )

    def to_metadata(self) -> dict[str, str]:
        """The contract as `edgegd.*` keys for ONNX metadata_props; `from_metadata` restores an equal contract."""
        texts = {f"edgegd.{name}": json.dumps(value, sort_keys=True) for name, value in asdict(self).items()}
        return {"edgegd.schema": METADATA_SCHEMA, **texts}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> ModelContract:
        """The contract that `to_metadata` wrote; other keys are ignored.

        Raises:
            MetadataError: no edgegd metadata, another schema, or a value that is missing or malformed.
        """
        schema = metadata.get("edgegd.schema")
        if schema != METADATA_SCHEMA:
            raise MetadataError(
                "the ONNX file carries no edgegd metadata"
                if schema is None
                else "the ONNX file's edgegd metadata has another schema",
                expected=f"edgegd.schema = {METADATA_SCHEMA}",
                found="no such key" if schema is None else f"edgegd.schema = {schema}",
                mend="export the model with this version of edgegd",
            )
        try:
            # Files of before there were profiles, or edge files, do not have these keys.
            metadata = {"edgegd.profile": '""', "edgegd.portable": '""', **metadata}
            values = {name: json.loads(metadata[f"edgegd.{name}"]) for name in cls.__dataclass_fields__}
            preprocessing = {key: _tuple_if_list(value) for key, value in values.pop("preprocessing").items()}
            output = {key: _tuple_if_list(value) for key, value in values.pop("output").items()}
            names = _tuple_if_list(values.pop("names"))
            return cls(Preprocessing(**preprocessing), OutputContract(**output), names, **values)
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise MetadataError(
                "the ONNX file's edgegd metadata is malformed",
                expected="every edgegd.* key with the value that `edgegd export` writes",
                found=f"{type(error).__name__}: {error}",
                mend="export the model again; its metadata was edited or cut",
            ) from error


def _tuple_if_list(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
