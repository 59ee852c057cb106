"""The whole recipe in a tiny drawn world: real DVC, real git, every stage; kills, versions, experiments."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from filelock import FileLock

from pipeline.core.records import read_records
from tests.project import TINY, commit, copy_tree, digest, environment, run, set_params

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
# Of stages killed in the middle `make test` proves two: all write through one atomic writer and one store, whose own
# kill tests it also runs, as it does those of both trainings (tests/sinet/training, tests/pipeline/test_teacher.py).
LONG = pytest.mark.long
AUDIT = str(Path(__file__).parent / "audit")

STAGES = [
    "sample", "list_sources", "ingest@eg1800", "ingest@baidu", "ingest@crawl", "crop", "cluster", "split",
    "teacher", "pseudo_label", "queue", "push", "agreement", "merge", "balance", "train", "evaluate", "export",
    "second_look", "report", "headline",
]  # fmt: skip


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A finished project, reviewed by the drawn world's reviewer. Tests must not change it; all processes share it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "world"
    with FileLock(folder.with_name("world.lock")):
        if not folder.is_dir():
            making, opened = folder.with_name("world.making"), folder.with_name("world.opened")
            for one in (making, opened):
                shutil.rmtree(one, ignore_errors=True)
                one.mkdir()
            _finish(making, opened)
            making.rename(folder)
    return folder


def _finish(folder: Path, opened: Path) -> None:
    """Make the world; every stage writes down in `opened` which files it opens."""
    copy_tree(folder)
    (folder / "annotations/reviews/tiny").mkdir()
    set_params(folder, TINY)
    run(folder, "dvc", "repro", "pseudo_label", PYTHONPATH=AUDIT, AUDIT_LOGS=str(opened))
    run(folder, sys.executable, "-m", "pipeline.commands.draw_reviews")
    run(folder, "dvc", "repro", PYTHONPATH=AUDIT, AUDIT_LOGS=str(opened))
    commit(folder, "the tiny world")


@pytest.fixture
def project(world: Path, tmp_path: Path) -> Path:
    """A copy of the finished project to change."""
    copy = tmp_path / "project"
    shutil.copytree(world, copy, symlinks=True)
    return copy


def test_every_stage_ran_and_left_its_outputs(world: Path) -> None:
    lock = yaml.safe_load((world / "dvc.lock").read_text())
    assert sorted(lock["stages"]) == sorted(STAGES)
    for stage in lock["stages"].values():
        for out in stage["outs"]:
            assert (world / out["path"]).exists(), out["path"]


def test_the_four_metrics_are_shares(world: Path) -> None:
    metrics = json.loads((world / "metrics/evaluate.json").read_text())
    for name in ("foreground_iou", "mean_iou", "boundary_f1", "foreground_iou_native"):
        assert 0 < metrics[name] < 1, name


def test_what_people_reviewed_is_in_the_dataset(world: Path) -> None:
    metrics = json.loads((world / "metrics/merge.json").read_text())
    assert metrics["labels"]["reviewed"] > 0
    assert metrics["orphaned_reviews"] == 0


def test_nothing_changed_means_no_stage_runs_and_git_is_clean(world: Path) -> None:
    again = run(world, "dvc", "repro")
    assert "Running stage" not in again.stdout
    assert "up to date" in again.stdout
    assert run(world, "git", "status", "--porcelain").stdout == ""


def test_what_git_tracks_holds_no_picture(world: Path) -> None:
    for name in run(world, "git", "ls-files", "reports").stdout.split():
        assert not name.endswith((".png", ".jpg", ".jpeg", ".webp")), name
        assert "data:image" not in (world / name).read_text(), name


def test_the_page_in_a_real_browser(world: Path, tmp_path: Path) -> None:
    """One self-contained file: a browser without a network draws the figures, all pictures and every plot."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium: `make browser` installs it on Debian")
    page = tmp_path / "page.html"
    shutil.copyfile(world / "data/report/index.html", page)
    probe = """<script>addEventListener('load', () => {
        const loaded = [...document.images].filter(one => one.complete && one.naturalWidth > 0).length
        const wide = document.documentElement.scrollWidth > document.documentElement.clientWidth
        document.title = [document.images.length, loaded, document.querySelectorAll('svg').length, wide,
            performance.getEntriesByType('resource').filter(one => !one.name.startsWith('data:')).length].join()
    })</script>"""
    page.write_text(page.read_text() + probe)
    done = run(
        tmp_path, browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
        "--disable-background-networking", "--disable-component-update", f"--user-data-dir={tmp_path / 'user'}",
        "--window-size=1300,2000", "--virtual-time-budget=5000", "--dump-dom", page.as_uri(),
    )  # fmt: skip
    title = re.search(r"<title>([^<]*)</title>", done.stdout)
    assert title is not None
    pictures, loaded, drawings, too_wide, fetched = title[1].split(",")
    assert int(pictures) == int(loaded) > 10
    assert int(drawings) >= 4
    assert (too_wide, fetched) == ("false", "0")
    metrics = json.loads((world / "metrics/evaluate.json").read_text())
    assert f"{100 * metrics['foreground_iou']:.2f}" in done.stdout


