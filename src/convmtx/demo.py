"""Demonstration on real input: three convolutions of a photograph as matrices, timed, checked and drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO
from math import ceil
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from convmtx.construct import conv
from convmtx.errors import ArgumentError, MissingExtraError, NotToeplitzError, door
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.linear_map import LinearMap
from convmtx.memory import human
from convmtx.structure.precision import EPS
from convmtx.typing import AnyArray, Shape

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Side of the photograph in pixels, by default.
SIZE = 256
#: Bytes of the largest form that is made, 1 GB. The dense matrix of the blur would take 309 GB at the default size.
BUDGET = 10**9

_PHOTOGRAPH = "grace_hopper.jpg"
_SIDES = (16, 512)
_FORMS = ("view", "csr", "csc", "bsr", "coo", "dia", "dense", "tensor")

#: Takes a line of the report.
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Case:
    """One kernel, and the image that it is applied to."""

    name: str
    #: Description in a few words.
    words: str
    kernel: AnyArray
    image: AnyArray
    #: Options of `convmtx.conv`.
    options: dict[str, Any]
    #: Side in pixels of the crop whose matrix is compared entry by entry, and drawn.
    crop: int

    def operator(self, shape: Shape) -> ConvOperator:
        """Return the convolution of this kernel with images of a shape."""
        return conv(self.kernel, shape, **self.options)

    @property
    def small(self) -> ConvOperator:
        """Convolution of the crop, of which every form fits in memory."""
        return self.operator((self.crop, self.crop, *self.image.shape[2:]))


@dataclass(frozen=True, slots=True)
class Check:
    """Comparison of numbers that are computed in two ways."""

    #: Description of what is compared.
    words: str
    #: Largest difference.
    largest: float
    #: Largest difference that rounding explains.
    allowed: float

    @property
    def passed(self) -> bool:
        """Whether rounding explains the difference, which it never does for NaN."""
        return self.largest <= self.allowed

    def __str__(self) -> str:
        verdict = "ok" if self.passed else "FAILED"
        return f"  {verdict}: {self.words}: largest difference {self.largest:.2g}, allowed {self.allowed:.2g}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """Results of a run of the demo."""

    #: Picture as the bytes of a PNG file.
    picture: bytes
    #: Checks of each kernel, by the kernel's name.
    checks: dict[str, list[Check]]

    @property
    def failed(self) -> list[str]:
        """Descriptions of the checks that failed."""
        return [
            f"{name}: {check.words}" for name, checks in self.checks.items() for check in checks if not check.passed
        ]


@door("demo")
def run(size: int = SIZE, say: Say = print) -> Outcome:
    """Build three convolutions of a photograph in every form that fits, compare the forms, and draw them.

    Parameters
    ----------
    size : int
        Side of the photograph in pixels, 16 to 512.
    say : callable
        Function that is called with each line of the report.

    Returns
    -------
    Outcome
        The picture, and the checks.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed, which has the photograph and draws the picture.
    ValueError
        If the size is outside that range.

    Notes
    -----
    Forms of more than 1 GB are not made; the report has their size. Products may differ by rounding, at most by the
    textbook's bound n * eps * sum |K| |x| for sums of n terms. Entries of the forms must be equal.

    Examples
    --------
    >>> from convmtx import demo
    >>> outcome = demo.run(16, say=lambda line: None)
    >>> outcome.failed, outcome.picture[1:4]
    ([], b'PNG')
    """
    photo = photograph(size)
    import scipy.sparse  # noqa: F401  # so that its import does not count as the time of the first form

    say(f"photograph {_PHOTOGRAPH}, {size} x {size} pixels, 3 channels, {photo.dtype} from 0 to 1")
    say(f"forms above {human(BUDGET)} are not made")
    kernels, outputs, checks = cases(photo), [], {}
    for case in kernels:
        op = case.operator(case.image.shape)
        say("")
        output, checks[case.name] = _examine(case, op, say)
        outputs.append(output)
        for check in checks[case.name]:
            say(str(check))
    say("")
    all_passed = all(check.passed for case_checks in checks.values() for check in case_checks)
    say("all checks passed" if all_passed else "a check FAILED")
    return Outcome(_draw_picture(kernels, outputs), checks)


@door("demo")
def photograph(size: int) -> AnyArray:
    """Return the upper square of matplotlib's sample photograph, (size, size, 3), scaled down, from 0 to 1."""
    if not _SIDES[0] <= size <= _SIDES[1]:
        expected = f"Expected {_SIDES[0]} to {_SIDES[1]} pixels"
        raise ArgumentError(f"size={size}", expected, "Pass a size in that range")
    try:
        from matplotlib.cbook import get_sample_data
        from matplotlib.figure import Figure  # noqa: F401  # so that it is missed now, and not after the work
        from PIL import Image
    except ImportError as error:
        expected = "The photograph and the picture need matplotlib"
        remedy = 'Install it, as with pip install "convmtx[plot]"'
        raise MissingExtraError(str(error), expected, remedy) from None
    with Image.open(get_sample_data(_PHOTOGRAPH, asfileobj=False)) as image:
        side = min(image.size)
        square = image.convert("RGB").crop((0, 0, side, side))
        return np.asarray(square.resize((size, size), Image.Resampling.BOX)) / 255.0


