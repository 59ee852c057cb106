"""`python docs/draw_guidelines.py` writes annotations/tasks/guidelines.svg: what is person, six cases, right and wrong.

A mask is shown as the task page shows it: its outline, and all outside of it pale. A test compares the file.
"""

from pathlib import Path

GOOD, BAD, LINE = "#1a7f37", "#cf222e", "#e6007e"
SKIN, HAIR, CLOTHES, OBJECT, GROUND = "#e4b899", "#4a3527", "#5b7f95", "#b3541e", "#dce7ee"
WIDTH, HEIGHT = 150, 180  # of one drawing
NOTHING = ""

BODY = f"<path d='M 25 181 Q 25 128 75 128 Q 125 128 125 181 Z' fill='{CLOTHES}'/>"
NECK = f"<rect x='65' y='100' width='20' height='36' fill='{SKIN}'/>"
FACE = f"<ellipse cx='75' cy='80' rx='26' ry='33' fill='{SKIN}'/>"
CAP = f"<path d='M 46 86 Q 44 40 75 40 Q 106 40 104 86 Q 98 60 75 60 Q 52 60 46 86 Z' fill='{HAIR}'/>"
EYES = "<circle cx='65' cy='80' r='2.5'/><circle cx='85' cy='80' r='2.5'/>"
PERSON = BODY + NECK + FACE + CAP

LONG_HAIR = f"<path d='M 46 66 Q 36 110 42 146 L 58 146 L 54 76 Z' fill='{HAIR}'/>"
OTHER_LONG_HAIR = f"<path d='M 104 66 Q 114 110 108 146 L 92 146 L 96 76 Z' fill='{HAIR}'/>"
SINGLE_HAIRS = f"<path d='M 104 60 q 18 6 22 26 M 102 54 q 24 -2 32 14' fill='none' stroke='{HAIR}'/>"
GAPS = (
    f"<path d='M 58 110 L 65 110 L 65 131 L 58 136 Z M 92 110 L 85 110 L 85 131 L 92 136 Z' fill='{GROUND}'/>"
)

ARM = f"<path d='M 112 181 L 116 118 L 132 118 L 134 181 Z' fill='{CLOTHES}'/>"
PALM = f"<rect x='113' y='92' width='22' height='28' rx='8' fill='{SKIN}'/>"
FINGERS = "".join(
    f"<rect x='{x}' y='{y}' width='5' height='30' rx='2.5' fill='{SKIN}' transform='rotate({turn} {x} 96)'/>"
    for x, y, turn in ((112, 72, -14), (118, 66, -5), (124, 66, 3), (130, 71, 12))
)

CUP = f"<path d='M 108 88 h 28 l -4 30 h -20 Z' fill='{OBJECT}'/>"
FIST = f"<rect x='112' y='102' width='22' height='20' rx='8' fill='{SKIN}'/>"
TABLE = "<rect x='0' y='160' width='150' height='20' fill='#8a6d4b'/>"

_LENSES = tuple(f"<circle cx='{x}' cy='80' r='15'" for x in (58, 93))
GLASSES = "".join(f"{lens} fill='#f3ddd0' stroke='#24292f' stroke-width='3'/>" for lens in _LENSES)
HOLES = "".join(f"{lens} fill='#f6ece6' stroke='{LINE}' stroke-width='3'/>" for lens in _LENSES)
BESIDE_THE_FACE = (
    f"<path d='M 100.5 67.5 A 13.5 13.5 0 0 1 100.5 92.5 Q 103 80 100.5 67.5 Z' fill='{GROUND}'/>"
)

PASSER_BY = f"<g transform='translate(98 22) scale(.42)'>{PERSON}</g>"
FRIENDS = tuple(f"<g transform='translate({x} 54) scale(.7)'>{PERSON}{EYES}</g>" for x in (-10, 42))


