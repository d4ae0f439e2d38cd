"""The one table of image formats that are read and written; a file of any other format is never opened."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import IO, Any

from PIL import Image, PngImagePlugin

from scn.core.errors import UserError
from scn.imaging.tasks import Task


@dataclass(frozen=True, kw_only=True, eq=False)
class Format:
    """A format of image files."""

    name: str
    """Pillow's name of it."""
    suffixes: tuple[str, ...]
    """The suffixes of its files, the first is that of new ones."""
    plugins: tuple[str, ...]
    """The modules that make Pillow know it; the first that can be imported serves."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """What Pillow's `save` is told."""
    has_alpha: bool = True
    """It holds transparency."""
    has_quality: bool = False
    """It is lossy: `quality`, 1..100, decides how much."""
    has_16_bits: bool = False
    """It holds 16 bits per channel."""
    has_exif: bool = True
    """It holds EXIF data and a colour profile."""
    longest: int | None = None
    """Most pixels of a side; None: more than memory holds."""


FORMATS: Mapping[str, Format] = {
    each.suffixes[0][1:]: each
    for each in (
        Format(name="PNG", suffixes=(".png",), plugins=("PIL.PngImagePlugin",), has_16_bits=True),
        Format(
            name="JPEG",
            suffixes=(".jpg", ".jpeg"),
            plugins=("PIL.JpegImagePlugin",),
            options={"quality": 95, "subsampling": 0},
            has_alpha=False,
            has_quality=True,
            longest=65500,
        ),
        Format(name="TIFF", suffixes=(".tif", ".tiff"), plugins=("PIL.TiffImagePlugin",), has_16_bits=True),
        Format(
            name="WEBP",
            suffixes=(".webp",),
            plugins=("PIL.WebPImagePlugin",),
            options={"quality": 95},
            has_quality=True,
            longest=16383,
        ),
        Format(name="BMP", suffixes=(".bmp",), plugins=("PIL.BmpImagePlugin",), has_alpha=False, has_exif=False),
        Format(
            name="AVIF",
            suffixes=(".avif",),
            plugins=("PIL.AvifImagePlugin", "pillow_avif.AvifImagePlugin"),
            options={"quality": 90},
            has_quality=True,
            longest=32768,
        ),
        Format(
            name="HEIF",
            suffixes=(".heic", ".heif"),
            plugins=("pillow_heif",),
            options={"quality": 90},
            has_quality=True,
        ),
    )
}
"""Name, as --format takes it -> the format."""

_ENDINGS = {suffix: each for each in FORMATS.values() for suffix in each.suffixes}
_BRANDS = {b"avif": "AVIF", b"avis": "AVIF", b"heic": "HEIF", b"heix": "HEIF", b"mif1": "HEIF"}


def format_of(path: Path) -> Format:
    """The format that a file's name says. Raises UserError unless its suffix is one of the table."""
    if found := _ENDINGS.get(path.suffix.lower()):
        return found
    usable = ", ".join(suffix for suffix, each in _ENDINGS.items() if can(each))
    raise UserError(f"{path} names no format that can be written: end its name in one of {usable}.")


def looks_like_an_image(path: Path) -> bool:
    """Returns True if the file's name ends like those of a format of the table."""
    return path.suffix.lower() in _ENDINGS


def named(name: str) -> Format:
    """The format of this name, or suffix without its dot. Raises UserError if there is none."""
    found = FORMATS.get(name.lower()) or _ENDINGS.get(f".{name.lower()}")
    found = found or next((each for each in FORMATS.values() if each.name == name.upper()), None)
    if found is None:
        raise UserError(f"'{name}' is no format of images here: use one of {', '.join(writable())}.")
    return found


def writable() -> list[str]:
    """The names, as --format takes them, of the formats that can be written here."""
    return [name for name, each in FORMATS.items() if can(each)]


