"""Every error that a user can cause: one message (what, expected, found, how to mend) and one exit code each.

The exit codes are documented in docs/errors.md; a test compares that page with this file.
"""

from __future__ import annotations

from typing import ClassVar

from edgegd.foreign_text import indented


class EdgegdError(Exception):
    """An error with a cause a user can mend; the CLI prints it without a traceback and exits with `exit_code`.

    `what` says in one sentence what went wrong; `expected`, `found` and `mend` complete it where they apply.
    """

    exit_code: ClassVar[int] = 1

    def __init_subclass__(cls, exit_code: int | None = None) -> None:
        super().__init_subclass__()
        if exit_code is not None:
            cls.exit_code = exit_code

    def __init__(self, what: str, *, expected: str = "", found: str = "", mend: str = "") -> None:
        self.what, self.expected, self.found, self.mend = what, expected, found, mend
        super().__init__(self.message())

    def message(self) -> str:
        """The text shown to the user: a line each for what, expected, found and how to mend it.

        Parts of it come from files and devices: no control character, and no line that could be one of ours, leaves.
        """
        lines = [indented(self.what)]
        for label, text in (("expected", self.expected), ("found", self.found), ("to mend it", self.mend)):
            if text:
                lines.append(f"  {label}: {indented(str(text))}")
        return "\n".join(lines)


class UnexpectedError(EdgegdError, exit_code=1):
    """A fault of edgegd or of a library that it uses; `edgegd --debug` shows the traceback."""


class RecipeError(EdgegdError, exit_code=10):
    """A recipe, or a `--set` override, has unknown keys, wrong types or impossible values (all of them listed)."""


class RecipeNotFoundError(EdgegdError, exit_code=11):
    """No recipe file, and no recipe that ships, has this name."""


class DataNotFoundError(EdgegdError, exit_code=20):
    """The data set's YAML file is missing, or is not a detection data set description."""


class NoImagesError(EdgegdError, exit_code=21):
    """An image folder (or list) of the data set, or of `edgegd predict`, is missing or empty, or cannot be read, or
    names an image twice; or an unlabelled image is a validation image; or a run's images are not there any more."""


class LabelError(EdgegdError, exit_code=22):
    """A label file is malformed, has boxes out of range, or classes that do not exist."""


class UnreadableImageError(EdgegdError, exit_code=23):
    """An image or video file cannot be decoded, has too many pixels, or would be read otherwise, or left out, in
    training."""


class MissingLabelError(EdgegdError, exit_code=24):
    """An image has no label file, and the recipe does not say that such images are background."""


class DownloadError(EdgegdError, exit_code=25):
    """A data set or checkpoint could not be downloaded; the message says which file to put where."""


class WouldOverwriteError(EdgegdError, exit_code=26):
    """A command would have to overwrite files that it did not write itself."""


class DataFaultError(EdgegdError, exit_code=27):
    """`edgegd data doctor` found errors: a run refuses the data set, or what it measures would be wrong."""


class DataWarningError(EdgegdError, exit_code=28):
    """`edgegd data doctor` found warnings and no errors: training or measuring is probably worse for them."""


class CheckpointNotFoundError(EdgegdError, exit_code=30):
    """The float checkpoint or architecture does not exist, or an architecture is given 0 epochs of float training."""


class CheckpointUnreadableError(EdgegdError, exit_code=31):
    """A checkpoint is truncated, not an Ultralytics checkpoint (float), or not weights and valid ranges (ptq, qat)."""


class CheckpointTaskError(EdgegdError, exit_code=32):
    """The checkpoint is of another task (segment, classify, ...) than detection."""


class ClassCountError(EdgegdError, exit_code=33):
    """The checkpoint's classes are not the data set's, or its class names are not one for each class id."""


class ImageSizeError(EdgegdError, exit_code=34):
    """imgsz is not a multiple of the model's stride."""


class ChannelCountError(EdgegdError, exit_code=36):
    """The checkpoint takes images of another number of channels than the data set's `channels`, or than a video has."""


class OnnxUnreadableError(EdgegdError, exit_code=40):
    """An ONNX file is missing, truncated, or cannot be loaded by onnxruntime."""


