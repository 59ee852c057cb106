"""The drawn world's crawl, served from this machine and fetched again: the same pictures with their provenance."""

import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipeline.commands.configure import render
from pipeline.commands.serve_crawl import list_of
from pipeline.core.errors import PipelineError
from pipeline.core.params import parse_params
from pipeline.core.records import read_records, read_rejected
from pipeline.sample import draw_world
from tests.project import digest, environment, run


def test_without_the_drawn_world_a_sentence_says_how_to_draw_it(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="run `dvc repro sample` first"):
        list_of(tmp_path, 8765)


@pytest.fixture
def served(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch):
    """A project with the stages crawl and ingest of the profile `loopback`, whose drawn crawl is served."""
    content = yaml.safe_load(render("loopback", {}))
    content["sample"] |= {"portraits": 1, "portraits_test": 1, "bodies": 1, "crawl": 5}
    draw_world(parse_params(content).sample, tmp_path / "data/sample", workers=1)
    stages = yaml.safe_load((root / "dvc.yaml").read_text())["stages"]
    stages = {name: stages[name] for name in ("crawl", "ingest")}
    for stage, dependency in (("crawl", "${item}"), ("ingest", "${item.path}")):
        stages[stage]["do"]["deps"] = [dependency]
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    content["ingest"]["max_reject_rate"] = 1.0
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    (tmp_path / ".gitignore").write_text("/data/\n/metrics/\n")
    run(tmp_path, "git", "init", "--quiet")
    run(tmp_path, "dvc", "init", "--quiet")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "pipeline", "serve-crawl", "--port", str(port)]
    server = subprocess.Popen(
        command, cwd=tmp_path, env=environment(PYTHONPATH=str(root)), stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None and "drawn_urls.csv lists what is served" in server.stdout.readline()
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    server.terminate()
    server.wait()


@pytest.mark.slow
def test_the_profile_loopback_fetches_the_drawn_crawl_with_its_provenance(served: Path, root: Path) -> None:
    def repro(*words: str) -> list[str]:
        done = run(served, "dvc", "repro", *words, PYTHONPATH=str(root), PIPELINE_WORKERS="1").stdout
        return re.findall(r"Running stage '([^']*)'", done)

    assert repro("ingest@crawl") == ["crawl@crawl", "ingest@crawl"]
    records = read_records(Path("data/ingest/crawl/crawl"))
    assert len(records) >= 5
    assert records["url"].str.startswith("http://127.0.0.1:").all() and records["licence"].notna().any()
    assert records["retrieved_at"].str.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ").all()
    listed = len(Path("drawn_urls.csv").read_text().splitlines()) - 1
    pictures = len(list(Path("data/crawl/crawl/images").iterdir()))
    assert pictures + len(read_rejected("crawl/crawl")) == listed
    assert repro("ingest@crawl") == []
    before = digest(Path("data/crawl/crawl"))
    assert repro("-f", "-s", "crawl@crawl") == ["crawl@crawl"]
    assert digest(Path("data/crawl/crawl")) == before
    assert repro("ingest@crawl") == []
