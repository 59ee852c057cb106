"""params.yaml: what stands there is checked by name, and nothing else is accepted."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st

from pipeline.core.errors import PipelineError
from pipeline.core.params import MASK_KINDS, Params, load_params, parse_params
from pipeline.core.records import LABELS

ROOT = Path(__file__).parents[3]


@pytest.fixture
def content(root: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((root / "params.yaml").read_text())
    return loaded


def test_the_committed_file_is_the_profile_sample(root: Path) -> None:
    assert (root / "params.yaml").read_text() == (root / "pipeline/commands/profiles/sample.yaml").read_text()
    load_params(root / "params.yaml")


def test_sections_stand_in_the_order_of_the_models(content: dict[str, Any]) -> None:
    assert list(content) == list(Params.model_fields)


def test_params_are_frozen(root: Path) -> None:
    params = load_params(root / "params.yaml")
    with pytest.raises(ValueError, match="frozen"):
        params.sample.seed = 3  # assigned by name: mypy refuses the statement


@pytest.mark.parametrize(
    ("section", "key", "value", "words"),
    [
        ("ingest", "mask_threshold", 900, ["ingest.mask_threshold", "900", "less than or equal to 254"]),
        ("ingest", "max_reject_rate", -0.1, ["ingest.max_reject_rate", "-0.1", "greater than or equal to 0"]),
        (
            "ingest",
            "duplicate_masks",
            "keep",
            ["ingest.duplicate_masks", "keep", "keep_first", "reject_both", "majority"],
        ),
        ("merge", "unreviewed", "maybe", ["merge.unreviewed", "maybe", "exclude", "include"]),
        ("sample", "portraits", "many", ["sample.portraits", "many", "integer"]),
        ("sample", "potraits", 3, ["sample.potraits", "no such parameter"]),
    ],
)
def test_a_bad_value_is_named_with_its_range(
    content: dict[str, Any], section: str, key: str, value: object, words: list[str]
) -> None:
    content[section][key] = value
    with pytest.raises(PipelineError) as caught:
        parse_params(content)
    for word in words:
        assert word in str(caught.value)


def changed(content: dict[str, Any], key: str, value: object) -> dict[str, Any]:
    *above, last = key.split(".")
    section = content
    for name in above:
        section = section[name]
    section[last] = value
    return content


def test_a_list_that_no_source_reads_is_named(content: dict[str, Any]) -> None:
    content["crawl"] = {
        "lists": {"web": "list.csv"},
        "fetch": {**content["crawl"]["fetch"], "contact": "https://example.org/us"},
    }
    line = "`web: {role: crawl, layout: crawl, path: data/crawl/web}`"
    with pytest.raises(
        PipelineError, match=r"crawl\.lists\.web is fetched, but no source reads it"
    ) as caught:
        parse_params(content)
    assert line in str(caught.value)
    content["sources"] |= yaml.safe_load(line.strip("`"))
    assert parse_params(content).crawl.lists == {"web": "list.csv"}


LINEAR = {"kind": "poly", "power": 0.9}


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        (
            "ingest.min_foreground",
            0.97,
            "ingest: min_foreground must be below max_foreground (0.97), found 0.97",
        ),
        ("crop.min_coverage", 0.96, "crop: min_coverage must be below max_coverage (0.95), found 0.96"),
        ("crop.faces.min_size", 1281, "crop.faces: min_size must be at most max_side (1280), found 1281"),
        ("split.dev_share", 0.9, "split: dev_share + test_share must be below 1"),
        ("teacher.schedule", {**LINEAR, "warmup": 6}, "schedule.warmup must be below epochs (6), found 6"),
        (
            "train.phases.full.schedule",
            {**LINEAR, "warmup": 99},
            "warmup must be below epochs (12), found 99",
        ),
        ("label_studio.send", "yes", "label_studio.send: found 'yes'; input should be a valid boolean"),
        ("train.class_weights", "yes", "train.class_weights: found 'yes'; input should be a valid boolean"),
        (
            "sources.baidu.layout",
            "crawl",
            "sources: baidu.layout must be eg1800, baidu, pairs or absent with role bodies, found crawl",
        ),
        (
            "sources.crawl.layout",
            "pairs",
            "sources: crawl.layout must be crawl, img2dataset or absent with role crawl, found pairs",
        ),
        (
            "crawl.lists",
            {"web": "list.csv"},
            "crawl: with lists of addresses fetch.contact must be an e-mail or web address of yours",
        ),
        ("crawl.fetch.contact", "me", "crawl.fetch.contact: found 'me'; string should match pattern"),
        ("crawl.fetch.user_agent", "a b", "crawl.fetch.user_agent: found 'a b'; string should match"),
        ("crawl.fetch.rate", 0, "crawl.fetch.rate: found 0; input should be greater than 0"),
        ("crawl.fetch.min_side", 20_000, "crawl.fetch: min_side must be at most max_side (12000)"),
        (
            "sources.crawl.path",
            "data/crawl/web",
            "sources.crawl.path is data/crawl/web, where only lists of addresses are fetched to; add to crawl.lists: "
            "`web: LIST.csv`",
        ),
        ("sources.crawl.role", "photos", "sources.crawl.role: found 'photos'; input should be 'labelled', "),
        ("sources.crawl.layout", "coco", "sources.crawl.layout: found 'coco'; input should be 'eg1800', "),
        ("sources.crawl.folder", "x", "sources.crawl.folder: no such parameter; remove it or mend its name"),
        ("sources", [], "sources: found []; input should be a valid dictionary"),
        ("ingest.mask_levels.coco", "two", "ingest.mask_levels.coco: no such parameter"),
        ("sources.crawl.path", "", "sources.crawl.path: found ''; string should have at least 1 character"),
        ("sample.seed", True, "sample.seed: found True; input should be a valid integer"),
        ("train.seed", 2**70, "train.seed: found 1180591620717411303424; "),
        ("teacher.seed", 2**31, "teacher.seed: found 2147483648; input should be less than 2147483648"),
        ("teacher.epochs", 6.0, "teacher.epochs: found 6.0; input should be a valid integer"),
        ("teacher.learning_rate", float("nan"), "teacher.learning_rate: found nan; "),
        ("teacher.learning_rate", float("inf"), "teacher.learning_rate: found inf; "),
        ("train.phases.full.learning_rate", float("inf"), "learning_rate: found inf; "),
        ("train.input.mean", [float("nan")] * 3, "train.input.mean.0: found nan; "),
        ("train.augment.noise_sigma", [0, float("inf")], "train.augment.noise_sigma.1: found inf; "),
    ],
)
def test_nonsense_is_named(content: dict[str, Any], key: str, value: object, sentence: str) -> None:
    with pytest.raises(PipelineError) as caught:
        parse_params(changed(content, key, value))
    assert sentence in str(caught.value)


def source(role: str, layout: str, path: str) -> dict[str, str]:
    return {"role": role, "layout": layout, "path": path}


def test_any_number_of_sources_of_a_role_and_layout(content: dict[str, Any]) -> None:
    content["sources"] |= {
        "my_portraits": source("labelled", "pairs", "mine"),
        "z2": source("bodies", "eg1800", "two"),
        "a_second_crawl": source("crawl", "crawl", "three"),
        "nothing": source("crawl", "absent", "mine"),  # of an absent source no path is read
    }
    sources = parse_params(content).sources
    assert list(sources.of_role("labelled")) == ["eg1800", "my_portraits"]
    assert list(sources.of_role("bodies")) == ["baidu", "z2"]
    assert list(sources.of_role("crawl")) == ["a_second_crawl", "crawl", "nothing"]
    assert sources.names() == sorted(content["sources"])
    assert sources["z2"].layout == "eg1800"
    with pytest.raises(ValueError, match="frozen"):
        sources["z2"].path = "four"


@pytest.mark.parametrize(
    "name", ["", "My_Portraits", "2nd", "a-b", "a.b", "a b", "a/b", "..", "é", "a" * 25, "a\n", "_a"]
)
def test_a_name_that_no_stage_or_folder_can_have_is_refused(content: dict[str, Any], name: str) -> None:
    content["sources"][name] = source("labelled", "pairs", "mine")
    with pytest.raises(PipelineError) as caught:
        parse_params(content)
    assert f"sources: {name!r} cannot name a source: expected at most 24 of a-z, 0-9 and _" in str(
        caught.value
    )


@given(st.from_regex(r"[a-z][a-z0-9_]{0,23}", fullmatch=True))
def test_every_short_word_can_name_a_source(name: str) -> None:
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    content["sources"] = {f"{key}_": one for key, one in content["sources"].items()}  # no name taken yet
    assume(name not in {*content["sources"], "reviews", *MASK_KINDS})
    content["sources"][name] = source("labelled", "pairs", "mine")
    assert parse_params(content).sources[name].path == "mine"


def test_the_name_that_tables_of_rejects_give_to_reviews_is_refused(content: dict[str, Any]) -> None:
    content["sources"]["reviews"] = source("labelled", "pairs", "mine")
    with pytest.raises(PipelineError, match="'reviews' cannot name a source: the reviews have this name"):
        parse_params(content)


@pytest.mark.parametrize("kind", MASK_KINDS)
def test_the_name_of_a_kind_of_mask_is_refused(content: dict[str, Any], kind: str) -> None:
    content["sources"][kind] = source("labelled", "pairs", "mine")
    with pytest.raises(PipelineError, match=f"'{kind}' cannot name a source: a kind of mask has this name"):
        parse_params(content)


def test_only_kinds_of_masks_and_sources_can_be_left_out(content: dict[str, Any]) -> None:
    assert set(MASK_KINDS) == set(LABELS) - {"none"}
    content["merge"]["leave_out"] = ["pseudo", "baidu"]
    assert parse_params(content).merge.leave_out == ("pseudo", "baidu")
    content["merge"]["leave_out"] = ["pseudo", "crops"]
    with pytest.raises(
        PipelineError, match=r"merge.leave_out names crops, which is no kind .* human, .*, baidu"
    ):
        parse_params(content)


@pytest.mark.parametrize(("name", "role"), [("eg1800", "labelled"), ("baidu", "bodies"), ("crawl", "crawl")])
def test_a_role_without_a_line_is_told_with_the_line_to_add(
    content: dict[str, Any], name: str, role: str
) -> None:
    del content["sources"][name]
    with pytest.raises(PipelineError) as caught:
        parse_params(content)
    said = str(caught.value)
    assert f"sources: expected at least one source of each role, found none of {role};" in said
    line = said.split("`")[1]
    content["sources"] |= yaml.safe_load(line)
    parse_params(content)


@pytest.mark.parametrize("path", ["data/sample/eg1800", "./data/sample/../sample/eg1800/", "link"])
def test_two_sources_of_one_folder_are_refused_by_name(
    content: dict[str, Any], path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data/sample/eg1800").mkdir(parents=True)
    (tmp_path / "link").symlink_to("data/sample/eg1800")
    content["sources"]["mine"] = source("labelled", "pairs", path)
    with pytest.raises(PipelineError, match=r"sources: eg1800 and mine are the same folder, .*remove one"):
        parse_params(content)


def test_a_phase_of_no_epochs_may_keep_its_warmup(content: dict[str, Any]) -> None:
    parse_params(changed(content, "train.phases.encoder.epochs", 0))


def keys(section: dict[str, Any], above: str = "") -> Iterator[str]:
    """The dotted name of every key of a mapping, those that hold a mapping themselves included."""
    for name, value in section.items():
        yield above + name
        if isinstance(value, dict):
            yield from keys(value, f"{above}{name}.")


def without(section: dict[str, Any], key: str) -> dict[str, Any]:
    first, _, rest = key.partition(".")
    if rest:
        return {**section, first: without(section[first], rest)}
    return {name: value for name, value in section.items() if name != first}


def test_every_leaf_is_required(content: dict[str, Any]) -> None:
    """No second place for a parameter: a key left out is an error, not a silent default."""
    for key in keys(content):
        if key.count(".") == 1 and key.startswith("sources."):  # a line of sources, whose names are free
            continue
        above, _, last = key.rpartition(".")
        # A schedule's keys are those of its kind, whose name comes between; without a kind they are none.
        missing = rf"{re.escape(above)}(\.\w+)?\.{last}: is missing" if above else f"{key}: is missing"
        no_kind = rf"{re.escape(above)}: .*discriminator '{last}'"
        with pytest.raises(PipelineError, match=rf"(?m)^  ({missing}|{no_kind})"):
            parse_params(without(content, key))


def test_no_file_and_no_yaml(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"expected .*params\.yaml"):
        load_params(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text("a: [")
    with pytest.raises(PipelineError, match="is not YAML"):
        load_params(tmp_path / "params.yaml")
