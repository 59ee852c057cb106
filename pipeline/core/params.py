"""params.yaml as frozen models: one section a stage, unknown keys and bad values refused by name.

Every value stands in params.yaml; the models hold no defaults, so that there is no second place for a parameter.
"""

import os
import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, get_args

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    RootModel,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)

from pipeline.core.errors import PipelineError
from pipeline.core.licences import UNKNOWN, is_family, spdx_id
from pipeline.core.paths import CRAWL, PARAMS, SINET
from sinet.core.recipe import (
    NONE,
    AugmentRecipe,
    EvaluateRecipe,
    MaskClasses,
    Schedule,
    TrainRecipe,
    check_warmup,
)

_Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0, strict=True)]
Seed = Annotated[int, Field(ge=0, lt=2**31, strict=True)]
Positive = Annotated[int, Field(ge=1, strict=True)]


def must_be(holds: bool, key: str, value: object, range_: str) -> None:
    """A ValueError that names key, value and legal range, for what only two keys together can tell."""
    if not holds:
        raise ValueError(f"{key} must be {range_}, found {value}")


class Section(BaseModel):
    """A frozen part of params.yaml that refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


_Model = TypeVar("_Model", bound=Section)

# What a source is for: portraits with masks that people drew, full bodies with masks, photographs without masks.
Role = Literal["labelled", "bodies", "crawl"]
ROLES: tuple[Role, ...] = get_args(Role)
ABSENT = "absent"  # the layout of a source that holds nothing
_WITH_MASKS = ("eg1800", "baidu", "pairs", ABSENT)
_LAYOUTS: dict[Role, tuple[str, ...]] = {
    "labelled": _WITH_MASKS,
    "bodies": _WITH_MASKS,
    "crawl": ("crawl", "img2dataset", ABSENT),
}
_SOURCE_NAME = re.compile(r"[a-z][a-z0-9_]{0,23}")
MASK_KINDS = ("human", "crop", "reviewed", "pseudo")  # from the surest to the least sure
_NO_SOURCE = {"reviews": "the reviews have", **dict.fromkeys(MASK_KINDS, "a kind of mask has")}


SourceTerm = Annotated[str, Field(min_length=1)] | None


class Source(Section):
    """A folder of pictures: what they are for, and how its files are named."""

    role: Role
    layout: Literal["eg1800", "baidu", "pairs", "crawl", "img2dataset", "absent"]
    path: Annotated[str, Field(min_length=1)]
    # Of each of its pictures that states none itself; the only keys that may be missing.
    licence: SourceTerm = None
    author: SourceTerm = None
    url: SourceTerm = None
    retrieved_at: SourceTerm = None


class Sources(RootModel[dict[str, Source]]):
    """Every source by its name, which is that of its stage, its folder and its records; each role has one or more."""

    model_config = ConfigDict(frozen=True)

    def __getitem__(self, name: str) -> Source:
        return self.root[name]

    def names(self) -> list[str]:
        """The names, sorted: the order of the lines in params.yaml changes nothing."""
        return sorted(self.root)

    def of_role(self, role: Role) -> dict[str, Source]:
        """The sources of a role by name, sorted."""
        return {name: self.root[name] for name in self.names() if self.root[name].role == role}

    @model_validator(mode="after")
    def _fit(self) -> Self:
        for name, source in self.root.items():
            _check_name(name)
            fitting = _LAYOUTS[source.role]
            range_ = f"{', '.join(fitting[:-1])} or {fitting[-1]} with role {source.role}"
            must_be(source.layout in fitting, f"{name}.layout", source.layout, range_)
        for role in ROLES:
            if not self.of_role(role):
                line = (
                    f"no_{role}: {{role: {role}, layout: {ABSENT}, path: pipeline/commands/profiles/absent}}"
                )
                raise ValueError(
                    f"expected at least one source of each role, found none of {role}; without such pictures add the "
                    f"line `{line}`"
                )
        for one, other in _same_folder(self.root):
            raise ValueError(
                f"{one} and {other} are the same folder, {self.root[other].path}; remove one of the two"
            )
        return self


def _check_name(name: str) -> None:
    if not _SOURCE_NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} cannot name a source: expected at most 24 of a-z, 0-9 and _, a letter first, as my_portraits"
        )
    if name in _NO_SOURCE:
        raise ValueError(f"{name!r} cannot name a source: {_NO_SOURCE[name]} this name; choose another one")


def _same_folder(sources: dict[str, Source]) -> Iterator[tuple[str, str]]:
    """Pairs of names whose paths lead to one folder; absent sources, of which nothing is read, are left out."""
    real = {name: os.path.realpath(one.path) for name, one in sources.items() if one.layout != ABSENT}
    yield from ((one, other) for one, other in combinations(real, 2) if real[one] == real[other])


class SampleParams(Section):
    """The drawn world."""

    seed: Seed
    portraits: Count  # EG1800 layout, train list
    portraits_test: Count  # EG1800 layout, test list
    bodies: Count  # Baidu layout
    crawl: Count  # crawl layout, no masks


class FetchParams(Section):
    """How pictures are fetched from their addresses."""

    # Its first word is the name by which robots.txt and X-Robots-Tag know it.
    user_agent: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z_-]{2,40}$")]
    contact: Annotated[str, Field(pattern=r"^([\x21-\x7e]*(@|://)[\x21-\x7e]+)?$")]  # "" only without lists
    rate: Annotated[float, Field(gt=0, le=10_000)]  # requests a second to one host
    per_host: Positive  # requests at a time to one host
    concurrency: Annotated[int, Field(ge=1, le=1000, strict=True)]  # requests at a time
    tries: Annotated[int, Field(ge=1, le=10, strict=True)]  # of an address that may work later
    max_wait: Annotated[float, Field(ge=0)]  # seconds; a host that asks for more is left for another day
    max_seconds: Annotated[float, Field(gt=0)]  # of an address, with its redirects and its body
    max_bytes: Positive  # of a body
    max_redirects: Count
    min_side: Positive  # pixels
    max_side: Positive
    allow_private: Annotated[bool, Field(strict=True)]  # addresses that are not on the public internet

    @model_validator(mode="after")
    def _order(self) -> Self:
        must_be(
            self.min_side <= self.max_side, "min_side", self.min_side, f"at most max_side ({self.max_side})"
        )
        return self


class CrawlParams(Section):
    """Lists of addresses by the name of the folder below data/crawl that they are fetched to, and how."""

    lists: dict[str, Annotated[str, Field(min_length=1)]]
    fetch: FetchParams

    @model_validator(mode="after")
    def _fit(self) -> Self:
        for name in self.lists:
            _check_name(name)
        if self.lists and not self.fetch.contact:
            raise ValueError(
                "with lists of addresses fetch.contact must be an e-mail or web address of yours, which every site is "
                "told, found none"
            )
        return self


TwoOrClasses = Annotated[
    Annotated[Literal["two"], Tag("two")] | Annotated[MaskClasses, Tag("classes")],
    Discriminator(lambda value: "classes" if isinstance(value, dict | MaskClasses) else "two"),
]


class MaskLevels(Section):
    """What the levels of a layout's masks mean: two of them, or classes of which some are person."""

    eg1800: TwoOrClasses
    baidu: TwoOrClasses
    pairs: TwoOrClasses

    def classes(self, layout: str) -> MaskClasses | None:
        """The classes of a layout's masks; None where its masks have two levels, or there are none."""
        found = getattr(self, layout, None)
        return found if isinstance(found, MaskClasses) else None