def test_what_a_dvc_user_expects(world: Path) -> None:
    dag = run(world, "dvc", "dag", "--dot").stdout
    for arrow in (
        '"ingest@baidu" -> "crop"',
        '"ingest@crawl" -> "crop"',
        '"crop" -> "pseudo_label"',
        '"cluster" -> "split"',
        '"split" -> "teacher"',
    ):
        assert arrow in dag
    shown = json.loads(run(world, "dvc", "metrics", "show", "--json").stdout)[""]["data"]
    assert list(shown) == ["headline.json"]
    figures = shown["headline.json"]["data"]
    assert len(figures) <= 12 and {"iou", "teacher", "train", "leaks", "moved", "accepted"} <= figures.keys()
    table = run(world, "dvc", "metrics", "show").stdout
    assert max(map(len, table.splitlines())) <= 120
    plots = run(world, "dvc", "plots", "show", "--json").stdout
    assert "dev_foreground_iou" in plots


def test_plots_are_drawn_without_a_network(world: Path, tmp_path: Path, page: Any) -> None:
    """The page that DVC brings fetches Vega from the web; that of .dvc/config has it inside."""
    run(world, "dvc", "plots", "show", "--out", str(tmp_path / "plots"))
    fetched: list[str] = []
    page.on("request", lambda request: fetched.append(request.url))
    index = (tmp_path / "plots/index.html").as_uri()
    page.goto(index)
    page.wait_for_selector("svg.marks .role-mark.mark-line path", state="attached")
    drawn = page.evaluate("""() => [...document.querySelectorAll('svg.marks')].map(
        one => one.querySelectorAll('.role-mark.mark-line path, .role-mark.mark-symbol path').length)""")
    assert len(drawn) == 5 and min(drawn) > 0
    assert page.evaluate("() => [...document.images].map(one => one.naturalWidth > 0)") == [True, True]
    assert not [url for url in fetched if not url.startswith(("file:", "data:"))]


def read_opened(log: Path, project: Path) -> list[tuple[str, str]]:
    """("r" or "w", path) of what a stage opened in `project`, relative to it and by the name that it has in the end."""
    opened = []
    for line in log.read_text().splitlines():
        how, _, path = line.partition(" ")
        if path.startswith(f"{project}/"):
            # Written under .FILE.NUMBER.tmp, or in a folder .FILE.tmp where the name must be right from the start.
            inside = re.sub(
                r"(^|/)\.([^/]+?)(\.[0-9a-f]{8})?\.tmp(/.*)?$", r"\1\2\4", path.removeprefix(f"{project}/")
            )
            opened.append((how, inside))
    return opened


def test_stages_open_only_what_dvc_yaml_names(world: Path, project: Path, tmp_path: Path) -> None:
    """Every file that Python opened as the world was made.

    A stage that took results from the cache of another one runs again without a cache.
    """
    lock = yaml.safe_load((world / "dvc.lock").read_text())["stages"]
    seen = set()
    for name in STAGES:
        stage = lock[name]
        opened = read_opened(world.with_name("world.opened") / stage["cmd"], world.with_name("world.making"))
        cached = {
            how: {path for one, path in opened if one == how and path.startswith(".cache/")} for how in "rw"
        }
        if any((world / path).is_file() for path in cached["r"] - cached["w"]):
            shutil.rmtree(project / ".cache", ignore_errors=True)
            log = tmp_path / name
            run(project, *stage["cmd"].split(), PYTHONPATH=AUDIT, AUDIT_LOG=str(log))
            opened = read_opened(log, project)
        deps = [dep["path"] for dep in stage["deps"]]
        outs = [out["path"] for out in stage["outs"]]
        for how, inside in opened:
            if inside.startswith((".cache/", "tests/")) or inside == "params.yaml" or "__pycache__" in inside:
                continue
            if how == "r" and not (world / inside).is_file():
                continue  # a folder, opened to clear it: what lies below comes by its name alone
            if inside.endswith(".py") or inside.startswith("pipeline/commands/profiles"):
                continue
            allowed = outs if how == "w" else deps + outs
            assert any(inside == one or inside.startswith(f"{one}/") for one in allowed), (
                f"{name}: {how} {inside}"
            )
            seen.add(name)
    assert seen >= {"sample", "crop", "cluster", "split", "pseudo_label", "push", "merge", "report"}


