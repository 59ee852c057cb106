"""`python -m sinet`: SINet portrait segmentation on one's own pictures."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sinet.benchmark.command import app as benchmark
from sinet.core import atomic, paper
from sinet.core.recipe import EvaluateRecipe, MaskClasses
from sinet.core.terminal import always_printable, reason
from sinet.inference.files import Existing

if TYPE_CHECKING:
    from sinet.exporting.onnx_file import OnnxPredictor
    from sinet.inference.predictor import Predictor

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
app.add_typer(benchmark, name="benchmark")

PROTOCOL = EvaluateRecipe(size=paper.SIZE, boundary_kernel=paper.BAND, gallery=0)
OPSET = 18  # of ONNX, the oldest into which torch translates the network: ONNX Runtime from 1.14 on reads it
TOLERANCE = 1e-3  # of a logit: at most 0.00025 of a probability

Weights = Annotated[
    Path | None,
    typer.Option(help="weights file (safetensors); those that come with the package unless given"),
]


@app.command()
def predict(
    out: Annotated[Path, typer.Option(help="folder to write to")],
    named: Annotated[
        list[Path] | None,
        typer.Argument(metavar="PICTURE", help="pictures, videos, and folders of them", show_default=False),
    ] = None,
    weights: Weights = None,
    background: Annotated[
        str | None,
        typer.Option(
            metavar="WHAT",
            help="write the person before this too: blur, transparent, a colour (in quotes: '#20a040'), a picture",
        ),
    ] = None,
    existing: Annotated[
        Existing, typer.Option(help="what to do where a file that would be written is there already")
    ] = Existing.REFUSE,
    camera: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="record from camera N, until Ctrl-C")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(min=0.1, help="end the recording from a camera after this time")
    ] = None,
) -> None:
    """Write a black and white mask for each picture, video or camera, at its own size.

    OUT/STEM.png for a picture (an animation's first frame), OUT/STEM.mp4 for a video, OUT/camera0.mp4 for camera 0.
    With --background OUT/STEM.background.png or .mp4 too. Pictures of one stem keep their suffix: hopper.jpg.png.
    Videos are H.264 and keep their times and their sound.

    A file that is there already is not touched, unless --existing says so: skip does what an earlier run left undone,
    by the files' names alone.
    """
    from sinet.core.device import DeviceError
    from sinet.inference import apply, files
    from sinet.inference.compose import BackgroundError, PictureBackground, Transparent, parse_background
    from sinet.inference.footage import VideoError
    from sinet.inference.video import record
    from sinet.network.weights import WeightsError

    with _told("predict", files.InputError, BackgroundError, DeviceError, VideoError, WeightsError):
        if bool(named) == (camera is not None):
            raise files.InputError("expected either pictures, videos and folders, or --camera N")
        if seconds is not None and camera is None:
            raise files.InputError("--seconds ends a recording and needs --camera N")
        if camera is not None and existing is not Existing.REFUSE:
            raise files.InputError(
                "--existing is for pictures and videos; a recording always gets a name of its own"
            )
        files.check_out(named or [], out)
        sources, others = files.find(named or [])
        behind = None if background is None else parse_background(background)
        if isinstance(behind, Transparent) and (camera is not None or any(map(files.is_video, sources))):
            raise files.InputError(
                "a video cannot be transparent; give --background blur, a colour or a picture"
            )
        picture = Path(background) if background and isinstance(behind, PictureBackground) else None
        jobs = files.plan(sources, out, behind is not None, existing, picture)
        predictor = _predictor(weights)
        if camera is not None:
            mask, composed = files.camera_outputs(camera, out, composed=behind is not None)
            print(f"opening camera {camera}; Ctrl-C ends the recording", file=sys.stderr)
            count = record(camera, mask, composed, predictor, behind, seconds)
            print(f"{count} frames in {' and '.join(str(path) for path in (mask, composed) if path)}")
            return
        files.make_folder(out)
    for other in others:
        print(f"left out, by its suffix neither picture nor video: {other}", file=sys.stderr)
    try:
        failures = apply.predict_files(predictor, jobs, behind)
    except KeyboardInterrupt:
        print(
            f"stopped; the same command with --existing skip does what is not yet in {out}", file=sys.stderr
        )
        raise typer.Exit(130) from None
    skipped = len(sources) - len(jobs)
    before = f", {skipped} there before" if skipped else ""
    print(f"{len(jobs) - len(failures)} of {len(jobs)} done, in {out}{before}")
    if failures:
        raise typer.Exit(1)


@app.command()
def evaluate(
    masks: Annotated[Path, typer.Option(help="folder of masks; stems match without _mask or -profile")],
    out: Annotated[Path, typer.Option(help="JSON file to write")],
    images: Annotated[Path | None, typer.Option(help="folder of pictures, for SINet to predict")] = None,
    predicted: Annotated[
        Path | None, typer.Option(help="folder of masks another tool made, measured instead of SINet's")
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(help="weights or ONNX file; the weights that come with the package unless given"),
    ] = None,
    listed: Annotated[
        Path | None, typer.Option("--list", help="file with a stem or a whole number a line; 1 is 00001")
    ] = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="go on where a picture or a mask is missing")
    ] = False,
    person: Annotated[
        str | None,
        typer.Option(
            metavar="LEVELS",
            help="of --masks that are label images: the levels that are person, as 1,13-15 or '#ff0000'",
        ),
    ] = None,
    background: Annotated[
        str | None,
        typer.Option(metavar="LEVELS", help="and all other levels, those that are ignored included"),
    ] = None,
    facts: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="TABLE.parquet",
            help="what is known of the pictures by their stems: data/facts/facts.parquet, data/dataset/records.parquet",
        ),
    ] = None,
) -> None:
    """Measure weights on pairs of files: foreground IoU, two-class mIoU, boundary F1, IoU at native size.

    Also of the worst tenth and of hard pictures: dark, without colour, with small faces, of several people, by skin
    tone and source. What pictures and masks do not tell comes from --facts, and is named where it is not known.

    With --predicted in place of --images: measure masks that another tool made, by the same protocol.
    """
    from sinet.evaluation import protocol as evaluating
    from sinet.evaluation.known_facts import read_known
    from sinet.network.weights import WeightsError

    with _told("evaluate", evaluating.EvaluateError, WeightsError):
        lines = None if listed is None else _lines(listed)
        judged = images or predicted
        if judged is None or (predicted is not None and (images is not None or weights is not None)):
            raise evaluating.EvaluateError("expected --images (with --weights, or without), or --predicted")
        classes = _classes(person, background)
        samples, unmatched = evaluating.pair(judged, masks, lines)
        for line in unmatched:
            print(f"unmatched: {line}", file=sys.stderr)
        if unmatched and not allow_missing:
            raise evaluating.EvaluateError(
                f"{len(unmatched)} files or list entries have no match; mend them, or add --allow-missing"
            )
        known, sources = read_known(facts or [], [sample.id for sample in samples])
        predictor = None if predicted else _measured(weights)
        out = Path(os.path.realpath(out))  # a link stays one
        _check_writable(out)  # now: measuring takes minutes
        if predictor is None:
            evaluation = evaluating.evaluate_masks(samples, PROTOCOL, classes)
        else:
            evaluation = evaluating.evaluate(predictor, samples, PROTOCOL, classes)
        figures = evaluation.figures()
        by_slice = evaluation.by_slice(known)
        by_source = None if sources is None else evaluation.by_kind(sources)
        content = {
            **figures,
            "by_slice": by_slice,
            "by_source": by_source,
            "images": evaluation.rows(),
            "unmatched": unmatched,
        }
        atomic.write_atomic(out, (json.dumps(content, indent=2) + "\n").encode())
    for name, value in figures.items():
        print(f"{name:22} {value:.4f}" if isinstance(value, float) else f"{name:22} {value}")
    of_sources = {f"source {name}": one for name, one in by_source.items()} if by_source else {"source": None}
    print(f"\n{evaluating.slice_table({**by_slice, **of_sources})}")


@app.command()
def convert(
    checkpoint: Annotated[
        Path, typer.Argument(metavar="OFFICIAL.pth", help="checkpoint of the official code")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT.safetensors", help="weights file to write")],
) -> None:
    """Turn a two-class checkpoint of the official code into a weights file; no code in it is executed.

    The official preprocessing goes into the file: BGR, the published mean and std, and the second division by 255.
    """
    from sinet.network.convert import convert_official as convert_checkpoint
    from sinet.network.weights import WeightsError

    with _told("convert", WeightsError):
        card = convert_checkpoint(checkpoint, out)
    pre = card.preprocessing
    print(
        f"{out}: {card.classes} classes, {pre.size}x{pre.size} {pre.order.upper()}, mean {pre.mean}, std {pre.std},"
    )
    print(f"then times {pre.scale:.6f}. Weights trained with other numbers than these give bad masks.")


@app.command()
def export(
    weights: Annotated[Path, typer.Argument(metavar="WEIGHTS", help="weights file (safetensors)")],
    out: Annotated[Path, typer.Argument(metavar="OUT.onnx", help="ONNX file to write")],
    with_preprocessing: Annotated[
        bool,
        typer.Option(
            "--with-preprocessing", help="the file takes uint8 RGB, N x S x S x 3, and not the scaled input"
        ),
    ] = False,
    openvino: Annotated[
        Path | None,
        typer.Option(metavar="OUT.xml", help="write an OpenVINO file too; needs the package openvino"),
    ] = None,
    int8: Annotated[
        Path | None,
        typer.Option(metavar="OUT8.onnx", help="write 8-bit integers too, calibrated on --pictures"),
    ] = None,
    pictures: Annotated[
        Path | None,
        typer.Option(
            help="picture or folder to compare on; the portrait that matplotlib brings unless given"
        ),
    ] = None,
) -> None:
    """Write weights as ONNX, and as OpenVINO, and compare each with torch on pictures before it counts as done.

    --int8 is for processors that multiply bytes fast; measure it: python -m sinet evaluate --weights OUT8.onnx ...
    """
    from sinet.exporting import to_int8 as export_int8
    from sinet.exporting import to_onnx as exporting
    from sinet.exporting import to_openvino as export_openvino
    from sinet.exporting.comparison import MOST, comparison_pictures
    from sinet.images.decode import ImageError
    from sinet.inference.files import InputError
    from sinet.inference.predictor import Predictor
    from sinet.network.weights import WeightsError, read_weights

    with _told("export", exporting.ExportError, InputError, ImageError, WeightsError):
        if int8 is not None and (pictures is None or with_preprocessing):
            raise InputError("--int8 needs --pictures to calibrate on, and is without the preprocessing")
        if openvino is not None and openvino.suffix != ".xml":
            raise InputError(f"expected a name that ends in .xml for the OpenVINO file, found {openvino}")
        _check_apart(weights, pictures, out, openvino, openvino and openvino.with_suffix(".bin"), int8)
        model, card = read_weights(weights)
        predictor = Predictor(model, card.preprocessing)
        most = MOST if int8 is None else export_int8.CALIBRATED_ON
        images = comparison_pictures(pictures, card.preprocessing.size, most)
        compared = images[:MOST]
        with exporting.until_compared(out) as written:
            exporting.export_onnx(written, model, card, OPSET, with_preprocessing)
            apart = exporting.difference(written, predictor, compared)
            exporting.check_parity(out, apart, TOLERANCE, len(compared))
        _tell_parity(out, apart, len(compared))
        if openvino is not None:
            with exporting.until_compared(openvino) as written:
                export_openvino.export_openvino(out, written, card)
                apart = export_openvino.openvino_difference(written, predictor, compared)
                exporting.check_parity(openvino, apart, TOLERANCE, len(compared))
            _tell_parity(openvino, apart, len(compared))
        if int8 is not None:
            with exporting.until_compared(int8) as written:
                export_int8.export_int8(out, written, predictor, images)
                iou = export_int8.agreement(written, predictor, images)
            print(
                f"{int8}: {int8.stat().st_size:,} bytes, IoU of its masks with torch's {iou:.4f} "
                f"({len(images)} pictures)"
            )


def _check_apart(weights: Path, pictures: Path | None, *outs: Path | None) -> None:
    """InputError where a file to write is the weights, a picture to compare on or another one to write."""
    from sinet.inference.files import InputError, real

    inside = [] if pictures is None else list(pictures.iterdir()) if pictures.is_dir() else [pictures]
    taken = {real(weights): "the weights file", **{real(one): "a picture to compare on" for one in inside}}
    for path in filter(None, outs):
        if real(path) in taken:
            raise InputError(f"{path} would be written over {taken[real(path)]}; give it another name")
        taken[real(path)] = "another file that is written"


def _tell_parity(path: Path, apart: float, pictures: int) -> None:
    size = path.stat().st_size
    print(f"{path}: {size:,} bytes, at most {apart:.1e} of a logit from torch ({pictures} pictures)")


@contextmanager
def _told(command: str, *errors: type[Exception]) -> Iterator[None]:
    """Errors that are the user's to mend become one line on stderr and exit code 1; failing to write is one."""
    from sinet.images.decode import ReadError

    expected: tuple[type[Exception], ...] = (*errors, OSError)
    try:
        yield
    except expected as error:
        sentence = str(error)
        if isinstance(error, OSError) and error.errno is not None:
            told = str(error) if isinstance(error, ReadError) else reason(error)
            sentence = told if error.filename is None else f"{error.filename}: {told}"
        print(f"sinet {command}: {sentence}", file=sys.stderr)
        raise typer.Exit(1) from error


def _predictor(weights: Path | None) -> "Predictor":
    import sinet
    from sinet.core.device import choose_device

    predictor = sinet.load(weights)
    predictor.model.to(choose_device())
    return predictor


def _measured(weights: Path | None) -> "Predictor | OnnxPredictor":
    import sinet
    from sinet.exporting.onnx_file import OnnxPredictor

    if weights is not None and weights.suffix == ".onnx":
        return OnnxPredictor(weights)
    return sinet.load(weights)


def _classes(person: str | None, background: str | None) -> MaskClasses | None:
    """The levels that two options name; EvaluateError where only one is given, or one cannot be read."""
    from pydantic import ValidationError

    from sinet.evaluation.protocol import EvaluateError

    if person is None and background is None:
        return None
    try:
        return MaskClasses(person=_levels(person), background=_levels(background))
    except ValidationError as error:
        raise EvaluateError(
            f"--person {person} --background {background}: {error.errors()[0]['msg'].removeprefix('Value error, ')}"
        ) from error


def _levels(text: str | None) -> tuple[int | str, ...]:
    """The levels of `0,13-15` or `#ff0000,#00ff00`; what is neither stays text, which MaskClasses refuses."""
    levels: list[int | str] = []
    for part in filter(None, (one.strip() for one in (text or "").split(","))):
        first, _, last = part.partition("-")
        if first.isdecimal() and (last or first).isdecimal():
            levels += range(int(first), min(int(last or first), 65536) + 1)
        else:
            levels.append(part)
    return tuple(levels)


def _check_writable(out: Path) -> None:
    """Make the folder of `out` and open it for writing, leaving what it holds; OSError where that cannot be."""
    new = not out.exists()
    try:
        atomic.check_no_pipe(out)
        out.parent.mkdir(parents=True, exist_ok=True)
        out.open("a").close()
    except OSError as error:
        raise OSError(f"expected a file that can be written, {out}: {error.strerror}") from error
    if new:
        out.unlink()


def _lines(path: Path) -> list[str]:
    from sinet.evaluation.protocol import EvaluateError
    from sinet.images.listed import ListError, decoded

    try:
        atomic.check_no_pipe(path)
        return decoded(path.read_bytes()).splitlines()
    except (OSError, ListError) as error:
        raise EvaluateError(
            f"expected a text file with a stem or a number a line, {path}: {error}"
        ) from error


if __name__ == "__main__":
    always_printable()
    app()
