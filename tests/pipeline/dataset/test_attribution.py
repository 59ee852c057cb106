"""ATTRIBUTION.md names every picture with its author, licence, address, and what was done to it."""

from pipeline.core.records import make_records
from pipeline.dataset.attribution import attribution
from tests.pipeline.dataset_inputs import row_of

ROWS = [
    row_of("a" * 16, source="web", source_key="b|<1>.jpg", author="Ada [x](y)", licence="cc by 4.0",
           url="https://example.org/1", retrieved_at="2025-01-31", label="reviewed", parent_id="e" * 16,
           crop_box="1,2,3,4", teacher="f" * 64, review="fix"),
    row_of("b" * 16, source="eg1800", source_key="00001", label="human"),
    row_of("c" * 16, source="web", source_key="a.jpg", licence="CC BY 4.0", label="pseudo"),
]  # fmt: skip


def test_every_picture_is_a_row_of_its_licence() -> None:
    text = attribution(make_records(ROWS))
    assert "| CC-BY-4.0 | web | 2 | 1 |\n| unknown | eg1800 | 1 | 1 |\n" in text
    of_by, unknown = text.partition("## CC-BY-4.0")[2].split("## unknown")
    a, b = [line for line in of_by.splitlines() if line.startswith("| web")]
    assert a == f"| web a.jpg | {'c' * 16} |  |  |  | mask drawn |"
    assert b == (
        f"| web b\\|\\<1\\>.jpg | {'a' * 16} | Ada \\[x\\](y) | https://example.org/1 | 2025-01-31 | cut out of "
        f"{'e' * 16} at 1,2,3,4, mask of teacher {'f' * 16}, reviewed: fix |"
    )
    assert f"| eg1800 00001 | {'b' * 16} |  |  |  | as its source gives it |" in unknown
    assert attribution(make_records(ROWS[::-1])) == text
