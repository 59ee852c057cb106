"""What the text of a licence means: an id of the SPDX list, or nothing that is understood.

`license-expression` has the ids. Names and addresses of Creative Commons, and names that are an id but for words like
"License", are told here; a licence without its version is none, and nothing is guessed.
"""

import functools
import re
from collections.abc import Iterable

UNKNOWN = "unknown"  # states no licence, or one that is not understood
_UNSTATED = frozenset({"", UNKNOWN, "none", "null", "nan", "na", "n/a", "-", "?"})
_ADDRESS = re.compile(
    r"(?:https?:)?(?://)?(?:www\.)?(?:"
    r"creativecommons\.org/(?P<kind>licenses|publicdomain)/(?P<terms>[a-z-]+)/(?P<version>\d\.\d)(?:/(?P<port>[a-z]{2,3}))?"
    r"(?:/(?:deed|legalcode)[\w.-]*)?"
    r"|(?:spdx|opensource)\.org/licenses?/(?P<id>[\w.+-]+?)(?:\.html|/license)?"
    r"|apache\.org/licenses/(?P<apache>license-2\.0)(?:\.txt|\.html)?"
    r")/?(?:[?#].*)?"
)
_PUBLIC_DOMAIN = {"zero": "cc0", "mark": "cc-pdm"}
_WORDS = {  # "" for what says nothing
    "creativecommons": "cc", "attribution": "by", "noncommercial": "nc", "noderivatives": "nd", "noderivs": "nd",
    "sharealike": "sa", "license": "", "licence": "", "version": "", "the": "", "international": "", "unported": "",
    "generic": "", "universal": "", "public": "", "v": "",
}  # fmt: skip
_NAMES = {
    "cc-0": "cc0-1.0", "cc0": "cc0-1.0", "cc-zero": "cc0-1.0", "cc-zero-1.0": "cc0-1.0",
    "cc-pdm": "cc-pdm-1.0", "pdm": "cc-pdm-1.0", "pdm-1.0": "cc-pdm-1.0",
}  # fmt: skip
_TERMS = ("by", "nc", "nd", "sa")  # in the order of the ids


def states_licence(text: object) -> bool:
    """Whether a text says anything of a licence; a missing one does not."""
    return isinstance(text, str) and text.strip().casefold() not in _UNSTATED


def spdx_id(text: object) -> str | None:
    """The SPDX id of a licence by its id, name or address, or by several that agree, `;` between; None if unknown.

    A family without a version ("CC BY") is unknown alone, and says nothing against an address that has one.
    """
    parts = [part for part in str(text).split(";") if states_licence(part)] if states_licence(text) else []
    bare = [_bare(part) for part in parts]
    found = {_ids()[one] for one in bare if one in _ids()}
    if len(found) != 1:
        return None
    (only,) = found
    vague = {"cc", re.sub(r"-\d.*", "", only.casefold()), only.casefold()}
    return only if all(one in vague for one in bare) else None


def licence_name(text: object) -> str:
    """The SPDX id where it is understood, else the text as it is stated, or `unknown`."""
    return spdx_id(text) or (str(text).strip() if states_licence(text) else UNKNOWN)


def licence_address(text: object) -> str | None:
    """The page of the SPDX list about a licence; None where it is not understood."""
    found = spdx_id(text)
    return None if found is None else f"https://spdx.org/licenses/{found}.html"


def is_family(word: str) -> bool:
    """Whether a word is an id of the SPDX list, or one without its version, as CC-BY."""
    return any(covers(word, one) for one in _ids().values())


def covers(word: str, licence: str) -> bool:
    """Whether an id or a family (`CC-BY`, of any version) holds a licence; `CC-BY` does not hold CC-BY-NC-4.0."""
    return licence == word or bool(re.fullmatch(rf"{re.escape(word)}-\d.*", licence))


def allowed(text: object, allow: str | Iterable[str]) -> bool:
    """Whether a stated licence is among those that may be used: `any`, or ids, families and `unknown`."""
    if allow == "any":
        return True
    found = spdx_id(text)
    return UNKNOWN in allow if found is None else any(covers(word, found) for word in allow)


def _bare(text: str) -> str:
    """A licence's name in the small letters and hyphens of an id."""
    text = text.strip().casefold()
    address = _ADDRESS.fullmatch(text)
    if address:
        if address["kind"] is None:
            return address["id"] or "apache-2.0"
        terms = f"cc-{address['terms']}" if address["kind"] == "licenses" else address["terms"]
        parts = [_PUBLIC_DOMAIN.get(terms, terms), address["version"], address["port"]]
        return "-".join(part for part in parts if part)
    text = re.sub(r"creative[\s-]commons", "cc", text)
    text = re.sub(r"public[\s-]domain[\s-]mark", "pdm", text)
    text = re.sub(r"(non|no|share)[\s-](commercial|derivatives|derivs|alike)", r"\1\2", text)
    words = [_WORDS.get(word, word) for word in re.split(r"[\s_/,()-]+", text) if word]
    words = [re.sub(r"^v(?=\d)", "", word) for word in words if word]
    if words and words[0] == "by":
        words = ["cc", *words]
    if words and words[0] == "cc":
        terms = sorted((one for one in words[1:] if one in _TERMS), key=_TERMS.index)
        words = ["cc", *terms, *(one for one in words[1:] if one not in _TERMS)]
    joined = "-".join(words)
    return _NAMES.get(joined, joined)


@functools.cache
def _ids() -> dict[str, str]:
    """The ids of the SPDX list by themselves in small letters."""
    from license_expression import get_spdx_licensing

    known = get_spdx_licensing().known_symbols
    named = (one for one, symbol in known.items() if not symbol.is_exception)
    return {one.casefold(): one for one in named if not one.startswith("LicenseRef-")}
