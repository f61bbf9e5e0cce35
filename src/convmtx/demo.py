"""The main job on real input: three convolutions of a photograph as matrices, timed, checked and drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO
from math import ceil
from time import perf_counter
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from convmtx.construct import conv
from convmtx.errors import ArgumentError, MissingExtraError, NotToeplitzError, door
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.linear_map import LinearMap
from convmtx.memory import human
from convmtx.typing import AnyArray, Shape

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Side of the photograph in pixels, unless another is asked for.
SIZE = 256
#: Forms above this many bytes are not made.
BUDGET = 10**9

_PHOTOGRAPH = "grace_hopper.jpg"
_SIDES = (16, 512)
_FORMS = ("view", "csr", "csc", "bsr", "coo", "dia", "dense", "tensor")

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Case:
    """One kernel and what it is applied to."""

    name: str
    words: str
    kernel: AnyArray
    image: AnyArray
    options: dict[str, Any]
    crop: int  # side of the small picture whose matrix is compared entry by entry, and drawn

    def operator(self, shape: Shape) -> ConvOperator:
        """The convolution of this kernel with images of this shape."""
        return conv(self.kernel, shape, **self.options)

    @property
    def small(self) -> ConvOperator:
        """Convolution of the crop, for which every form fits."""
        return self.operator((self.crop, self.crop, *self.image.shape[2:]))


@dataclass(frozen=True, slots=True)
class Check:
    """Two ways to the same numbers, the largest difference between them, and what rounding explains."""

    words: str
    largest: float
    allowed: float

    @property
    def passed(self) -> bool:
        """Whether rounding explains the difference; a NaN is never explained."""
        return self.largest <= self.allowed

    def __str__(self) -> str:
        verdict = "ok" if self.passed else "FAILED"
        return f"  {verdict}: {self.words}: largest difference {self.largest:.2g}, allowed {self.allowed:.2g}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """Results of a run of the demo: the picture as the bytes of a PNG file, and the checks of each kernel by name."""

    picture: bytes
    checks: dict[str, list[Check]]

    @property
    def failed(self) -> list[str]:
        """The checks that failed, in words."""
        return [f"{name}: {each.words}" for name, checks in self.checks.items() for each in checks if not each.passed]


@door("demo")
def run(size: int = SIZE, say: Say = print) -> Outcome:
    """Build three convolutions of a photograph in every form that fits, check them against each other, draw them.

    Parameters
    ----------
    size : int
        Side of the photograph in pixels, 16 to 512.
    say : callable
        Takes each line of the report.

    Returns
    -------
    Outcome
        The picture, and the checks.

    Raises
    ------
    MissingExtraError
        Without matplotlib, which brings the photograph and draws.
    ValueError
        For a size outside that range.

    Notes
    -----
    Forms larger than `BUDGET` are not made but named with their size. What is compared with arithmetic may differ
    by rounding, and the bound is the textbook's, n * eps * sum |K| |x|; entries of the forms must be equal.

    Examples
    --------
    >>> from convmtx import demo
    >>> outcome = demo.run(16, say=lambda line: None)
    >>> outcome.failed, outcome.picture[1:4]
    ([], b'PNG')
    """
    photo = photograph(size)
    import scipy.sparse  # noqa: F401  # here, so that no form's time holds the import

    say(f"photograph {_PHOTOGRAPH}, {size} x {size} pixels, 3 channels, {photo.dtype} from 0 to 1")
    say(f"forms above {human(BUDGET)} are not made")
    chosen, outputs, checks = cases(photo), [], {}
    for case in chosen:
        op = case.operator(case.image.shape)
        say("")
        output, checks[case.name] = _examine(case, op, say)
        outputs.append(output)
        for check in checks[case.name]:
            say(str(check))
    say("")
    say("all checks passed" if all(each.passed for found in checks.values() for each in found) else "a check FAILED")
    return Outcome(_drawn(chosen, outputs), checks)


@door("demo")
def photograph(size: int) -> AnyArray:
    """The upper square of matplotlib's sample photograph, down to ``size`` x ``size`` pixels, channels last, 0 to 1."""
    if not _SIDES[0] <= size <= _SIDES[1]:
        wanted = f"Wanted {_SIDES[0]} to {_SIDES[1]} pixels"
        raise ArgumentError(f"size={size}", wanted, "Pass a size in that range")
    try:
        from matplotlib.cbook import get_sample_data
        from matplotlib.figure import Figure  # noqa: F401  # so that what is missing is missing now, not after the work
        from PIL import Image
    except ImportError as error:
        wanted = "The photograph and the picture need matplotlib"
        remedy = 'Install it, with pip install "convmtx[plot]"'
        raise MissingExtraError(str(error), wanted, remedy) from None
    with Image.open(get_sample_data(_PHOTOGRAPH, asfileobj=False)) as image:
        side = min(image.size)
        square = image.convert("RGB").crop((0, 0, side, side))
        return np.asarray(square.resize((size, size), Image.Resampling.BOX)) / 255.0


