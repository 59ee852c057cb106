"""The engine `ray`: on a cluster of several nodes on this machine the same as without, whatever dies on the way."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from pipeline.core.engines import ray_actors
from pipeline.core.errors import PipelineError
from pipeline.core.execute import map_images
from pipeline.core.params import ExecuteParams, execute_params
from pipeline.drawing.picture import body, generator, portrait
from pipeline.experiments.again import add, write_params
from tests.pipeline.core.engines import work
from tests.pipeline.core.test_execute import runs, wait_until
from tests.project import digest, run


def choose(folder: Path, address: str, engine: str = "ray") -> None:
    """A params.yaml that chooses an engine."""
    (folder / "params.yaml").write_text(yaml.safe_dump({"execute": {"engine": engine, "address": address}}))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Three nodes of one core each."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    utilities = pytest.importorskip(
        "ray.cluster_utils", reason="ray: `make ray` installs what this test needs"
    )
    small = {"num_cpus": 1, "object_store_memory": 80_000_000, "include_dashboard": False}
    soon = {
        "health_check_initial_delay_ms": 0,
        "health_check_period_ms": 500,
        "health_check_failure_threshold": 2,
    }
    made = utilities.Cluster(initialize_head=True, head_node_args={**small, "_system_config": soon})
    try:
        for _ in range(2):
            made.add_node(**{key: small[key] for key in ("num_cpus", "object_store_memory")})
        yield made
    finally:
        ray_actors.leave_ray()
        made.shutdown()


@pytest.fixture
def joined(cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A folder whose params.yaml chooses the cluster."""
    choose(tmp_path, cluster.address)
    monkeypatch.chdir(tmp_path)
    return cluster


