"""`python -m pipeline`: configure the recipe, check folders before it, hand over what it made, and benchmarks."""

import os
from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands import configure as configuring
from pipeline.core.errors import PipelineError, sentence_of
from pipeline.core.paths import DATASET, LABEL_ERRORS, SAMPLE, SINET
from pipeline.core.stage import heed_interrupts
from pipeline.handing_over import Format
from sinet.benchmark.command import Size
from sinet.core.terminal import always_printable

Images = Annotated[int, typer.Option(min=1, help="image steps of each run")]
Seeds = Annotated[int, typer.Option(min=1, help="runs of each line")]

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
benchmarks = typer.Typer(no_args_is_help=True, help="Measure what docs/results.md claims, on this machine.")
app.add_typer(benchmarks, name="benchmark")

Folder = Annotated[Path | None, typer.Option(help="folder in the layout of this name", metavar="DIR")]


@app.command()
def configure(
    profile: Annotated[str, typer.Argument(help="sample, real, light, tune, paper, official or loopback")],
    eg1800: Folder = None,
    pairs: Folder = None,
    baidu: Folder = None,
    crawl: Folder = None,
    img2dataset: Folder = None,
    urls: Annotated[Path | None, typer.Option(help="CSV of addresses to fetch", metavar="CSV")] = None,
    contact: Annotated[str, typer.Option(help="e-mail or web address of yours, told to every site")] = "",
) -> None:
    """Write params.yaml for a profile and your own folders, and show what changed. `dvc repro` does the rest."""
    folders = {"eg1800": eg1800, "pairs": pairs, "baidu": baidu, "crawl": crawl, "img2dataset": img2dataset}
    if urls is not None and not contact:
        raise PipelineError(
            "URLS= needs CONTACT=, an e-mail or web address of yours: every site is told whom to write to"
        )
    addresses = None if urls is None else configuring.UrlList(urls, contact)
    difference = configuring.configure(profile, folders, urls=addresses)
    print(difference or f"params.yaml already holds the profile {profile}.")


@app.command()
def check(folders: Annotated[list[Path], typer.Argument(metavar="DIR|CSV...")]) -> None:
    """Look at folders or lists before a run: layout, counts, rejects, duplicates, faces, likely mistakes."""
    from pipeline.commands import check as checking

    raise typer.Exit(checking.main(folders))


@app.command()
def look() -> None:
    """Stop where a run would clear away files that a person put into a stage's folder, or dvc.lock is damaged."""
    from pipeline.commands import look as looking

    looking.main()


@app.command()
def absent() -> None:
    """Print `--allow-missing` for `dvc repro` where a raw folder is not here, but what was read from it is."""
    from pipeline.commands import absent as missing

    missing.main()


@app.command("serve-crawl")
def serve(port: Annotated[int, typer.Option(min=1, max=65535)] = 8765) -> None:
    """Serve the drawn world's crawl from this machine for the profile loopback, until Ctrl-C."""
    from pipeline.commands import serve_crawl

    serve_crawl.main(port)


@app.command()
def explain() -> None:
    """Say which stages of dvc.lock differ from the committed one, and why that may be."""
    from pipeline.commands import explain as lock_difference

    lock_difference.main()


@app.command()
def diff(
    old: Annotated[str, typer.Argument(metavar="[OLD]", help="revision, tag or experiment")] = "HEAD",
    new: Annotated[
        str, typer.Argument(metavar="[NEW]", help="the same, or `workspace`: the files that lie here")
    ] = "workspace",
    out: Annotated[Path | None, typer.Option(help="write the Markdown to a file", metavar="FILE.md")] = None,
    html: Annotated[
        Path | None, typer.Option(help="also write a page with the pictures", metavar="PAGE.html")
    ] = None,
    masks: Annotated[bool, typer.Option(help="open the masks that changed, for their IoU")] = True,
) -> None:
    """What changed in the data between two versions: pictures, sides, masks and headline figures, as Markdown."""
    from pipeline.commands import diff as difference

    difference.main((old, new), out, html, masks)


@app.command()
def compare(
    old: Annotated[str, typer.Argument(metavar="OLD", help="revision, tag, experiment or weights file")],
    new: Annotated[str, typer.Argument(metavar="[NEW]", help="the same, or `workspace`")] = "workspace",
    smallest: Annotated[
        float, typer.Option(min=0.01, max=50, help="least difference that matters, in points of 100")
    ] = 0.5,
    out: Annotated[Path | None, typer.Option(help="write the Markdown to a file", metavar="FILE.md")] = None,
) -> None:
    """Whether NEW's SINet is better than OLD's on the test pictures of both: over all and in slices, with intervals."""
    from pipeline.commands import compare as comparing

    comparing.main((old, new), smallest / 100, out)


@app.command()
def ablate(
    mix: Annotated[list[str] | None, typer.Option(help="only this one; may stand several times")] = None,
    seeds: Seeds = 3,
    images: Annotated[
        int | None,
        typer.Option(min=1, help="image steps of a training; without, as many as params.yaml asks for"),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="a folder for ablation.md, runs.csv, gains.svg")] = None,
) -> None:
    """What portraits, crops, pseudo labels, their review and each source are worth to SINet, by DVC experiments."""
    from pipeline.ablation import ablate as ablating

    ablating.main(mix or (), seeds, images, out)


