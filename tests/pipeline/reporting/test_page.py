"""The dataset card, its CSV and the page: every count is there, plain sentences, strange names stay text."""

import csv
import io
import re
from collections.abc import Mapping
from html.parser import HTMLParser
from typing import Any

import pytest

from pipeline.reporting.figures import BACKGROUND, INK, teacher_curves
from pipeline.reporting.page import (
    COLOURS,
    METRIC_NAMES,
    SHOWN_EACH,
    ShownPicture,
    ShownPictures,
    dataset_card,
    dataset_table,
    inline_svg,
    page_html,
    page_markdown,
)
from pipeline.reporting.review_facts import reviewer_rows
from pipeline.reporting.thumbnails import ADDED, IN_BOTH, REMOVED
from sinet.evaluation.gallery import FALSE_NEGATIVE, FALSE_POSITIVE, METRIC_LABELS, TRUE_POSITIVE
from tests.pipeline.report_metrics import FIGURES, STAGES, metrics, metrics_of_more_sources, page
from tests.pipeline.reporting.test_figures import PLOTS, TEACHER

HOSTILE = (
    "<script>alert(\"1\")</script> | a\\|b <img src=x onerror=y> 'q' &amp; [x](javascript:y) {{ 7*6 }}.jpg"
)
VOID = {"meta", "link", "img", "br", "hr", "input"}


class Html(HTMLParser):
    """The elements and words of a page; closing tags must match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def attributes(self, *names: str) -> list[str]:
        return [value or "" for _, found in self.elements for name, value in found.items() if name in names]


def rows(markdown: str) -> list[list[str]]:
    """The cells of each line of its tables, as a renderer of GitHub's Markdown cuts them."""
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def table_of(metrics: Mapping[str, Any]) -> dict[tuple[str, str, str], int]:
    """dataset.csv as a reader of CSV sees it."""
    lines = list(csv.DictReader(io.StringIO(dataset_table(metrics), newline="")))
    found = {(line["stage"], line["group"], line["name"]): int(line["count"]) for line in lines}
    assert len(found) == len(lines)
    return found


def rejected(number: int, reason: str, key: str = "", detail: str = "it is odd") -> dict[str, str]:
    return {
        "source": "crawl",
        "source_key": key or f"{number:03d}.jpg",
        "reason": reason,
        "detail": detail,
    }


def with_rejected(*items: dict[str, str]) -> dict[str, Any]:
    return {**page().rejected, "ingest@crawl": list(items)}


def counts_of(value: Any) -> set[int]:
    if isinstance(value, Mapping):
        return set().union(*(counts_of(one) for one in value.values()))
    return {value} if isinstance(value, int) and not isinstance(value, bool) else set()


def by_stage(counted: Mapping[str, Any]) -> dict[str, Any]:
    """The metrics of STAGES."""
    return {name: counted[name] for name in STAGES}


# The card and its CSV.


def test_the_table_holds_every_count() -> None:
    counted = metrics()
    found = table_of(counted)
    assert set(found.values()) == counts_of(by_stage(counted))
    for stage, counts in by_stage(counted).items():
        for name in ("in", "out", "rejected"):
            assert found[stage, "pictures", name] == counts[name]
        for reason, count in counts["reasons"].items():
            assert found[stage, "reason", reason] == count
    merge = counted["merge"]
    for group in ("inputs", "labels", "sides", "sources", "licences", "reviews", "clusters"):
        assert {name: n for (_, of, name), n in found.items() if of == group} == merge[group]
    for side, kinds in merge["sides_by_label"].items():
        assert {name: n for (_, of, name), n in found.items() if of == f"side_{side}"} == kinds


@pytest.mark.parametrize(
    "name", ['CC BY 2.0, or "fair use"', "two\r\nlines", "one\nline feed", HOSTILE, " a "]
)
def test_a_strange_licence_stays_one_field_of_the_table(name: str) -> None:
    counted = metrics()
    counted["merge"]["licences"] = {name: 7}
    assert table_of(counted)["merge", "licences", name] == 7


