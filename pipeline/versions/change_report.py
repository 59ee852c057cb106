"""What changed between two versions as Markdown, for a pull request."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from pipeline.core.records import SIDES
from pipeline.reporting.rendering import markdown_cell
from pipeline.versions.changes import CHANGE_KINDS, by_size, grouped, side_counts
from pipeline.versions.revision import Version
from pipeline.versions.tables import figures_of, kept_sides_of, reviews_of

SHOWN = 10  # pictures of a kind that are named
_UNNAMED = {"reviewer": "(not reviewed)", "licence": "(none)", "source": "(none)"}


@dataclass(frozen=True)
class Compared:
    """Two versions, their tables and what changed between these."""

    old: Version
    new: Version
    old_table: pd.DataFrame
    new_table: pd.DataFrame
    changes: pd.DataFrame


def change_report(compared: Compared) -> str:
    """The whole text."""
    old, new, changes = compared.old, compared.new, compared.changes
    parts = [
        f"# From {old.title} to {new.title}",
        _table(["", *_titles(old, new), "change"], _figures(old, new, _pictures(compared))),
        _outdated(old, new),
        _summary(changes),
    ]
    for column in ("source", "licence", "reviewer"):
        rows = _groups(compared, column)
        if rows:
            heads = [column, *_titles(old, new), *CHANGE_KINDS.values()]
            parts += [f"## By {column}", _table(heads, rows)]
    parts += _named(changes)
    return "\n\n".join(part for part in parts if part) + "\n"


def report_without_tables(old: Version, new: Version, why: str) -> str:
    """What git and dvc.lock alone know, where a table of pictures cannot be had."""
    parts = [
        f"# From {old.title} to {new.title}",
        f"Which pictures changed is not known: {why}. What git and dvc.lock know:",
        _table(["", *_titles(old, new), "change"], _figures(old, new, [])),
        _outdated(old, new),
        "## Outputs",
        _table(["output", *_titles(old, new)], _outputs(old, new)) or "All are equal.",
        "## Sides in git",
        _table(["", "photographs"], _kept_sides(old, new)),
        "## Reviews in git",
        _table(["reviewer", *_titles(old, new), "added", "removed", "changed"], _reviews(old, new))
        or "All are equal.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _titles(old: Version, new: Version) -> list[str]:
    return [markdown_cell(old.title), markdown_cell(new.title)]


def _pictures(compared: Compared) -> list[list[str]]:
    old, new = (side_counts(table, SIDES) for table in (compared.old_table, compared.new_table))
    rows = [("pictures", len(compared.old_table), len(compared.new_table))]
    rows += [(f"on the side {side}", old[side], new[side]) for side in SIDES]
    return [[name, f"{before:,}", f"{after:,}", f"{after - before:+,}"] for name, before, after in rows]


def _figures(old: Version, new: Version, counted: list[list[str]]) -> list[list[str]]:
    """What was counted here, then the headline figures that were not."""
    rows = list(counted)
    known = {row[0] for row in counted}
    before, after = figures_of(old), figures_of(new)
    for name in [one for one in before if one not in known]:
        one, other = before[name], after[name]
        change = "" if one is None or other is None else _change(one[0], other[0], one[1])
        rows.append([name, _figure(one), _figure(other), change])
    return rows


def _outdated(old: Version, new: Version) -> str:
    """Why figures of a version are not told, "" where all may be."""
    return " ".join(
        f"Figures of {version.title} are not here: its headline.json is of another {' and another '.join(other)}; "
        "`dvc repro headline` there, and commit."
        for version in (old, new)
        if (other := version.outdated_inputs("headline"))
    )


def _figure(figure: tuple[float, bool] | None) -> str:
    if figure is None:
        return "not here"
    value, share = figure
    return f"{100 * value:.2f} %" if share else f"{value:,.0f}"


def _change(old: float, new: float, share: bool) -> str:
    return f"{100 * (new - old):+.2f}" if share else f"{new - old:+,.0f}"


def _summary(changes: pd.DataFrame) -> str:
    if changes.empty:
        return "Both hold the same pictures with the same masks on the same sides."
    rows = [[name, f"{int(changes[kind].sum()):,}", ""] for kind, name in CHANGE_KINDS.items()]
    masks = changes[changes["mask"]]
    known = masks["iou"].dropna()
    for row in rows:
        if row[0] == CHANGE_KINDS["mask"] and len(masks):
            row[2] = (
                f"IoU of old and new: median {known.median():.3f}, lowest {known.min():.3f}"
                if len(known)
                else ""
            )
            if len(known) < len(masks):
                row[2] += (
                    f"{'; ' if row[2] else ''}the pixels of {len(masks) - len(known):,} were not looked at"
                )
    return _table(["what changed", "pictures", ""], rows)


def _groups(compared: Compared, column: str) -> list[list[str]]:
    table = grouped(compared.old_table, compared.new_table, compared.changes, column)
    return [
        [markdown_cell(str(name) or _UNNAMED[column]), *(f"{count:,}" if count else "" for count in row)]
        for name, row in zip(table.index, table.to_numpy(), strict=True)
    ]


def _named(changes: pd.DataFrame) -> list[str]:
    parts = []
    ordered = by_size(changes)
    moved, masks = ordered[ordered["moved"]], ordered[ordered["mask"] & ordered["iou"].notna()]
    if len(moved):
        rows = [
            [f"`{row['id']}`", markdown_cell(row["source"]), row["side_old"], row["side_new"]]
            for row in moved[:SHOWN].to_dict("records")
        ]
        parts += [f"## Moved between sides{_of(moved)}", _table(["picture", "source", "from", "to"], rows)]
    if len(masks):
        rows = [
            [
                f"`{row['id']}`",
                markdown_cell(row["source"]),
                row["side_new"],
                markdown_cell(row["reviewer"]),
                f"{row['iou']:.3f}",
            ]
            for row in masks.sort_values(["iou", "id"])[:SHOWN].to_dict("records")
        ]
        heads = ["picture", "source", "side", "reviewer", "IoU of old and new"]
        parts += [f"## Masks that changed most{_of(masks)}", _table(heads, rows)]
    return parts


def _of(rows: pd.DataFrame) -> str:
    return f" (the first {SHOWN} of {len(rows):,})" if len(rows) > SHOWN else ""


def _outputs(old: Version, new: Version) -> list[list[str]]:
    paths = sorted(old.outputs.keys() | new.outputs.keys())
    changed = [path for path in paths if old.outputs.get(path) != new.outputs.get(path)]
    return [[f"`{path}`", _output(old, path), _output(new, path)] for path in changed]


def _output(version: Version, path: str) -> str:
    output = version.outputs.get(path)
    if output is None:
        return "none"
    files = "" if output.files is None else f"{output.files:,} files, "
    return f"{files}{output.size:,} bytes, {output.md5[:8]}"


def _kept_sides(old: Version, new: Version) -> list[list[str]]:
    before, after = kept_sides_of(old), kept_sides_of(new)
    moved = sum(after.get(one, side) != side for one, side in before.items())
    counts = {
        "added": len(after.keys() - before.keys()),
        "removed": len(before.keys() - after.keys()),
        "moved": moved,
    }
    return [[name, f"{count:,}"] for name, count in counts.items()]


def _reviews(old: Version, new: Version) -> list[list[str]]:
    before, after = reviews_of(old), reviews_of(new)
    table = pd.DataFrame(
        {
            "old": _by_reviewer(before.values()),
            "new": _by_reviewer(after.values()),
            "added": _by_reviewer(line for key, line in after.items() if key not in before),
            "removed": _by_reviewer(line for key, line in before.items() if key not in after),
            "changed": _by_reviewer(line for key, line in after.items() if before.get(key, line) != line),
        }
    )
    table = table.fillna(0).astype("int64").sort_index()
    changed = table[table[["added", "removed", "changed"]].any(axis=1)]
    return [
        [markdown_cell(str(name)), *(f"{count:,}" if count else "" for count in row)]
        for name, row in zip(changed.index, changed.to_numpy(), strict=True)
    ]


def _by_reviewer(lines: Iterable[Mapping[str, object]]) -> "pd.Series[int]":
    return pd.Series([str(line.get("reviewer", "")) for line in lines], dtype="str").value_counts()


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of Markdown whose first column is text and whose others are numbers; "" without rows."""
    if not rows:
        return ""
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join("|" + "".join(f" {cell} |" if cell else " |" for cell in line) for line in lines)