@app.command()
def cache(
    prune: Annotated[bool, typer.Option("--prune", help="remove what was not used for the longest")] = False,
    keep: Annotated[str, typer.Option(help="so much stays, as 500MB or 10GB", metavar="SIZE")] = "10GB",
) -> None:
    """Say what .cache holds of single pictures' results, stage by stage; with --prune make it smaller."""
    from pipeline.commands import cache as caching

    caching.main(prune, keep)


@app.command()
def takedown(
    names: Annotated[list[str] | None, typer.Argument(metavar="ID|FILE|URL...")] = None,
    reason: Annotated[
        str, typer.Option(help="a word for the list, which is as public as the repository")
    ] = "",
    purge: Annotated[
        bool, typer.Option("--purge", help="also remove it from DVC's cache and the server's exports here")
    ] = False,
) -> None:
    """Take pictures out that a person does not want to be in; without names carry out the list again."""
    from pipeline.commands import takedown as taking_down

    taking_down.main(names or (), reason, purge)


@app.command("export-dataset")
def export_dataset(
    out: Annotated[Path, typer.Argument(help="a new folder")],
    format: Annotated[Format, typer.Option(help="whose layout")],
    side: Annotated[list[str] | None, typer.Option(help="train, dev or test; all without")] = None,
    allow: Annotated[
        list[str] | None, typer.Option(help="only this licence: an SPDX id, CC-BY of any version, unknown")
    ] = None,
    dataset: Annotated[Path, typer.Option(help="another dataset's folder")] = DATASET,
) -> None:
    """Write the dataset for Hugging Face datasets, COCO, WebDataset or as pairs of files; pixels stay as they are."""
    from pipeline.handing_over import export_dataset as handing_over

    handing_over.main(format, out, side or (), allow or (), dataset)


@app.command()
def browse(
    out: Annotated[Path, typer.Argument(help="a new folder, for the page and its thumbnails")],
    rev: Annotated[
        str, typer.Option(help="a git revision or tag; the files that lie here without")
    ] = "workspace",
) -> None:
    """Write a page with all pictures and masks of a version, to be looked at in a browser without a server."""
    from pipeline.browsing import browse as browsing

    browsing.main(out, rev)


@benchmarks.command("again")
def benchmark_again(
    pictures: Annotated[int, typer.Option(min=100, help="of each role, before 1 % more")] = 1000,
) -> None:
    """CPU time of each data stage: in full, with 1 % more pictures, with nothing changed, with other gates."""
    from pipeline.experiments import again

    again.main(pictures)


@benchmarks.command("scale")
def benchmark_scale(
    price: Annotated[float, typer.Option(min=0, help="of a core and hour, in your money")] = 0.05,
) -> None:
    """What a crawl of 1, 10 and 100 million pictures takes: hours, memory, disk, money, and what holds it up."""
    from pipeline.experiments import scale

    scale.main(price)


@benchmarks.command("engines")
def benchmark_engines(
    stage: Annotated[str, typer.Option(help="ingest or crop")] = "crop",
    pictures: Annotated[int, typer.Option(min=20, help="drawn, of people")] = 2000,
    rounds: Annotated[int, typer.Option(min=1, help="of both engines in turn")] = 2,
) -> None:
    """What execute.engine ray costs beside local on the cores of this machine: seconds of a stage, and of CPU."""
    from pipeline.experiments import engines

    engines.main(stage, pictures, rounds)


@app.command("label-errors")
def label_errors(
    folds: Annotated[int, typer.Option(min=2, help="teachers, each of which labels what it never saw")] = 3,
    epochs: Annotated[int | None, typer.Option(min=1, help="of each; by default teacher.epochs")] = None,
    size: Annotated[
        int | None, typer.Option(min=32, help="pixels, a multiple of 32; by default teacher.size")
    ] = None,
    shown: Annotated[int, typer.Option(min=0, help="pictures on the page")] = 60,
    out: Annotated[Path, typer.Option(help="folder for masks.csv and index.html")] = LABEL_ERRORS,
) -> None:
    """Rank the masks that people drew by how likely they are wrong: a table, and a page to look through."""
    from pipeline.label_errors import ranking

    ranking.main(folds, epochs, size, shown, out)


@app.command()
def release(
    version: Annotated[str, typer.Argument(help="three numbers, as 1.2.0")],
    unlicensed: Annotated[
        list[str] | None,
        typer.Option(help="a source whose pictures may be without a licence; the card names it"),
    ] = None,
) -> None:
    """Hold the version against the gates, write its cards into docs/release, commit and tag it; push nothing."""
    from pipeline.releasing import release as releasing

    releasing.main(version, unlicensed or ())


@benchmarks.command("crop")
def benchmark_crop(folder: Annotated[Path | None, typer.Argument(metavar="[DIR]")] = None) -> None:
    """CPU time and faces found of our face search against MTCNN's default settings, in the same run."""
    from pipeline.experiments import crop

    crop.main(folder)


