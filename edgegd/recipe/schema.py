"""What a recipe may say: frozen dataclasses, one per section, each field with its default and its meaning.

Names that Ultralytics has (`imgsz`, `epochs`, `batch`, `device`, `lr0`, `lrf`, `seed`, `workers`, ...) mean here what
they mean there. A field's `help` metadata is the text that the documentation and error messages show.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from edgegd.limits import IMAGE_FILES, LARGEST_SEED, SIDE_PX, THREADS
from edgegd.network_size import NetworkSize, network_size
from edgegd.plan.profiles import TABLES
from edgegd.recipe.option import option
from edgegd.recipe.prove import ProveSection
from edgegd.recipe.training import TrainSection

SCHEMA_VERSION = 1
PROFILES = tuple(TABLES)
"""The target profiles."""
AUTO_PROFILE = "auto"
OBSERVERS = ("minmax", "percentile", "mse", "entropy")
"""How a range may be chosen: a module below edgegd.quant.observers each."""
AUTO_OBSERVER = "auto"
AUTO_IMAGES = "auto"
LOCAL_HOST = "local"


@dataclass(frozen=True)
class FloatTraining:
    """`model.float`: float training by Ultralytics before quantization, where the weights need it.

    It happens only when `model.weights` is an architecture (.yaml), or a checkpoint whose classes are not the data
    set's. A checkpoint that already has the data set's classes is used as it is, whatever `epochs` says. With epochs 0
    nothing is trained: weights that would need it are refused.
    """

    epochs: int = option(
        0,
        "epochs of float training, done only when model.weights is an architecture (.yaml) or a "
        "checkpoint of other classes than the data set's; a checkpoint that has the data set's "
        "classes is used as it is. 0: never train, refuse weights that would need it",
        minimum=0,
        maximum=100_000,
    )
    batch: int = option(16, "images a step", minimum=1, maximum=100_000)
    optimizer: str = option(
        "auto",
        "Ultralytics' optimizer name",
        choices=("auto", "Adam", "Adamax", "AdamW", "MuSGD", "NAdam", "RAdam", "RMSprop", "SGD"),
    )
    lr0: float = option(0.01, "initial learning rate (ignored by optimizer auto)", minimum=0)
    lrf: float = option(0.01, "final learning rate as a fraction of lr0", minimum=0)
    mosaic: float = option(1.0, "probability of mosaic augmentation", minimum=0, maximum=1)
    close_mosaic: int = option(10, "epochs without mosaic at the end", minimum=0, maximum=100_000)


@dataclass(frozen=True)
class ModelSection:
    """`model`: the float detector to quantize."""

    weights: str = option(
        "yolo26n.pt",
        "checkpoint (.pt, or the .safetensors file of a torchvision SSDLite), a name on Ultralytics' hub, or an "
        "architecture (.yaml); "
        "relative to the working directory, then to the project's own files; after "
        "`shipped:` to the latter alone",
    )
    imgsz: int | tuple[int, int] = option(
        640,
        "size of the network's input in pixels: one number for a square, or "
        "[height, width] such as [384, 640]; multiples of the stride "
        "(model.float trains on squares of the longer side)",
        minimum=32,
        maximum=SIDE_PX,
    )
    end2end: bool | None = option(None, "export the NMS-free head; null keeps the checkpoint's own form")
    float: FloatTraining = field(default_factory=FloatTraining, metadata={"help": "float training"})

    @property
    def size(self) -> NetworkSize:
        """`imgsz` as (height, width) in pixels."""
        return network_size(self.imgsz)


@dataclass(frozen=True)
class DataSection:
    """`data`: the detection data set."""

    source: str = option("yaml", "which kind of data set", choices=("streets", "bccd", "yaml"))
    path: str = option(
        "",
        "the set's folder (streets, bccd), or an Ultralytics data set YAML (yaml): a file, or a "
        "name such as coco.yaml; `shipped:coco.yaml` is Ultralytics' own in any case. Its "
        "`channels` (1 to 8, 3 where it says nothing) decide how images are read, as Ultralytics "
        "reads them",
    )
    unlabelled: str = option("error", "what an image without a label file is", choices=("error", "background"))
    unlabelled_images: str = option(
        "",
        "a folder of your own images without labels, such as the device's camera "
        "takes; calibration and refinement draw from them too, and so does training "
        "where train.distill asks for a difference to the float model. Label files "
        "beside them are not read",
    )
    train_images: int = option(0, "streets: images to generate for training", minimum=0, maximum=1_000_000)
    val_images: int = option(0, "streets: images to generate for validation", minimum=0, maximum=1_000_000)
    seed: int = option(
        0, "seed of the generator (streets) and of the choice of images held out", minimum=0, maximum=LARGEST_SEED
    )
    select: str = option(
        "auto",
        "on which images a training's best epoch is chosen. auto: on the validation images, and where the YAML has "
        "labelled `test` images everything is reported on those; val: on the validation images, on which everything is "
        "reported as well; holdout: on a share of the training images, on which nothing is trained or calibrated, and "
        "everything is reported on the validation images",
        choices=("auto", "val", "holdout"),
    )
    holdout_share: float = option(0.1, "holdout: the share of the training images", minimum=0.001, maximum=0.9)


@dataclass(frozen=True)
class QuantSection:
    """`quant`: how the plan is calibrated."""

    calibration_images: int | str = option(
        128,
        "training images that calibration sees (a sample seeded by train.seed); auto: as many, from 16 to 512, as it "
        "takes until the ranges of the sample's halves agree ([calibration.md](calibration.md))",
        choices=(AUTO_IMAGES,),
        minimum=1,
        maximum=1_000_000,
    )
    observer: str = option(
        "mse",
        "how an activation's range is chosen; auto: for each, the one of these whose codes have the least error",
        choices=(*OBSERVERS, AUTO_OBSERVER),
    )
    percentile: float = option(
        99.99, "percentile: the share of values in the range, in percent", minimum=50, maximum=100
    )
    refine: str = option(
        "auto",
        "what is done with up to 64 images of calibration, without labels. fast: weights of 7 bits (x86-avx2) are "
        "rounded for their inputs, and biases corrected, in order; full: ranges are chosen before it by what their "
        "errors cost at the head (with the observers mse and auto; a backward pass on each of up to 32 images); auto: "
        "as full",
        choices=("auto", "none", "fast", "full"),
    )
    weight_scales: str = option(
        "tied",
        "what a weight's scale is: tied to the largest weight of its channel "
        "(after a refinement: as it was then), or learned",
        choices=("tied", "learned"),
    )
    rules: dict[str, str] = option(  # noqa: RUF009
        {}, "decisions of rules by name, such as {box-convolution: integer}", choices=("float", "integer")
    )
    plan: str = option("", "an edited plan.json to use instead of the rules' plan")
    activation: str = option(
        "silu",
        "what SiLUs become before the model is quantized. silu: nothing changes; relu: "
        "all of them ReLU, which takes no time in integers; auto: those whose measured "
        "time is worth their sensitivity. relu and auto train the swapped model in float "
        "first (train.adapt)",
        choices=("silu", "relu", "auto"),
    )
    activation_saving: float = option(
        0.5, "auto: the share of the time of all SiLUs that is to be saved", minimum=0, maximum=1
    )
    # The last key: below it, `float` would be no type any more.
    float: list[str] = option([], "patterns (* and ?) of addresses of operations that stay float")  # noqa: RUF009


@dataclass(frozen=True)
class PrecisionSection:
    """`precision`: a budget for which measurement chooses what runs in integers; without one the rules choose.

    Under a latency budget the plan with the least noise is taken, otherwise the fastest.
    """

    latency_ms: float | None = option(
        None, "longest median latency in ms, of the searched plan's exported file", minimum=0.001, maximum=1_000_000
    )
    latency_ratio: float | None = option(
        None, "longest latency as a fraction of the FP32 file's", minimum=0.001, maximum=1_000_000
    )
    head_db: float | None = option(
        None, "least signal-to-noise ratio at the head in dB; 0 takes the fastest plan", minimum=0
    )
    images: int = option(8, "training images on which sensitivities are measured", minimum=1, maximum=1_000_000)

    @property
    def has_budget(self) -> bool:
        """Whether a searched plan is asked for at all."""
        return any(limit is not None for limit in (self.latency_ms, self.latency_ratio, self.head_db))


@dataclass(frozen=True)
class ExportSection:
    """`export`: the ONNX files."""

    opset: int = option(17, "ONNX opset of all three files", minimum=13, maximum=20)


@dataclass(frozen=True)
class AccuracySection:
    """`accuracy`: mAP in onnxruntime on the validation images."""

    conf: float = option(0.001, "smallest score that counts", minimum=0, maximum=1)
    iou: float = option(0.7, "IoU above which NMS drops a box (raw output only)", minimum=0, maximum=1)
    max_det: int = option(300, "most boxes an image", minimum=1, maximum=100_000)
    images: int = option(
        0, "validation images to use (the first N by name); 0 uses all", minimum=0, maximum=IMAGE_FILES
    )


@dataclass(frozen=True)
class LatencySection:
    """`latency`: paired measurement of FP32, PTQ and QAT in fresh worker processes."""

    threads: int = option(1, "intra-op threads of onnxruntime", minimum=1, maximum=THREADS)
    spinning: bool = option(False, "whether idle threads spin (session.intra_op.allow_spinning)")
    launches: int = option(3, "fresh worker processes per model", minimum=1, maximum=10_000)
    quads: int = option(
        3,
        "per launch; in a quad the models take turns, in a random order and then in its reverse",
        minimum=1,
        maximum=10_000,
    )
    block_s: float = option(0.5, "seconds of inference in a block", minimum=0.01, maximum=60)
    warmup_s: float = option(
        5.0, "longest warm-up; it ends earlier once the block median is stable", minimum=0, maximum=3600
    )


@dataclass(frozen=True)
class GateSection:
    """`gate`: when a candidate counts as slower, or less accurate. Threads and spinning are those of `latency`."""

    baseline: str = option("", "name of a baseline (`edgegd baseline set`); empty: `edgegd gate --baseline` says it")
    margin: float = option(0.03, "how much slower a candidate may be and still pass", minimum=0, maximum=100)
    detectable: float = option(
        0.10, "refuse to answer where only a regression greater than this would be seen", minimum=0.001, maximum=100
    )
    quads: int = option(
        64, "per launch; in a quad baseline and candidate run two blocks each", minimum=1, maximum=10_000
    )
    block_s: float = option(
        0.02,
        "seconds of inference in a block, three inferences at least; short blocks and many "
        "quads let the machine's noise cancel",
        minimum=0.001,
        maximum=60,
    )
    warmup_s: float = option(
        10.0, "longest warm-up of a worker; it ends earlier once its latency is stable", minimum=0, maximum=3600
    )
    limit_ms: float = option(
        0.0, "latency that must not be exceeded, beside the baseline's; 0: none", minimum=0, maximum=1_000_000
    )
    limit_quantile: float = option(
        0.95, "of the single inferences, which must stay below limit_ms", minimum=0.5, maximum=0.999
    )
    accuracy_margin: float = option(
        0.5, "points of mAP50-95 that a candidate may lose and still pass an accuracy gate", minimum=0, maximum=100
    )


@dataclass(frozen=True)
class TargetSection:
    """`target`: where the model will run."""

    profile: str = option(
        AUTO_PROFILE,
        "the kind of CPU to train and export for: x86 with VNNI, x86 with AVX2 alone "
        "(weights of 7 bits), ARM64 with the dot product (int8 activations), ARM64 without; auto: what the CPU of "
        "target.host needs, asked once at the start of a run",
        choices=(AUTO_PROFILE, *PROFILES),
    )
    host: str = option(
        LOCAL_HOST,
        "where the model will run and latency is measured: a name of `edgegd target ls`, or ssh://user@host[:port]",
    )


@dataclass(frozen=True)
class Recipe:
    """A whole recipe: everything a run depends on, beside the files it names."""

    version: int = option(SCHEMA_VERSION, "schema version of the recipe")
    description: str = option("", "one line shown by `edgegd recipe ls`")
    model: ModelSection = field(default_factory=ModelSection)
    data: DataSection = field(default_factory=DataSection)
    quant: QuantSection = field(default_factory=QuantSection)
    precision: PrecisionSection = field(default_factory=PrecisionSection)
    train: TrainSection = field(default_factory=TrainSection)
    export: ExportSection = field(default_factory=ExportSection)
    accuracy: AccuracySection = field(default_factory=AccuracySection)
    latency: LatencySection = field(default_factory=LatencySection)
    gate: GateSection = field(default_factory=GateSection)
    prove: ProveSection = field(default_factory=ProveSection)
    target: TargetSection = field(default_factory=TargetSection)