@pytest.mark.usefixtures("joined")
def test_results_come_in_the_order_of_the_items_from_workers_that_start_once(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert list(map_images(work.square, range(83), desc="square", workers=3)) == [n * n for n in range(83)]
    assert "square: 100%" in capfd.readouterr().err
    found = list(
        map_images(
            work.state, range(48), desc="state", workers=3, initializer=work.remember, initargs=("up",)
        )
    )
    workers = {pid for pid, *_ in found}
    assert len(workers) == 3 and os.getpid() not in workers
    assert {tuple(rest) for _, *rest in found} == {(("up",), "1", "1", frozenset({1}))}
    wait_until(lambda: not any(map(runs, workers)))


@pytest.mark.usefixtures("joined")
def test_few_pictures_are_done_here() -> None:
    assert {pid for pid, *_ in map_images(work.state, range(9), desc="state")} == {os.getpid()}


@pytest.mark.usefixtures("joined")
def test_no_more_is_begun_than_may_wait_for_one_picture(tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    items = [work.Item(str(marks), number) for number in range(200)]
    taken = map_images(work.leave_a_mark, items, desc="window", workers=2)
    next(taken)
    wait_until(lambda: len(list(marks.iterdir())) >= ray_actors.MOST_AHEAD // 2)
    time.sleep(0.5)
    assert len(list(marks.iterdir())) <= 2 * ray_actors.MOST_AHEAD
    assert list(taken) == list(range(1, 200))


@pytest.mark.usefixtures("joined")
def test_files_that_are_not_read_and_errors_are_those_of_the_local_engine(tmp_path: Path) -> None:
    told = []
    for engine in ("local", "ray"):
        choose(tmp_path, execute_params().address, engine)
        for function, error in ((work.unread, PipelineError), (work.fail, ValueError)):
            taken: list[int] = []
            with pytest.raises(error) as raised:
                taken.extend(map_images(function, range(40), desc="told", workers=2))
            told.append((function, str(raised.value), taken))
        with pytest.raises((OSError, PipelineError)) as raised:
            list(map_images(work.square, range(40), desc="told", workers=2, initializer=work.refuse))
        told.append((str(raised.value),)) if engine == "ray" else None
    assert told[:2] == told[2:4]
    assert "2 files were not read (5.jpg: Permission denied; 20.jpg: Permission denied)" in told[2][1]
    assert "models/teacher.safetensors" in told[4][0]


@pytest.mark.usefixtures("joined")
def test_what_a_dead_worker_owed_is_done_again(tmp_path: Path) -> None:
    items = [work.Item(str(tmp_path / "mark"), number) for number in range(64)]
    assert list(map_images(work.die_once, items, desc="once", workers=3)) == list(range(64))
    assert (tmp_path / "mark").exists()


@pytest.mark.usefixtures("joined")
def test_a_picture_that_ends_three_workers_ends_the_stage_and_is_named(tmp_path: Path) -> None:
    items = [work.Item(str(tmp_path / "20.jpg"), number) for number in range(64)]
    taken: list[int] = []
    with pytest.raises(PipelineError, match=r"3 workers died at \S*20\.jpg: most likely .* memory"):
        taken.extend(map_images(work.die, items, desc="die", workers=2))
    assert taken == list(range(len(taken))) and len(taken) <= 20
    assert (tmp_path / "20.jpg").read_text() == "dead\n" * 3


@pytest.mark.usefixtures("joined")
def test_workers_that_cannot_start_end_the_stage_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PipelineError, match=r"workers die as they start, .* most likely for lack of memory"):
        list(map_images(work.square, range(40), desc="die", workers=2, initializer=work.die_at_the_start))
    as_here = ray_actors.spawn.get_preparation_data
    monkeypatch.setattr(
        ray_actors.spawn, "get_preparation_data", lambda name: {**as_here(name), "dir": "/nowhere/here"}
    )
    told = r"a worker on \S+ cannot start: .*/nowhere/here.*\. Every node must see this folder and its \.venv"
    with pytest.raises(PipelineError, match=told):
        list(map_images(work.square, range(40), desc="folder", workers=2))


def test_a_node_that_is_lost_in_the_middle_changes_nothing(joined: Any, tmp_path: Path) -> None:
    node = joined.add_node(num_cpus=1, object_store_memory=80_000_000)
    items = [work.Item(str(tmp_path), number) for number in range(64)]
    params = tmp_path / "params.yaml"

    def lose_it() -> None:
        wait_until(lambda: len([path for path in tmp_path.iterdir() if path.name.isdigit()]) == 4)
        joined.remove_node(node, allow_graceful=False)
        (tmp_path / "go").touch()

    loser = threading.Thread(target=lose_it)
    loser.start()
    assert list(map_images(work.report_and_wait, items, desc="node", workers=4)) == list(range(64))
    loser.join()
    assert params.exists()


def test_two_stages_write_the_same_bytes_on_a_cluster(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: Path
) -> None:
    """Of a crawl and of bodies, with a file that is no picture; the stages run as DVC starts them."""
    monkeypatch.setenv("PYTHONPATH", str(root))
    drawn = [portrait(generator(3, "ray", number)) for number in range(20)]
    whole = [body(generator(3, "ray bodies", number)) for number in range(4)]
    found = {}
    for engine, workers in (("local", "1"), ("ray", "2")):
        project = tmp_path / engine
        add(project / "crawl", enumerate((one.image, None) for one in drawn))
        add(project / "bodies", enumerate((one.image, one.mask) for one in whole))
        add(project / "labelled", [])
        (project / "crawl/images/broken.jpg").write_bytes(b"no picture")
        write_params(project, {"execute": {"engine": engine, "address": cluster.address}})
        for words in ("list_sources", "ingest crawl", "ingest bodies", "crop"):
            module, *names = words.split()
            run(project, sys.executable, "-m", f"pipeline.{module}", *names, PIPELINE_WORKERS=workers)
        found[engine] = {**digest(project / "data"), **digest(project / "metrics")}
    assert found["local"] == found["ray"]
    assert sum(name.startswith("crop/crawl/images/") for name in found["ray"]) >= 10


def start(folder: Path, root: Path) -> "subprocess.Popen[str]":
    """A stage with a Ray of its own, as soon as both workers are at work."""
    choose(folder, "")
    stage = subprocess.Popen(
        [sys.executable, "-m", "tests.pipeline.core.engines.work", folder],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(root)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, start_new_session=True,
    )  # fmt: skip
    wait_until(
        lambda: stage.poll() is not None or len([one for one in folder.iterdir() if one.name.isdigit()]) == 2
    )
    return stage


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_a_stage_that_is_ended_leaves_no_process_of_ray(tmp_path: Path, root: Path, end: int) -> None:
    """Ctrl-C goes to all of a terminal and leaves nothing; SIGKILL to the stage alone, as where memory runs out."""
    pytest.importorskip("ray", reason="ray: `make ray` installs what this test needs")
    stage = start(tmp_path, root)
    started = {one: " ".join(one.cmdline()) for one in psutil.Process(stage.pid).children(recursive=True)}
    found = re.search(r"=(\S*/ray-\w+)", " ".join(started.values()))
    assert found is not None and "ray::Worker" in str(started)
    folder = Path(found[1])
    assert folder.is_dir()
    os.killpg(stage.pid, end) if end == signal.SIGINT else stage.send_signal(end)
    out, error = stage.communicate(timeout=120)
    if (
        end == signal.SIGKILL
    ):  # Ray's two agents look only now and then whether there is still something to do
        agents = [one for one, words in started.items() if "Agent" in words]
        started = {one: words for one, words in started.items() if one not in agents}
    wait_until(lambda: not any(runs(one.pid) for one in started))
    if end == signal.SIGKILL:
        assert len(agents) == 2
        for one in agents:
            one.kill()
        shutil.rmtree(folder)
    assert not folder.exists()
    assert (stage.returncode, out) == (130 if end == signal.SIGINT else -end, "described\n"), error
    assert "Traceback" not in error


def test_an_address_where_nobody_answers_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray", reason="ray: `make ray` installs what this test needs")
    choose(tmp_path, "127.0.0.1:1")
    monkeypatch.chdir(tmp_path)
    told = r"execute\.address is 127\.0\.0\.1:1, where no Ray cluster can be joined: .*refused"
    with pytest.raises(PipelineError, match=told):
        list(map_images(work.square, range(40), desc="address", workers=2))


def test_without_ray_one_is_told_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    choose(tmp_path, "")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(
        PipelineError, match=r"execute\.engine is ray, which is not installed; run `make ray`"
    ):
        list(map_images(work.square, range(40), desc="missing", workers=2))


def test_nothing_of_ray_is_imported_unless_it_is_chosen(root: Path) -> None:
    program = (
        "import sys, pipeline.crop as stage\n"
        "list(stage.map_images(abs, [1], desc='x'))\n"
        "print([name for name in sys.modules if name == 'ray' or name.startswith('pipeline.core.engines')])"
    )
    assert run(root, sys.executable, "-c", program).stdout.strip() == "[]"


def test_another_engine_runs_no_stage_again(root: Path) -> None:
    """No stage of dvc.yaml names a parameter of the section."""
    stages = yaml.safe_load((root / "dvc.yaml").read_text())["stages"].values()
    named = [str(one) for stage in stages for one in stage.get("do", stage).get("params", [])]
    assert named and not [one for one in named if one.startswith("execute")]
    assert "execute" not in str([stage.get("foreach") for stage in stages])


@pytest.mark.parametrize("address", ["ray://head:10001", "head", "head:port", "auto "])
def test_an_address_of_another_kind_is_refused(tmp_path: Path, address: str) -> None:
    choose(tmp_path, address)
    with pytest.raises(PipelineError, match=r"execute\.address: found '.*'"):
        execute_params(tmp_path / "params.yaml")


def test_without_a_params_file_this_machine_works(tmp_path: Path) -> None:
    assert execute_params(tmp_path / "params.yaml") == ExecuteParams(engine="local", address="")
    (tmp_path / "params.yaml").write_text("{}")
    with pytest.raises(PipelineError, match="execute: is missing"):
        execute_params(tmp_path / "params.yaml")
