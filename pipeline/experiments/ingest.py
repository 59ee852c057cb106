"""Peak memory of ingest over many 2-megapixel pictures against 200 of them: it must hardly grow.

`python -m pipeline benchmark ingest --pictures 20000` (about 3 GB of disk and half an hour on one core).
"""

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import psutil

from pipeline.core.params import Source, load_params
from pipeline.core.paths import PARAMS, PROFILES
from pipeline.core.records import write_records
from pipeline.ingest import ingest
from sinet.core import atomic
from sinet.images.decode import Array

_FEW = 200
WIDTH, HEIGHT = 1632, 1224
LIMIT_MB = 200


def main(pictures: int) -> None:
    """Draw the pictures, ingest 200 and then all of them in processes of their own, print both peaks."""
    with tempfile.TemporaryDirectory(prefix="benchmark-ingest-") as name:
        # A folder of its own, so that the results of another run in .cache save nothing.
        shutil.copy(PARAMS if PARAMS.is_file() else PROFILES / "sample.yaml", Path(name) / PARAMS)
        peaks = [_measure(Path(name), count) for count in (_FEW, pictures)]
    grown = peaks[1] - peaks[0]
    verdict = "within" if grown <= LIMIT_MB else "OVER"
    print(f"{pictures:,} pictures take {grown:+.0f} MB against {_FEW}: {verdict} the limit of {LIMIT_MB} MB")


def _draw(folder: Path, count: int) -> None:
    """Write pictures 000000.jpg, ... of 2 megapixels, each with other pixels; those that are there stay."""
    folder.mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    waves = (np.sin(x / 90), np.cos(y / 70), np.sin((x + y) / 110))
    base = np.stack([127 + 100 * wave for wave in waves], axis=2).astype(np.uint8)
    for number in range(count):
        path = folder / f"{number:06d}.jpg"
        if not path.exists():
            atomic.write_atomic(path, cv2.imencode(".jpg", _stamped(base, number))[1].tobytes())


def _stamped(base: Array, number: int) -> Array:
    """The picture with its number as a row of black and white 16-pixel squares, which survive JPEG."""
    picture = base.copy()
    for bit in range(24):
        picture[:16, 16 * bit : 16 * bit + 16] = 255 * (number >> bit & 1)
    return picture


def _measure(folder: Path, count: int) -> float:
    """Peak resident memory in MB of an ingest of `count` pictures, summed over its processes."""
    pictures, out = folder / f"pictures-{count}", folder / f"out-{count}"
    _draw(pictures, count)
    start, peak = time.monotonic(), 0
    process = psutil.Popen([sys.executable, "-m", __name__, pictures.name, out.name], cwd=folder)
    while process.poll() is None:
        peak = max(peak, resident(process))
        time.sleep(0.1)
    if process.returncode != 0:
        raise subprocess.CalledProcessError(process.returncode, "ingest")
    seconds = time.monotonic() - start
    print(f"{count:,} pictures: peak {peak / 2**20:.0f} MB, {seconds:.0f} s ({count / seconds:.0f} a second)")
    return peak / 2**20


def _ingest(pictures: Path, out: Path) -> None:
    """What the measured process does: the stage, from the pictures to its records."""
    params = load_params().ingest
    done = ingest("crawl", Source(role="crawl", layout="crawl", path=str(pictures)), params, out)
    write_records(out, done.records)
    if len(done.records) != done.items:
        raise ValueError(f"{done.items} pictures were drawn, but {len(done.records)} were taken")


if __name__ == "__main__":
    _ingest(Path(sys.argv[1]), Path(sys.argv[2]))


def resident(process: psutil.Popen) -> int:
    """Bytes in memory of a process and of all that it has started."""
    total = 0
    for one in (process, *process.children(recursive=True)):
        try:
            total += one.memory_info().rss
        except psutil.Error:  # it has just ended
            continue
    return total