def test_the_card_holds_every_count() -> None:
    counted = metrics()
    card = dataset_card(counted)
    merge = counted["merge"]
    lines = rows(card)
    assert ["side", "drawn by people", "portrait crops", "reviewed pseudo labels", "all"] in lines
    assert ["train", "16,974", "14,083", "663", "31,720"] in lines
    assert ["dev", "998", "740", "35", "1,773"] in lines
    assert ["test", "2,004", "0", "0", "2,004"] in lines
    assert ["ingest eg1800 (labelled)", "20,013", "20,002", "11", "no_mask 4, truncated 7"] in lines
    assert ["crop bodies", "15,009", "14,846", "163", "no_face 101, several_people 62"] in lines
    assert ["crop crawl", "13,014", "12,000", "1,014", "face_too_small 32, no_face 982"] in lines
    assert ["picture gone", "5"] in lines
    for group in ("reviews", "sources", "licences"):
        assert all([name, f"{count:,}"] in lines for name, count in merge[group].items())
    for reason, count in merge["reasons"].items():
        assert [reason, f"{count:,}"] in [line[:2] for line in lines]
    for sentence in (
        "**35,497 pictures with masks**: 31,720 train, 1,773 dev and 2,004 test.",
        "go 19,976 labelled portraits, 14,823 portrait crops, 12,000 pseudo labels and 900 reviews.",
        "same photograph as a picture of another side, 31 pictures left.",
        "402 clusters of near-duplicates (equal files, like hashes, mirrored, cut from one photograph) hold 888 "
        "pictures, the largest 9; no cluster crosses sides.",
    ):
        assert sentence in card
    shown = {int(number.replace(",", "")) for number in re.findall(r"(?<![\w.])\d[\d,]*(?![\w.]*\w)", card)}
    labels, others = set(merge["labels"].values()), {merge["clusters"]["count"], merge["test_duplicates"], 0}
    assert counts_of(by_stage(counted)) - labels - others <= shown


def test_the_card_and_its_table_know_nothing_of_a_model() -> None:
    """Also not how many pseudo labels its stage made: that is the teacher's."""
    counted = metrics()
    data = {name: counted[name] for name in STAGES}
    changed = {**data, "pseudo_label": {"in": 1, "out": 1, "rejected": 0, "reasons": {}}}
    assert dataset_card(data) == dataset_card(counted) == dataset_card(changed)
    assert dataset_table(data) == dataset_table(counted) == dataset_table(changed)


def test_every_source_has_a_row_with_its_role_and_what_several_share_one_too() -> None:
    counted = metrics_of_more_sources()
    for text in (dataset_card(counted), page_markdown(counted, page())):
        names = [line[0] for line in rows(text)]
        first = names.index("ingest a_name_of_24_characters (labelled)")
        assert names[first : first + 9] == [
            "ingest a_name_of_24_characters (labelled)",
            "ingest eg1800 (labelled)",
            "ingest mine (labelled)",
            "ingest baidu (bodies)",
            "ingest crawl (crawl)",
            "ingest web_1 (crawl)",
            "ingest web_2 (crawl)",
            "crop bodies",
            "crop crawl",
        ]
        assert ["ingest mine (labelled)", "310", "307", "3", "two_masks 3"] in rows(text)
    found = table_of(counted)
    assert found["ingest@web_2", "pictures", "in"] == 400


def test_tables_of_markdown_end_before_what_follows() -> None:
    """GitHub takes a line right below a table for one more row of it."""
    for text in (dataset_card(metrics()), page_markdown(metrics(), page(gallery=[entry()]))):
        tables = re.findall(r"((?:^\|.*\n)+)(.*)", text, re.MULTILINE)
        assert len(tables) > 2
        assert [after for _, after in tables if after] == []
        assert all(len({len(row) for row in rows(table)}) == 1 for table, _ in tables)
        assert all(len(re.findall(r"^\|---", table, re.MULTILINE)) == 1 for table, _ in tables)


def test_a_strange_licence_stays_one_cell_of_the_card() -> None:
    counted = metrics()
    counted["merge"]["licences"] = {HOSTILE: 7, "two\n\nlines": 8}
    card = dataset_card(counted)
    assert "<script" not in card and "<img" not in card and not re.search(r"(?<!\\)\[x\]", card)
    cells = [line for line in rows(card) if line[-1] in ("7", "8")]
    assert len(cells) == 2 and all(len(line) == 2 for line in cells)
    assert cells[1] == ["two lines", "8"]
    assert "{{ 7*6 }}.jpg" in cells[0][0]