def longest_side(task: Task) -> int | None:
    """Most pixels of a side of an image that can be degraded for a task; None: any number."""
    return FORMATS["jpg"].longest if task.degradation == "jpeg" else None


def readable() -> list[str]:
    """Pillow's names of the formats that can be opened here."""
    return [each.name for each in FORMATS.values() if can(each)]


@cache
def can(each: Format) -> bool:
    """Returns True if the installed Pillow, or a package beside it, reads and writes the format."""
    for plugin in each.plugins:
        try:
            module = import_module(plugin)
        except ImportError:
            continue
        if plugin == "pillow_heif":
            module.register_heif_opener()
        elif not getattr(module, "SUPPORTED", True):  # Pillow's, of a library that it was built without
            continue
        return each.name in Image.OPEN and each.name in Image.SAVE
    return False


def check_can(each: Format, path: Path | str) -> None:
    """Raises UserError if the format can't be read or written here."""
    if not can(each):
        extra = {"HEIF": "'scn[heif]'", "AVIF": "pillow-avif-plugin"}.get(each.name)
        advice = f"pip install {extra}" if extra else "install Pillow from PyPI"
        raise UserError(f"{path} is {each.name}, which the installed Pillow lacks: {advice}, or use PNG.")


_OTHERS = (
    (b"%!PS", "EPS"),
    (b"\xc5\xd0\xd3\xc6", "EPS"),
    (b"%PDF", "PDF"),
    (b"GIF8", "GIF"),
    (b"8BPS", "PSD"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"v/1\x01", "OpenEXR"),
    (b"#?RADIANCE", "Radiance HDR"),
    (b"<svg", "SVG"),
    (b"PK\x03\x04", "ZIP"),
)
"""How files of formats begin that are not read, and what they are called."""


def called(start: bytes) -> str:
    """What a file seems to be that is no image of the table, by its first bytes; "" where they don't tell."""
    if not start:
        return "empty"
    if known := next((name for magic, name in _OTHERS if start.startswith(magic)), None):
        return known
    try:
        start.decode("ascii")
    except UnicodeDecodeError:
        return ""
    return "" if b"\0" in start else "text"


def several(name: Any) -> str:
    """The sentence for a file that holds more than one picture."""
    return f"{name} holds several pictures: save the one that you want restored as a file of its own."


@contextmanager
def opened(file: IO[bytes] | Path, page: int = 0) -> Iterator[Image.Image]:
    """Opens a page of an image of the table by Pillow without its limit on pixels, which is meant for strangers' files.

    Raises:
        what Pillow raises.
    """
    with _unlimited(), Image.open(file, formats=readable()) as image:
        if page:
            image.seek(page)
        yield image


_LOCK = Lock()
_MOST_TEXT = 16 * 2**20  # bytes of a PNG's colour profile: Pillow's 1 MiB is less than profiles of printers have
_USERS: list[int | None] = []
"""For each image that is open, the limit that was there when the first one was opened."""


@contextmanager
def _unlimited() -> Iterator[None]:
    """Takes Pillow's limit away, which is one for the process, until the last image that was opened is closed."""
    with _LOCK:
        _USERS.append(_USERS[0] if _USERS else Image.MAX_IMAGE_PIXELS)
        Image.MAX_IMAGE_PIXELS = None
        PngImagePlugin.MAX_TEXT_CHUNK = max(PngImagePlugin.MAX_TEXT_CHUNK, _MOST_TEXT)
    try:
        yield
    finally:
        with _LOCK:
            limit = _USERS.pop()
            if not _USERS:
                Image.MAX_IMAGE_PIXELS = limit


def recognised(start: bytes) -> Format | None:
    """The format of the table that a file's first 16 bytes or more begin, of those that Pillow may lack."""
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return FORMATS["webp"]
    name = _BRANDS.get(start[8:12]) if start[4:8] == b"ftyp" else None
    return next((each for each in FORMATS.values() if each.name == name), None)
