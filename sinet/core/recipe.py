"""The numbers of a training run and of an evaluation, as frozen models without heavy imports."""

import re
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, model_validator

_Probability = Annotated[float, Field(ge=0, le=1)]
NotNegative = Annotated[float, Field(ge=0)]
Above0 = Annotated[float, Field(gt=0)]
Range = tuple[float, float]  # low, high
LEAST_WIDTH, MOST_WIDTH = 0.25, 4.0  # of `sinet.network.model.SINet`
NONE, PACKAGED = "none", "packaged"  # of `train.weights`; anything else is a file


class Recipe(BaseModel):
    """A frozen set of numbers that refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _checked_level(level: object) -> int | str:
    number = isinstance(level, int) and not isinstance(level, bool) and 0 <= level <= 65535
    colour = isinstance(level, str) and re.fullmatch("#[0-9a-fA-F]{6}", level)
    if not number and not colour:
        raise ValueError('must be a level of 0 to 65535, or a colour such as "#ff0000"')
    return level  # type: ignore[return-value]


Level = Annotated[int | str, PlainValidator(_checked_level)]
_Levels = tuple[Level, ...]


class MaskClasses(Recipe):
    """Which levels of a label image are person and which are background; a mask with another level is refused.

    Grey levels, indices of a palette, or colours: 13, "#ff0000". An ignored level has no place of its own in a mask.
    """

    person: _Levels
    background: _Levels

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        if not self.person or not self.background:
            raise ValueError("person and background must each name a level")
        both = set(self.numbers(self.person)) & set(self.numbers(self.background))
        if both:
            raise ValueError(
                f"person and background must have no level in common, found {sorted(both)} in both"
            )
        if len({isinstance(level, str) for level in (*self.person, *self.background)}) > 1:
            raise ValueError("person and background must be all numbers or all colours, found both")
        return self

    @property
    def are_colours(self) -> bool:
        """Whether the levels are colours."""
        return isinstance(self.person[0], str)

    @staticmethod
    def numbers(levels: _Levels) -> list[int]:
        """Levels as numbers: of the colour #rrggbb, 0xrrggbb."""
        return [int(level[1:], 16) if isinstance(level, str) else level for level in levels]


class BlurKinds(Recipe):
    """How often each blur is drawn, relative to the others."""

    gaussian: Annotated[float, Field(ge=0)]
    median: Annotated[float, Field(ge=0)]
    box: Annotated[float, Field(ge=0)]

    @model_validator(mode="after")
    def _some_kind(self) -> Self:
        if self.gaussian + self.median + self.box <= 0:
            raise ValueError("at least one of gaussian, median and box must be above 0")
        return self


class AugmentRecipe(Recipe):
    """What `sinet.training.data` (the background) and `augment` (all else) draw; a factor of 1 changes nothing."""

    aspect: Literal["squash", "keep"]  # squash to the square as the evaluation does, or fit whole into it
    flip: _Probability
    background: _Probability  # of another picture's background behind the person
    affine: _Probability  # of rotation, scale and translation together
    rotation: Range  # degrees
    scale: Range
    translation: Range  # share of the square, each direction by itself
    colour_jitter: _Probability  # of colour, brightness, contrast and sharpness together
    colour: Range
    brightness: Range
    contrast: Range
    sharpness: Range
    blur: _Probability
    blur_kernels: Annotated[tuple[Literal[3, 5], ...], Field(min_length=1)]  # pixels
    blur_kinds: BlurKinds
    noise: _Probability
    noise_sigma: Range  # grey levels of 255

    @model_validator(mode="after")
    def _ranges(self) -> Self:
        for name in (
            "rotation",
            "scale",
            "translation",
            "colour",
            "brightness",
            "contrast",
            "sharpness",
            "noise_sigma",
        ):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} must be [low, high], found [{low}, {high}]")
            if low < 0 and name not in ("rotation", "translation"):
                raise ValueError(f"{name} must not be negative, found {low}")
        if self.scale[0] <= 0:
            raise ValueError(f"scale must be above 0, found {self.scale[0]}")
        return self


class Poly(Recipe):
    """Learning rate times (1 - done) ** power, done = 0..1 of the phase's steps after the warm-up."""

    kind: Literal["poly"]
    power: Annotated[float, Field(gt=0)]
    warmup: NotNegative  # epochs in which the rate grows from 0


class Steps(Recipe):
    """Learning rate times `factor` from the start of each milestone on."""

    kind: Literal["steps"]
    milestones: tuple[Annotated[int, Field(ge=1)], ...]  # epochs
    factor: Annotated[float, Field(gt=0, lt=1)]
    warmup: NotNegative


