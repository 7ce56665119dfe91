"""Every error that a user can cause: one message (what, expected, found, how to mend) and one exit code each.

The exit codes are documented in docs/errors.md; a test compares that page with this file.
"""

from __future__ import annotations

from typing import ClassVar


class EdgegdError(Exception):
    """An error with a cause a user can mend; the CLI prints it without a traceback and exits with `exit_code`.

    `what` says in one sentence what went wrong; `expected`, `found` and `mend` complete it where they apply.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, expected: str = "", found: str = "", mend: str = "") -> None:
        self.what, self.expected, self.found, self.mend = what, expected, found, mend
        super().__init__(self.message())

    def message(self) -> str:
        """The text shown to the user: a line each for what, expected, found and how to mend it."""
        lines = [self.what]
        for label, text in (("expected", self.expected), ("found", self.found), ("to mend it", self.mend)):
            if text:
                lines.append(f"  {label}: {text}")
        return "\n".join(lines)


class UnexpectedError(EdgegdError):
    """A fault of edgegd or of a library that it uses; `edgegd --debug` shows the traceback."""

    exit_code = 1


class RecipeError(EdgegdError):
    """A recipe, or a `--set` override, has unknown keys, wrong types or impossible values (all of them listed)."""

    exit_code = 10


class RecipeNotFoundError(EdgegdError):
    """No recipe file, and no recipe that ships, has this name."""

    exit_code = 11


class DataNotFoundError(EdgegdError):
    """The data set's YAML file is missing, or is not a detection data set description."""

    exit_code = 20


class NoImagesError(EdgegdError):
    """An image folder (or list) of the data set is missing or empty."""

    exit_code = 21


class LabelError(EdgegdError):
    """A label file is malformed, has boxes out of range, or classes that do not exist."""

    exit_code = 22


class UnreadableImageError(EdgegdError):
    """An image file cannot be decoded."""

    exit_code = 23


class MissingLabelError(EdgegdError):
    """An image has no label file, and the recipe does not say that such images are background."""

    exit_code = 24


class DownloadError(EdgegdError):
    """A data set or checkpoint could not be downloaded; the message says which file to put where."""

    exit_code = 25


class WouldOverwriteError(EdgegdError):
    """A command would have to overwrite files that it did not write itself."""

    exit_code = 26


class CheckpointNotFoundError(EdgegdError):
    """The float checkpoint or architecture does not exist, or an architecture is given 0 epochs of float training."""

    exit_code = 30


class CheckpointUnreadableError(EdgegdError):
    """A checkpoint is truncated, not an Ultralytics checkpoint (float), or not weights and valid ranges (ptq, qat)."""

    exit_code = 31


class CheckpointTaskError(EdgegdError):
    """The checkpoint is of another task (segment, classify, ...) than detection."""

    exit_code = 32


class ClassCountError(EdgegdError):
    """The checkpoint's classes are not the data set's."""

    exit_code = 33


class ImageSizeError(EdgegdError):
    """imgsz is not a multiple of the model's stride."""

    exit_code = 34


class OnnxUnreadableError(EdgegdError):
    """An ONNX file is missing, truncated, or cannot be loaded by onnxruntime."""

    exit_code = 40


class MetadataError(EdgegdError):
    """An ONNX file carries no edgegd metadata, or metadata of another schema."""

    exit_code = 41


class OutputContractError(EdgegdError):
    """An ONNX file's inputs or outputs are not those its metadata, or the caller, promise."""

    exit_code = 42


class RunFolderMismatchError(EdgegdError):
    """The run folder belongs to another recipe, or is not a run folder."""

    exit_code = 50


class RunFolderBusyError(EdgegdError):
    """Another process works in the run folder."""

    exit_code = 51


class NoSpaceError(EdgegdError):
    """The disk is full; the artifact being written was removed, everything else is as it was."""

    exit_code = 52


class MissingArtifactError(EdgegdError):
    """A stage was asked for whose inputs are missing, damaged or out of date; the message says what to run first."""

    exit_code = 53


class MissingExtraError(EdgegdError):
    """A command needs packages of an extra (`edgegd[train]`, `edgegd[lab]`, `edgegd[image]`) that is not installed."""

    exit_code = 54


class FileAccessError(EdgegdError):
    """The operating system refused access to a file or folder (permissions, a file where a folder is needed)."""

    exit_code = 55