class IngestParams(Section):
    """What a usable picture and mask is."""

    max_pixels: Positive
    min_side: Positive
    mask_threshold: Annotated[int, Field(ge=1, le=254)]  # grey above it is person
    min_foreground: _Share
    max_foreground: _Share
    max_undecided: _Share  # of a mask's pixels, neither dark nor light
    mask_levels: MaskLevels
    duplicate_masks: Literal["keep_first", "reject_both", "majority"]
    max_reject_rate: _Share

    @model_validator(mode="after")
    def _order(self) -> Self:
        low, high = self.min_foreground, self.max_foreground
        must_be(low < high, "min_foreground", low, f"below max_foreground ({high})")
        return self


class FaceParams(Section):
    """Which faces are looked for, and which of them make a portrait."""

    min_size: Annotated[int, Field(ge=12)]  # pixels; MTCNN looks for no smaller face
    max_side: Annotated[int, Field(ge=64)]  # pixels; a larger picture is reduced to it for the search
    min_probability: _Share
    min_height: Positive  # pixels

    @model_validator(mode="after")
    def _order(self) -> Self:
        low, high = self.min_size, self.max_side
        must_be(low <= high, "min_size", low, f"at most max_side ({high})")
        return self


class GeometryParams(Section):
    """The portrait around a face, in heights of the face's box."""

    above: Annotated[float, Field(ge=0, le=10)]
    below: Annotated[float, Field(ge=0, le=10)]
    aspect: Annotated[float, Field(gt=0, le=10)]  # width / height of the portrait
    border: Literal["shift", "pad"]  # of a box that reaches outside: moved in and shrunk, or filled up