def stop_in_the_middle(project: Path, command: list[str], enough: Path, files: int) -> None:
    """Start a stage and SIGKILL it with its workers as soon as `files` files lie below `enough`."""
    process = subprocess.Popen(
        command, cwd=project, env=environment(PIPELINE_WORKERS="2"), stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 300
    while process.poll() is None and time.monotonic() < deadline:
        # os.walk passes over a folder that is renamed meanwhile.
        if sum(len(names) for _, _, names in os.walk(enough)) >= files:
            break
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL) if process.poll() is None else None
    assert process.wait() == -signal.SIGKILL, "the stage ended before it could be killed"


@pytest.mark.parametrize(
    ("stage", "outs", "watch", "files"),
    [
        pytest.param("sample", ["data/sample"], "data/.sample.tmp", 20, marks=LONG),
        pytest.param(
            "ingest@eg1800",
            ["data/ingest/labelled/eg1800", "metrics/ingest/eg1800.json"],
            "data/ingest/labelled/eg1800",
            10,
            marks=LONG,
        ),
        ("crop", ["data/crop/bodies", "data/crop/crawl", "metrics/crop.json"], ".cache/crop", 5),
        pytest.param(
            "pseudo_label", ["data/pseudo", "metrics/pseudo_label.json"], ".cache/pseudo_label", 3, marks=LONG
        ),
        pytest.param("push", ["data/push"], "data/push", 3, marks=LONG),
        pytest.param("merge", ["data/dataset", "metrics/merge.json"], "data/dataset", 5, marks=LONG),
        pytest.param("evaluate", ["data/gallery", "metrics/evaluate.json"], "data/gallery", 1, marks=LONG),
        pytest.param("export", ["models/sinet.onnx", "metrics/export.json"], "models", 3, marks=LONG),
        pytest.param(
            "second_look", ["data/second_look", "metrics/second_look.json"], "data/second_look", 3, marks=LONG
        ),
        pytest.param("report", ["data/report", "reports"], "reports", 1, marks=LONG),
    ],
)
def test_a_killed_data_stage_gives_the_same_bytes(
    project: Path, stage: str, outs: list[str], watch: str, files: int
) -> None:
    before = {out: digest(project / out) for out in outs}
    command = yaml.safe_load((project / "dvc.lock").read_text())["stages"][stage]["cmd"].split()
    shutil.rmtree(project / ".cache")
    for out in outs:
        shutil.rmtree(project / out) if (project / out).is_dir() else (project / out).unlink()
    stop_in_the_middle(project, command, project / watch, files)
    # Once as it was left, without DVC's clearing of the outputs, and once as a user goes on.
    run(project, *command)
    assert {out: digest(project / out) for out in outs} == before
    run(project, "dvc", "repro", "--single-item", "--force", stage)
    assert {out: digest(project / out) for out in outs} == before


@pytest.mark.parametrize(
    ("stage", "outs"),
    [
        ("queue", ["data/queue", "metrics/queue.json"]),
        pytest.param("cluster", ["data/cluster", "metrics/cluster.json"], marks=LONG),
        pytest.param("split", ["data/split", "data/rejected/split.csv", "metrics/split.json"], marks=LONG),
        pytest.param(
            "agreement", ["metrics/reviews.json", "plots/reviews.csv", "plots/bias_maps.svg"], marks=LONG
        ),
    ],
)
def test_a_stage_of_an_instant_killed_at_any_write_gives_the_same_bytes(
    project: Path, stage: str, outs: list[str]
) -> None:
    before = {out: digest(project / out) for out in outs}
    kills = 0
    while True:
        program = (
            f"import pipeline.{stage} as stage, tests.killed as killed\n"
            f"killed.kill_at_write({kills})\nstage.main()"
        )
        command = [sys.executable, "-c", program]
        done = run(project, *command, check=False)
        if done.returncode != -signal.SIGKILL:
            break
        run(project, sys.executable, "-m", f"pipeline.{stage}")
        found = {out: digest(project / out) for out in outs}
        assert found == before
        kills += 1
    assert done.returncode == 0 and kills >= len(outs)
    assert {out: digest(project / out) for out in outs} == before


