"""`python -m annotations`: send masks to Label Studio, bring reviews back, say how a review stands."""

import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from annotations.errors import ReviewError

UpdateConfig = Annotated[
    bool, typer.Option("--update-config", help="write this checkout's labelling interface over the server's")
]

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)


@app.command()
def push(update_config: UpdateConfig = False) -> None:
    """Send the tasks of data/push, of second looks and of the second round, that the server does not have."""
    from annotations.server.session import open_session, send_tasks

    session = open_session()
    project, sent = send_tasks(session, update_config)
    print(
        f"{sent.wanted} tasks are in project {project.id} at {session.client.url}: {sent.there_before} were there, "
        f"{sent.sent} sent, {sent.removed} copies or replaced ones removed"
    )


@app.command()
def pull(
    keep: Annotated[
        bool, typer.Option("--keep", help="keep locked reviews that are gone from the server")
    ] = False,
    forget: Annotated[
        list[str] | None, typer.Option(metavar="KEY", help="drop this locked review for good")
    ] = None,
) -> None:
    """Write the server's reviews into the lock (reviews.path in params.yaml)."""
    from annotations.server.pull import pull as fetch
    from annotations.server.session import open_session

    session = open_session()
    drift = fetch(session, keep, forget or ())
    print(f"{session.settings.lock} holds {len(drift.entries)} reviews; `dvc repro` merges them")


@app.command()
def status(
    check: Annotated[
        bool, typer.Option("--check", help="look for damage on the server; exit code 1 if any")
    ] = False,
) -> None:
    """Say what waits, what was said, how long a review takes and what more of them would bring."""
    from annotations.ledger.exported import read_export
    from annotations.ledger.judgements import judgements
    from annotations.ledger.settle import settle
    from annotations.ledger.voices import with_voices
    from annotations.server.pull import read_judged, read_locked
    from annotations.server.session import fetch_export, open_session, sources, the_project
    from annotations.server.status import describe_quality, describe_review

    session = open_session()
    project = the_project(session)
    judged = read_judged(session.settings.lock)
    reading = with_voices(read_export(fetch_export(session, project)), judged)
    settled = settle(reading, read_locked(session.settings.lock))
    print("\n".join(describe_review(reading, settled, session.settings.random_share)))
    print("\n".join(["at the last pull:", *describe_quality(judgements(judged))]))
    if not check:
        return
    from annotations.server.import_files import read_tasks, written
    from annotations.server.send import without_masks
    from annotations.server.served import look
    from annotations.server.status import damage
    from annotations.settings import IMPORT_FILES
    from annotations.tasks.task import labelling_interface

    pictures = session.installation.pictures if session.own_server else None
    configs = (project.label_config, labelling_interface(session.clicks))
    folders = [folder for folder in sources() if written(folder)]
    if IMPORT_FILES not in folders:  # a review that was restored where the recipe has not run
        print(f"{IMPORT_FILES} holds no import files: what is missing on the server cannot be seen from here")
    tasks = without_masks(task for folder in folders for task in read_tasks(folder))
    heads = session.client.heads(project)
    found = damage(tasks, heads, reading, configs, pictures) + look(session.client, project, heads)
    print("\n".join(found) if found else "no damage found")
    raise typer.Exit(1 if found else 0)


@app.command()
def simulate(
    masks: Annotated[
        Path, typer.Argument(metavar="FILE.csv", help="from `python -m pipeline benchmark queue`")
    ],
    bad_below: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="IoU with the right mask, below which a mask is bad (0.95)"),
    ] = None,
) -> None:
    """Say how many of the bad masks each order of the queue shows early, on masks whose right answer is known."""
    from annotations.quality.simulate import BAD_BELOW, describe_orders, read_masks
    from annotations.quality.simulate import simulate as run

    limit = BAD_BELOW if bad_below is None else bad_below
    print("\n".join(describe_orders(run(read_masks(masks), limit), limit)))


@app.command()
def benchmark_clicks(
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="DIR...", help="from `python -m pipeline benchmark queue --masks DIR`"),
    ],
) -> None:
    """Say how many wrong masks a few clicks repair, on masks whose right answer is known."""
    from annotations.clicks.benchmark import report_clicks

    report_clicks(folders)


@app.command()
def review(
    update_config: UpdateConfig = False,
    ready: Annotated[
        bool, typer.Option("--ready", help="start nothing, only say what is missing; exit code 1 if anything")
    ] = False,
) -> None:
    """Start this machine's Label Studio with the queue in it; Ctrl-C stops it."""
    from annotations.server.review import ready as look
    from annotations.server.review import run_review as run

    if ready:
        look()
    else:
        run(update_config=update_config)


@app.command()
def stop() -> None:
    """Stop the Label Studio that `review` started."""
    from annotations.server.review import stop as end

    print("Label Studio has stopped." if end() else "No Label Studio runs here.")


@app.command()
def backup(file: Path) -> None:
    """Write the review of this machine, half-done or not, into FILE."""
    from annotations.server.backup import backup as write
    from annotations.server.installation import Installation
    from annotations.settings import REVIEW_DATA

    write(Installation(REVIEW_DATA), file)
    print(f"{file} holds the review, with its log-in: keep it private")


@app.command()
def restore(file: Path) -> None:
    """Make the review of this machine from FILE."""
    from annotations.server.backup import restore as read
    from annotations.server.installation import Installation
    from annotations.settings import REVIEW_DATA

    read(Installation(REVIEW_DATA), file)
    print(f"{REVIEW_DATA} is as it was backed up; `make review` goes on")


def main() -> None:
    """Run the command line; what people can mend is one sentence and exit code 1."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("annotations").setLevel(logging.INFO)
    try:
        app()
    except ReviewError as error:
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(1) from None
    except OSError as error:
        found = (
            f"expected to read and write {error.filename or 'files here'}, found: {error.strerror or error}"
        )
        typer.echo(f"error: {found}; mend that, and run it again", err=True)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
