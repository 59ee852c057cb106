"""A crawl from addresses: real HTTP on loopback, from a site that behaves and from sites that do not."""

import asyncio
import csv
import errno
import hashlib
import io
import json
import os
import random
import shutil
import signal
import ssl
import time
import zlib
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from annotations.ledger.takedowns import Takedowns, TakenDown, url_hash
from pipeline.core.errors import PipelineError
from pipeline.core.params import FetchParams, load_params
from pipeline.core.records import read_rejected
from pipeline.crawl import Crawled, crawl, summarise
from pipeline.fetching.journal import FetchOutcome, Journal, read_pictures
from pipeline.sources.layouts import read_layout
from tests.pipeline.fetching.site import Names, Request, Site, answer
from tests.pipeline.test_ingest import jpeg
from tests.project import digest

PICTURE = jpeg(1)
NOON = "2026-01-02T12:00:00Z"
LATER = "2026-03-04T12:00:00Z"
OUT = Path("data/crawl/web")
LIST = Path("list.csv")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def site():
    with Site() as made:
        yield made


def rules(root: Path, **changes) -> FetchParams:
    quick = {
        "contact": "me@example.org", "rate": 1000.0, "max_seconds": 2.0, "max_wait": 1.0, "min_side": 8,
        "allow_private": True,
    }  # fmt: skip
    return FetchParams(**{**load_params(root / "params.yaml").crawl.fetch.model_dump(), **quick, **changes})


@pytest.fixture
def quick(root: Path) -> FetchParams:
    return rules(root)


def fetch(urls, params: FetchParams, now: str = NOON, **options) -> Crawled:
    lines = [url if isinstance(url, str) else ",".join(url) for url in urls]
    LIST.write_text("url,licence,author,source\n" + "".join(f"{line}\n" for line in lines))
    return crawl("web", LIST, params, OUT, now=lambda: now, **options)


def reason(crawled: Crawled) -> tuple[str, int | None, str]:
    (outcome,) = crawled.outcomes.values()
    return outcome.reason, outcome.status, outcome.detail


def test_pictures_come_with_their_provenance_and_everything_else_is_a_row(site, quick) -> None:
    site.answers = {
        "/a.jpg": answer(PICTURE, headers=[("ETag", '"one"'), ("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")]),
        "/old": answer(status=302, headers=[("Location", "/a.jpg#part")]),
        "/b": answer(jpeg(2), headers=[("Content-Type", "text/html")]),
    }  # fmt: skip
    urls = [
        (site.url("/a.jpg"), "CC BY 4.0", "Ann", "https://example.org/ann"),
        site.url("/old"), site.url("/b#x"), site.url("/b"), site.url("/gone"), "ftp://example.org/x.jpg", "\"\",CC0",
    ]  # fmt: skip
    crawled = fetch(urls, quick)
    listing = read_layout("crawl", OUT)
    assert [(one.url, one.licence, one.author, one.retrieved_at) for one in listing.items if one.licence] == [
        (site.url("/a.jpg"), "CC BY 4.0", "Ann", NOON)
    ]
    assert len(listing.items) == 3 and listing.unusable == [] and dict(listing.notes) == {}
    pictures = {one["url"]: one for one in csv.DictReader(io.StringIO((OUT / "sources.csv").read_text()))}
    assert pictures[site.url("/old")]["final_url"] == site.url("/a.jpg")
    assert pictures[site.url("/a.jpg")]["etag"] == '"one"'
    assert pictures[site.url("/a.jpg")]["source"] == "https://example.org/ann"
    assert (OUT / pictures[site.url("/b")]["file"]).read_bytes() == jpeg(2)
    rejected = read_rejected("crawl/web")
    assert [(row.reason, row.status, row.date) for row in rejected.itertuples()] == [
        ("http_status", "404", NOON), ("listed_twice", "", NOON), ("no_address", "", NOON), ("no_address", "", NOON),
    ]  # fmt: skip
    assert summarise(crawled)["licences"] == {"CC BY 4.0": 1, "unknown": 2}
    agents = {request.headers["User-Agent"] for request in site.requests}
    assert agents == {"sinet-portraits (+me@example.org)"}
    assert sorted(path.name for path in OUT.iterdir()) == ["images", "sources.csv"]
    assert [path.name for path in Path(".cache/crawl").iterdir()] == ["web.whole"]


async def drip(_: Request, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    for byte in PICTURE:
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0.1)


async def slow_head(_: Request, writer: asyncio.StreamWriter) -> None:
    for number in range(1000):
        writer.write(b"HTTP/1.1 200 OK\r\n" if number == 0 else b"X-%d: 1\r\n" % number)
        await writer.drain()
        await asyncio.sleep(0.1)


