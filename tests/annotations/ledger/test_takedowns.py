"""The list of take-downs: hashes alone, one line a request, the same address however it is written."""

from pathlib import Path

import pytest

from annotations.ledger.shards import LockError
from annotations.ledger.takedowns import (
    Takedowns,
    TakenDown,
    one_form,
    read_takedowns,
    url_hash,
    write_takedowns,
)

PICTURE = "https://example.org/a/me.jpg?size=2"


def request(key: str, **more: object) -> TakenDown:
    return TakenDown.model_validate({"key": key * 16, "date": "2026-11-29", **more})


@pytest.mark.parametrize(
    "same",
    [
        "http://example.org/a/me.jpg?size=2",
        "HTTPS://Example.ORG:443/a/me.jpg?size=2#top",
        " https://example.org/a/me.jpg?size=2\n",
    ],
)
def test_an_address_is_the_same_however_it_is_written(same: str) -> None:
    assert url_hash(same) == url_hash(PICTURE)
    assert Takedowns([request("a", urls=[url_hash(PICTURE)])]).of_url(same) == "a" * 16


@pytest.mark.parametrize(
    ("shown", "sent"),
    [
        ("https://bücher.example/ä.jpg?x=ö", "https://xn--bcher-kva.example/%c3%a4.jpg?x=%C3%B6"),
        ("https://example.org/%7Eann/Müller%2C_a.jpg", "https://example.org/~ann/M%C3%BCller,_a.jpg"),
        ("https://example.org/a/../b c.jpg", "http://example.org/b%20c.jpg"),
        ("https://me:secret@example.org./b", "https://example.org/b"),
        ("https://example.org", "https://example.org/?"),
    ],
)
def test_an_address_is_the_same_as_a_browser_shows_and_as_it_sends_it(shown: str, sent: str) -> None:
    assert url_hash(shown) == url_hash(sent)
    assert url_hash(str(one_form(shown))) == url_hash(shown)


@pytest.mark.parametrize(
    "other",
    [
        "https://example.org/a/me.jpg",
        "https://example.org/A/me.jpg?size=2",
        "https://example.org:8080/a/me.jpg?size=2",
        "https://www.example.org/a/me.jpg?size=2",
        "me.jpg",
        "http://[",
    ],
)
def test_another_address_or_none_is_not(other: str) -> None:
    assert Takedowns([request("a", urls=[url_hash(PICTURE)])]).of_url(other) is None


def test_two_branches_write_two_files_and_a_line_names_all_its_hashes(tmp_path: Path) -> None:
    ours, theirs = request("a", pixels=["b" * 16, "a" * 16, "b" * 16]), request("c", files=["d" * 64])
    write_takedowns([ours], tmp_path)
    write_takedowns([theirs], tmp_path / "their")
    (tmp_path / "their/cc.jsonl").rename(tmp_path / "cc.jsonl")
    found = read_takedowns(tmp_path)
    assert found.pixels == {"a" * 16: "a" * 16, "b" * 16: "a" * 16}
    assert found.of_task("1" * 16, "d" * 64) == "c" * 16
    assert found.of_task("1" * 16, "e" * 64) is None
    again = ours.joined(request("a", reviews=["1" * 16], reason="asked by mail"))
    assert (again.pixels, again.reviews, again.reason) == (ours.pixels, ("1" * 16,), "asked by mail")


def test_a_missing_list_is_empty_and_a_damaged_line_is_named(tmp_path: Path) -> None:
    assert not read_takedowns(tmp_path / "none").requests
    (tmp_path / "aa.jsonl").write_text('{"key":"aaaaaaaaaaaaaaaa","date":"2026-11-29","name":"Somebody"}\n')
    with pytest.raises(LockError, match=r"aa\.jsonl, line 1: name: Extra inputs are not permitted"):
        read_takedowns(tmp_path)
