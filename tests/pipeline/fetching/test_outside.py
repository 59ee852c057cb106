"""What comes from outside, as any bytes: lists, addresses, headers, robots.txt; and which addresses are public."""

import ipaddress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yarl import URL

from pipeline.core.errors import PipelineError
from pipeline.fetching.addresses import canonical, read_addresses, without_user
from pipeline.fetching.download import host_of
from pipeline.fetching.journal import FetchOutcome, Journal, read_pictures
from pipeline.fetching.opt_out import OPT_OUTS, opt_out
from pipeline.fetching.pace import retry_after
from pipeline.fetching.reachable import is_public
from pipeline.fetching.robots import RobotsAnswer, SiteRules

AGENT = "sinet-portraits"
NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([], None),
        (["all"], None),
        (["noai"], "noai"),
        (["NoAI, NoImageAI"], "noai"),
        (["nofollow,  noimageindex"], "noimageindex"),
        (["none"], "none"),
        (["max-image-preview: large, noml"], "noml"),
        (["unavailable_after: 25 Jun 2010 15:00:00 PST"], None),
        (["otherbot: noindex, noai"], None),
        (["otherbot: noindex", "noai"], "noai"),
        (["sinet-portraits: noindex"], "noindex"),
        (["SINET-Portraits: all, noml"], "noml"),
        (["*: noai"], "noai"),
        (["otherbot: all, sinet-portraits: noai"], "noai"),
        (["noaim", "no ai"], None),
        (["unavailable_after: Fri, 25 Jun 2027 15:00:00 GMT, noai"], "noai"),
        (["otherbot: unavailable_after: Fri, 25 Jun 2027 15:00:00 GMT, noai"], None),
    ],
)
def test_opt_outs(values: list[str], found: str | None) -> None:
    assert opt_out(values, AGENT) == found


@given(st.lists(st.text()), st.sampled_from(sorted(OPT_OUTS)))
def test_an_opt_out_for_everybody_is_found_beside_anything(others: list[str], directive: str) -> None:
    assert opt_out([*others, f" {directive.upper()} "], AGENT) is not None


def test_the_pace_knows_a_host_by_one_name() -> None:
    same = ("http://e.org/a", "https://e.org/a", "https://E.org./a", "http://e.org:443/")
    assert {host_of(URL(one)) for one in same} == {"e.org"} and host_of(
        URL("http://e.org:8080")
    ) == "e.org:8080"


@given(st.text())
def test_an_address_has_one_form_or_a_reason(text: str) -> None:
    try:
        url = canonical(text)
    except ValueError as error:
        assert str(error)
    else:
        assert canonical(url) == url and url.isascii() and URL(url).host and "#" not in url


@given(st.text(st.characters(codec="utf-8")).map(lambda path: f"https://example.org/{path}"))
def test_any_path_of_printable_letters_is_an_address(text: str) -> None:
    if text.isprintable() and " " not in text and text.isascii():
        assert canonical(text).startswith("https://example.org/")


@pytest.mark.parametrize(
    "text",
    [
        "", "a.jpg", "//example.org/a", "ftp://example.org/a", "https://", "https://me:secret@example.org/a",
        "http://[/",
        "https://example.org:99999/", "file:///etc/passwd", "https://example.org/a b", "https://x/\n",
        "data:image/png,x",
        "https://example.org/" + "a" * 9000,
    ],
)  # fmt: skip
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        canonical(text)


@pytest.mark.parametrize(
    "text",
    [
        "http://ann:geheim@host/a.jpg", "ann:geheim@host/a.jpg", "ftp://geheim@host/a", "http:/ann:geheim@host/a",
        "http://ann:ge/heim@host/a", "http://ann:geheim@host:99999/", "http://ann:geheim[@host/",
        "http://ann:geheim\uff20host/", "https://ann:geheim@ho st/",
    ],
)  # fmt: skip
def test_no_password_of_a_line_is_shown(tmp_path: Path, text: str) -> None:
    (tmp_path / "list.csv").write_text(f"url\n{text}\n", encoding="utf-8")
    (row,) = read_addresses("web", tmp_path / "list.csv").unusable
    assert not any(word in f"{row.source_key} {row.detail}" for word in ("geheim", "heim@", "ann"))
    assert row.source_key.startswith("list.csv:2 ") and "ho" in row.source_key