# A hand that moved, from all of its blur to where nothing shines through.
_BLUR = ((22, "#dfdedd"), (18, "#e0d6d0"), (13, "#e2cab9"), (8, "#e3bfa5"), (4, SKIN))
BLUR, HALF_THE_BLUR = (
    "".join(f"<ellipse cx='122' cy='98' rx='{r}' ry='{r + 8}' fill='{colour}'/>" for r, colour in steps)
    for steps in (_BLUR, _BLUR[2:])
)


# Title, and of the right and of the wrong mask: what lies outside it, what lies inside, and the words below.
CASES = (
    (
        "hair",
        (
            SINGLE_HAIRS + GAPS,
            BODY + NECK + LONG_HAIR + OTHER_LONG_HAIR + FACE + CAP + EYES,
            "all that is solid",
        ),
        (
            SINGLE_HAIRS + GAPS + LONG_HAIR,
            BODY + NECK + OTHER_LONG_HAIR + FACE + CAP + EYES,
            "one side is missing",
        ),
    ),
    (
        "hands",
        (NOTHING, PERSON + EYES + ARM + PALM + FINGERS, "all fingers"),
        (FINGERS, PERSON + EYES + ARM + PALM, "fingers are missing"),
    ),
    (
        "held objects",
        (TABLE, PERSON + EYES + ARM + CUP + FIST, "cup yes, table no"),
        (CUP, PERSON + EYES + ARM + FIST + TABLE, "table yes, cup no"),
    ),
    (
        "glasses",
        (NOTHING, PERSON + GLASSES + BESIDE_THE_FACE + EYES, "with the lenses"),
        (NOTHING, PERSON + HOLES + EYES, "the lenses are holes"),
    ),
    (
        "second people",
        (PASSER_BY, "".join(FRIENDS), "all who pose"),
        (FRIENDS[1], FRIENDS[0] + PASSER_BY, "a friend is missing"),
    ),
    (
        "motion blur",
        (BLUR, PERSON + EYES + ARM + HALF_THE_BLUR, "its middle"),
        (NOTHING, PERSON + EYES + ARM + BLUR, "all of it"),
    ),
)


def draw() -> str:
    """The SVG: three cases a row."""
    across, down = 2 * WIDTH + 50, HEIGHT + 80
    cases = [
        f"<g transform='translate({10 + number % 3 * across} {10 + number // 3 * down})'>"
        f"<text y='16' font-weight='bold'>{title}</text>{_drawing(0, GOOD, *right)}"
        f"{_drawing(WIDTH + 12, BAD, *wrong)}</g>"
        for number, (title, right, wrong) in enumerate(CASES)
    ]
    size = f"viewBox='0 0 {3 * across} {2 * down}' width='{3 * across}'"
    return "\n".join(
        [
            f"<svg xmlns='http://www.w3.org/2000/svg' {size} font-family='sans-serif' font-size='14'>",
            "<title>What is person: six cases, each with a right and a wrong mask</title>",
            f"<rect width='{3 * across}' height='{2 * down}' fill='white'/>",
            *cases,
            "</svg>",
            "",
        ]
    )


def _drawing(left: int, colour: str, outside: str, inside: str, words: str) -> str:
    frame = f"width='{WIDTH}' height='{HEIGHT}'"
    outline = "".join(
        f"<g stroke='{line}' stroke-width='{width}' stroke-linejoin='round'>{inside}</g>"
        for line, width in (("white", 9), (LINE, 6))
    )
    mark = "right" if colour == GOOD else "wrong"
    return (
        f"<g transform='translate({left} 26)'><svg {frame}><rect {frame} fill='{GROUND}'/>{outside}"
        f"<rect {frame} fill='white' fill-opacity='.5'/>{outline}{inside}</svg>"
        f"<rect {frame} fill='none' stroke='{colour}' stroke-width='3'/>"
        f"<text y='{HEIGHT + 18}' fill='{colour}'>{mark}: {words}</text></g>\n"
    )


if __name__ == "__main__":
    Path("annotations/tasks/guidelines.svg").write_text(draw())
