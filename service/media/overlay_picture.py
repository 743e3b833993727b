"""Draws a task's answer on its picture: boxes, points and words. Pillow only."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

# Pixels; larger pictures are reduced to this size.
MAX_SIDE = 2048
# Okabe and Ito's colours, which are distinguishable with any colour vision.
PALETTE = (
    (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (213, 94, 0), (204, 121, 167),
    (0, 114, 178),
)  # fmt: skip

Colour = tuple[int, int, int]
_BLACK, _WHITE = (0, 0, 0), (255, 255, 255)
_SMOOTHING = 4
_CAPTION_SHARE = 0.4


@dataclass(frozen=True, slots=True)
class Mark:
    """A box or a point, in pixels of the upright picture, or words alone.

    Marks with the same `text` have the same colour. `score` from 0 to 1 is written after it.
    """

    text: str
    box: tuple[float, float, float, float] | None = None
    point: tuple[float, float] | None = None
    score: float | None = None


def overlay_png(picture: Image.Image, marks: Sequence[Mark]) -> bytes:
    """The RGB picture with its marks as a PNG file, at most `MAX_SIDE` pixels wide or high."""
    stream = io.BytesIO()
    # Low compression: it would take most of the time for a large picture.
    draw_marks(picture, marks).save(stream, "PNG", compress_level=3)
    return stream.getvalue()


def draw_marks(picture: Image.Image, marks: Sequence[Mark]) -> Image.Image:
    """A copy with the marks, whose lines and letters scale with the picture."""
    scale = min(1.0, MAX_SIDE / max(picture.size))
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    canvas = picture.resize(size, Image.Resampling.LANCZOS) if scale < 1 else picture.copy()
    _Drawing(canvas, scale, marks).run()
    return canvas


@dataclass(frozen=True, slots=True)
class _Area:
    """Whole pixels, both ends included."""

    left: int
    top: int
    right: int
    bottom: int

    def overlap(self, other: _Area) -> int:
        """Number of pixels in both."""
        width = min(self.right, other.right) - max(self.left, other.left) + 1
        height = min(self.bottom, other.bottom) - max(self.top, other.top) + 1
        return max(0, width) * max(0, height)

    def grown(self, by: int) -> tuple[int, int, int, int]:
        """Corners of the area, extended by a border."""
        return self.left - by, self.top - by, self.right + by, self.bottom + by


class _Drawing:
    """The drawing on one picture."""

    def __init__(self, canvas: Image.Image, scale: float, marks: Sequence[Mark]) -> None:
        self._canvas, self._scale, self._marks = canvas, scale, marks
        self._pen = ImageDraw.Draw(canvas)
        longest = max(canvas.size)
        self._line = min(8, 1 + round(longest / 400))
        self._font = ImageFont.load_default(min(40, max(9, round(longest * 0.016 + 7))))
        # Vertical extent of letters below the pen, from capitals to the descender of a g.
        _, self._ascent, _, descent = (round(v) for v in self._font.getbbox("Ag"))
        self._letters = descent - self._ascent
        self._pad = max(1, round(self._letters * 0.3))
        names = dict.fromkeys(mark.text for mark in marks)
        self._colours = {name: PALETTE[i % len(PALETTE)] for i, name in enumerate(names)}
        self._taken: list[_Area] = []

    def run(self) -> None:
        """Large boxes first, so that small ones are on top; then points, labels, and words."""
        boxes = [(self._area_of(mark.box), mark) for mark in self._marks if mark.box is not None]
        boxes.sort(key=lambda one: -one[0].overlap(one[0]))
        for area, mark in boxes:
            self._outline(area, self._colours[mark.text])
        points: list[tuple[_Area, Mark]] = []
        for mark in self._marks:
            if mark.point is not None:
                points.append((self._disc(mark.point, self._colours[mark.text]), mark))
        # Labels may cover the picture, but avoid other labels and points.
        self._taken = [area for area, _ in points]
        for area, mark in (*points, *reversed(boxes)):
            self._label(area, mark)
        words = [m.text for m in self._marks if m.text and m.box is None and m.point is None]
        if words:
            self._caption(" ".join(words))

    def _area_of(self, box: tuple[float, float, float, float]) -> _Area:
        """Pixels of the canvas, at least one, whatever the box's numbers are."""
        x1, y1, x2, y2 = (value * self._scale for value in box)
        width, height = self._canvas.size
        left, right = sorted((_within(x1, width), _within(x2, width)))
        top, bottom = sorted((_within(y1, height), _within(y2, height)))
        return _Area(left, top, right, bottom)

    def _outline(self, area: _Area, colour: Colour) -> None:
        if self._line > 1:
            # A dark rim keeps the line visible on a background of its own colour.
            rim = max(1, self._line // 3)
            self._pen.rectangle(area.grown(rim), outline=_BLACK, width=self._line + 2 * rim)
        self._pen.rectangle(area.grown(0), outline=colour, width=self._line)

    def _disc(self, point: tuple[float, float], colour: Colour) -> _Area:
        """A smooth disc with a white and a black ring; returns the pixels that it covers."""
        width, height = self._canvas.size
        x, y = _within(point[0] * self._scale, width), _within(point[1] * self._scale, height)
        radius, rim = 2 * self._line + 1, max(1, round(self._line * 0.6))
        for reach, shade in ((radius + 2 * rim, _BLACK), (radius + rim, _WHITE), (radius, colour)):
            side = 2 * reach + 1
            mask = Image.new("L", (_SMOOTHING * side, _SMOOTHING * side))
            ImageDraw.Draw(mask).ellipse((0, 0, mask.width - 1, mask.height - 1), fill=255)
            mask = mask.resize((side, side), Image.Resampling.BOX)
            self._canvas.paste(shade, (x - reach, y - reach), mask)
        reach = radius + 2 * rim
        return _Area(x - reach, y - reach, x + reach, y + reach)

    def _label(self, area: _Area, mark: Mark) -> None:
        """The name and score on a chip of the mark's colour, apart from others if possible."""
        width, height = self._canvas.size
        colour = self._colours[mark.text]
        score = "" if mark.score is None else f" {mark.score:.0%}"
        text = self._shortened(f"{mark.text}{score}", width - 2 * self._pad)
        chip_width = round(self._font.getlength(text)) + 2 * self._pad
        chip_height = self._letters + 2 * self._pad
        if not text or chip_height > height:
            return
        spots = [
            _Area(x, y, x + chip_width - 1, y + chip_height - 1)
            for x, y in self._spots(area, chip_width, chip_height)
        ]
        chip = min(spots, key=lambda spot: sum(map(spot.overlap, self._taken)))
        self._taken.append(chip)
        self._pen.rounded_rectangle(chip.grown(0), self._pad, fill=colour)
        self._write(text, chip.left + self._pad, chip.top + self._pad, _ink(colour))

    def _spots(self, area: _Area, width: int, height: int) -> Iterator[tuple[int, int]]:
        """Positions for a chip within the picture, best first.

        Above the mark, below it, inside it, beside it; otherwise as near as possible.
        """
        most_x, most_y = self._canvas.width - width, self._canvas.height - height
        inset, middle = self._line, (area.top + area.bottom - height) // 2
        wanted = (
            (area.left, area.top - height),
            (area.left, area.bottom + 1),
            (area.left + inset, area.top + inset),
            (area.right - width + 1, area.top - height),
            (area.right - width + 1, area.bottom + 1),
            (area.left + inset, area.bottom - height - inset),
            (area.right + 1, middle),
            (area.left - width, middle),
        )
        for x, y in wanted:
            if 0 <= y <= most_y and -width < x < self._canvas.width:
                yield min(max(x, 0), most_x), y
        yield min(max(area.left, 0), most_x), min(max(area.top, 0), most_y)

    def _caption(self, text: str) -> None:
        """Words on a dark band along the lower edge."""
        width, height = self._canvas.size
        step = self._letters + self._pad
        rows = max(1, int(height * _CAPTION_SHARE) // step)
        lines = self._wrapped(text, width - 4 * self._pad, rows)
        band = len(lines) * step + 2 * self._pad
        if not lines or band > height:
            return
        top = height - band
        dimmed = self._canvas.crop((0, top, width, height)).point(lambda v: v * 0.25)
        self._canvas.paste(dimmed, (0, top))
        for number, line in enumerate(lines):
            at = top + self._pad + number * step + self._pad // 2
            self._write(line, 2 * self._pad, at, _WHITE)

    def _wrapped(self, text: str, width: int, rows: int) -> list[str]:
        lines = [""]
        for word in text.split():
            longer = f"{lines[-1]} {word}".strip()
            if not lines[-1] or self._font.getlength(longer) <= width:
                lines[-1] = longer
            elif len(lines) < rows:
                lines.append(word)
            else:
                lines[-1] += " \N{HORIZONTAL ELLIPSIS}"
                break
        return [line for line in (self._shortened(line, width) for line in lines) if line]

    def _shortened(self, text: str, width: int) -> str:
        """The text, shortened with an ellipsis to fit; "" if nothing fits."""
        text = " ".join(text.split())[:500]
        if self._font.getlength(text) <= width:
            return text
        while text and self._font.getlength(text + "\N{HORIZONTAL ELLIPSIS}") > width:
            text = text[:-1].rstrip()
        return text and text + "\N{HORIZONTAL ELLIPSIS}"

    def _write(self, text: str, left: int, top: int, ink: Colour) -> None:
        self._pen.text((left, top - self._ascent), text, fill=ink, font=self._font)


def _within(value: float, size: int) -> int:
    return int(min(max(value, 0.0), size - 1))


def _ink(ground: Colour) -> Colour:
    """Black or white, whichever has more contrast (WCAG 2.2, relative luminance)."""
    channels = [v / 255 / 12.92 if v <= 10 else ((v / 255 + 0.055) / 1.055) ** 2.4 for v in ground]
    luminance = 0.2126 * channels[0] + 0.7152 * channels[1] + 0.0722 * channels[2]
    return _BLACK if (luminance + 0.05) ** 2 > 1.05 * 0.05 else _WHITE