def test_other_addresses_are_shown_as_they_are() -> None:
    for text in ("https://example.org/photos/123@N00/a b.jpg", "https://example.org:80/@me", "", "a.jpg"):
        assert without_user(text) == text


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True), ("2606:4700::1111", True), ("127.0.0.1", False), ("10.1.2.3", False),
        ("0.0.0.0", False),
                ("172.16.0.1", False), ("192.168.1.1", False), ("169.254.169.254", False), ("100.64.0.1", False),
        ("224.0.0.1", False), ("255.255.255.255", False), ("::1", False), ("::", False), ("fe80::1%eth0", False),
        ("fc00::1", False), ("ff02::1", False), ("::ffff:127.0.0.1", False), ("::ffff:93.184.216.34", True),
        ("64:ff9b::10.0.0.1", False), ("64:ff9b::93.184.216.34", True), ("2002:7f00:1::", False),
        ("2001:db8::1", False), ("192.0.0.192", False), ("168.63.129.16", False), ("fec0::1", False),
        ("3fff::1", False), ("::ffff:168.63.129.16", False), ("64:ff9b::168.63.129.16", False),
    ],
)  # fmt: skip
def test_which_addresses_are_on_the_public_internet(address: str, public: bool) -> None:
    assert is_public(address) == public


@given(st.ip_addresses(v=4))
def test_an_address_inside_another_one_is_looked_at(address: ipaddress.IPv4Address) -> None:
    inner = int(address)
    for outer in (0xFFFF << 32 | inner, 0x64FF9B << 96 | inner, 0x2002 << 112 | inner << 80):
        if not is_public(str(address)):
            assert not is_public(str(ipaddress.IPv6Address(outer)))


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(None, None), ("120", 120), (" 0 ", 0), ("Fri, 02 Jan 2026 12:01:00 GMT", 60),
     ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
     ("soon", None), ("-5", None), ("1.5", None), ("²", None), ("9" * 50, 999999999999.0)],
)  # fmt: skip
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert retry_after(value, NOW) == seconds


@given(st.text())
def test_any_retry_after_gives_seconds_or_nothing(value: str) -> None:
    found = retry_after(value, NOW)
    assert found is None or found >= 0


@given(st.binary(max_size=300) | st.text().map(str.encode))
@settings(max_examples=200)
def test_any_robots_txt_is_read(body: bytes) -> None:
    rules = SiteRules(RobotsAnswer(body), AGENT)
    assert rules.allows("https://example.org/a?b=c") in (True, False) and rules.delay >= 0
    closing = SiteRules(RobotsAnswer(body + f"\n\nUser-agent: {AGENT}\nDisallow: /\n".encode()), AGENT)
    assert isinstance(closing.allows("https://example.org/"), bool)


def test_of_an_unknown_robots_txt_nothing_is_allowed() -> None:
    assert not SiteRules(RobotsAnswer(unknown="no answer"), AGENT).allows("https://example.org/")


@given(st.binary(max_size=200) | st.text().map(lambda text: f"url,licence\n{text}".encode()))
@settings(max_examples=150)
def test_any_list_is_read_or_refused_with_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, body: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(body)
    try:
        listed = read_addresses("web", path)
    except PipelineError as error:
        assert str(path) in str(error)
    else:
        assert all(canonical(one.url) == one.url for one in listed.addresses)
        assert len({one.url for one in listed.addresses}) == len(listed.addresses)


outcomes = st.builds(FetchOutcome, *[st.text()] * 2, st.none() | st.integers(0, 999), *[st.text()] * 7)


@given(st.lists(outcomes), st.data())
@settings(max_examples=50)
def test_a_journal_cut_anywhere_gives_what_was_whole(
    tmp_path_factory: pytest.TempPathFactory, noted: list[FetchOutcome], data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "journal.jsonl"
    path.unlink(missing_ok=True)
    with Journal(path, "one") as journal:
        for outcome in noted:
            journal.add(outcome)
    whole = path.read_bytes()
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
    lines = max(0, path.read_bytes().count(b"\n") - 1)
    with Journal(path, "one") as journal:
        assert journal.outcomes == {one.url: one for one in noted[:lines]}
        for outcome in noted[lines:]:
            journal.add(outcome)
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    "line", [b"\0\0", b"[]", b"7", b'{"url": "b"}', b'{"url": "b", "date": "", "x": 1}', b"{}"]
)
def test_a_damaged_line_of_a_journal_is_its_end(tmp_path: Path, line: bytes) -> None:
    path, picture = tmp_path / "journal.jsonl", FetchOutcome("a", "")
    with Journal(path, "one") as journal:
        journal.add(picture)
    whole = path.read_bytes()
    path.write_bytes(whole + line + b"\n" + whole)
    for _ in range(2):
        with Journal(path, "one") as journal:
            assert journal.outcomes == {"a": picture}
    assert path.read_bytes() == whole


def test_a_table_of_pictures_that_is_not_ours_counts_as_none(tmp_path: Path) -> None:
    assert read_pictures(tmp_path) == {}
    for content in (b"file,url\na,b\n", b"\xff\xfe\0", b'file,url,"\n', b""):
        (tmp_path / "sources.csv").write_bytes(content)
        assert read_pictures(tmp_path) == {}