class NaNLossError(EdgegdError):
    """The loss became NaN or infinite; training stopped and the last good checkpoint was kept."""

    exit_code = 60


class UnsupportedModelError(EdgegdError):
    """The model has operations or a structure that cannot be quantized or exported."""

    exit_code = 61


class CensusError(EdgegdError):
    """A convolution that the plan quantizes runs in float (or the reverse) in onnxruntime."""

    exit_code = 70


class ParityError(EdgegdError):
    """torch's fake quantization and onnxruntime disagree beyond the tolerance."""

    exit_code = 71


class SilentModelError(EdgegdError):
    """The exported model detects nothing where the float model does (the canary)."""

    exit_code = 72


class WorkerError(EdgegdError):
    """A latency worker process failed or timed out."""

    exit_code = 80


class ProtocolError(EdgegdError):
    """The worker on a device speaks another version of the protocol than this edgegd."""

    exit_code = 81


class DeviceSoftwareError(EdgegdError):
    """A device lacks Python, numpy or onnxruntime, or has one that is too old; the message says how to install it."""

    exit_code = 82


class TargetUnknownError(EdgegdError):
    """No target has this name, or the file of targets or a target's URL cannot be understood."""

    exit_code = 97


class DeviceUnreachableError(EdgegdError):
    """The device's host name is unknown, or the host does not answer."""

    exit_code = 87


class HostKeyError(EdgegdError):
    """The device's host key is not known yet, or is not the one that is known: the connection was refused."""

    exit_code = 83


class AuthenticationError(EdgegdError):
    """The device refuses the login."""

    exit_code = 84


class ConnectionLostError(WorkerError):
    """The connection to the device broke in a copy or in a measurement."""

    exit_code = 85


class DeviceSpaceError(EdgegdError):
    """The device's disk is full; what was being copied was removed there."""

    exit_code = 86


class DeviceBusyError(EdgegdError):
    """Somebody else measures on the device; the message says who."""

    exit_code = 88


class EmulatedTargetError(EdgegdError):
    """Latency was asked for on a target that is emulated."""

    exit_code = 89


class RegressedError(EdgegdError):
    """A gate's verdict is REGRESSED: slower than the margin allows, or worse in a fact that needs no timing."""

    exit_code = 90


class InconclusiveError(EdgegdError):
    """A gate's verdict is INCONCLUSIVE: the data bear out neither PASS nor REGRESSED."""

    exit_code = 91


class InvalidMeasurementError(EdgegdError):
    """A gate's verdict is INVALID: what was measured may not be judged (throttled, unstable, not calibrated well)."""

    exit_code = 92


class BaselineShapeError(EdgegdError):
    """A candidate's inputs or outputs are not the baseline's; the message says what differs and which file to gate."""

    exit_code = 93


class BaselineNotFoundError(EdgegdError):
    """No baseline has this name; the message lists those that exist."""

    exit_code = 94


class BaselineDamagedError(EdgegdError):
    """A baseline's folder is incomplete, of another schema, or its model is not the one that was accepted."""

    exit_code = 95


class MeasurementFileError(EdgegdError):
    """A file of raw latency data is missing, damaged, or of another schema."""

    exit_code = 96


class DeviceCalibrationError(EdgegdError):
    """The stored A/A calibration of a device is damaged, or of another schema."""

    exit_code = 98


class InterruptedRunError(EdgegdError):
    """Ctrl-C: the run stopped cleanly and the same command resumes it."""

    exit_code = 130


class PlanError(EdgegdError):
    """A quantization plan, or the recipe's changes to it, name what the model or the rules do not have."""

    exit_code = 62


class CalibrationError(EdgegdError):
    """Calibration cannot tell any range: no images, images without contrast, or activations that are not finite."""

    exit_code = 63


class EmulationError(EdgegdError):
    """The tools that emulate another CPU cannot be fetched, or the emulated process failed."""

    exit_code = 64


class QatCheckpointError(EdgegdError):
    """The checkpoint of an interrupted training is damaged, of another version, or holds values that are not finite."""

    exit_code = 65


class ActivationError(EdgegdError):
    """A model has no SiLU to swap, or the run's swapped model or its choice of activations is not the recipe's."""

    exit_code = 66


class PrecisionBudgetError(EdgegdError):
    """No plan of the search meets the recipe's precision budget; the message shows the nearest one."""

    exit_code = 67


class ProfileError(EdgegdError):
    """A file's number formats do not suit the runtime profile that it is verified for."""

    exit_code = 74
