"""The curators' guidelines as one page: guidelines.md with the drawn examples in their place."""

from pathlib import Path

from markdown_it import MarkdownIt

TEXT = Path(__file__).with_name("guidelines.md")
EXAMPLES = Path(__file__).with_name("guidelines.svg")  # by docs/draw_guidelines.py
PAGE_NAME = "guidelines.html"

_PLACE = '<img src="guidelines.svg" alt="Drawn examples" />'
_STYLE = """
body { max-width: 64rem; margin: 2rem auto; padding: 0 1rem; font: 16px/1.5 sans-serif; color: #1f2328 }
table { border-collapse: collapse }
th, td { padding: 0.3rem 0.8rem; border: 1px solid #d0d7de; text-align: left; vertical-align: top }
td:first-child { white-space: nowrap; font-weight: bold }
svg { max-width: 100%; height: auto }
"""


def page() -> bytes:
    """HTML with the drawings inside: one file is all that a server has to show. No script, nothing from afar."""
    before, after = MarkdownIt().enable("table").render(TEXT.read_text()).split(_PLACE)
    return (
        '<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>How to review a mask</title>\n'
        f"<style>{_STYLE}</style>\n<body>{before}{EXAMPLES.read_text()}{after}</body></html>\n"
    ).encode()
