"""Captions as varied as those of the web: bare names, styles, colours and backgrounds."""

import random

from backgrounds import PHRASES

STYLE_PHRASES = {
    "line": ("line icon", "outline icon", "outlined icon", "line drawing", "linear icon", "stroke icon"),
    "thin": ("thin line icon", "thin outline icon", "light line icon", "line drawing"),
    "broken": ("line icon", "line drawing"),
    "solid": ("solid icon", "filled icon", "glyph", "silhouette", "solid shape"),
    "negative": ("solid icon", "filled icon"),
    "duotone": ("duotone icon", "two-tone icon", "shaded icon"),
    "flat": ("colour icon", "flat colour icon", "colourful icon", "flat illustration", "clip art"),
    "emoji": ("emoji", "colour emoji", "cartoon emoji", "shiny emoji", "flat emoji"),
    "emoji_mono": ("monochrome emoji", "black and white emoji", "emoji outline"),
    "pixel": ("pixel art", "pixel icon", "8-bit icon", "pixelated icon"),
    "freehand": ("hand-drawn icon", "freehand sketch", "doodle", "hand drawing"),
    "file": ("file icon", "flat colour icon"),
}
"""What a caption may call each style of drawing."""

ANY_STYLE = ("icon", "picture", "drawing", "pictogram", "symbol", "image", "sign")
MASS_STYLES = {"pixel art", "clip art"}

COLOURS = {
    "black": (0, 0, 0), "white": (255, 255, 255), "grey": (128, 128, 128), "red": (214, 32, 32),
    "orange": (240, 132, 20), "yellow": (246, 208, 32), "green": (34, 150, 58), "blue": (32, 88, 214),
    "light blue": (104, 184, 240), "purple": (128, 48, 176), "pink": (240, 112, 172), "brown": (122, 74, 36),
    "teal": (16, 140, 140),
}  # fmt: skip
"""The colours that icons and plain backgrounds are drawn in, and what captions call them."""


def article(noun: str) -> str:
    """Return `noun` behind "a" or "an"."""
    return f"{'an' if noun[:1] in 'aeio' else 'a'} {noun}"


def background_phrase(background: str, rng: random.Random) -> str:
    """Return " on grass" or " on a blue background"; nothing for plain white most of the time."""
    if background in PHRASES:
        return " " + rng.choice(PHRASES[background]) if rng.random() < 0.5 else " " + PHRASES[background][0]
    if background == "white" and rng.random() < 0.85:
        return ""
    return f" on {article(background)} background"


def caption(name: str, style: str, colour: str, background: str, rng: random.Random) -> str:
    """Return one of many ways to say what a picture shows; `colour` is "" for a picture in its own colours."""
    behind = background_phrase(background, rng) if rng.random() < 0.9 else ""
    named = article(name) if rng.random() < 0.6 else name
    draw = rng.random()
    if draw < 0.35:
        tint = f"{colour} " if colour and colour != "black" and rng.random() < 0.4 else ""
        return (article(tint + name) if named != name else tint + name) + behind
    phrase = rng.choice(STYLE_PHRASES[style] if draw < 0.8 else ANY_STYLE)
    say_colour = colour and rng.random() < (0.2 if colour == "black" else 0.75)
    tinted = f"{colour} {phrase}" if say_colour else phrase
    if rng.random() < 0.2:
        return f"{colour + ' ' if say_colour else ''}{name} {phrase}{behind}"
    return f"{tinted if phrase in MASS_STYLES else article(tinted)} of {named}{behind}"
