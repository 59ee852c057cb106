"""Made-up metrics of a run: counts that add up as the stages' do, hardly two alike; what a page shows beside."""

from copy import deepcopy
from typing import Any

from pipeline.reporting.page import Page
from pipeline.versions.paired import Interval
from pipeline.versions.slices import MEASURES, SliceScore

FIGURES = {
    "foreground_iou": 0.9512,
    "mean_iou": 0.9423,
    "boundary_f1": 0.8734,
    "foreground_iou_native": 0.9501,
}

_METRICS: dict[str, dict[str, Any]] = {
    "ingest@eg1800": {
        "role": "labelled",
        "in": 20013,
        "out": 20002,
        "rejected": 11,
        "reasons": {"no_mask": 4, "truncated": 7},
    },
    "ingest@baidu": {
        "role": "bodies",
        "in": 15032,
        "out": 15009,
        "rejected": 23,
        "reasons": {"empty_file": 23},
    },
    "ingest@crawl": {
        "role": "crawl",
        "in": 13055,
        "out": 13014,
        "rejected": 41,
        "reasons": {"not_an_image": 12, "too_small": 29},
    },
    "crop@bodies": {
        "in": 15009,
        "out": 14846,
        "rejected": 163,
        "reasons": {"no_face": 101, "several_people": 62},
    },
    "crop@crawl": {
        "in": 13014,
        "out": 12000,
        "rejected": 1014,
        "reasons": {"face_too_small": 32, "no_face": 982},
    },
    "split@labelled": {
        "in": 34848,
        "out": 34799,
        "rejected": 49,
        "reasons": {"duplicate_pixels": 15, "leak_with_test": 31, "licence": 3},
        "published_test": True,
        "leaks": 31,
    },
    "split@crawl": {
        "in": 13014,
        "out": 12996,
        "rejected": 18,
        "reasons": {"leak_with_dev": 18},
        "published_test": False,
        "leaks": 18,
    },
    "merge": {
        "in": 47699,
        "out": 35497,
        "rejected": 12202,
        "reasons": {
            "duplicate_pixels": 2,
            "not_reviewed": 11105,
            "orphaned": 5,
            "review_reject": 140,
            "review_rejected": 140,
            "review_unsure": 110,
            "reviewed": 700,
        },
        "inputs": {"human": 19976, "crop": 14823, "pseudo": 12000, "reviews": 900},
        "labels": {"human": 19976, "crop": 14823, "reviewed": 698},
        "sides": {"train": 31720, "dev": 1773, "test": 2004},
        "sides_by_label": {
            "train": {"human": 16974, "crop": 14083, "reviewed": 663},
            "dev": {"human": 998, "crop": 740, "reviewed": 35},
            "test": {"human": 2004},
        },
        "sources": {"eg1800": 19976, "baidu": 14823, "crawl": 698},
        "licences": {"CC BY 2.0": 697, "research only": 19970, "unknown": 14830},
        "reviews": {"accept": 610, "fix": 95, "reject": 140, "unsure": 55},
        "clusters": {"count": 35011, "shared": 402, "records_in_shared": 888, "largest": 9},
        "published_test": True,
        "leaks": 0,
        "test_duplicates": 13,
        "orphaned_reviews": 5,
        "unreviewed": 0,
        "dataset_hash": "5a" * 32,
    },
    "queue": {"queued": 11099},
    "agreement": {
        "judgements": 1042,
        "reviewers": 2,
        "accept_rate": 0.6843,
        "edit_size": 0.0712,
        "seconds": 7.2,
        "minutes_saved": "not measured",
        "double": {
            "crops": 51,
            "mask_iou": 0.9731,
            "boundary_iou": 0.8127,
            "alpha": 0.7934,
            "conflicts": 0.0392,
        },
        "gold": {"caught": 0.9245, "masks": 53, "signed_area": 0.0041},
        "by_reviewer": {
            "curator-1": {
                "judgements": 633,
                "accept_rate": 0.6621,
                "seconds": 9.4,
                "gold": {"caught": 0.9632, "masks": 29, "signed_area": 0.0213},
                "others": {"masks": 33, "signed_area": 0.0187},
            },
            "curator-2": {
                "judgements": 409,
                "accept_rate": 0.7187,
                "seconds": 5.6,
                "gold": {"caught": "not measured", "masks": 0, "signed_area": "not measured"},
                "others": {"masks": 33, "signed_area": -0.0187},
            },
        },
    },
    "teacher": {
        "best_epoch": 2,
        "foreground_iou": 0.9312,
        "parameters": 26678417,
        "train": 31000,
        "dev": 1500,
    },
    "train": {
        "best_epoch": 3,
        "dev_foreground_iou": 0.9487,
        "parameters": 86910,
        "images": {"train": 31720, "dev": 1773},
        "unreviewed_pseudo_labels": 0,
    },
    "evaluate": {
        **FIGURES,
        "count": 2004,
        "without_near_train": {**{name: value - 0.01 for name, value in FIGURES.items()}, "count": 1987},
    },
    "export": {"max_difference": 0.000003, "pictures": 4, "bytes": 413355},
}

