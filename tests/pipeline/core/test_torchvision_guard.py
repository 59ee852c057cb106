"""The stand-in for torchvision's compiled NMS: right, once, in every process, and only where it is needed."""

import multiprocessing
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.torchvision_guard import install_torchvision_guard, nms

Boxes = list[tuple[int, int, int, int]]


def brute_force(boxes: Boxes, scores: list[float], threshold: float) -> list[int]:
    """NMS as one would say it: the best box stays, what overlaps it too much goes, and again."""
    waiting = sorted(range(len(boxes)), key=lambda i: -scores[i])
    kept = []
    while waiting:
        best = waiting.pop(0)
        kept.append(best)
        waiting = [i for i in waiting if not iou(boxes[best], boxes[i]) > threshold]
    return kept


def iou(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return shared / union if union else 0.0


coordinates = st.integers(0, 12)
boxes_and_scores = st.lists(
    st.tuples(
        st.builds(
            lambda x, y, w, h: (x, y, x + w, y + h), coordinates, coordinates, coordinates, coordinates
        ),
        st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]),  # few values, so that ties are the rule
    ),
    max_size=40,
)


@settings(max_examples=200, deadline=None)
@given(boxes_and_scores, st.sampled_from([0.0, 0.3, 0.5, 0.7, 1.0]))
def test_nms_keeps_what_a_brute_force_one_keeps(
    pairs: list[tuple[tuple[int, int, int, int], float]], threshold: float
) -> None:
    boxes, scores = [box for box, _ in pairs], [score for _, score in pairs]
    dets = torch.tensor(boxes, dtype=torch.float64).reshape(-1, 4)
    found = nms(dets, torch.tensor(scores, dtype=torch.float64), threshold)
    assert found.dtype == torch.int64
    assert found.tolist() == brute_force(boxes, scores, threshold)


@pytest.mark.parametrize("count", [255, 256, 257, 700])
def test_nms_over_several_blocks(count: int) -> None:
    generator = torch.Generator().manual_seed(count)
    corner = torch.randint(0, 60, (count, 2), generator=generator)
    dets = torch.cat([corner, corner + torch.randint(1, 40, (count, 2), generator=generator)], 1)
    scores = torch.randint(0, 20, (count,), generator=generator) / 20
    boxes = [tuple(box) for box in dets.tolist()]
    assert nms(dets.double(), scores, 0.4).tolist() == brute_force(boxes, scores.tolist(), 0.4)


def test_torchvision_and_what_builds_on_it_import_and_serve() -> None:
    first = install_torchvision_guard()
    assert install_torchvision_guard() is first
    import facenet_pytorch  # noqa: F401
    import segmentation_models_pytorch  # noqa: F401
    from torchvision.ops import batched_nms
    from torchvision.ops import nms as torchvision_nms

    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 11, 11], [0, 0, 10, 10], [20, 20, 30, 30]])
    scores = torch.tensor([0.9, 0.8, 0.7, 0.6])
    assert torchvision_nms(boxes, scores, 0.5).tolist() == [0, 3]
    assert batched_nms(boxes, scores, torch.tensor([0, 0, 1, 1]), 0.5).tolist() == [0, 2, 3]
    assert batched_nms(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64), 0.5).numel() == 0
    many = boxes.repeat(600, 1)  # so many that torchvision takes another way
    assert len(batched_nms(many, torch.rand(2400), torch.zeros(2400, dtype=torch.int64), 0.5)) == 2


def kept_in_a_worker(_: int) -> list[int]:
    install_torchvision_guard()
    from torchvision.ops import nms as torchvision_nms

    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 11, 11], [20, 20, 30, 30]])
    return list(torchvision_nms(boxes, torch.tensor([0.8, 0.9, 0.7]), 0.5).tolist())


def test_a_spawned_worker_has_it_too() -> None:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        assert list(pool.map(kept_in_a_worker, range(2))) == [[1, 2], [1, 2]]


def python(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_nothing_changes_where_the_compiled_library_loads() -> None:
    # A library that loads registers the operators: they are not defined again, torchvision is not touched.
    loads = """
import sys, torch
library = torch.library.Library("torchvision", "FRAGMENT")
def load_library(path):
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.impl("nms", lambda dets, scores, iou_threshold: torch.tensor([42]), "CompositeExplicitAutograd")
torch.ops.load_library = load_library
from pipeline.core.torchvision_guard import install_torchvision_guard
print(install_torchvision_guard(), install_torchvision_guard(), "torchvision" in sys.modules)
print(torch.ops.torchvision.nms(torch.zeros(1, 4), torch.zeros(1), 0.5).item())
"""
    assert python(loads).split() == ["False", "False", "False", "42"]


def test_importing_the_pipeline_does_not_import_torchvision() -> None:
    code = """
import importlib, pkgutil, sys, pipeline
for module in pkgutil.walk_packages(pipeline.__path__, "pipeline."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
        if "torchvision" in sys.modules:
            print(module.name)
            break
"""
    assert python(code) == ""
