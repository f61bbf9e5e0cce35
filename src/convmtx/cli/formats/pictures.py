"""Pictures as arrays from 0 to 1, read and written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from convmtx.cli.report import CommandError
from convmtx.extras import import_extra, require_installed
from convmtx.storage import Answer, Source, allow_time, read_in_sandbox
from convmtx.typing import AnyArray

#: Formats by suffix. Only the one that the suffix names is tried: some that Pillow knows run programs.
FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".tif": "TIFF", ".tiff": "TIFF"}
_GREY = {"1": "L", "L": "L", "LA": "L", "La": "L"}
_COLOUR = ("P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr")


@dataclass(frozen=True)
class Picture:
    """Grey (rows, columns) or colour (rows, columns, 3); integers of a file are scaled to 0 to 1."""

    values: AnyArray
    #: Bits of an integer in the file, 8 or 16; 32 for floats, which are not scaled.
    depth: int


def read_picture(source: Source) -> Picture:
    """Read a picture, turned upright as the camera says, without its transparency."""
    require_installed("PIL", "files")
    with source.parsing():
        facts, [values] = read_in_sandbox(source, pixels_of)
    depth = facts["depth"]
    return Picture(values.astype(float) if depth == 32 else values / ((1 << depth) - 1), depth)


def pixels_of(source: Source) -> Answer:
    """Return the depth and the pixels, as they are stored."""
    from PIL import Image, ImageOps

    with Image.open(source.path, formats=[FORMATS[source.suffix]]) as picture:
        source.require_memory((picture.height, picture.width, 3), 16)
        allow_time(picture.height * picture.width * 4)
        image = ImageOps.exif_transpose(picture)
        if image.mode in _GREY or image.mode in _COLOUR:
            return {"depth": 8}, [np.asarray(image.convert(_GREY.get(image.mode, "RGB")))]
        if image.mode == "F":
            return {"depth": 32}, [np.asarray(image)]
        values = np.asarray(image)
    if image.mode.startswith("I") and values.ndim == 2 and values.min() >= 0 and values.max() <= 65535:
        return {"depth": 16}, [values]
    got = f"{source.path} has pixels of mode {image.mode}"
    raise CommandError(got, "Expected grey or colour of 8 bits, or grey of 16 bits or floats", "Convert it first")


def write_picture(file: BinaryIO, suffix: str, picture: Picture) -> int:
    """Write a picture and return how many values had to be clipped to 0 to 1.

    Integers are clipped and keep the depth of the picture, but colour has 8 bits: Pillow writes no more. Grey floats
    are written to TIFF as they are.
    """
    import_extra("PIL", "files")
    from PIL import Image

    values, form = picture.values, FORMATS[suffix]
    if picture.depth == 32 and form == "TIFF" and values.ndim == 2:
        Image.fromarray(values.astype(np.float32)).save(file, form)
        return 0
    top, kind = (65535, np.uint16) if picture.depth == 16 and values.ndim == 2 else (255, np.uint8)
    clipped = int(((values < 0) | (values > 1)).sum())
    Image.fromarray(np.round(np.clip(values, 0, 1) * top).astype(kind)).save(file, form)
    return clipped