async def endless(_: Request, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"10000\r\n" + bytes(2**16) + b"\r\n")
        await writer.drain()


async def cut(_: Request, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1000\r\n" + PICTURE[:100])
    writer.close()


async def rubbish(_: Request, writer: asyncio.StreamWriter) -> None:
    writer.write(b"\x00\xff no http at all\r\n\r\n")
    writer.close()


async def hang(_: Request, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


async def shut(_: Request, writer: asyncio.StreamWriter) -> None:
    writer.close()


def png_of(side: int) -> bytes:
    """The head of a PNG that says it is `side` pixels wide and high."""
    body = side.to_bytes(4) * 2 + b"\x08\x02\0\0\0"
    chunk = b"\0\0\0\x0dIHDR" + body + zlib.crc32(b"IHDR" + body).to_bytes(4)
    data = zlib.compress(bytes(10**6), 9)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk
        + len(data).to_bytes(4)
        + b"IDAT"
        + data
        + zlib.crc32(b"IDAT" + data).to_bytes(4)
    )


@pytest.mark.parametrize(
    ("given", "expected", "words"),
    [
        (drip, "too_slow", "not done within 0.5 seconds"),
        (slow_head, "too_slow", "not done within 0.5 seconds"),
        (hang, "too_slow", "not done within"),
        (shut, "unreachable", "disconnected"),
        (rubbish, "bad_answer", "no answer as HTTP has it"),
        (endless, "too_many_bytes", "over 200,000 (crawl.fetch.max_bytes)"),
        (answer(bytes(10), length=10**9), "too_many_bytes", "1,000,000,000 bytes, over"),
        (answer(PICTURE, length=len(PICTURE) + 1), "truncated", "ends early"),
        (cut, "truncated", "ends early"),
        (answer(PICTURE, length=len(PICTURE) // 2), "bad_answer", ""),
        (answer(b"<html>" * 100, headers=[("Content-Type", "image/jpeg")]), "not_an_image", "no JPEG"),
        (answer(b""), "empty_file", "zero bytes"),
        (answer(status=204), "http_status", "204"),
        (answer(status=304), "http_status", "304"),
        (answer(PICTURE, headers=[("Content-Encoding", "gzip")]), "encoded", "'gzip', which nobody asked for"),
        (answer(png_of(60_000)), "too_large", ""),
        (answer(png_of(4)), "too_small", "4x4; each side has to be of 8 to"),
        (answer(status=302, headers=[("Location", "/picture")]), "redirects", "in a circle"),
        (answer(status=302, headers=[("Location", "file:///etc/passwd")]), "redirects", "no address of the web"),
        (answer(status=302, headers=[("Location", "http://[")]), "redirects", "leads to no address"),
        (answer(status=302, headers=[("Location", "ftp://a:b@x.org/y?key=c")]), "redirects", "web: 'ftp://x.org/y'"),
        (answer(status=302, headers=[("Location", "//a:b@x.org/y?key=c")]), "redirects", "password: '//x.org/y'"),
        (answer(status=302), "http_status", "302"),
        (answer(PICTURE, headers=[("X-Robots-Tag", "noai")]), "opted_out", "X-Robots-Tag says noai"),
        (answer(PICTURE, headers=[("X", "y" * 10_000)]), "bad_answer", ""),
    ],
)  # fmt: skip
def test_what_a_hostile_site_gives_becomes_a_row_with_its_reason(site, root, given, expected, words) -> None:
    site.answers["/picture"] = given
    params = rules(root, max_seconds=0.5, max_bytes=200_000, tries=1)
    crawled = fetch([site.url("/picture")], params)
    found = reason(crawled)
    assert found[0] == expected and words in found[2], found
    assert list((OUT / "images").iterdir()) == []


def test_an_opt_out_is_honoured_before_the_body_is_read(site, root) -> None:
    async def endless_opt_out(_: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nX-Robots-Tag: otherbot: all\r\nx-robots-tag: NoImageAI\r\n\r\n")
        await asyncio.sleep(60)

    site.answers["/picture"] = endless_opt_out
    start = time.monotonic()
    assert reason(fetch([site.url("/picture")], rules(root, max_seconds=30)))[0] == "opted_out"
    assert time.monotonic() - start < 10


def test_an_opt_out_counts_in_an_error_and_in_a_redirect(site, quick) -> None:
    site.answers = {
        "/a": [answer(PICTURE), answer(status=403, headers=[("X-Robots-Tag", "noai")])],
        "/r": answer(status=302, headers=[("Location", "/b"), ("X-Robots-Tag", "noai")]),
    }
    fetch([site.url("/a")], quick)
    found = fetch([site.url("/a"), site.url("/r")], quick).outcomes.values()
    assert [(one.reason, one.status) for one in found] == [("opted_out", 403), ("opted_out", 302)]
    assert site.asked["/b"] == 0 and list((OUT / "images").iterdir()) == []


def test_noindex_on_an_error_page_speaks_of_the_page(site, quick) -> None:
    gone = answer(status=404, headers=[("X-Robots-Tag", "noindex")])
    site.answers = {"/a": [answer(PICTURE), gone]}
    fetch([site.url("/a")], quick)
    (kept,) = fetch([site.url("/a")], quick, LATER).outcomes.values()
    assert not kept.reason and kept.detail.startswith("http_status")


def test_a_few_redirects_of_any_kind_are_followed_and_no_more(site, root) -> None:
    for number, status in enumerate((301, 302, 303, 307, 308)):
        site.answers[f"/{number}"] = answer(status=status, headers=[("Location", f"{number + 1}")])
    site.answers["/5"] = answer(PICTURE)
    found = reason(fetch([site.url("/0")], rules(root, max_redirects=4)))
    assert found[0] == "redirects" and found[2] == "more than 4 redirects"
    crawled = fetch([site.url("/0")], rules(root, max_redirects=5))
    assert reason(crawled)[0] == "" and crawled.outcomes[site.url("/0")].final_url == site.url("/5")
    again = fetch([site.url("/0")], rules(root, max_redirects=4), LATER)
    assert reason(again)[0] == "" and reason(again)[2].startswith(
        "redirects on 2026-03-04"
    )  # that of before stays


@pytest.mark.parametrize("target", ["http://127.0.0.1:{port}/secret", "http://inside.example:{port}/secret"])
def test_a_redirect_to_a_private_address_is_refused_before_anything_is_sent(root, target) -> None:
    """127.0.0.2 stands for the public internet here, and 127.0.0.1 for the inside."""
    with Site("127.0.0.2") as public, Site("127.0.0.1") as inside:
        inside.answers["/secret"] = answer(PICTURE)
        place = target.format(port=inside.port)
        public.answers["/a"] = answer(status=302, headers=[("Location", place)])
        names = Names(public_example=["127.0.0.2"], inside_example=["127.0.0.1"])
        crawled = fetch(
            [public.url("/a", "public.example")],
            rules(root),
            resolver=names,
            permits=lambda one: one == "127.0.0.2",
        )
        assert reason(crawled)[0] == "private_address"
        assert "127.0.0.1, which is not on the public internet" in reason(crawled)[2]
        assert inside.connections == 0


@pytest.mark.parametrize("url", ["http://127.0.0.1:{}/a", "http://localhost:{}/a", "http://[::1]:{}/a",
                                 "http://[::ffff:127.0.0.1]:{}/a", "http://169.254.169.254/latest/meta-data",
                                 "http://127.1:{}/a", "http://2130706433:{}/a", "http://0x7f.0.0.1:{}/a"])  # fmt: skip
def test_this_machine_and_its_network_are_refused_unless_a_param_allows_them(site, root, url) -> None:
    site.answers["/a"] = answer(PICTURE)
    found = reason(fetch([url.format(site.port)], rules(root, allow_private=False)))
    assert found[0] in ("private_address", "no_address"), found
    assert site.connections == 0


def test_a_name_that_changes_its_answer_reaches_only_the_address_that_was_checked(root) -> None:
    with Site("127.0.0.2") as public, Site("127.0.0.1") as inside:
        inside.answers["/a"] = public.answers["/a"] = answer(PICTURE)
        names = Names(turning_example=["127.0.0.2", "127.0.0.1"])

        async def closing(request: Request, writer: asyncio.StreamWriter) -> None:
            await answer(b"", 404, [("Connection", "close")])(request, writer)
            writer.close()

        public.answers["/robots.txt"] = closing
        crawled = fetch(
            [public.url("/a", "turning.example")],
            rules(root),
            resolver=names,
            permits=lambda one: one == "127.0.0.2",
        )
        assert reason(crawled)[0] == "private_address"
        assert names.asked["turning.example"] == 2 and public.connections == 1 and inside.connections == 0
        assert public.requests[0].headers["Host"] == f"turning.example:{public.port}"


def test_one_private_address_among_others_refuses_the_name(site, root) -> None:
    class Both(Names):
        async def resolve(self, host, port=0, family=0):
            found = await super().resolve(host, port)
            return [*found, {**found[0], "host": "10.0.0.1"}]

    names = Both(both_example=["127.0.0.1"])
    crawled = fetch(
        [site.url("/a", "both.example")], rules(root), resolver=names, permits=lambda one: one[:3] == "127"
    )
    assert reason(crawled)[0] == "private_address" and site.connections == 0


@pytest.mark.parametrize(
    ("robots", "expected"),
    [
        (answer(b"User-agent: *\nDisallow: /", 200), "robots"),
        (answer(b"\xef\xbb\xbfUser-agent: sinet-portraits\nDisallow: /a\n\nUser-agent: *\nAllow: /"), "robots"),
        (answer(b"User-agent: *\nDisallow: /\n\nUser-agent: sinet-portraits\nAllow: /a"), ""),
        (answer(b"x" * 5_000_000), ""),
        (answer(b"User-agent: *\nDisallow: /a\n" + b"# long\n" * 700_000), "robots"),
        (answer(b"#" * 499 * 1024 + b"\nUser-agent: *\nDisallow: /"), "robots"),
        (answer(b"# long\n" * 700_000 + b"User-agent: *\nDisallow: /"), ""),  # behind the first 500 KiB
        (endless, ""),
        (hang, "robots_unreachable"),
        (drip, "robots_unreachable"),
        (shut, "robots_unreachable"),
        (answer(status=500), "robots_unreachable"),
        (answer(status=429), "robots_unreachable"),
        (answer(status=403), ""),
        (answer(status=302, headers=[("Location", "/robots.txt")]), "robots_unreachable"),
        (answer(status=302, headers=[("Location", "/other.txt")]), "robots"),
        (answer(b"User-agent: *\nCrawl-delay: 100000"), "asks_to_wait"),
        ([answer(status=503), answer(b"")], ""),
    ],
)  # fmt: skip
def test_robots_txt_is_kept_to_as_rfc_9309_has_it(site, root, robots, expected) -> None:
    site.answers = {
        "/robots.txt": robots,
        "/a": answer(PICTURE),
        "/other.txt": answer(b"User-agent: *\nDisallow: /a"),
    }
    params = rules(root, max_seconds=0.4 if expected == "robots_unreachable" else 10, tries=2, max_wait=0.05)
    assert reason(fetch([site.url("/a")], params))[0] == expected
    assert site.asked["/a"] == (not expected)


def test_robots_txt_is_asked_for_once_a_site(site, quick) -> None:
    site.answers = {f"/{number}": answer(jpeg(number)) for number in range(10)}
    assert not any(
        one.reason for one in fetch([site.url(path) for path in site.answers], quick).outcomes.values()
    )
    assert site.asked["/robots.txt"] == 1


@pytest.mark.parametrize("status", [429, 503])
def test_a_host_that_asks_to_wait_is_left_alone_so_long(site, root, status) -> None:
    busy = answer(status=status, headers=[("Retry-After", "1")])
    site.answers = {"/a": [busy, answer(PICTURE)], "/b": answer(jpeg(2))}
    start = time.monotonic()
    crawled = fetch([site.url("/a"), site.url("/b")], rules(root, per_host=1, max_wait=5))
    assert [one.reason for one in crawled.outcomes.values()] == ["", ""]
    assert time.monotonic() - start > 1
    assert [request.path for request in site.requests] == ["/robots.txt", "/a", "/a", "/b"]


def test_the_last_try_of_an_address_and_a_redirect_s_host_are_waited_for_as_well(root) -> None:
    at: list[float] = []

    async def busy(request: Request, writer: asyncio.StreamWriter) -> None:
        at.append(time.monotonic())
        await answer(status=429, headers=[("Retry-After", "1")])(request, writer)

    with Site() as first, Site() as second:
        for path in ("/a", "/b"):
            first.answers[path] = answer(status=302, headers=[("Location", second.url(path))])
            second.answers[path] = busy
        fetch([first.url("/a"), first.url("/b")], rules(root, tries=1, per_host=1, max_wait=2))
        assert len(at) == 2 and at[1] - at[0] >= 1
        second.answers["/a"] = answer(status=429, headers=[("Retry-After", "100")])
        found = fetch([first.url("/a"), first.url("/b")], rules(root, per_host=1)).outcomes.values()
        assert [one.reason for one in found] == ["asks_to_wait"] * 2 and len(at) == 2
        assert f"127.0.0.1:{second.port} asks to wait 100 seconds" in next(iter(found)).detail


def test_a_host_that_asks_for_too_long_is_not_asked_again(site, root) -> None:
    day = [("Retry-After", "86400")]
    site.answers["/a"] = answer(status=429, headers=day)
    urls = [site.url(path) for path in ("/a", "/b", "/c")]
    crawled = fetch(urls, rules(root, max_wait=0.05, per_host=1))
    assert [(one.reason, one.status) for one in crawled.outcomes.values()] == [("asks_to_wait", 429)] * 3
    assert "asks to wait 86400 seconds, more than crawl.fetch.max_wait" in crawled.outcomes[urls[2]].detail
    assert (site.asked["/a"], site.asked["/b"], site.asked["/c"]) == (1, 0, 0)
    site.answers["/robots.txt"] = answer(status=503, headers=day)
    assert reason(fetch([site.url("/d")], rules(root)))[0] == "asks_to_wait"
    assert site.asked["/robots.txt"] == 2


def test_an_address_that_never_mends_is_tried_a_few_times(site, root) -> None:
    site.answers["/b"] = answer(status=503)
    crawled = fetch([site.url("/b")], rules(root, max_wait=0.05, tries=3))
    assert reason(crawled)[:2] == ("http_status", 503) and site.asked["/b"] == 3


def test_too_few_open_files_are_no_fault_of_the_sites(site, root) -> None:
    class Full(Names):
        async def resolve(self, host, port=0, family=0):
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with pytest.raises(OSError, match="Too many open files"):
        fetch([site.url("/a", "full.example")], rules(root), resolver=Full())
    assert not (OUT / "sources.csv").exists()


def test_a_connection_is_encrypted_for_the_name_and_its_certificate_looked_at(root, tmp_path) -> None:
    pem = tmp_path / "own.pem"
    pem.write_bytes(own_certificate("secure.example"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    asked: list[str | None] = []
    context.sni_callback = lambda _, name, __: asked.append(name)
    with Site(tls=context) as site:
        crawled = fetch(
            [f"https://secure.example:{site.port}/a"],
            rules(root, tries=1),
            resolver=Names(secure_example=["127.0.0.1"]),
        )
    assert reason(crawled)[0] == "robots_unreachable" and "certificate is not valid" in reason(crawled)[2]
    assert asked == ["secure.example"] and site.requests == []


def own_certificate(name: str) -> bytes:
    """A certificate that nobody vouches for, and its key, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2099, 1, 1, tzinfo=UTC))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    return made.public_bytes(serialization.Encoding.PEM) + private


def test_a_host_that_fails_again_and_again_is_given_up(site, root) -> None:
    crawled = fetch([site.url(f"/{number:02}") for number in range(30)], rules(root, tries=1))
    assert all(one.reason == "http_status" for one in crawled.outcomes.values())
    site.answers = {f"/{number:02}": shut for number in range(30)}
    crawled = fetch([site.url(f"/{number:02}") for number in range(30)], rules(root, tries=1, per_host=1))
    assert [one.reason for one in crawled.outcomes.values()] == ["unreachable"] * 10 + ["host_failed"] * 20
    with Site() as first:
        first.answers = {
            path: answer(status=302, headers=[("Location", site.url(path))]) for path in site.answers
        }
        crawled = fetch([first.url(path) for path in first.answers], rules(root, tries=1, per_host=1))
    assert [one.reason for one in crawled.outcomes.values()] == ["unreachable"] * 10 + ["host_failed"] * 20


def test_requests_to_one_host_keep_their_distance(site, root) -> None:
    urls = [site.url(f"/{number}") for number in range(4)]
    start = time.monotonic()
    fetch(urls, rules(root, rate=10))
    assert time.monotonic() - start > 0.4  # with its robots.txt five requests, a tenth of a second apart


def test_a_second_run_asks_only_for_what_has_changed(site, quick) -> None:
    async def versioned(request: Request, writer: asyncio.StreamWriter) -> None:
        same = request.headers.get("If-None-Match") == '"v1"'
        await answer(b"" if same else PICTURE, 304 if same else 200, [("ETag", '"v1"')])(request, writer)

    async def dated(request: Request, writer: asyncio.StreamWriter) -> None:
        day = "Thu, 01 Jan 2026 00:00:00 GMT"
        same = request.headers.get("If-Modified-Since") == day
        await answer(b"" if same else jpeg(2), 304 if same else 200, [("Last-Modified", day)])(
            request, writer
        )

    site.answers = {
        "/etag": versioned, "/dated": dated, "/plain": answer(jpeg(3)), "/new": [answer(jpeg(4)), answer(jpeg(5))],
        "/gone": [answer(jpeg(6)), answer(status=410)], "/out": [answer(jpeg(7)), answer(jpeg(7), headers=[
            ("X-Robots-Tag", "noml")])], "/damaged": versioned,
    }  # fmt: skip
    urls = [site.url(path) for path in site.answers]
    first = fetch(urls, quick).outcomes
    before = digest(OUT)
    (OUT / first[site.url("/damaged")].file).write_bytes(b"damaged")
    second = fetch(urls, quick, LATER)
    assert {url.rsplit("/")[-1]: one.date for url, one in second.outcomes.items()} == {
        "etag": NOON, "dated": NOON, "plain": NOON, "new": LATER, "gone": NOON, "out": LATER, "damaged": LATER
    }  # fmt: skip
    assert summarise(second)["kept_of_before"] == {"http_status": 1}
    assert second.outcomes[site.url("/out")].reason == "opted_out"
    after = digest(OUT)
    changed = {name for name in before if before[name] != after.get(name)}
    assert changed == {"sources.csv", first[site.url("/new")].file, first[site.url("/out")].file}
    fetch(urls[:2], quick, LATER)
    assert len(list((OUT / "images").iterdir())) == 2  # of what the list names no longer nothing stays


def test_a_picture_that_did_not_change_keeps_all_bytes(site, quick) -> None:
    site.answers = {f"/{number}": answer(jpeg(number)) for number in range(5)}
    urls = [site.url(path) for path in site.answers]
    fetch(urls, quick)
    before = digest(OUT)
    fetch(urls, quick, LATER)
    assert digest(OUT) == before


def test_the_same_address_with_two_licences_is_not_fetched(site, quick) -> None:
    site.answers = {"/a": answer(PICTURE), "/b": answer(jpeg(2))}
    a = site.url("/a")
    crawled = fetch([(a, "CC0", "", ""), (a, "CC BY 4.0", "", ""), site.url("/b")], quick)
    assert list(crawled.outcomes) == [site.url("/b")] and site.asked["/a"] == 0
    assert sorted(one.reason for one in crawled.listed.unusable) == ["listed_twice", "rows_disagree"]


def test_what_was_taken_down_is_not_asked_for_again_and_does_not_stay(site, quick) -> None:
    site.answers = {f"/{number}": answer(jpeg(number)) for number in range(4)}
    urls = [site.url(path) for path in site.answers]
    first = fetch(urls, quick).outcomes
    by_address = TakenDown(key="0" * 16, date="2026-01-01", urls=(url_hash(urls[0]),))
    by_file = TakenDown(key="1" * 16, date="2026-01-01", files=(first[urls[1]].sha256,))
    never_seen = TakenDown(key="2" * 16, date="2026-01-01", urls=(url_hash(site.url("/new")),))
    asked = dict(site.asked)
    takedowns = Takedowns([by_address, by_file, never_seen])
    second = fetch([*urls, site.url("/new")], quick, LATER, takedowns=takedowns)
    gone = [one.url for one in second.outcomes.values() if one.reason == "taken_down"]
    assert gone == [urls[0], urls[1], site.url("/new")]
    assert all(second.outcomes[url].detail.endswith(key * 16) for url, key in zip(gone, "012", strict=True))
    assert [site.asked[f"/{number}"] - asked[f"/{number}"] for number in range(4)] == [0, 0, 1, 1]
    assert {path.name for path in (OUT / "images").iterdir()} == {
        Path(first[url].file).name for url in urls[2:]
    }


def test_a_new_take_down_removes_its_picture_and_asks_nobody(site, quick) -> None:
    site.answers = {f"/{number}": answer(jpeg(number)) for number in range(3)}
    urls = [site.url(path) for path in (*site.answers, "/gone")]
    first = fetch(urls, quick).outcomes
    asked = len(site.requests)
    by_file = TakenDown(key="1" * 16, date="2026-01-01", files=(first[urls[0]].sha256,))
    other = TakenDown(key="2" * 16, date="2026-01-01", files=("d" * 64,))
    second = fetch(urls, quick, LATER, takedowns=Takedowns([by_file]))
    third = fetch(urls, quick, LATER, takedowns=Takedowns([by_file, other])).outcomes
    assert len(site.requests) == asked and second.asked == 0
    assert second.outcomes == third == {**first, urls[0]: third[urls[0]]}
    assert third[urls[0]].reason == "taken_down" and third[urls[0]].date == LATER
    assert {path.stem for path in (OUT / "images").iterdir()} == {
        Path(first[url].file).stem for url in urls[1:3]
    }
    assert list(read_pictures(OUT)) == urls[1:3]
    assert [row.reason for row in read_rejected("crawl/web").itertuples()] == ["taken_down", "http_status"]
    (OUT / first[urls[1]].file).unlink()  # by whatever
    undone = fetch(urls, quick, LATER, takedowns=Takedowns([other]))
    assert undone.asked == 2
    assert {one.url: one.file for one in undone.outcomes.values()} == {
        one.url: one.file for one in first.values()
    }
    assert fetch(urls, quick, takedowns=Takedowns([other])).asked == 4  # since nothing has changed


def test_what_was_taken_down_is_gone_even_where_nobody_answers(site, root) -> None:
    urls = [site.url("/a", "a.example"), site.url("/b", "b.example")]
    site.answers = {"/a": answer(PICTURE), "/b": answer(jpeg(2))}
    fetch(urls, rules(root), resolver=Names(a_example=["127.0.0.1"], b_example=["127.0.0.1"]))
    taken_down = Takedowns([TakenDown(key="0" * 16, date="2026-01-01", urls=(url_hash(urls[0]),))])
    with pytest.raises(PipelineError, match="is this machine on a network"):
        fetch(urls, rules(root, tries=1), takedowns=taken_down, resolver=Names())
    assert len(list((OUT / "images").iterdir())) == 1


def test_what_was_taken_down_does_not_come_by_another_address(site, quick) -> None:
    site.answers = {
        "/copy": answer(PICTURE),
        "/moved": answer(status=302, headers=[("Location", "/M%c3%bcller%2C.jpg")]),
        "/M%C3%BCller,.jpg": answer(jpeg(2)),
        "/kept": [answer(jpeg(3)), answer(status=302, headers=[("Location", "/M%C3%BCller,.jpg")])],
    }
    urls = [site.url(path) for path in ("/copy", "/kept", "/moved")]
    fetch(urls, quick)
    by_file = TakenDown(key="0" * 16, date="2026-01-01", files=(hashlib.sha256(PICTURE).hexdigest(),))
    by_address = TakenDown(key="1" * 16, date="2026-01-01", urls=(url_hash(site.url("/Müller,.jpg")),))
    gone = Takedowns([by_file, by_address])
    of_before = fetch(
        urls, quick, takedowns=gone
    ).outcomes  # nobody is asked: the third one's final address is known
    assert [one.reason for one in of_before.values()] == ["taken_down", "", "taken_down"]
    shutil.rmtree(OUT)
    asked = site.asked["/M%C3%BCller,.jpg"]
    again = fetch(urls, quick, takedowns=gone).outcomes
    assert [(one.reason, one.detail[-1:]) for one in again.values()] == [
        ("taken_down", "0"), ("taken_down", "1"), ("taken_down", "1"),
    ]  # fmt: skip
    assert list((OUT / "images").iterdir()) == [] and site.asked["/M%C3%BCller,.jpg"] == asked


@pytest.mark.parametrize("folder", ["images/mine", "mine", ".parts/.a.tmp"])
def test_a_folder_of_somebody_is_refused_by_name(quick, folder) -> None:
    (OUT / folder).mkdir(parents=True)
    with pytest.raises(
        PipelineError, match=rf"1 files and folders of somebody \(as data/crawl/web/{folder}\)"
    ):
        fetch(["http://127.0.0.1/a"], quick)


def test_names_are_of_our_own_making(site, quick) -> None:
    paths = ["/..%2f..%2fx.jpg", "/a/../../b.php%00.jpg", "/%2e%2e/%2e%2e/etc/passwd", "/" + "n" * 3000]
    urls = [site.url(path) for path in paths]

    class Anything(dict):
        def get(self, path, default=None):
            return (
                default
                if path == "/robots.txt"
                else answer(
                    PICTURE, headers=[("Content-Disposition", 'attachment; filename="../../../evil.jpg"')]
                )
            )

    site.answers = Anything()
    fetch(urls, quick)
    files = sorted(path.as_posix() for path in Path().rglob("*") if path.is_file())
    images = [name for name in files if name.startswith("data/crawl/web/images/")]
    assert len(images) == 4 and all(len(Path(name).stem) == 32 for name in images)
    assert not any("evil" in name or "passwd" in name for name in files)


def test_without_a_network_a_sentence_says_so_and_nothing_counts_as_failed(site, root) -> None:
    urls = [f"http://host{number}.example/a.jpg" for number in range(12)]
    with pytest.raises(
        PipelineError, match=r"none of 10 sites can be reached.*is this machine on a network\?.*serve-crawl"
    ):
        fetch(urls, rules(root, tries=1), resolver=Names())
    site.answers["/a.jpg"] = answer(PICTURE)
    names = Names(**{f"host{number}_example": ["127.0.0.1"] for number in range(12)})
    urls = [site.url("/a.jpg", f"host{number}.example") for number in range(12)]
    assert not any(one.reason for one in fetch(urls, rules(root), resolver=names).outcomes.values())


@pytest.mark.parametrize(
    ("text", "words"),
    [("file\na.jpg\n", "holds no address"), ("hello\n", "no column that is known"), (None, "found nothing")],
)
def test_a_list_that_is_none_is_refused_by_name(text, words, quick) -> None:
    if text is not None:
        LIST.write_text(text)
    with pytest.raises(PipelineError, match=words):
        crawl("web", LIST, quick, OUT)


def crawl_in_a_child(params: FetchParams, kill_at: int = -1, cut_at: int = 0) -> int:
    """The exit code of a process that crawls, killed at a line of its journal after `cut_at` bytes of that line."""
    child = os.fork()
    if child == 0:
        left, before = iter(range(kill_at)), Journal._write

        def guarded(journal, told):
            if kill_at >= 0 and next(left, None) is None:
                journal._file.write(json.dumps(told).encode()[:cut_at])
                journal._file.flush()
                os.kill(os.getpid(), signal.SIGKILL)
            before(journal, told)

        Journal._write = guarded
        with suppress(BaseException):
            crawl("web", LIST, params, OUT, now=lambda: NOON)
            os._exit(0)
        os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def everything() -> dict[str, str]:
    """What is written, and which journals are left, whose lines stand as the answers came."""
    return {**digest(Path("data")), **{path.name: "" for path in Path(".cache/crawl").iterdir()}}


def killed_crawl(site: Site, params: FetchParams, kills: list[tuple[int, int]]) -> None:
    """The same files after these kills as without any, and of what was done nothing is asked for again."""
    site.answers = {f"/{number}": answer(jpeg(number)) for number in range(1, 9)}
    LIST.write_text("url,licence\n" + "".join(f"{site.url(path)},CC0\n" for path in [*site.answers, "/gone"]))
    assert crawl_in_a_child(params) == 0
    whole = everything()
    for word in ("data", ".cache"):
        shutil.rmtree(word)
    for kill in kills:
        assert crawl_in_a_child(params, *kill) == -signal.SIGKILL
    site.asked.clear()
    assert crawl_in_a_child(params) == 0
    assert everything() == whole


def test_a_crawl_goes_on_after_kills_and_gives_the_same_bytes(site, quick) -> None:
    killed_crawl(
        site, quick, [(4, 0), (3, 20)]
    )  # after four lines, the first of which is the header, and three more
    assert sum(count for path, count in site.asked.items() if path != "/robots.txt") == 9 - 3 - 3


@pytest.mark.long
def test_a_crawl_killed_at_any_moment_gives_the_same_bytes(site, quick) -> None:
    """Twenty crawls, each killed three times at lines of its journal, and sixty killed at moments of a clock."""
    draw = random.Random(12)
    for _ in range(20):
        killed_crawl(site, quick, [(draw.randrange(1, 3), draw.choice((0, 1, 50))) for _ in range(3)])
        whole = everything()
        for word in ("data", ".cache"):
            shutil.rmtree(word)
        for _ in range(3):
            child = os.fork()
            if child == 0:
                with suppress(BaseException):
                    crawl("web", LIST, quick, OUT, now=lambda: NOON)
                os._exit(0)
            time.sleep(draw.uniform(0, 0.06))
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        assert crawl_in_a_child(quick) == 0
        assert everything() == whole
        for word in ("data", ".cache"):
            shutil.rmtree(word)


def test_a_pass_of_another_version_is_asked_again_with_conditions(site, root, quick) -> None:
    site.answers = {"/a": answer(PICTURE, headers=[("ETag", '"v"')]), "/b": answer(jpeg(2))}

    fetch([site.url("/a")], quick)
    held = read_pictures(OUT)[site.url("/a")]
    with Journal(Path(".cache/crawl/web.jsonl"), "another") as journal:
        journal.add(held)
        journal.add(FetchOutcome(site.url("/b"), NOON, 500, "http_status"))
    (OUT / "sources.csv").unlink()
    outcomes = fetch([site.url("/a"), site.url("/b")], rules(root, tries=2), LATER).outcomes
    assert [(one.reason, one.date) for one in outcomes.values()] == [("", NOON), ("", LATER)]
    assert (
        site.requests[-2].headers.get("If-None-Match", site.requests[-1].headers.get("If-None-Match"))
        == '"v"'
    )