def test_a_side_and_reasons_may_be_missing() -> None:
    counted = metrics()
    del counted["merge"]["sides"]["dev"], counted["merge"]["sides_by_label"]["dev"]
    counted["merge"]["reasons"] = {}
    card = dataset_card(counted)
    assert ["dev", "0", "0", "0", "0"] in rows(card)
    assert "left out by the merge" not in card
    assert ["merge", "47,699", "35,497", "12,202", "-"] in rows(card)
    assert not any(group == "side_dev" for _, group, _ in table_of(counted))
    assert "31,720 train, 0 dev and 2,004 test" in page_html(counted, page())


# The sentences.


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"unreviewed": 0}, "Every mask was drawn or accepted by a person: there is no unreviewed"),
        ({"unreviewed": 1}, "1 unreviewed mask is trained on: made by the teacher and looked at by nobody"),
        ({"unreviewed": 1200}, "1,200 unreviewed masks are trained on: made by the teacher and looked at by"),
        ({"split": {"leaks": 0}}, "of another side, 0 pictures left."),
        ({"split": {"leaks": 1}}, "of another side, 1 picture left."),
        (
            {"split": {"published_test": False}},
            "No source publishes a test side: like dev, it was cut by a hash of the",
        ),
        ({"clusters": {"shared": 0}}, "No two of its pictures are near-duplicates."),
        (
            {"clusters": {"shared": 1, "records_in_shared": 2, "largest": 2}},
            "1 cluster of near-duplicates (equal files, like hashes, mirrored, cut from one photograph) holds 2 "
            "pictures, the largest 2;",
        ),
        (
            {"inputs": {"human": 1, "crop": 1, "pseudo": 1, "reviews": 1}},
            "1 labelled portrait, 1 portrait crop, 1 pseudo label and 1 review.",
        ),
        (
            {"inputs": {"human": 0, "crop": 2, "pseudo": 2000, "reviews": 2}},
            "0 labelled portraits, 2 portrait crops, 2,000 pseudo labels and 2 reviews.",
        ),
    ],
)
def test_a_sentence(changes: dict[str, Any], sentence: str) -> None:
    counted = metrics()
    counted["split@labelled"] |= changes.get("split", {})
    counted["merge"] |= {name: value for name, value in changes.items() if name != "split"}
    texts = (dataset_card(counted), page_html(counted, page()), page_markdown(counted, page()))
    assert all(sentence in text for text in texts)


def test_included_labels_that_nobody_reviewed_are_marked_and_named() -> None:
    counted = metrics()
    counted["merge"]["labels"]["pseudo"] = counted["merge"]["unreviewed"] = 444
    html = page_html(counted, page())
    assert '<p class="note">444 unreviewed masks are trained on' in html
    assert "(merge.unreviewed: include). None is on the dev or test side." in html
    assert "unreviewed pseudo labels" in rows(dataset_card(counted))[0]
    assert '<p class="note">' not in page_html(metrics(), page())


# The page.


def entry() -> dict[str, Any]:
    picture = {"uri": "data:image/jpeg;base64,AAAA", "width": 40, "height": 30}
    return {"id": "0" * 16, "file": "01-0000000000000000.png", **picture, **FIGURES}


def test_the_page_is_one_whole_file_that_loads_nothing() -> None:
    samples = [
        ShownPictures(
            "Portrait crops", [ShownPicture("1" * 16, "data:image/jpeg;base64,BBBB", 20, 32, "one")]
        )
    ]
    plots = {name: PLOTS[name]() for name in ("train", "teacher", "iou", "balance")}
    html = page_html(metrics(), page(samples=samples, gallery=[entry()], plots=plots))
    found = Html(html)
    tags = [tag for tag, _ in found.elements]
    assert tags.count("svg") == 5 and tags.count("img") == 2 and tags.count("html") == 1
    assert not {"script", "iframe", "object", "image"} & set(tags)
    targets = found.attributes("src", "href", "xlink:href")
    assert targets and all(target.startswith(("#", "data:")) for target in targets)
    assert not re.search(r"@import|url\((?!#)", html)
    ids = found.attributes("id")
    used = [target[1:] for target in targets if target.startswith("#")]
    used += re.findall(r"url\(#([^)]+)\)", html) + found.attributes("aria-labelledby")
    assert len(used) > 10
    assert {name: ids.count(name) for name in used} == dict.fromkeys(used, 1)