class CropParams(Section):
    """Faces and portrait boxes."""

    faces: FaceParams
    geometry: GeometryParams
    fill: Annotated[int, Field(ge=0, le=255)]  # grey of what lies outside the photograph; its mask is 0
    whole_from: _Share  # of a picture's area: a portrait box of that size takes the picture as it is
    min_on_mask: _Share  # of the face's box
    min_coverage: _Share  # of the crop by the mask
    max_coverage: _Share
    other_face: Annotated[float, Field(gt=0)]  # share of the chosen face's height, of one that rejects it
    max_reject_rate: _Share  # of the full bodies
    max_reject_rate_crawl: _Share  # of the crawled pictures

    @model_validator(mode="after")
    def _order(self) -> Self:
        low, high = self.min_coverage, self.max_coverage
        must_be(low < high, "min_coverage", low, f"below max_coverage ({high})")
        return self


class TeacherParams(Section):
    """The DeepLabv3+ teacher."""

    seed: Seed
    encoder: str  # as segmentation_models_pytorch names it
    weights: str  # of the encoder at the start: none, imagenet (from the Hugging Face hub), or a file
    output_stride: Literal[8, 16]
    atrous_rates: tuple[Positive, Positive, Positive]  # in cells of output_stride pixels
    size: Annotated[int, Field(ge=32, multiple_of=32)]  # pixels, the network's square input
    epochs: Positive
    patience: Positive  # epochs without a better dev IoU after which training stops
    batch: Annotated[int, Field(ge=2)]  # batch normalisation needs more than one picture
    learning_rate: Annotated[float, Field(gt=0)]  # of AdamW
    weight_decay: Annotated[float, Field(ge=0)]
    schedule: Schedule
    max_gradient: Annotated[float, Field(gt=0)]  # norm of all gradients together; a larger one is scaled down
    average_decay: Annotated[
        float, Field(ge=0, lt=1)
    ]  # per step, of the running mean of the weights that is kept
    dice_weight: Annotated[float, Field(ge=0)]  # of the Dice loss beside cross-entropy
    augment: AugmentRecipe

    @model_validator(mode="after")
    def _warmup_ends(self) -> Self:
        check_warmup(self.schedule, self.epochs)
        return self


class UncertaintyWeights(Section):
    """Weights of the parts in the mean; only their ratio counts."""

    flip: Annotated[float, Field(ge=0)]
    stability: Annotated[float, Field(ge=0)]
    entropy: Annotated[float, Field(ge=0)]

    @model_validator(mode="after")
    def _some_weight(self) -> Self:
        if self.flip + self.stability + self.entropy <= 0:
            raise ValueError("at least one of flip, stability and entropy must be above 0")
        return self


class UncertaintyParams(Section):
    """How doubtful a pseudo label is."""

    delta: Annotated[float, Field(gt=0, lt=0.5)]  # thresholds 0.5 - delta and 0.5 + delta are compared
    band: Annotated[
        int, Field(ge=3)
    ]  # pixels of the network's size, odd: the outline where entropy is measured
    weights: UncertaintyWeights

    @field_validator("band")
    @classmethod
    def _odd(cls, band: int) -> int:
        if band % 2 == 0:
            raise ValueError("must be odd")
        return band


class FlagParams(Section):
    """What looks wrong with a pseudo mask."""

    min_person: _Share  # of the picture
    piece: _Share  # of the mask: from this size on a second piece counts
    border: _Share  # of each of the four edges
    min_face_covered: _Share  # of the face's box


class PseudoLabelParams(Section):
    """The teacher on the crawl."""

    uncertainty: UncertaintyParams
    flags: FlagParams


