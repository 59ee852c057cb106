"""`python -m pipeline diff`: what changed in the data between two versions."""

from pathlib import Path

from pipeline.core.errors import PipelineError
from pipeline.core.stage import write_text
from pipeline.versions.change_report import Compared, change_report, report_without_tables
from pipeline.versions.changes import changed_pictures, with_overlap
from pipeline.versions.git_commands import taken_by_git
from pipeline.versions.revision import NotHereError, open_versions
from pipeline.versions.tables import dataset_of


def main(names: tuple[str, str], out: Path | None, page: Path | None, masks: bool) -> None:
    """Print or write the Markdown, and write the page where one is wanted.

    Without `masks` no mask is opened: their IoU is left out.
    """
    if page is not None and taken_by_git(page):
        raise PipelineError(
            f"expected a page outside this repository, or one that git ignores, found {page}: pictures do not belong "
            "into git. Name another, as data/changes.html"
        )
    old, new = open_versions(*names)
    try:
        tables = dataset_of(old), dataset_of(new)
    except NotHereError as error:
        if page is not None:
            raise PipelineError(f"{error}; without it there is no page") from error
        _write(report_without_tables(old, new, str(error)), out)
        return
    changes = changed_pictures(*tables)
    compared = Compared(old, new, *tables, with_overlap(changes, old, new) if masks else changes)
    _write(change_report(compared), out)
    if page is not None:
        from pipeline.versions.change_page import write_change_page

        write_change_page(page, compared)


def _write(text: str, out: Path | None) -> None:
    if out is None:
        print(text, end="")
    else:
        write_text(out, text)