def test_the_page_shows_every_figure() -> None:
    counted = metrics()
    html, markdown = page_html(counted, page()), page_markdown(counted, page())
    for value in FIGURES.values():
        assert f"{100 * value:.2f}<small> %</small>" in html
        assert f"{100 * value:.2f}" in [cell for line in rows(markdown) for cell in line]
    words = " ".join(Html(html).words)
    for text in ("86,910", "26,678,417", "404 KiB", "11,099", "5a" * 32, "94.87", "93.12", "1,014 rejected"):
        assert text in words
    assert {
        "ingest crawl (crawl)",
        "crop bodies",
        "crop crawl",
        "split labelled",
        "split crawl",
        "merge",
    } <= {line[0] for line in rows(markdown)}


def test_figures_by_kind_of_mask_where_there_are_several() -> None:
    one = rows(page_markdown(metrics(), page(label="crop")))
    assert ["portrait crops", "2,004", "95.12", "94.23", "87.34", "95.01"] in one
    counted = metrics()
    counted["evaluate"]["by_label"] = {
        "human": {**FIGURES, "count": 2000, "foreground_iou": 0.5},
        "crop": {**FIGURES, "count": 4},
    }
    several = rows(page_markdown(counted, page()))
    assert ["drawn by people", "2,000", "50.00", "94.23", "87.34", "95.01"] in several
    assert ["all", "2,004", "95.12", "94.23", "87.34", "95.01"] in several
    assert '<tr class="sum"><td>all</td>' in page_html(counted, page())


def test_slices_have_an_interval_where_there_are_enough_photographs() -> None:
    text = page_markdown(metrics(), page())
    assert (
        "| all | 100 | 91.23 [90.12, 92.34] | 91.23 [90.12, 92.34] |\n| several people | 7 | 80.00 | 80.00 |\n"
        in text
    )
    assert "90.12 to 92.34" in page_html(metrics(), page())


def test_figures_without_what_is_near_train_stand_below_where_there_is_any() -> None:
    markdown = page_markdown(metrics(), page())
    assert ["nothing near train", "1,987", "94.12", "93.23", "86.34", "94.01"] in rows(markdown)
    assert "17 test pictures had near-duplicates" in markdown
    counted = metrics()
    counted["evaluate"]["without_near_train"] = {"count": 0}
    assert "nothing near train" not in [row[0] for row in rows(page_markdown(counted, page()))]
    counted["evaluate"]["without_near_train"] = {**counted["evaluate"], "count": 2004}
    assert "No test picture was found near anything" in page_html(counted, page())


def test_the_page_shows_the_review_itself() -> None:
    html = page_html(metrics(), page())
    for name, figure in (
        ("judgements", "1,042 of 2 reviewers"),
        ("masks accepted as proposed", "68.4%"),
        ("saved against drawing from scratch", "not measured"),
        ("Krippendorff’s alpha of their answers", "0.79"),
        ("damaged gold masks that were noticed", "92.5%"),
    ):
        assert f'<tr><td>{name}</td><td class="n">{figure}</td></tr>' in html
    rows = {row[0]: row[1:] for row in reviewer_rows(metrics()["agreement"])}
    assert rows["curator-1"] == ("633", "66.2%", "9 s", "96.3%", "+2.1%")
    assert rows["curator-2"] == ("409", "71.9%", "6 s", "not measured", "-1.9%")  # by the other's masks
    assert "<td>curator-2</td>" in html

    nobody = metrics()
    nobody["agreement"] |= {"by_reviewer": {}, "nameless": 3}
    assert "1,042 of 2 reviewers and 3 of accounts that are gone" in page_html(nobody, page())
    assert "<th>reviewer</th>" not in page_html(nobody, page())