class QueueParams(Section):
    """Which pseudo labels people look at first."""

    size: Positive  # at most so many wait for a review
    random_share: _Share  # of the queue, drawn by a hash of the id whatever its uncertainty
    double_share: _Share  # of the queue, asked twice, for two reviewers
    gold_share: _Share  # of the queue, in tasks more: labelled dev pictures whose mask is damaged on purpose
    from_scratch_share: _Share  # of the queue, asked without a mask, to measure what the masks save


class LabelStudioParams(Section):
    """Where curators work; `dvc repro` needs no server."""

    url: Annotated[str, Field(pattern=r"^https?://[^\s/]+")]
    send: Annotated[bool, Field(strict=True)]
    # What a task's pictures are found under: a local files storage of the server, an address, or uploaded by us.
    picture_root: Annotated[str, Field(pattern=r"^((/data/local-files/\?d=|https?://|s3://).*[^/]|upload)$")]
    clicks: Annotated[bool, Field(strict=True)]  # whether `make review` repairs masks where somebody clicks


class ReviewsParams(Section):
    """The lock of reviews that merge reads."""

    path: Annotated[str, Field(min_length=1)]


class LicencesParams(Section):
    """Which licences the pictures of the dataset may have."""

    allow: Literal["any"] | tuple[str, ...]  # SPDX ids, families of them as CC-BY, and `unknown`

    @field_validator("allow")
    @classmethod
    def _known(cls, allow: str | tuple[str, ...]) -> str | tuple[str, ...]:
        words = "SPDX ids as CC-BY-4.0, families of them as CC-BY, and unknown"
        if not allow:
            raise ValueError(f"must be any, or a list of {words}; a list of none leaves no picture")
        strange = [one for one in allow if one != UNKNOWN and not is_family(one)] if allow != "any" else []
        if strange:
            meant = spdx_id(strange[0])
            raise ValueError(
                f"must hold {words}, found {strange[0]!r}" + (f"; write {meant}" if meant else "")
            )
        return allow


class ClusterParams(Section):
    """Which pictures show the same photograph."""

    min_matches: Annotated[int, Field(ge=8)]
    max_hash_distance: Annotated[int, Field(ge=0, le=256)]  # bits of 256


class SplitParams(Section):
    """The side of every picture, for the teacher and the dataset alike."""

    dev_share: _Share  # of the clusters outside test
    test_share: _Share  # of the clusters, only where no source publishes a test side
    max_reject_rate: _Share  # of the labelled pictures

    @model_validator(mode="after")
    def _leaves_train(self) -> Self:
        both = self.dev_share + self.test_share
        must_be(both < 1, "dev_share + test_share", both, "below 1, so that pictures are left to train on")
        return self


class SecondLookParams(Section):
    """Which accepted masks the curators are asked about again."""

    size: Count  # at most so many
    min_disagreement: _Share  # 1 - IoU of SINet's mask and the accepted one


class MergeParams(Section):
    """Which records make the dataset."""

    unreviewed: Literal["exclude", "include"]
    max_uncertainty: _Share  # of an included pseudo label
    leave_out: tuple[str, ...]  # kinds of masks (MASK_KINDS) and sources that do not train
    same_box_iou: _Share  # above it, two boxes of one picture are the same crop
    max_orphaned_reviews: Count


class ExportParams(Section):
    """ONNX export."""

    opset: Annotated[int, Field(ge=18, le=23)]
    parity_pictures: Positive  # of the dev side
    tolerance: Annotated[float, Field(gt=0)]  # largest difference of a logit between ONNX and torch


class ReportParams(Section):
    """The pictures on the report's page; what git tracks holds none."""

    pictures: Count  # of each kind of mask
    picture_height: Annotated[int, Field(ge=32, le=1000)]  # pixels


class ExecuteParams(Section):
    """Where single pictures are worked on. No result depends on it, so that no stage names it."""

    engine: Literal["local", "ray"]
    address: Annotated[str, Field(pattern=r"^(auto|[^\s/:]+:[0-9]{1,5})?$")]  # of Ray's cluster


class _OnlyExecute(Section):
    """That section alone."""

    model_config = ConfigDict(extra="ignore")

    execute: ExecuteParams