def cases(photo: AnyArray) -> list[Case]:
    """A blur of every channel, an edge filter on grey, and eight random filters over all channels with stride 2."""
    grey = photo @ [0.299, 0.587, 0.114]
    bell = np.exp(-(np.arange(-4.0, 5.0) ** 2) / 8)
    gauss = np.outer(bell, bell) / bell.sum() ** 2
    sobel = np.outer([1.0, 2.0, 1.0], [-1.0, 0.0, 1.0])
    filters = np.random.default_rng(0).normal(0, 75**-0.5, (5, 5, 3, 8))
    filters -= filters.mean(axis=(0, 1), keepdims=True)  # flat areas vanish, so that the outputs differ to the eye
    blur = {"padding": "same", "boundary": "reflect", "groups": 3}
    return [
        Case("blur", "Gaussian 9 x 9, each channel by itself (groups 3), boundary reflect",
             np.repeat(gauss[:, :, None, None], 3, axis=3), photo, blur, crop=10),
        Case("edges", "Sobel 3 x 3 on grey, padding same", sobel, grey, {"padding": "same"}, crop=12),
        Case("filters", "random 5 x 5, 3 -> 8 channels, stride 2, padding same", filters, photo,
             {"padding": "same", "stride": 2}, crop=10),
    ]  # fmt: skip