# Of the stages whose metrics file is not called like them.
FILES = {
    "agreement": "reviews",
    "ingest@eg1800": "ingest/eg1800",
    "ingest@baidu": "ingest/baidu",
    "ingest@crawl": "ingest/crawl",
    "crop@bodies": "crop",
    "crop@crawl": "crop",
    "split@labelled": "split",
    "split@crawl": "split",
}

# Two more labelled sources and two more crawls, of which one has pictures of another one.
MORE_SOURCES: dict[str, dict[str, Any]] = {
    "ingest@mine": {"role": "labelled", "in": 310, "out": 307, "rejected": 3, "reasons": {"two_masks": 3}},
    "ingest@a_name_of_24_characters": {"role": "labelled", "in": 18, "out": 18, "rejected": 0, "reasons": {}},
    "ingest@web_1": {"role": "crawl", "in": 811, "out": 802, "rejected": 9, "reasons": {"truncated": 9}},
    "ingest@web_2": {"role": "crawl", "in": 400, "out": 400, "rejected": 0, "reasons": {}},
}

PLOT = '<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"><title>{}</title></svg>\n'

STAGES = (
    "ingest@eg1800",
    "ingest@baidu",
    "ingest@crawl",
    "crop@bodies",
    "crop@crawl",
    "split@labelled",
    "split@crawl",
    "merge",
)  # of the card: no model among them


def metrics() -> dict[str, dict[str, Any]]:
    """The metrics by stage; change what a test is about."""
    return deepcopy(_METRICS)


def metrics_of_more_sources() -> dict[str, dict[str, Any]]:
    """As `metrics`, with MORE_SOURCES beside the three."""
    return {**metrics(), **deepcopy(MORE_SOURCES)}


def page(**more: Any) -> Page:
    """A page that shows nothing, but for what a test gives it."""
    plain: dict[str, Any] = {
        "plots": {name: PLOT.format(name) for name in ("train", "teacher", "iou", "balance")},
        "balance": [{"name": "side train", "pictures": 31720, "shares": [0.013, None, *[0.5] * 7]}],
        "slice_scores": [
            SliceScore("all", dict.fromkeys(MEASURES, Interval(100, 90, 0.9123, 0.9012, 0.9234, 0.001))),
            SliceScore("several people", dict.fromkeys(MEASURES, Interval(7, 7, 0.8, None, None, None))),
        ],
        "rejected": {stage: [] for stage in (*STAGES, *MORE_SOURCES)},
        "samples": [],
        "gallery": [],
        "label": "human",
        "params": {
            "evaluate": {"size": 224, "boundary_kernel": 15},
            "teacher": {"encoder": "resnet50"},
            "train": {"weights": "packaged"},
        },
        "versions": {"Python": "3.11"},
        "picture_height": 32,
    }
    return Page(**{**plain, **more})
