"""The recipe's section `train`, with distillation and the adaptation to other activations."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace

from edgegd.limits import LARGEST_SEED, THREADS
from edgegd.recipe.device import canonical_device
from edgegd.recipe.option import option


@dataclass(frozen=True)
class Distillation:
    """`train.distill`: what the student learns from the float model before QAT (weights 0, 0: nothing)."""

    head: float = option(0.0, "weight of the difference of class scores and boxes (not for RT-DETR)", minimum=0)
    neck: float = option(0.0, "weight of the difference of the features that enter the head", minimum=0)
    labels: bool = option(True, "whether the labels' own loss counts too; false uses no labels at all")

    @property
    def asks(self) -> bool:
        """Whether anything is learned from the float model."""
        return self.head > 0 or self.neck > 0


@dataclass(frozen=True)
class AdaptationDistillation(Distillation):
    """`train.adapt.distill`: what the swapped model learns from the SiLU model."""

    head: float = option(1.0, "weight of the difference of class scores and boxes (0 for RT-DETR)", minimum=0)
    neck: float = option(1.0, "weight of the difference of the features that enter the head", minimum=0)
    labels: bool = option(True, "whether the labels' own loss counts too; false uses no labels at all")


@dataclass(frozen=True)
class Adaptation:
    """`train.adapt`: float training, with BatchNorm live, of a model whose SiLUs became ReLUs (quant.activation).

    Everything that has no key here is as in `train`.
    """

    epochs: int = option(20, "epochs of float training after SiLUs were swapped", minimum=1, maximum=100_000)
    lr0: float = option(5e-4, "its peak learning rate", minimum=0)
    warmup_epochs: float = option(1.0, "its epochs of linear warm-up of the learning rate", minimum=0, maximum=100_000)
    distill: AdaptationDistillation = field(
        default_factory=AdaptationDistillation, metadata={"help": "distillation from the SiLU model"}
    )


@dataclass(frozen=True)
class TrainSection:
    """`train`: gradient descent under fake quantization (QAT)."""

    epochs: int = option(10, "epochs of QAT", minimum=1, maximum=100_000)
    batch: int = option(16, "images a step", minimum=1, maximum=100_000)
    device: str = option(
        "cpu",
        "where training runs, float training included: cpu, cuda, cuda:N, mps; a whole number N means cuda:N",
        canonical=canonical_device,
    )
    devices: int = option(
        1,
        "processes that train together, each with a share of every batch: with device cuda on so many GPUs of this "
        "machine, with cpu in so many processes. It changes no result beyond the order of sums (docs/scale.md)",
        minimum=1,
        maximum=THREADS,
    )
    accumulate: int = option(
        1,
        "parts in which each device computes its share of a batch, one after another: less memory, and a further "
        "forward pass, for the same gradient; batch must be a multiple of it",
        minimum=1,
        maximum=100_000,
    )
    workers: int = option(0, "data loading processes; 0 loads in the training process", minimum=0, maximum=THREADS)
    seed: int = option(
        0, "seed of the order of images, of augmentation and of initial values", minimum=0, maximum=LARGEST_SEED
    )
    optimizer: str = option(
        "AdamW",
        "AdamW, Adam, SGD, or MuSGD as Ultralytics trains with; SGD is plain with momentum 0",
        choices=("AdamW", "Adam", "SGD", "MuSGD"),
    )
    lr0: float = option(
        2e-5,
        "peak learning rate of the weights; where more training in float would still gain, 1e-4 gains more",
        minimum=0,
    )
    bias_lr: float | None = option(None, "peak learning rate of the biases; null: lr0", minimum=0)
    range_lr: float = option(
        1e-3,
        "peak learning rate of the ranges: of the logarithms of scales, and of zero points "
        "as a fraction of the 255 codes",
        minimum=0,
    )
    lrf: float = option(0.01, "final learning rate as a fraction of the peak (cosine)", minimum=0, maximum=1)
    freeze_ranges_epochs: int = option(
        1, "epochs at the end in which ranges no longer learn", minimum=0, maximum=100_000
    )
    momentum: float = option(
        0.9, "momentum (SGD, MuSGD) or beta1 (Adam, AdamW): less than 1", minimum=0, maximum=0.9999
    )
    weight_decay: float = option(0.0, "weight decay of convolution weights", minimum=0)
    warmup_epochs: float = option(0.5, "epochs of linear warm-up of the learning rate", minimum=0, maximum=100_000)
    grad_clip: float = option(10.0, "largest norm of the gradient", minimum=0)
    ema_decay: float = option(
        0.998, "decay of the exponential moving average of weights and ranges", minimum=0, maximum=1
    )
    amp: bool = option(False, "mixed precision: float16 on cuda, bfloat16 on cpu; weights and ranges stay float32")
    oscillation: str = option(
        "off",
        "weights that swing between two codes: off, count them (track), or also damp or freeze them",
        choices=("off", "track", "damp", "freeze"),
    )
    damping: float = option(
        0.1, "damp: coefficient, at the end, of the squared distance of weights to their codes", minimum=0
    )
    distill: Distillation = field(default_factory=Distillation, metadata={"help": "distillation from the float model"})
    adapt: Adaptation = field(
        default_factory=Adaptation, metadata={"help": "float training after a swap of activations"}
    )
    probe_every: int = option(
        96,
        "of so many steps one is looked at closely (docs/telemetry.md): each layer and range, the gradient's noise, "
        "the step's length; 0: none. It changes nothing of the training",
        minimum=0,
        maximum=1_000_000,
    )
    control: bool = option(
        False,
        "also train the float model for the same steps, chosen in the same way: what it gains, QAT did not earn",
    )
    checkpoint_minutes: float = option(
        5.0, "minutes between checkpoints within an epoch; 0: after every step", minimum=0
    )
    mosaic: float = option(0.0, "probability of mosaic augmentation", minimum=0, maximum=1)
    fliplr: float = option(0.5, "probability of a horizontal flip", minimum=0, maximum=1)
    scale: float = option(0.1, "random scaling by a factor of 1 +- scale", minimum=0, maximum=1)
    translate: float = option(0.1, "random shift as a fraction of the image", minimum=0, maximum=1)
    hsv_h: float = option(0.015, "random shift of hue", minimum=0, maximum=1)
    hsv_s: float = option(0.4, "random shift of saturation", minimum=0, maximum=1)
    hsv_v: float = option(0.3, "random shift of value", minimum=0, maximum=1)


DESCENT_KEYS = tuple(f"train.{one.name}" for one in fields(TrainSection) if one.name not in ("control", "devices"))
"""The keys of `train` that a descent depends on."""


def adaptation_settings(train: TrainSection) -> TrainSection:
    """The settings of the adaptation as those of any descent: `train` with the keys of `train.adapt` in their places.

    There are no ranges and no codes, so what is about them is off; biases learn at the rate of the weights.
    """
    adapt = train.adapt
    return replace(
        train,
        epochs=adapt.epochs,
        lr0=adapt.lr0,
        bias_lr=None,
        warmup_epochs=adapt.warmup_epochs,
        distill=adapt.distill,
        freeze_ranges_epochs=0,
        oscillation="off",
    )
