"""The documents: a README of one sitting, links that lead somewhere, and the picture of drawn people."""

import io
import re
import runpy
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
CARD = ROOT / "sinet" / "weights" / "README.md"
MOST_BYTES = 8_000  # of the README
MOST_PICTURE_BYTES = 150_000


def tokens(path: Path) -> list[Token]:
    return MarkdownIt().enable("table").parse(path.read_text())


def links(path: Path) -> list[str]:
    """Where the links and pictures of a document lead."""
    inner = [child for token in tokens(path) for child in token.children or ()]
    found = [child.attrGet("href") if child.type == "link_open" else child.attrGet("src") for child in inner]
    return [str(target) for target in found if target]


def anchors(path: Path) -> set[str]:
    """The headings of a document as addresses, as GitHub makes them; no two of one document are alike."""
    parsed = tokens(path)
    names = [parsed[at + 1].content for at, token in enumerate(parsed) if token.type == "heading_open"]
    made = [re.sub(r"[^\w\- ]", "", name.lower()).replace(" ", "-") for name in names]
    assert len(made) == len(set(made)), f"{path.name} has two headings of one address"
    return set(made)


def broken(path: Path) -> list[str]:
    """The relative links of a document that lead to no file in the repository, or to no heading of it."""
    found = []
    for target in links(path):
        parts = urlsplit(target)
        if parts.scheme or parts.netloc:
            continue
        led = (path.parent / unquote(parts.path)).resolve() if parts.path else path
        inside = led.is_relative_to(ROOT) or led.is_relative_to(path.parent)
        if not inside or not led.exists() or (parts.fragment and parts.fragment not in anchors(led)):
            found.append(target)
    return found


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_bytes()) <= MOST_BYTES


@pytest.mark.parametrize("path", (*DOCUMENTS, CARD), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file(path: Path) -> None:
    assert broken(path) == []


def test_a_link_to_nowhere_is_found(tmp_path: Path) -> None:
    document = tmp_path / "a.md"
    (tmp_path / "b.md").write_text("# Two words, here\n")
    document.write_text(
        "[x](b.md) [x](b.md#two-words-here) [x](https://example.org/gone) ![x](gone.png)\n\n"
        "| [x](gone.md) |\n|---|\n| [x](b.md#gone) |\n\n`[x](code.md)`\n"
    )
    assert broken(document) == ["gone.png", "gone.md", "b.md#gone"]


def test_every_document_can_be_reached_from_the_readme() -> None:
    seen, ahead = set(), [ROOT / "README.md"]
    while ahead:
        path = ahead.pop()
        if path not in seen:
            seen.add(path)
            led = [(path.parent / urlsplit(target).path).resolve() for target in links(path)]
            ahead += [one for one in led if one in DOCUMENTS]
    assert seen == set(DOCUMENTS)


def test_the_drawn_people_are_those_of_today() -> None:
    """By their pixels within what few colours and another type of CPU change."""
    data = (ROOT / "docs" / "people.png").read_bytes()
    assert len(data) <= MOST_PICTURE_BYTES
    kept = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), np.int16)
    drawn = runpy.run_path(str(ROOT / "docs" / "draw_people.py"))["draw"]().astype(np.int16)
    assert kept.shape == drawn.shape
    assert np.abs(kept - drawn).mean() < 5, "run `python docs/draw_people.py`"


def test_the_parameters_that_the_documents_set_are_there(root: Path) -> None:
    params = yaml.safe_load((root / "params.yaml").read_text())
    named = {
        (path.name, key)
        for path in DOCUMENTS
        for key in re.findall(r"-S ['\"]?([a-z_.]+)=", path.read_text())
    }
    assert len(named) >= 4
    for document, key in named:
        value: object = params
        for part in key.split("."):
            assert isinstance(value, dict) and part in value, f"{document}: {key}"
            value = value[part]
