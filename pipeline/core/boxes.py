"""A rectangle in whole pixels, as records write it: "x0,y0,x1,y1", the right and lower edge excluded."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Box:
    """x0 <= x1, y0 <= y1; may reach outside the picture (negative, or past its size)."""

    x0: int
    y0: int
    x1: int
    y1: int

    @classmethod
    def parse(cls, text: str) -> Box:
        """Read "x0,y0,x1,y1"; ValueError for anything else."""
        x0, y0, x1, y1 = (int(part) for part in text.split(","))
        if x0 > x1 or y0 > y1:
            raise ValueError(f"a box needs x0 <= x1 and y0 <= y1, found {text!r}")
        return cls(x0, y0, x1, y1)

    def __str__(self) -> str:
        return f"{self.x0},{self.y0},{self.x1},{self.y1}"

    @property
    def width(self) -> int:
        return self.x1 - self.x0

    @property
    def height(self) -> int:
        return self.y1 - self.y0

    def clipped(self, width: int, height: int) -> Box:
        """The part inside a picture of this size."""
        x0, y0 = min(max(self.x0, 0), width), min(max(self.y0, 0), height)
        return Box(x0, y0, max(x0, min(self.x1, width)), max(y0, min(self.y1, height)))

    def iou(self, other: Box) -> float:
        """Intersection over union, 0..1; of two boxes without any pixel 1."""
        wide = max(0, min(self.x1, other.x1) - max(self.x0, other.x0))
        tall = max(0, min(self.y1, other.y1) - max(self.y0, other.y0))
        union = self.width * self.height + other.width * other.height - wide * tall
        return wide * tall / union if union else 1.0

    def moved(self, x: int, y: int) -> Box:
        """The same box, `x` pixels further right and `y` further down."""
        return Box(self.x0 + x, self.y0 + y, self.x1 + x, self.y1 + y)