class Params(Section):
    """All of params.yaml."""

    sources: Sources
    sample: SampleParams
    crawl: CrawlParams
    ingest: IngestParams
    crop: CropParams
    licences: LicencesParams
    cluster: ClusterParams
    split: SplitParams
    teacher: TeacherParams
    pseudo_label: PseudoLabelParams
    queue: QueueParams
    label_studio: LabelStudioParams
    reviews: ReviewsParams
    merge: MergeParams
    train: TrainRecipe
    evaluate: EvaluateRecipe
    export: ExportParams
    second_look: SecondLookParams
    report: ReportParams
    execute: ExecuteParams

    @model_validator(mode="after")
    def _known_are_left_out(self) -> Self:
        known = (*MASK_KINDS, *self.sources.names())
        strange = [name for name in self.merge.leave_out if name not in known]
        if strange:
            raise ValueError(
                f"merge.leave_out names {', '.join(strange)}, which is no kind of mask and no source; it may name "
                f"{', '.join(known)}"
            )
        return self

    @model_validator(mode="after")
    def _lists_are_read(self) -> Self:
        paths = {os.path.normpath(source.path): name for name, source in self.sources.root.items()}
        fetched = {str(CRAWL / name): name for name in self.crawl.lists}
        for folder, name in fetched.items():
            if folder not in paths:
                line = f"{name}: {{role: crawl, layout: crawl, path: {folder}}}"
                raise ValueError(
                    f"crawl.lists.{name} is fetched, but no source reads it; add to sources: `{line}`"
                )
        for path, name in paths.items():
            if Path(path).is_relative_to(CRAWL) and path not in fetched:
                raise ValueError(
                    f"sources.{name}.path is {path}, where only lists of addresses are fetched to; add to crawl.lists: "
                    f"`{Path(path).name}: LIST.csv`, or keep your own pictures elsewhere"
                )
        return self


def load_params(path: Path = PARAMS) -> Params:
    """Read and check params.yaml; PipelineError names key, value and legal range."""
    return parse_params(_read(path), str(path))


def execute_params(path: Path = PARAMS) -> ExecuteParams:
    """Read and check the section execute alone; without a params.yaml nobody has chosen anything but this machine."""
    if not path.exists():
        return ExecuteParams(engine="local", address="")
    return _valid(_OnlyExecute, _read(path), str(path)).execute


def _read(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text())
    except FileNotFoundError as error:
        raise PipelineError(
            f"expected {path} in {Path.cwd().name}/, found none; run from the folder of dvc.yaml"
        ) from error
    except yaml.YAMLError as error:
        raise PipelineError(f"{path} is not YAML: {error}") from error


def parse_params(content: Any, name: str = "params.yaml") -> Params:
    """Check a parsed params.yaml."""
    params = _valid(Params, content, name)
    _check_start(params.train, name)
    return params


def _valid(model: type[_Model], content: Any, name: str) -> _Model:
    try:
        return model.model_validate(content)
    except ValidationError as error:
        lines = [_complaint(dict(one)) for one in error.errors()]
        raise PipelineError(f"{name} cannot be used:\n  " + "\n  ".join(lines)) from error


def _check_start(recipe: TrainRecipe, name: str) -> None:
    """PipelineError where training could not start: now, since hours of other stages may come before it."""
    if recipe.weights == NONE:  # then no stage has anything to do with the module that is imported next
        return
    from sinet.training.start import StartError, check_start

    try:
        check_start(recipe)
        if os.path.realpath(recipe.weights) == os.path.realpath(SINET):
            raise StartError(
                f"dvc removes {SINET} before stage train runs; copy it to a folder that is no stage's and name that "
                f"(`dvc checkout {SINET}` brings back one that is gone)"
            )
    except StartError as error:
        raise PipelineError(
            f"{name} cannot be used:\n  train.weights: found {recipe.weights!r}; {error}"
        ) from error


def _complaint(error: dict[str, Any]) -> str:
    key = ".".join(str(part) for part in error["loc"]) or "the file"
    if error["type"] == "extra_forbidden":
        return f"{key}: no such parameter; remove it or mend its name"
    if error["type"] == "missing":
        return f"{key}: is missing; `python -m pipeline configure sample` shows a complete file"
    if isinstance(error["input"], dict) and error["type"] == "value_error":  # of keys together; says which
        return f"{key}: {error['ctx']['error']}"
    return f"{key}: found {error['input']!r}; {error['msg'][0].lower()}{error['msg'][1:]}"