@pytest.mark.parametrize(
    ("stage", "model"),
    [
        pytest.param("teacher", "models/teacher.safetensors", marks=LONG),
        pytest.param("train", "models/sinet.safetensors", marks=LONG),
    ],
)
def test_a_killed_training_stage_finishes(project: Path, stage: str, model: str) -> None:
    shutil.rmtree(project / ".cache")
    (project / model).unlink()
    stop_in_the_middle(project, [sys.executable, "-m", f"pipeline.{stage}"], project / ".cache" / stage, 1)
    assert not (project / model).exists()
    run(project, "dvc", "repro", "--single-item", "--force", stage)
    assert (project / model).stat().st_size > 100_000


def test_the_order_and_number_of_workers_do_not_matter(project: Path) -> None:
    outs = [
        "data/ingest/labelled/eg1800",
        "data/crop/bodies",
        "data/crop/crawl",
        "data/cluster/crawl.csv",
        "data/split/labelled",
        "data/split/crawl",
        "data/pseudo",
        "data/push",
        "data/dataset",
    ]
    before = {out: digest(project / out) for out in outs}
    shutil.rmtree(project / ".cache")
    stages = yaml.safe_load((project / "dvc.lock").read_text())["stages"]
    for stage in ("ingest@eg1800", "crop", "cluster", "split", "pseudo_label", "push", "merge"):
        run(project, *stages[stage]["cmd"].split(), PIPELINE_WORKERS="2")
    assert {out: digest(project / out) for out in outs} == before