class MetadataError(EdgegdError, exit_code=41):
    """An ONNX file carries no edgegd metadata, or metadata of another schema."""


class OutputContractError(EdgegdError, exit_code=42):
    """An ONNX file's inputs or outputs are not those its metadata, or the caller, promise."""


class RunFolderMismatchError(EdgegdError, exit_code=50):
    """The run folder belongs to another recipe, or is not a run folder; or a sweep's folder is another sweep's."""


class RunFolderBusyError(EdgegdError, exit_code=51):
    """Another process works in the run folder."""


class NoSpaceError(EdgegdError, exit_code=52):
    """A disk is full; what was being written was removed, all else is as it was. Or /dev/shm is too small to train."""


class MissingArtifactError(EdgegdError, exit_code=53):
    """A stage was asked for whose inputs are missing, damaged or out of date; the message says what to run first."""


class MissingExtraError(EdgegdError, exit_code=54):
    """A command needs packages of an extra (`edgegd[train]`, `edgegd[lab]`, `edgegd[sweep]`, ...), or of a tracker,
    that is not installed."""


class FileAccessError(EdgegdError, exit_code=55):
    """The operating system refused access to a file or folder (permissions, no links, no locks, no home folder)."""


class OutputFileError(EdgegdError, exit_code=56):
    """An output cannot be written where it was asked for: an input, a link, a folder, a file of another kind."""


class UntrustedFileError(EdgegdError, exit_code=57):
    """A file would run code of its own when it is opened, and nobody said that it is trusted (SECURITY.md)."""


class ResourceError(EdgegdError, exit_code=58):
    """The machine's memory, or the user's limit of open files or processes, does not suffice."""


class OutputClosedError(EdgegdError, exit_code=59):
    """What reads the command's output (a pager, `head`) ended before the output did."""


class NaNLossError(EdgegdError, exit_code=60):
    """The loss became NaN or infinite; training stopped and the last good checkpoint was kept."""


class UnsupportedModelError(EdgegdError, exit_code=61):
    """The model has operations or a structure that cannot be quantized or exported."""


class CensusError(EdgegdError, exit_code=70):
    """A convolution that the plan quantizes runs in float (or the reverse) in onnxruntime."""


class ParityError(EdgegdError, exit_code=71):
    """torch's fake quantization and onnxruntime disagree beyond the tolerance."""


class SilentModelError(EdgegdError, exit_code=72):
    """The exported model detects nothing where the float model does (the canary)."""


class WorkerError(EdgegdError, exit_code=80):
    """A latency worker failed or timed out, or a device gave an answer that cannot be true."""


class ProtocolError(EdgegdError, exit_code=81):
    """The worker on a device speaks another version of the protocol than this edgegd."""


class DeviceSoftwareError(EdgegdError, exit_code=82):
    """A device lacks Python, numpy, onnxruntime or a runtime to be measured beside it, or has one that is too old; the
    message says how to install it."""


class TargetUnknownError(EdgegdError, exit_code=97):
    """No target has this name, or the file of targets or a target's URL cannot be understood."""


class DeviceUnreachableError(EdgegdError, exit_code=87):
    """The device's host name is unknown, or the host does not answer."""


class HostKeyError(EdgegdError, exit_code=83):
    """The device's host key is not known yet, or is not the one that is known: the connection was refused."""


class AuthenticationError(EdgegdError, exit_code=84):
    """The device refuses the login."""


class ConnectionLostError(WorkerError, exit_code=85):
    """The connection to the device broke in a copy or in a measurement."""


class DeviceSpaceError(EdgegdError, exit_code=86):
    """The device's disk is full; what was being copied was removed there."""


class DeviceBusyError(EdgegdError, exit_code=88):
    """Somebody else measures on the device; the message says who."""


class EmulatedTargetError(EdgegdError, exit_code=89):
    """Latency was asked for on a target that is emulated."""


class RegressedError(EdgegdError, exit_code=90):
    """A gate's verdict is REGRESSED: slower or less accurate than the margin allows, or worse in a fact that needs no
    timing."""


class InconclusiveError(EdgegdError, exit_code=91):
    """A gate's verdict is INCONCLUSIVE: the data bear out neither PASS nor REGRESSED."""


