"""The masks of MediaPipe Selfie Segmentation, a peer of SINet's size: runs in an environment of its own.

    python -m venv peer && peer/bin/pip install mediapipe==0.10.21
    peer/bin/python sinet/benchmark/mediapipe_peer.py PICTURES OUT
    python -m sinet evaluate --predicted OUT --masks MASKS --out peer.json

MediaPipe is no dependency of this project and nothing here imports the project. Each picture gives
OUT/STEM.png, grey at the picture's own size: 255 is certainly person. The CPU time a picture, from pixels to
mask, is printed.
"""

import argparse
import statistics
import time
from pathlib import Path

import cv2
import mediapipe
import numpy as np

PORTRAIT_MODEL = 0  # 256x256; 1 is the one for landscapes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pictures", type=Path, help="folder of pictures")
    parser.add_argument("out", type=Path, help="folder of masks to write")
    parser.add_argument(
        "--list", type=Path, help="file with a stem or a whole number a line; others are left out"
    )
    options = parser.parse_args()
    paths = sorted(
        path for path in options.pictures.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png")
    )
    if options.list:
        listed = {_bare(line.strip()) for line in options.list.read_text(encoding="utf-8-sig").splitlines()}
        paths = [path for path in paths if _bare(path.stem) in listed]
    if not paths:
        parser.error(f"expected pictures (jpg, jpeg, png) in {options.pictures}, found none")
    options.out.mkdir(parents=True, exist_ok=True)
    if options.out.samefile(options.pictures):
        parser.error(f"expected another folder to write to than that of the pictures, {options.pictures}")
    times = []
    with mediapipe.solutions.selfie_segmentation.SelfieSegmentation(model_selection=PORTRAIT_MODEL) as peer:
        for path in paths:
            bgr = cv2.imread(str(path))
            if bgr is None:
                parser.error(f"expected a picture, {path} cannot be read")
            rgb = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
            start = time.process_time()
            probability = peer.process(rgb).segmentation_mask
            times.append((time.process_time() - start) * 1e3)
            grey = np.rint(probability * 255).astype(np.uint8)
            grey[grey == 1] = 0  # a file with levels of 0 and 1 alone counts as black and white
            cv2.imwrite(str(options.out / f"{path.stem}.png"), grey)
    print(f"{len(times)} pictures, {statistics.median(times):.1f} ms of CPU a picture (median)")


def _bare(stem: str) -> str:
    """A whole number without the zeros before it; another stem as it is."""
    return str(int(stem)) if stem.isascii() and stem.isdigit() else stem


if __name__ == "__main__":
    main()