def cases(photo: AnyArray) -> list[Case]:
    """Return a blur of every channel, an edge filter on grey, and eight random filters of all channels at stride 2."""
    grey = photo @ [0.299, 0.587, 0.114]
    bell = np.exp(-(np.arange(-4.0, 5.0) ** 2) / 8)
    gauss = np.outer(bell, bell) / bell.sum() ** 2
    sobel = np.outer([1.0, 2.0, 1.0], [-1.0, 0.0, 1.0])
    filters = np.random.default_rng(0).normal(0, 75**-0.5, (5, 5, 3, 8))
    filters -= filters.mean(axis=(0, 1), keepdims=True)  # so that flat areas vanish, and the outputs look different
    blur = {"padding": "same", "boundary": "reflect", "groups": 3}
    return [
        Case("blur", "Gaussian 9 x 9, each channel by itself (groups 3), boundary reflect",
             np.repeat(gauss[:, :, None, None], 3, axis=3), photo, blur, crop=10),
        Case("edges", "Sobel 3 x 3 on grey, padding same", sobel, grey, {"padding": "same"}, crop=12),
        Case("filters", "random 5 x 5, 3 -> 8 channels, stride 2, padding same", filters, photo,
             {"padding": "same", "stride": 2}, crop=10),
    ]  # fmt: skip


