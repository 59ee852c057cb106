"""A stage as a process on a machine that refuses, is full, is shared or interrupted: sentences, no loss, no litter."""

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.records import read_records, read_rejected
from pipeline.core.store import Store
from tests.pipeline.test_ingest import jpeg, put, write_params

COMMAND = [sys.executable, "-m", "pipeline.ingest", "crawl"]
# Root reads and writes whatever the modes say, unless it gives that up.
AS_OTHERS_DO = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []


@pytest.fixture
def project(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with params.yaml and a crawl of 12 pictures and a broken one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(root))
    monkeypatch.setenv("PIPELINE_WORKERS", "2")
    for number in range(12):
        put(tmp_path / f"source/{number:02d}.jpg", jpeg(number))
    put(tmp_path / "source/broken.jpg", jpeg(12)[:900])
    write_params(tmp_path, root, crawl="source")
    return tmp_path


def ingest(*before: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*before, *COMMAND], capture_output=True, text=True, check=False, **options)


def sentence(done: subprocess.CompletedProcess[str]) -> str:
    """What a failed stage says, beside its progress: one line."""
    lines = said(done.stderr)
    assert (done.returncode, len(lines)) == (1, 1), done.stderr
    assert not list(Path().rglob("*.tmp"))
    return lines[0]


def said(text: str) -> list[str]:
    lines = text.replace("\r", "\n").splitlines()
    return [
        line for line in lines if line.strip() and not line.startswith(("ingest crawl:", "ingest@crawl:"))
    ]


def test_what_the_machine_did_not_read_is_no_reject_and_the_next_run_goes_on(project: Path) -> None:
    locked = [project / f"source/{number:02d}.jpg" for number in (1, 4, 5, 7, 11)]
    for path in locked:
        path.chmod(0)
    said = sentence(ingest(*AS_OTHERS_DO))
    assert (
        "5 files were not read (source/01.jpg: Permission denied; source/04.jpg: Permission denied;" in said
    )
    assert "run the stage again" in said
    assert not Path("data/ingest/crawl/crawl/records.parquet").exists() and not Path("data/rejected").exists()
    assert Store("ingest").size().entries == 8  # all that could be read
    for path in locked:
        path.chmod(0o644)
    assert ingest(*AS_OTHERS_DO).returncode == 0
    assert len(read_records(Path("data/ingest/crawl/crawl"))) == 12
    assert list(read_rejected("ingest/crawl")["source_key"]) == ["broken.jpg"]


def test_a_share_that_goes_away_is_no_reject(project: Path) -> None:
    share = project / "share"
    (project / "source").rename(share)
    (project / "source").mkdir()
    for path in share.iterdir():
        (project / "source" / path.name).symlink_to(path)
    share.rename(project / "gone")
    assert "13 files were not read (source/00.jpg: No such file or directory;" in sentence(ingest())


@pytest.mark.parametrize("link", ["GT_png", "lists"])
def test_a_linked_folder_of_masks_or_lists_that_is_gone_is_told(tmp_path: Path, link: str) -> None:
    from pipeline.core.errors import PipelineError
    from pipeline.sources.layouts import read_layout
    from tests.pipeline.test_ingest import portrait

    for number in range(3):
        portrait(tmp_path / "eg", number)
    shutil.rmtree(tmp_path / "eg/GT_png") if link == "GT_png" else None
    (tmp_path / "eg" / link).symlink_to(tmp_path / "share that is gone")
    with pytest.raises(PipelineError, match=f"{link} is a link to a folder that is not there now"):
        read_layout("eg1800", tmp_path / "eg")


def test_a_file_in_place_of_a_folder_is_a_sentence(project: Path) -> None:
    put(Path(".cache/ingest"), b"somebody's notes")
    assert "to read and write .cache/ingest" in (told := sentence(ingest()))
    assert "; move away what stands there, and run it again" in told
    assert Path(".cache/ingest").read_bytes() == b"somebody's notes"


def test_a_full_disk_is_a_sentence(project: Path) -> None:
    """No file may grow past 600 bytes here, as where a disk has no room for more."""

    def full() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600))

    assert "found: disk I/O error; make room there" in sentence(ingest(preexec_fn=full))


def test_a_folder_that_may_not_be_written_is_a_sentence(project: Path) -> None:
    Path("metrics").mkdir(0o555)
    told = sentence(ingest(*AS_OTHERS_DO))
    assert "metrics/ingest, found: Permission denied; make it readable and writable" in told


def test_two_runs_at_once_leave_each_other_alone(project: Path) -> None:
    runs = [subprocess.Popen(COMMAND, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    told = [run.communicate()[1] for run in runs]
    assert sorted(run.returncode for run in runs) in ([0, 1], [0, 0])
    for run, text in zip(runs, told, strict=True):
        if run.returncode:
            assert said(text) == [
                "ingest: another `python -m pipeline.ingest crawl` is running in this folder; wait until it has ended"
            ]
    assert len(read_records(Path("data/ingest/crawl/crawl"))) == 12


def importing(process: "subprocess.Popen[str]") -> bool:
    """Whether it has opened one of the larger libraries, a while before it does anything."""
    return "/numpy/" in Path(f"/proc/{process.pid}/maps").read_text()


def working(_: "subprocess.Popen[str]") -> bool:
    return any(Path(".cache/ingest").rglob("*"))


@pytest.mark.parametrize(("when", "lines"), [(importing, 0), (working, 1)])
def test_ctrl_c_is_one_line_at_most(project: Path, when: Callable[..., bool], lines: int) -> None:
    """As a terminal sends it: to the stage and to all of its workers."""
    for number in range(400):
        os.link(project / "source/00.jpg", project / f"source/more-{number:03d}.jpg")
    process = subprocess.Popen(COMMAND, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 60
    while not when(process) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGINT)
    found = said(process.communicate()[1])
    assert found == ["ingest: stopped; run it again to go on: what was finished is kept"][:lines]
    assert process.returncode in (130, -signal.SIGINT)  # which a shell also gives as 130


@pytest.mark.parametrize(("module", "loaded"), [("pipeline", "numpy"), ("annotations", "pandas")])
def test_ctrl_c_ends_a_command_without_a_traceback(project: Path, module: str, loaded: str) -> None:
    os.mkfifo("pipe.csv")
    words = {"pipeline": ["check", "source"], "annotations": ["simulate", "pipe.csv"]}[module]
    process = subprocess.Popen(
        [sys.executable, "-m", module, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while f"/{loaded}/" not in Path(f"/proc/{process.pid}/maps").read_text() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    told = process.communicate()[1]
    assert "Traceback" not in told and len(said(told)) <= 1, told
    assert process.returncode in (130, -signal.SIGINT)
