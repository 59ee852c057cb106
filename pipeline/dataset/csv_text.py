"""A table as CSV that any reader takes apart as it was put together."""

import csv

import pandas as pd


def csv_text(table: pd.DataFrame) -> str:
    """Comma-separated, a header first, lines that end in a line feed.

    Where a text holds a carriage return all texts are quoted: pandas writes it bare, and readers end the line there.
    """
    text = table.to_csv(index=False, lineterminator="\n")
    if "\r" in text:
        text = table.to_csv(index=False, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    return text