def test_what_files_are_called_stays_text() -> None:
    items = with_rejected(rejected(1, "not_an_image", HOSTILE, HOSTILE))
    counted = metrics()
    counted["merge"]["licences"] = {HOSTILE: 7}
    samples = [
        ShownPictures(
            "Portrait crops", [ShownPicture("1" * 16, "data:image/jpeg;base64,BBBB", 20, 32, HOSTILE)]
        )
    ]
    params = {**page().params, "sources": {"eg1800": {"path": HOSTILE}}}
    found = Html(page_html(counted, page(rejected=items, samples=samples, params=params)))
    plain = Html(page_html(metrics(), page(rejected=with_rejected(rejected(1, "x")), samples=samples)))
    assert {tag for tag, _ in found.elements} == {tag for tag, _ in plain.elements}
    assert not [name for _, attributes in found.elements for name in attributes if name.startswith("on")]
    words = "".join(found.words)
    assert words.count(HOSTILE) >= 4  # item, what was found, licence, caption; params.yaml folds its lines
    markdown = page_markdown(counted, page(rejected=items, samples=samples, params=params))
    assert "<script" not in markdown and "<img" not in markdown


def test_examples_are_few_and_of_all_reasons() -> None:
    many = [rejected(number, "truncated") for number in range(20)]
    items = with_rejected(*many, rejected(90, "no_mask"), rejected(91, "two_masks"))
    html = page_html(metrics(), page(rejected=items))
    shown = re.findall(r"<code>(\d{3})\.jpg</code>", html)
    assert len(shown) == SHOWN_EACH
    assert {"090", "091", "000", "005"} <= set(shown) and "006" not in shown


def test_a_stage_that_rejected_nothing_has_no_list() -> None:
    counted = metrics()
    assert "crop bodies: 163 rejected</summary>" in page_html(counted, page())
    counted["crop@bodies"] |= {"rejected": 0, "reasons": {}}
    assert "crop bodies: 0 rejected" not in page_html(counted, page())
    assert "crop crawl: 1,014 rejected</summary>" in page_html(counted, page())


def test_an_empty_gallery_is_said() -> None:
    assert "No gallery was asked for" in page_html(metrics(), page())
    assert "The worst test pictures" not in page_markdown(metrics(), page())
    shown = page_markdown(metrics(), page(gallery=[entry()]))
    assert f"![{'0' * 16}](../gallery/01-{'0' * 16}.png)" in shown
    assert "1. Foreground IoU 95.1 %, boundary F1 87.3 %" in page_html(metrics(), page(gallery=[entry()]))


def test_plots_take_the_pages_colours() -> None:
    svg = inline_svg(teacher_curves(TEACHER, 2))
    assert svg.startswith("<svg")
    assert INK not in svg and BACKGROUND not in svg and "currentColor" in svg


def test_colours_and_figures_are_those_of_the_gallery() -> None:
    painted = {"found": TRUE_POSITIVE, "false": FALSE_POSITIVE, "missed": FALSE_NEGATIVE}
    assert {name: f"rgb{colour}" for name, colour in painted.items()} == COLOURS
    assert (IN_BOTH, ADDED, REMOVED) == (TRUE_POSITIVE, FALSE_POSITIVE, FALSE_NEGATIVE)
    assert set(METRIC_NAMES) == set(METRIC_LABELS)


def test_what_training_started_from_is_told() -> None:
    counted = metrics()
    for text in (page_markdown(counted, page()), page_html(counted, page())):
        assert "Training started from" not in text
        assert "in epoch 3 of the second phase" in text or text.startswith("<!")
    counted["merge"]["unreviewed"] = 5
    counted["train"] |= {"start_dev_foreground_iou": 0.9321, "unreviewed_pseudo_labels": 576, "best_epoch": 0}
    for text in (page_markdown(counted, page()), page_html(counted, page())):
        assert (
            "Training started from other weights (train.weights: packaged), with 93.21 % foreground IoU on dev"
            in text
        )
        assert "trained on, 571 unreviewed pseudo labels among them, is not in this dataset" in text
        assert "epoch 0" not in text
        assert ("before training: no epoch that counts was better" in text) != text.startswith("<!")
