"""The curators' guidelines as one page: guidelines.md as it is written, with the drawn examples in their place."""

import html
from pathlib import Path

TEXT = Path(__file__).with_name("guidelines.md")
EXAMPLES = Path(__file__).with_name("guidelines.svg")  # by docs/draw_guidelines.py
PAGE_NAME = "guidelines.html"

_PLACE = "![Drawn examples](guidelines.svg)\n"


def page() -> bytes:
    """HTML with the drawings inside: one file is all that a server has to show. No script, nothing from afar."""
    before, after = TEXT.read_text().split(_PLACE)
    return (
        '<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>How to review a mask</title>\n'
        f"<body><pre>{html.escape(before)}</pre>\n{EXAMPLES.read_text()}<pre>{html.escape(after)}</pre></body></html>\n"
    ).encode()