class InvalidMeasurementError(EdgegdError, exit_code=92):
    """A gate's verdict is INVALID: what was measured may not be judged (throttled, unstable, not calibrated well)."""


class BaselineShapeError(EdgegdError, exit_code=93):
    """A candidate's inputs or outputs are not the baseline's, or both were not measured on the same images, labels and
    classes; the message says what differs and what to gate."""


class BaselineNotFoundError(EdgegdError, exit_code=94):
    """No baseline has this name; the message lists those that exist."""


class BaselineDamagedError(EdgegdError, exit_code=95):
    """A baseline's folder is incomplete, of another schema, or its model is not the one that was accepted."""


class MeasurementFileError(EdgegdError, exit_code=96):
    """A file of raw latency data is missing, damaged, or of another schema."""


class DeviceCalibrationError(EdgegdError, exit_code=98):
    """The stored A/A calibration of a device is damaged, or of another schema."""


class AcceptanceError(EdgegdError, exit_code=99):
    """A device does not meet a limit of the recipe's `prove.limits`, or what it is about was not measured there."""


class SweepError(EdgegdError, exit_code=12):
    """A sweep is asked for what it cannot do (an objective that does not exist, nothing to vary), or all of its runs
    failed."""


class ClusterError(EdgegdError, exit_code=75):
    """A Ray cluster does not answer, or its nodes are lost again and again."""


class InterruptedRunError(EdgegdError, exit_code=130):
    """Ctrl-C, or SIGTERM: the run stopped cleanly and the same command resumes it."""


class PortError(EdgegdError, exit_code=79):
    """The port at which a page is to be shown is in use, or this user may not have it."""


class InsertionError(UnsupportedModelError, exit_code=69):
    """A pass cannot write what the plan wants into the float graph.

    `pass_name` names the pass, `where` the address or node at which it stopped and `reason` says why.
    """

    def __init__(self, pass_name: str, where: str, reason: str, *, found: str = "") -> None:
        self.pass_name, self.where, self.reason = pass_name, where, reason
        super().__init__(
            f"The pass {pass_name} cannot quantize {where}: {reason}.",
            found=found,
            mend="keep the operation float (quant.float), or use a model that edgegd supports",
        )


class PlanError(EdgegdError, exit_code=62):
    """A quantization plan, or the recipe's changes to it, name what the model or the rules do not have."""


class CalibrationError(EdgegdError, exit_code=63):
    """Calibration cannot tell any range: no images, images without contrast, or activations that are not finite."""


class EmulationError(EdgegdError, exit_code=64):
    """The tools that emulate another CPU cannot be fetched, or the emulated process failed."""


class TrainingCheckpointError(EdgegdError, exit_code=65):
    """The checkpoint of an interrupted training is damaged, of another version, or holds values that are not finite."""


class LandscapeError(EdgegdError, exit_code=76):
    """A picture of a descent's loss was asked for of more images than the data set has, or at a step that never was."""


class ActivationError(EdgegdError, exit_code=66):
    """A model has no SiLU to swap, or the run's swapped model or its choice of activations is not the recipe's."""


class PrecisionBudgetError(EdgegdError, exit_code=67):
    """No plan of the search meets the recipe's precision budget; the message shows the nearest one."""


class TrainingDeviceError(EdgegdError, exit_code=68):
    """The device that the recipe's `train.device` names, or so many as `train.devices`, are not in this machine, or
    torch cannot use them; or a batch has too few images for them, or torchrun was used where nothing trains."""


class TrainingProcessError(EdgegdError, exit_code=73):
    """One of the processes that train together ended, or has other values than they; the others ended too. The
    checkpoint stands."""


class ProfileError(EdgegdError, exit_code=74):
    """A file's number formats do not suit the runtime profile that it is verified for."""


class ScreenError(EdgegdError, exit_code=78):
    """Images cannot be shown: there is no screen, or this OpenCV makes no windows."""


class TuningError(EdgegdError, exit_code=77):
    """A model has no tuned threads for this machine, or their record is damaged or another file's; or a device has not
    the cores that threads were to be bound to."""