def _examine(case: Case, op: ConvOperator, say: Say) -> tuple[AnyArray, list[Check]]:
    """Report what one convolution is and what each form costs; return its output, and checks that the forms agree."""
    m, n = op.shape
    say(f"{case.name}: {case.words}")
    say(f"  input {op.in_shape}, output {op.out_shape}, kernel {op.kernel.shape}")
    say(f"  matrix {m} x {n}, nnz {op.nnz} ({op.nnz / (m * n):.3g} of all entries)")
    start = perf_counter()
    output = op(case.image)
    say(f"  {'operator':<9}{human(op.explain().bytes['operator']):>9}  applied in {_since(start)}")
    magnitude = np.abs(op.with_kernel(np.abs(op.kernel))(np.abs(case.image)))
    differences = dict(_differences(op, case.image, output, say))
    # Each of the two sides rounds once for each term of an output: 9 x 9 terms are 2 * 81 roundings of eps * magnitude.
    terms = -(-op.nnz // m)
    allowed = 2 * terms * EPS * float(magnitude.max())
    words = f"form @ x == op(x) on the photograph ({', '.join(differences)})"
    return output, [
        Check(words, _largest(differences.values()), allowed),
        _check_adjoint(op, case.image, output, magnitude, terms),
        _check_entries(case.small, case.crop),
    ]


def _differences(op: ConvOperator, x: AnyArray, output: AnyArray, say: Say) -> Iterator[tuple[str, float]]:
    """Make each form that fits, report its cost, and yield its largest difference from the operator on ``x``."""
    from convmtx.forms.formats import size_of_dia
    from convmtx.plot import costs  # late, because the command line knows of the demo before it is needed

    sizes = op.explain().bytes
    if sizes["csr"] <= BUDGET:
        sizes["dia"] = size_of_dia(op.geometry, op.kernel)
    for form in _FORMS:
        line = f"  {form:<9}{human(sizes[form]) if form in sizes else '':>9}  "
        if sizes.get(form, 0) > BUDGET:
            say(line + f"not made: more than {human(BUDGET)}")
            continue
        if form == "dia" and form not in sizes:
            say(line + "not made: it is counted from csr")
            continue
        start = perf_counter()
        try:
            matrix = costs.build_form(op, form)
        except MemoryError:
            say(line + "not made: more memory than there is")
        except NotToeplitzError:
            say(line + "does not exist: this boundary folds taps onto the picture")
        else:
            say(line + f"made in {_since(start)}")
            # For a product with the view NumPy would copy it to a dense matrix; its entries are compared on the crop.
            if form != "view":
                flat = (matrix.reshape(op.shape) if form == "tensor" else matrix) @ x.ravel()
                yield form, float(np.abs(flat.reshape(output.shape) - output).max())


def _check_adjoint(op: LinearMap, x: AnyArray, output: AnyArray, magnitude: AnyArray, terms: int) -> Check:
    """Do the dot test <op(x), y> == <x, op.H(y)> for one random y; ``magnitude`` is |K| applied to |x|."""
    y = np.random.default_rng(1).normal(size=op.out_shape)
    difference = abs(float(np.vdot(output, y)) - float(np.vdot(x, op.H(y))))
    # Rounding errors are up or down with equal chance, so that those of n outputs add up to sqrt(n) of one: outputs
    # have ``terms`` roundings each, and the two sums over 256 x 256 x 3 numbers as much as 443 more.
    roundings = 2 * (terms + max(op.shape) ** 0.5)
    allowed = roundings * EPS * float(np.linalg.norm(magnitude * y))
    return Check("adjoint, <op(x), y> == <x, op.H(y)>", difference, allowed)


def _check_entries(op: ConvOperator, crop: int) -> Check:
    """Compare every form that exists entry by entry; they must be equal, for their entries are not rounded."""
    from convmtx.plot import costs  # late, because the command line knows of the demo before it is needed

    tensor = op.to_tensor().reshape(op.shape)
    differences, names = [], ["tensor"]
    for form in reversed(_FORMS[:-1]):
        try:
            matrix = costs.build_form(op, form)
        except NotToeplitzError:
            continue
        array = matrix.toarray() if hasattr(matrix, "toarray") else matrix.reshape(op.shape)
        differences.append(float(np.abs(array - tensor).max()))
        names.append(form)
    return Check(f"{' == '.join(names)}, entry by entry on {crop} x {crop} pixels", _largest(differences), 0.0)


def _largest(differences: Iterable[float]) -> float:
    """Return the largest difference, NaN if one is NaN, which Python's max may skip."""
    return float(np.max([0.0, *differences]))


def _since(start: float) -> str:
    """Return the seconds since a time, as text."""
    return f"{perf_counter() - start:.3f} s"


# The picture


def _draw_picture(kernels: list[Case], outputs: list[AnyArray]) -> bytes:
    """Return a PNG file with one row for each kernel: its input, its output, and its matrix on a crop."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(figsize=(13.5, 15.5), layout=ConstrainedLayoutEngine(h_pad=0.1))
    FigureCanvasAgg(figure)
    rows: Any = figure.subfigures(len(kernels), hspace=0.02)
    for row, case, output in zip(rows, kernels, outputs, strict=True):
        op = case.operator(case.image.shape)
        row.suptitle(f"{case.name}: {case.words}", x=0.01, ha="left", fontsize=14, fontweight="bold")
        before, after, matrix = row.subplots(1, 3)
        _draw_image(before, case.image, f"input {op.in_shape}")
        _draw_image(after, output, f"output {op.out_shape}")
        _draw_matrix(matrix, op, case)
    file = BytesIO()
    figure.savefig(file, format="png", dpi=110)
    return file.getvalue()


def _draw_image(axes: Axes, image: AnyArray, title: str) -> None:
    """Draw an image: three channels in colour, one in grey with zero in the middle if it has signs, more as tiles."""
    if image.ndim == 3 and image.shape[2] == 3:
        axes.imshow(np.clip(image, 0, 1))
    else:
        if image.ndim == 3:
            image = _tile_channels(image)
            title += ", a tile for each channel"
        reach = float(np.nanpercentile(np.abs(image), 99.5))
        signed = float(np.nanmin(image)) < 0
        axes.imshow(image, cmap="gray", vmin=-reach if signed else 0.0, vmax=reach)
    axes.set_title(f"\n{title}", fontsize=11)  # two lines, as the matrix beside it has
    axes.set_axis_off()


def _tile_channels(image: AnyArray) -> AnyArray:
    """Return the channels of an image as tiles of one image, about square; 8 channels are 3 x 3 tiles, one empty."""
    h, w, channels = image.shape
    side = ceil(channels**0.5)
    tiles = np.full((side * -(-channels // side), h, w), np.nan)
    tiles[:channels] = np.moveaxis(image, 2, 0)
    return tiles.reshape(-1, side, h, w).transpose(0, 2, 1, 3).reshape(-1, side * w)


def _draw_matrix(axes: Axes, op: ConvOperator, case: Case) -> None:
    """Draw the matrix on the crop: stored entries in colour, a stored zero in white, all others in grey."""
    small = case.small
    stored = small.with_kernel(np.ones(case.kernel.shape)).to_dense() != 0
    matrix = np.ma.masked_array(small.to_dense(), ~stored)
    reach = float(np.abs(matrix).max())
    axes.set_facecolor("0.85")
    axes.imshow(matrix, cmap="RdBu_r", vmin=-reach, vmax=reach, interpolation="nearest")
    axes.set_xlabel("red: > 0, blue: < 0, white: near 0, grey: not stored", fontsize=9)
    m, n = op.shape
    axes.set_title(
        f"matrix {m} x {n}, nnz {op.nnz}\nshown: crop of {case.crop} x {case.crop} pixels, "
        f"{small.shape[0]} x {small.shape[1]}, nnz {small.nnz}",
        fontsize=11,
    )
