"""Licences: ids, names and addresses mean one thing, and what is not understood means nothing."""

import pytest

from pipeline.core.licences import allowed, covers, is_family, licence_name, spdx_id

BY = "https://creativecommons.org/licenses/by"


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("CC-BY-4.0", "CC-BY-4.0"),
        (" cc by 4.0 ", "CC-BY-4.0"),
        ("creativecommons.org/licenses/by/4.0/", "CC-BY-4.0"),
        ("http://www.creativecommons.org/licenses/by-nc-sa/2.0/de/deed.en", "CC-BY-NC-SA-2.0-DE"),
        ("Creative Commons Attribution-NonCommercial-ShareAlike 4.0 International", "CC-BY-NC-SA-4.0"),
        ("Attribution-NoDerivs 2.0 Generic (CC BY-ND 2.0)", None),  # says it twice: not one name
        ("CC BY-SA-NC v3.0", "CC-BY-NC-SA-3.0"),
        ("CC0", "CC0-1.0"),
        ("CC0 1.0 Universal", "CC0-1.0"),
        ("https://creativecommons.org/publicdomain/zero/1.0/", "CC0-1.0"),
        ("public domain", None),  # by whose word?
        ("Public Domain Mark 1.0", "CC-PDM-1.0"),
        ("https://creativecommons.org/publicdomain/mark/1.0/", "CC-PDM-1.0"),
        ("Apache License, Version 2.0", "Apache-2.0"),
        ("https://www.apache.org/licenses/LICENSE-2.0.txt", "Apache-2.0"),
        ("The MIT License", "MIT"),
        ("https://opensource.org/license/mit", "MIT"),
        ("https://spdx.org/licenses/ODbL-1.0.html", "ODbL-1.0"),
        ("CC BY", None),  # of which version?
        ("all rights reserved", None),
        ("CC BY 4.0, but ask first", None),
        ("https://example.org/licenses/by/4.0/", None),
        (f"{BY}/4.0/; CC BY 4.0", "CC-BY-4.0"),
        (f"CC; {BY}-nc/4.0/", "CC-BY-NC-4.0"),
        (f"CC BY; {BY}/2.0/", "CC-BY-2.0"),
        (f"CC BY; {BY}-nc/4.0/", None),  # of two that disagree none is believed
        ("CC BY 2.0; CC BY 4.0", None),
        ("all rights reserved; CC0", None),
        ("unknown; CC0", "CC0-1.0"),
        *((text, None) for text in (None, float("nan"), "", " N/A ", "unknown", "none")),
    ],
)
def test_a_licence_is_its_spdx_id_or_unknown(text: object, meant: str | None) -> None:
    assert spdx_id(text) == meant


def test_what_is_not_understood_keeps_its_words_and_passes_only_as_unknown() -> None:
    assert [licence_name(text) for text in (" research only ", "cc by 4.0", None, "N/A")] == [
        "research only", "CC-BY-4.0", "unknown", "unknown",
    ]  # fmt: skip
    assert allowed("research only", "any") and allowed("research only", ["unknown"])
    assert not allowed("research only", ["CC-BY"]) and not allowed("CC BY 4.0", ["unknown"])


def test_a_family_holds_its_versions_and_nothing_stricter() -> None:
    assert (
        covers("CC-BY", "CC-BY-4.0") and covers("CC-BY", "CC-BY-3.0-DE") and covers("CC-BY-4.0", "CC-BY-4.0")
    )
    assert not covers("CC-BY", "CC-BY-NC-4.0") and not covers("CC-BY-4.0", "CC-BY-3.0")
    assert [is_family(word) for word in ("CC-BY", "CC0-1.0", "MIT", "CC BY", "commercial", "")] == [
        True, True, True, False, False, False,
    ]  # fmt: skip
