"""What a source says of all its pictures fills what a picture's own row leaves out."""

from typing import Any

import pytest

from pipeline.core.errors import PipelineError
from pipeline.core.params import Source, load_params, parse_params
from pipeline.core.provenance import with_terms_of
from pipeline.core.records import check_records, make_records
from tests.pipeline.dataset_inputs import row_of

TERMS = {
    "licence": "CC BY 4.0",
    "author": "The Archive",
    "url": "https://example.org",
    "retrieved_at": "2025-01-31",
}


def source(**terms: Any) -> Source:
    return Source.model_validate({"role": "crawl", "layout": "crawl", "path": "p", **terms})


def test_a_picture_keeps_its_own_terms_and_takes_the_others_from_its_source() -> None:
    own = {"licence": "CC0", "author": "Ada", "url": "https://example.org/1", "retrieved_at": "2024"}
    rows = [own, {}, {"licence": "unknown"}, {"author": "Bo"}]
    records = make_records(
        [row_of(f"{n:016x}", source="web", source_key=str(n), **one) for n, one in enumerate(rows)]
    )
    filled = check_records(with_terms_of(source(**TERMS), records))
    assert filled[list(TERMS)].to_dict("records") == [own, TERMS, TERMS, {**TERMS, "author": "Bo"}]
    plain = with_terms_of(source(), records)
    assert plain["licence"].isna().tolist() == [False, True, True, True]
    assert plain.drop(columns="licence").equals(records.drop(columns="licence"))


def test_the_terms_of_a_source_may_be_missing_but_not_empty(root: Any) -> None:
    content = load_params(root / "params.yaml").model_dump(mode="json")
    content["sources"]["crawl"] |= {"licence": ""}
    with pytest.raises(PipelineError, match=r"sources\.crawl\.licence: found ''"):
        parse_params(content)