@benchmarks.command("copies")
def benchmark_copies(
    folders: Annotated[list[Path] | None, typer.Argument(metavar="[DIR...]")] = None,
    copies: Annotated[int, typer.Option(min=1, help="planted, of as many pictures at most")] = 1000,
    vocabulary: Annotated[
        Path | None, typer.Option(help="write the words' centres made of these pictures, and stop")
    ] = None,
) -> None:
    """Copies of pictures, changed as people change them: how many stage cluster finds, and which others it joins."""
    from pipeline.experiments import copies as planting

    planting.main(folders or [SAMPLE], copies, vocabulary)


@benchmarks.command("crawl")
def benchmark_crawl(
    pictures: Annotated[int, typer.Option(min=1)] = 2000,
    kilobytes: Annotated[int, typer.Option(min=2, help="of each")] = 100,
) -> None:
    """Pictures a second that stage crawl fetches on one core from this machine, and its memory."""
    from pipeline.experiments import crawl

    crawl.main(pictures, kilobytes)


@benchmarks.command("ingest")
def benchmark_ingest(
    pictures: Annotated[int, typer.Option(min=1, help="of 2 megapixels")] = 20_000,
) -> None:
    """Peak memory of ingest over many 2-megapixel pictures against 200 of them."""
    from pipeline.experiments import ingest

    ingest.main(pictures)


@benchmarks.command("label-errors")
def benchmark_label_errors(
    share: Annotated[float, typer.Option(min=0.01, max=0.5, help="of the masks that is damaged")] = 0.1,
    folds: Annotated[int, typer.Option(min=2)] = 3,
    epochs: Annotated[int, typer.Option(min=1, help="of each teacher")] = 3,
    size: Size = 96,
) -> None:
    """How many masks that were damaged on purpose come first in the ranking of label-errors, beside other scores."""
    from pipeline.experiments import label_errors as damaging

    damaging.main(share, folds, epochs, size)


@benchmarks.command("ablations")
def benchmark_ablations(
    images: Images = 20_000,
    size: Size = 128,
    seeds: Seeds = 3,
) -> None:
    """SINet without its gate, its low-level branch, its boundary loss: what each is worth, at an equal budget."""
    from pipeline.experiments import ablations

    ablations.main(images, size, seeds)


@benchmarks.command("limits")
def benchmark_limits(
    weights: Annotated[Path, typer.Option(help="weights file")] = SINET,
    out: Annotated[
        Path | None, typer.Option(help="CSV of how far the wrong pixels are from the outline")
    ] = None,
) -> None:
    """What limits a trained SINet: figures by side and kind of mask, and where its wrong pixels on dev lie."""
    from pipeline.experiments import limits

    limits.main(weights, out)


@benchmarks.command("pages")
def benchmark_pages(
    pictures: Annotated[int, typer.Option(min=100, help="of each version, and as many that change")] = 20_000,
) -> None:
    """The pages of browse and diff: what writing them takes, and how quickly a browser shows and scrolls them."""
    from pipeline.experiments.pages import benchmark

    benchmark.main(pictures)


@benchmarks.command("precision")
def benchmark_precision(
    out: Annotated[Path | None, typer.Option(help="folder for precision.csv and precision.svg")] = None,
) -> None:
    """The recipe of params.yaml in float32 and in bfloat16: loss curves, figures on dev, and time."""
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")  # as stage train; see `sinet.core.device.use_all_cores`
    from pipeline.experiments import precision

    precision.main(out)


@benchmarks.command("queue")
def benchmark_queue(
    out: Annotated[Path, typer.Option(help="table of masks for `python -m annotations simulate`")] = Path(
        "queue_masks.csv"
    ),
    folds: Annotated[int, typer.Option(min=2, help="teachers, each of which labels what it never saw")] = 3,
    epochs: Annotated[int, typer.Option(min=1, help="of each teacher")] = 3,
    size: Size = 96,
    masks: Annotated[
        Path | None, typer.Option(help="folder for the masks, for `python -m annotations benchmark-clicks`")
    ] = None,
) -> None:
    """How many bad masks the queue's order shows early: masks of teachers that never saw the picture."""
    from pipeline.experiments import queue

    queue.main(out, folds, epochs, size, masks)


@benchmarks.command("review")
def benchmark_review(
    tasks: Annotated[int, typer.Option(min=1)] = 5000,
    reviews: Annotated[int, typer.Option(min=1, help="of the tasks, submitted before the pull")] = 1000,
    sample: Annotated[int, typer.Option(min=1, help="tasks that the SDK imports")] = 200,
) -> None:
    """Time and memory of push and pull on a real Label Studio, beside the SDK's own import."""
    from pipeline.experiments import review

    review.main(tasks, reviews, sample)


def main() -> None:
    """Run the command line; what people can mend is one sentence and exit code 1, Ctrl-C 130."""
    heed_interrupts()
    always_printable()
    try:
        app()
    except (PipelineError, OSError) as error:
        sentence = sentence_of(error) if isinstance(error, OSError) else error
        typer.echo(f"error: {sentence}", err=True)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