def test_somebodys_pictures_in_the_folders_of_stages_are_not_deleted(project: Path, tmp_path: Path) -> None:
    mine = project / "data/sample/crawl/images/IMG_0001.jpg"
    shutil.copyfile(next(mine.parent.iterdir()), mine)
    for command in (["repro"], ["checkout"], ["checkout", "--force"], ["exp", "run"]):
        done = run(project, "dvc", *command, check=False)
        assert mine.exists(), command
        if "checkout" not in command:
            assert done.returncode != 0 and mine.name in done.stdout + done.stderr, command
    set_params(project, {"sample": {"crawl": TINY["sample"]["crawl"] + 1}})
    assert run(project, "dvc", "repro", "sample", check=False).returncode != 0 and mine.exists()
    run(project, "git", "checkout", "params.yaml")
    mine.unlink()

    run(project, sys.executable, "-m", "pipeline", "look")
    records = read_records(project / "data/dataset")
    mask = project / records.loc[records["side"] == "test", "mask"].iloc[0]
    whole = mask.read_bytes()
    mask.chmod(0o644)
    mask.write_bytes(b"mended by hand")
    (project / "reports/notes.md").write_text("mine")
    done = run(project, sys.executable, "-m", "pipeline", "look", check=False)
    assert done.returncode == 1 and str(mask.relative_to(project)) in done.stderr
    done = run(project, sys.executable, "-m", "pipeline.evaluate", check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert f"{mask.name} cannot be used" in done.stderr
    mask.write_bytes(whole)
    run(project, "dvc", "repro", "--single-item", "--force", "report")
    assert (project / "reports/notes.md").read_text() == "mine"


def test_one_more_reject_trains_nothing_anew(project: Path) -> None:
    """A broken portrait, and a copy of a good one, in a source of one's own."""
    source = project / "mine"
    shutil.copytree(project / "data/sample/eg1800", source)
    set_params(project, {"sources": {"eg1800": {"path": "mine"}}})
    images, masks = source / "images_data_crop", source / "GT_png"
    good = min(images.glob("0*.jpg"))
    for number, content in (("99998", good.read_bytes()[:900]), ("99999", good.read_bytes())):
        (images / f"{number}.jpg").write_bytes(content)
        shutil.copyfile(masks / f"{good.stem}_mask.png", masks / f"{number}_mask.png")
    with (source / "train.txt").open("a") as lines:
        lines.write("99998\n99999\n")
    done = run(project, "dvc", "repro")
    assert sorted(re.findall(r"Running stage '([^']*)'", done.stdout)) == [
        "ingest@eg1800",
        "list_sources",
        "report",
    ]
    rejected = (project / "data/rejected/ingest/eg1800.csv").read_text()
    assert "99998.jpg,truncated" in rejected and "99999.jpg,duplicate_pixels" in rejected


def test_an_experiment_with_another_value(project: Path) -> None:
    before = json.loads((project / "metrics/merge.json").read_text())
    values = ("-S", "merge.unreviewed=include", "-S", "merge.max_uncertainty=1")
    run(project, "dvc", "exp", "run", "--name", "more-labels", *values, "merge")
    after = json.loads((project / "metrics/merge.json").read_text())
    assert after["unreviewed"] > before["unreviewed"] == 0
    shown = run(project, "dvc", "exp", "show", "--csv", "--only-changed", "--drop", ".*/").stdout
    assert "more-labels" in shown
    columns = shown.splitlines()[0].split(",")
    assert {"merge.unreviewed", "merge.max_uncertainty"} <= {*columns} and len(columns) <= 16, columns


def test_what_parts_of_the_data_are_worth(project: Path) -> None:
    """Twice: a second run trains what is new alone, and the project's own files stay as they are."""
    before = digest(project / "data/dataset")
    command = (sys.executable, "-m", "pipeline", "ablate", "--images", "60", "--out", "ablation", "--mix")
    done = run(project, *command, "labelled", "--mix", "without-baidu", "--seeds", "1")
    for name in ("labelled", "without-baidu"):
        assert f"{name}: merging" in done.stderr and f"{name}, seed 1: foreground IoU 0." in done.stderr
    assert "| labelled portraits | `labelled` |" in done.stdout and "What a step brings" not in done.stdout
    assert digest(project / "data/dataset") == before
    shown = run(project, "git", "status", "--porcelain").stdout
    assert shown.split() == ["??", "ablation/"], "only what --out asked for"

    again = run(project, *command, "labelled", "--mix", "crops", "--seeds", "2")
    assert "labelled: merging" not in again.stderr and "crops: merging" in again.stderr
    assert "| portrait crops | `labelled` to `crops` |" in again.stdout
    runs = pd.read_csv(project / "ablation/runs.csv")
    assert runs[["mix", "seed"]].to_numpy().tolist() == [
        ["labelled", 1],
        ["labelled", 2],
        ["crops", 1],
        ["crops", 2],
    ]
    assert (runs["pictures"].diff().to_numpy()[2] > 0) and runs["foreground_iou"].between(0, 1).all()
    listed = run(project, "dvc", "exp", "list", "--name-only").stdout.split()
    assert {"ablate-labelled", "ablate-labelled-1", "ablate-crops-2", "ablate-without-baidu-1"} <= set(listed)
    train = yaml.safe_load(
        run(project, "git", "show", f"{_experiment(project, 'ablate-labelled-2')}:dvc.lock").stdout
    )
    assert train["stages"]["train"]["params"]["params.yaml"]["train"]["seed"] == 2
    merge = json.loads((project / "metrics/merge.json").read_text())
    assert merge["labels"].get("crop", 0) > 0, "that of the project itself"


def _experiment(project: Path, name: str) -> str:
    [found] = [
        line.split()[0]
        for line in run(project, "git", "show-ref").stdout.splitlines()
        if line.endswith(f"/{name}")
    ]
    return found


def test_versions_of_the_dataset(project: Path, tmp_path: Path) -> None:
    """What docs/versions.md says: push, tag, add 10 pictures, compare; a clone at the tag gets the old bytes."""
    run(project, "dvc", "remote", "add", "--default", "store", str(tmp_path / "store"))
    commit(project, "a remote")
    run(project, "git", "tag", "v1")
    run(project, "dvc", "push")
    old, figures = digest(project / "data/dataset"), json.loads((project / "headline.json").read_text())

    set_params(project, {"sample": {"portraits": TINY["sample"]["portraits"] + 10}})
    run(project, "dvc", "repro", "merge")
    commit(project, "ten more pictures")
    counted = ("--targets", "metrics/ingest/eg1800.json", "--", "v1")
    difference = json.loads(run(project, "dvc", "metrics", "diff", "--json", *counted).stdout)
    assert difference["metrics/ingest/eg1800.json"]["in"]["diff"] == 10
    assert digest(project / "data/dataset") != old

    clone = tmp_path / "clone"
    run(tmp_path, "git", "clone", "--quiet", "--branch", "v1", str(project), str(clone))
    shown = json.loads(run(clone, "dvc", "metrics", "show", "--all-tags", "--json").stdout)
    assert shown["v1"]["data"]["headline.json"]["data"] == figures, "of git alone: nothing was pulled"
    consume(clone, tmp_path / "consumer", old)

    run(clone, "dvc", "pull")
    assert digest(clone / "data/dataset") == old
    assert run(clone, "dvc", "repro", "--allow-missing", "--dry").stdout.count("Running stage") == 0
    set_params(clone, {"train": {"phases": {"full": {"epochs": 1}}}})
    done = run(clone, "dvc", "repro", "--allow-missing").stdout
    assert sorted(re.findall(r"Running stage '([^']*)'", done)) == [
        "evaluate", "export", "headline", "report", "second_look", "train",
    ], "what was read of the raw folders, which are not here, is as before"  # fmt: skip
    assert not (clone / "data/sample").exists()
    run(clone, "git", "checkout", "--quiet", ".")
    run(clone, "dvc", "checkout")

    done = run(clone, "dvc", "repro").stdout
    assert re.findall(r"Running stage '([^']*)'", done) == ["sample"], (
        "drawn anew, the same bytes; no cache has it"
    )
    assert "up to date" in run(clone, "dvc", "status").stdout


def consume(repository: Path, folder: Path, files: dict[str, str]) -> None:
    """Use the dataset from a repository of its own with nothing but DVC, pandas, Pillow and torch, nor pyarrow."""
    folder.mkdir()
    run(folder, "git", "init", "--quiet")
    run(folder, "dvc", "init", "--quiet")
    run(folder, "dvc", "import", str(repository), "data/dataset")
    assert digest(folder / "dataset") == files
    (example,) = re.findall(r"```python\n(.*?)```", (folder / "dataset/README.md").read_text(), re.DOTALL)
    (folder / "use.py").write_text(f"{_NOTHING_OF_OURS}{example}{_TRAIN}")
    done = run(folder, sys.executable, "use.py", PYTHONPATH="").stdout.split()
    assert int(done[0]) == len(read_records(folder / "dataset")) and float(done[2]) < float(done[1])

    run(repository, "git", "tag", "--annotate", "dataset@v1.0.0", "-m", "the first")
    run(folder, "dvc", "artifacts", "get", str(repository), "dataset", "--out", "registered")
    assert digest(folder / "registered") == files


_NOTHING_OF_OURS = """\
import sys

for name in ("pipeline", "sinet", "annotations", "pyarrow", "cv2"):
    sys.modules[name] = None
"""
_TRAIN = """\
import numpy as np
import torch

def pixels(name):
    return torch.from_numpy(np.asarray(Image.open(folder / name).resize((32, 32)), np.float32) / 255)

opened = [Image.open(folder / name).load() for name in [*records.image, *records["mask"]]]
train = records[records.side == "train"]
torch.manual_seed(0)
x = torch.stack([pixels(name).permute(2, 0, 1) for name in train.image])
y = torch.stack([pixels(name)[None] for name in train["mask"]])
model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 5, padding=2), torch.nn.ReLU(), torch.nn.Conv2d(8, 1, 5, padding=2))
optimizer = torch.optim.Adam(model.parameters(), 0.01)
losses = []
for _ in range(12):
    loss = torch.nn.functional.binary_cross_entropy_with_logits(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
print(len(opened) // 2, losses[0], losses[-1])
"""


@pytest.mark.parametrize("profile", ["real", "light", "tune", "paper", "official"])
def test_a_profile_on_own_folders_is_a_recipe_dvc_accepts(
    project: Path, tmp_path: Path, profile: str
) -> None:
    """`make repro PROFILE=... EG1800=... BAIDU=...` up to the first training step."""
    for source in ("eg1800", "baidu"):
        shutil.copytree(project / "data/sample" / source, tmp_path / "mine" / source)
    mine = tmp_path / "mine"
    run(project, sys.executable, "-m", "pipeline", "configure", profile,
        "--eg1800", str(mine / "eg1800"), "--baidu", str(mine / "baidu"))  # fmt: skip
    planned = run(project, "dvc", "repro", "--dry").stdout
    # A dry run names what differs by its own params and files; what only follows from these it leaves out.
    for stage in ("ingest@eg1800", "ingest@baidu", "ingest@crawl", "crop", "teacher", "train"):
        assert f"Running stage '{stage}'" in planned, stage
