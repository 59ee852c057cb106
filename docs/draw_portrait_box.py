"""`python docs/draw_portrait_box.py` writes docs/portrait_box.svg: the crop stage's boxes on a drawn figure.

The boxes come from `pipeline.faces.portrait`, the numbers from params.yaml; a test compares the file.
"""

from pathlib import Path

from pipeline.core.boxes import Box
from pipeline.core.params import GeometryParams, load_params
from pipeline.faces.portrait import portrait_box

FACE, PORTRAIT, DIM = "#d1242f", "#0969da", "#59636e"
PHOTO = (240, 400)  # width and height of each drawn photograph, pixels
HEAD = Box(90, 70, 150, 150)  # of the first one


def draw(geometry: GeometryParams) -> str:
    """The SVG: the box in a full body, then a head at the border under `shift` and under `pad`."""
    corner = Box(-8, 20, 52, 100)
    shift = geometry.model_copy(update={"border": "shift"})
    pad = geometry.model_copy(update={"border": "pad"})
    clipped = corner.clipped(*PHOTO)
    chosen = {"shift": "border: shift", "pad": "border: pad"}
    chosen[geometry.border] += " (as set)"
    panels = [
        _panel(150, HEAD, portrait_box(HEAD, *PHOTO, shift), "face and portrait", _measures(HEAD, shift)),
        _panel(490, clipped, portrait_box(clipped, *PHOTO, shift), chosen["shift"], ""),
        _panel(820, clipped, portrait_box(clipped, *PHOTO, pad), chosen["pad"], ""),
    ]
    text = "font-family='sans-serif' font-size='15'"
    return "\n".join(
        [
            f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 1090 500' {text}>",
            "<title>Face box and portrait box</title>",
            "<rect width='1090' height='500' fill='white'/>",
            *panels,
            f"<g transform='translate(150 484)'><rect width='14' height='14' y='-12' {_stroke(FACE)}/>"
            f"<text x='22'>face found by MTCNN (F = its height)</text>"
            f"<rect x='340' width='14' height='14' y='-12' {_stroke(PORTRAIT)}/>"
            f"<text x='362'>portrait: image and mask are cut here</text>"
            f"<rect x='670' width='14' height='14' y='-12' fill='#c9c9c9'/>"
            "<text x='692'>filled up</text></g>",
            "</svg>",
            "",
        ]
    )


def _panel(left: int, face: Box, box: Box, title: str, more: str) -> str:
    width, height = PHOTO
    outside = "" if box == box.clipped(width, height) else _rect(box, "fill='#c9c9c9'")
    shapes = [
        f"<g transform='translate({left} 50)'><text y='-24' font-weight='bold'>{title}</text>",
        outside,
        f"<svg width='{width}' height='{height}'><rect width='{width}' height='{height}' fill='#dce7ee'/>",
        _figure(face),
        "</svg>",
        f"<rect width='{width}' height='{height}' {_stroke('#8c959f', 1)}/>",
        _rect(box, _stroke(PORTRAIT)),
        _rect(face, _stroke(FACE)),
        more,
        "</g>",
    ]
    return "\n".join(shape for shape in shapes if shape)


def _figure(face: Box) -> str:
    """A person of circles and boxes whose face ends at the right and lower edge of `face`."""
    x, y = face.x1 - 30, face.y1 - 40
    return (
        f"<rect x='{x - 48}' y='{y + 52}' width='96' height='150' rx='30' fill='#5b7f95'/>"
        f"<rect x='{x - 34}' y='{y + 180}' width='30' height='160' fill='#3d4f5c'/>"
        f"<rect x='{x + 4}' y='{y + 180}' width='30' height='160' fill='#3d4f5c'/>"
        f"<rect x='{x - 13}' y='{y + 30}' width='26' height='34' fill='#d9a987'/>"
        f"<circle cx='{x}' cy='{y - 8}' r='38' fill='#4a3527'/>"
        f"<ellipse cx='{x}' cy='{y}' rx='29' ry='39' fill='#e4b899'/>"
        f"<circle cx='{x - 11}' cy='{y - 6}' r='3'/><circle cx='{x + 11}' cy='{y - 6}' r='3'/>"
        f"<path d='M {x - 10} {y + 18} q 10 8 20 0' fill='none' stroke='#7a3b2e' stroke-width='2'/>"
    )


def _measures(face: Box, geometry: GeometryParams) -> str:
    """Arrows for the room above and below the face, the face itself and the aspect."""
    box = portrait_box(face, *PHOTO, geometry)
    return "\n".join(
        [
            _arrow(box.y0, face.y0, f"above {geometry.above:g} F"),
            _arrow(face.y0, face.y1, "F"),
            _arrow(face.y1, box.y1, f"below {geometry.below:g} F"),
            f"<text x='{box.x0}' y='{box.y0 - 8}' fill='{PORTRAIT}'>aspect {geometry.aspect:g}</text>",
        ]
    )


def _arrow(start: int, stop: int, label: str) -> str:
    return (
        f"<path d='M -12 {start} h -10 M -12 {stop} h -10 M -17 {start} V {stop}' {_stroke(DIM, 1)}/>"
        f"<text x='-28' y='{(start + stop) / 2 + 5:g}' text-anchor='end' fill='{DIM}'>{label}</text>"
    )


def _rect(box: Box, style: str) -> str:
    return f"<rect x='{box.x0}' y='{box.y0}' width='{box.width}' height='{box.height}' {style}/>"


def _stroke(colour: str, width: int = 3) -> str:
    return f"fill='none' stroke='{colour}' stroke-width='{width}'"


if __name__ == "__main__":
    Path("docs/portrait_box.svg").write_text(draw(load_params().crop.geometry))
