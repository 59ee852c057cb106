"""The benchmark of engines: both write the same, and what they took stands in a table."""

import re

import pytest

from pipeline.core.errors import PipelineError
from pipeline.experiments import engines


def test_both_engines_are_measured_over_the_same_pictures(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("ray", reason="ray: `make ray` installs what this test needs")
    engines.main("ingest", 24, 1)
    told = capsys.readouterr().out
    assert "ingest of 24 pictures by" in told and "the same bytes" in told
    rows = re.findall(r"^(local|ray) +([\d.]+) +([\d.]+)$", told, re.MULTILINE)
    assert [name for name, *_ in rows] == ["local", "ray"]
    assert all(float(cpu) > 0 for *_, cpu in rows)
    assert re.search(r"ray takes [+-][\d.]+% seconds and [+-][\d.]+% CPU seconds", told)


def test_a_stage_that_cannot_be_measured_is_refused() -> None:
    with pytest.raises(PipelineError, match="expected a stage of ingest, crop; found 'merge'"):
        engines.main("merge", 24, 1)