def _examine(case: Case, op: ConvOperator, say: Say) -> tuple[AnyArray, list[Check]]:
    """Report on one convolution: what it is, what each form costs, and whether they agree."""
    m, n = op.shape
    say(f"{case.name}: {case.words}")
    say(f"  input {op.in_shape}, output {op.out_shape}, kernel {op.kernel.shape}")
    say(f"  matrix {m} x {n}, nnz {op.nnz} ({op.nnz / (m * n):.3g} of all entries)")
    start = perf_counter()
    output = op(case.image)
    say(f"  {'operator':<9}{human(op.explain().bytes['operator']):>9}  applied in {_since(start)}")
    size = np.abs(op.with_kernel(np.abs(op.kernel))(np.abs(case.image)))
    differences = dict(_differences(op, case.image, output, say))
    # Each side rounds as often as an output has terms.
    terms = -(-op.nnz // m)
    allowed = 2 * terms * np.finfo(float).eps * float(size.max())
    words = f"form @ x == op(x) on the photograph ({', '.join(differences)})"
    return output, [
        Check(words, _largest(differences.values()), allowed),
        _adjoint(op, case.image, output, size, terms),
        _entries(case.small, case.crop),
    ]


def _differences(op: ConvOperator, x: AnyArray, output: AnyArray, say: Say) -> Iterator[tuple[str, float]]:
    """Make each form that fits, say what it cost, and give its largest difference from the operator on ``x``."""
    from convmtx.plot.costs import made

    sizes = op.explain().bytes
    if sizes["csr"] <= BUDGET:
        sizes["dia"] = _dia_size(op)
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
            matrix = made(op, form)
        except MemoryError:
            say(line + "not made: more memory than there is")
        except NotToeplitzError:
            say(line + "does not exist: this boundary folds taps onto the picture")
        else:
            say(line + f"made in {_since(start)}")
            # A product with the view would make NumPy copy it whole; its entries are compared on the crop.
            if form != "view":
                flat = (matrix.reshape(op.shape) if form == "tensor" else matrix) @ x.ravel()
                yield form, float(np.abs(flat.reshape(output.shape) - output).max())


def _dia_size(op: ConvOperator) -> int:
    """Bytes of the matrix by diagonals; it takes a sparse matrix to count them."""
    from convmtx.forms.sparse import dia_size

    return dia_size(cast("Any", op.to_sparse("csr")))


def _adjoint(op: LinearMap, x: AnyArray, output: AnyArray, size: AnyArray, terms: int) -> Check:
    """The dot test, <op(x), y> == <x, op.H(y)>, for one random y; ``size`` is |K| applied to |x|."""
    y = np.random.default_rng(1).normal(size=op.out_shape)
    difference = abs(float(np.vdot(output, y)) - float(np.vdot(x, op.H(y))))
    # Roundings of the outputs and of the two long sums have either sign alike, so they add up in squares.
    roundings = 2 * (terms + max(op.shape) ** 0.5)
    allowed = roundings * np.finfo(float).eps * float(np.linalg.norm(size * y))
    return Check("adjoint, <op(x), y> == <x, op.H(y)>", difference, allowed)


def _entries(op: ConvOperator, crop: int) -> Check:
    """Every form that exists, entry by entry: equal, for nothing is computed that could round."""
    from convmtx.plot.costs import made

    tensor = op.to_tensor().reshape(op.shape)
    differences, same = [], ["tensor"]
    for form in reversed(_FORMS[:-1]):
        try:
            matrix = made(op, form)
        except NotToeplitzError:
            continue
        array = matrix.toarray() if hasattr(matrix, "toarray") else matrix.reshape(op.shape)
        differences.append(float(np.abs(array - tensor).max()))
        same.append(form)
    return Check(f"{' == '.join(same)}, entry by entry on {crop} x {crop} pixels", _largest(differences), 0.0)


def _largest(differences: Iterable[float]) -> float:
    """The largest; NaN where one is, which Python's own max may pass over."""
    return float(np.max([0.0, *differences]))


def _since(start: float) -> str:
    return f"{perf_counter() - start:.3f} s"


# The picture


def _drawn(chosen: list[Case], outputs: list[AnyArray]) -> bytes:
    """The PNG file: one row for each kernel with its input, its output and its matrix on a crop."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(figsize=(13.5, 15.5), layout=ConstrainedLayoutEngine(h_pad=0.1))
    FigureCanvasAgg(figure)
    rows: Any = figure.subfigures(len(chosen), hspace=0.02)
    for row, case, output in zip(rows, chosen, outputs, strict=True):
        op = case.operator(case.image.shape)
        row.suptitle(f"{case.name}: {case.words}", x=0.01, ha="left", fontsize=14, fontweight="bold")
        before, after, matrix = row.subplots(1, 3)
        _show(before, case.image, f"input {op.in_shape}")
        _show(after, output, f"output {op.out_shape}")
        _pattern(matrix, op, case)
    file = BytesIO()
    figure.savefig(file, format="png", dpi=110)
    return file.getvalue()


def _show(axes: Axes, image: AnyArray, title: str) -> None:
    """A colour picture as it is, signed values around grey, many channels as tiles."""
    if image.ndim == 3 and image.shape[2] == 3:
        axes.imshow(np.clip(image, 0, 1))
    else:
        if image.ndim == 3:
            image = _tiled(image)
            title += ", a tile for each channel"
        reach = float(np.nanpercentile(np.abs(image), 99.5))
        signed = float(np.nanmin(image)) < 0
        axes.imshow(image, cmap="gray", vmin=-reach if signed else 0.0, vmax=reach)
    axes.set_title(f"\n{title}", fontsize=11)  # two lines, as the matrix beside it has
    axes.set_axis_off()


def _tiled(image: AnyArray) -> AnyArray:
    """Channels as tiles of one square picture; what is left over of it stays empty."""
    h, w, channels = image.shape
    side = ceil(channels**0.5)
    tiles = np.full((side * -(-channels // side), h, w), np.nan)
    tiles[:channels] = np.moveaxis(image, 2, 0)
    return tiles.reshape(-1, side, h, w).transpose(0, 2, 1, 3).reshape(-1, side * w)


def _pattern(axes: Axes, op: ConvOperator, case: Case) -> None:
    """The matrix on the crop: entries that are stored in colour (a stored zero is white), all others grey."""
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