class Cosine(Recipe):
    """Learning rate times half a cosine from 1 to 0 over the phase's steps after the warm-up."""

    kind: Literal["cosine"]
    warmup: NotNegative


Schedule = Annotated[Poly | Steps | Cosine, Field(discriminator="kind")]


def check_warmup(schedule: Schedule, epochs: int) -> None:
    """ValueError where the learning rate would still be growing when `epochs` (not 0) are over."""
    if 0 < epochs <= schedule.warmup:
        raise ValueError(f"schedule.warmup must be below epochs ({epochs}), found {schedule.warmup}")


class Phase(Recipe):
    """One of the two phases: the encoder alone on labels at 1/8, then the whole network."""

    epochs: Annotated[int, Field(ge=0)]  # 0 leaves the encoder's phase out
    batch: Annotated[int, Field(ge=2)]  # batch normalisation needs more than one picture
    size: Annotated[int, Field(ge=32, multiple_of=32)]  # pixels, input
    learning_rate: Annotated[float, Field(gt=0)]  # of Adam
    schedule: Schedule
    boundary_weight: NotNegative  # the paper's lambda
    boundary_kernel: Annotated[int, Field(ge=1)]  # odd, pixels of the label's grid

    @model_validator(mode="after")
    def _odd_kernel(self) -> Self:
        if self.boundary_kernel % 2 == 0:
            raise ValueError(f"boundary_kernel must be odd, found {self.boundary_kernel}")
        check_warmup(self.schedule, self.epochs)
        return self


class Phases(Recipe):
    """The two phases of the paper."""

    encoder: Phase
    full: Phase

    @model_validator(mode="after")
    def _something_to_train(self) -> Self:
        if self.full.epochs < 1:
            raise ValueError("full.epochs must be at least 1")
        return self


class WeightDecay(Recipe):
    """Adam's weight decay in three tiers, as the official code has them."""

    depthwise: NotNegative
    convolution: NotNegative  # the other convolutions
    rest: NotNegative  # batch normalisation, PReLU, squeeze


class InputScale(Recipe):
    """((x - mean) / std) * scale over pixels of 0..255; it travels inside the weights file."""

    order: Literal["rgb", "bgr"]
    mean: tuple[float, float, float]  # in this order of channels
    std: tuple[Above0, Above0, Above0]
    scale: Above0


class TrainRecipe(Recipe):
    """Training of SINet."""

    seed: Annotated[int, Field(ge=0, lt=2**31, strict=True)]
    # At the start: NONE, PACKAGED, or a file (`sinet.training.start`).
    weights: Annotated[str, Field(min_length=1)]
    # of the network: 1 is the paper's, others have that many times its channels
    width: Annotated[float, Field(ge=LEAST_WIDTH, le=MOST_WIDTH)]
    predict_size: Annotated[
        int, Field(ge=32, multiple_of=32)
    ]  # pixels, the input size the weights file asks for
    input: InputScale
    # Of the forward and backward pass; weights and loss stay float32.
    precision: Literal["float32", "bfloat16"]
    # torch.compile of what is trained, for a GPU: minutes at the start of each phase, and needs a C++ compiler.
    compile: Annotated[bool, Field(strict=True)]
    class_weights: Annotated[
        bool, Field(strict=True)
    ]  # 1 / log(1.10 + frequency), frequencies of the train side
    weight_decay: WeightDecay
    # per step, of the running mean of the weights that dev judges and that is kept; 0: the weights themselves.
    # At most 1 - 1 / (steps an epoch), to forget within an epoch: 0.998 over 100 steps an epoch was useless, its
    # running statistics fit no weights.
    average_decay: Annotated[float, Field(ge=0, lt=1)]
    evaluate_every: Annotated[int, Field(ge=1)]  # epochs; the last epoch always counts
    best_from: _Probability  # share of a phase's epochs after which the best on dev is kept
    phases: Phases
    augment: AugmentRecipe


class EvaluateRecipe(Recipe):
    """Evaluation of SINet. Another size or kernel than 224 and 15 gives numbers that compare with nobody's."""

    size: Annotated[int, Field(ge=32)]  # pixels, picture and mask are squashed to it
    boundary_kernel: Annotated[int, Field(ge=1)]  # odd, pixels of that square
    gallery: Annotated[int, Field(ge=0)]  # how many of the worst pictures are shown

    @model_validator(mode="after")
    def _odd_kernel(self) -> Self:
        if self.boundary_kernel % 2 == 0:
            raise ValueError(f"boundary_kernel must be odd, found {self.boundary_kernel}")
        return self
