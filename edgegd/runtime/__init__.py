"""Running an exported model: numpy, onnxruntime and, for images, OpenCV; never torch."""

from edgegd.runtime.contract import ModelContract, OutputContract, Preprocessing
from edgegd.runtime.detector import Detections, Detector, ProfileWarning, Timings, detections_from_output
from edgegd.runtime.draw import draw, write_image
from edgegd.runtime.images import read_for, read_image
from edgegd.runtime.letterbox import LetterboxGeometry, PixelInput, letterbox, network_input, preprocess
from edgegd.runtime.session import load_model, load_portable, load_session, read_contract
from edgegd.runtime.stream import Stream

__all__ = [
    "Detections",
    "Detector",
    "LetterboxGeometry",
    "ModelContract",
    "OutputContract",
    "PixelInput",
    "Preprocessing",
    "ProfileWarning",
    "Stream",
    "Timings",
    "detections_from_output",
    "draw",
    "letterbox",
    "load_model",
    "load_portable",
    "load_session",
    "network_input",
    "preprocess",
    "read_contract",
    "read_for",
    "read_image",
    "write_image",
]
