"""A predictor over many files: masks and composed pictures written beside each other, broken files told and left."""

import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
from tqdm import tqdm

from sinet.core.progress import bar_interval
from sinet.core.terminal import reason
from sinet.images.colour import to_srgb
from sinet.images.decode import Array, ImageError, ReadError, decode_image, encode_png, read_bytes
from sinet.inference import video
from sinet.inference.compose import Background, compose, mask_of
from sinet.inference.files import TEMPORARY, Job
from sinet.inference.footage import VideoError
from sinet.inference.predictor import Predictor


def predict_files(predictor: Predictor, jobs: Sequence[Job], background: Background | None) -> list[str]:
    """Work on all jobs with a progress bar on stderr; returns a sentence for each one that failed."""
    failures = []
    for job in tqdm(jobs, desc="predict", unit="file", file=sys.stderr, mininterval=bar_interval(0.1)):
        try:
            _apply_one(predictor, job, background)
        except (ImageError, ReadError, VideoError) as error:
            failures.append(f"{job.source}: {error}")
        except OSError as error:
            failures.append(f"{job.source}: the result cannot be written: {reason(error)}")
        else:
            continue
        tqdm.write(failures[-1], file=sys.stderr)
    return failures


def _apply_one(predictor: Predictor, job: Job, background: Background | None) -> None:
    if job.is_video:
        video.predict_video(job.source, job.mask, job.composed, predictor, background)
        return
    data = read_bytes(job.source)
    image = decode_image(data)
    probability = predictor.probability(image)
    if job.composed is not None and background is not None:
        _write(job.composed, compose(to_srgb(image, data), probability, background))
    _write(job.mask, mask_of(probability))


def _write(path: Path, pixels: Array) -> None:
    """A PNG, by way of a hidden folder beside it, where no file of anybody's can be; RGBA too."""
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        done, data = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGBA2BGRA))
        if not done:
            raise OSError(f"{path.name} cannot be encoded as PNG")
        content = bytes(data.tobytes())
    else:
        content = encode_png(pixels)
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=path.parent, prefix=TEMPORARY) as folder:
        temporary = Path(folder) / path.name
        temporary.write_bytes(content)
        temporary.replace(path)
