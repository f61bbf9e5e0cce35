"""Convolutions, the ways in which they are mistaken, and the matrices of these by transposes of NumPy."""

from dataclasses import dataclass, field, replace

import numpy as np

import convmtx as cm
from convmtx.recognition.changes import Change, Kind

BOUNDARIES = ("zero", "wrap", "reflect", "symmetric", "edge")


@dataclass(frozen=True)
class Case:
    """Arguments of `cm.conv`, and what is done to the matrix."""

    kernel: np.ndarray
    shape: tuple
    pads: tuple
    boundary: tuple
    channels: str | None = None
    options: dict = field(default_factory=dict)

    @property
    def d(self):
        return len(self.pads)

    @property
    def space(self):
        """Spatial axes of the kernel."""
        return tuple(range(2, 2 + self.d)) if self.channels == "first" else tuple(range(self.d))

    @property
    def op(self):
        return cm.conv(self.kernel, self.shape, padding=list(self.pads), boundary=self.boundary,
                       channels=self.channels, **self.options)  # fmt: skip


def random_case(rng, square=False, symmetric=False, boundary=None):
    """A convolution whose windows read outside, at most 150 inputs."""
    d = int(rng.integers(1, 4))
    size = {1: 14, 2: 7, 3: 4}[d]
    sizes = rng.permutation(np.arange(size, size + 3))[:d].tolist()
    if square:
        sizes = [size] * d
    kernels = rng.integers(2, 4 if d == 3 else 5, d).tolist()
    channels = [None, "last", "first"][rng.integers(3)] if d < 3 else None
    per_c, filters = rng.integers(1, 4, 2).tolist()
    shape = {None: sizes, "last": [*sizes, per_c], "first": [per_c, *sizes]}[channels]
    last = (*kernels, per_c, filters)
    kernel = rng.integers(-9, 10, last if channels else kernels)
    if symmetric:
        kernel = kernel + np.flip(kernel, tuple(range(d)))
    if channels == "first":
        kernel = np.moveaxis(kernel, (-1, -2), (0, 1))
    pads = tuple(((k - 1) // 2, k // 2) for k in kernels)
    name = boundary or BOUNDARIES[rng.integers(5)]
    return Case(kernel, tuple(shape), pads, (name,) * d, channels)


def matrix(case, changes):
    """The matrix of a convolution with some changes, rebuilt from what their words say."""
    moves = [c for c in changes if c.kind in (Kind.ORDER, Kind.LAYOUT, Kind.AXES, Kind.ROLLED, Kind.TRANSPOSED)]
    for change in changes:
        case = _with(case, change)
    op = case.op
    tensor = op.to_dense().reshape(op.out_shape + op.in_shape)
    n = len(op.out_shape)
    axes = {"outputs": list(range(n)), "inputs": list(range(n))}
    for change in moves:
        if change.kind is Kind.ROLLED:
            tensor = np.roll(tensor, change.numbers, tuple(range(n)))
        for side in change.sides:
            axes[side] = {
                Kind.ORDER: list(reversed(range(n))),
                Kind.LAYOUT: [n - 1, *range(n - 1)] if case.channels == "last" else [*range(1, n), 0],
                Kind.AXES: list(change.numbers),
            }[change.kind]
    W = tensor.transpose([*axes["outputs"], *(n + a for a in axes["inputs"])]).reshape(op.shape)
    for change in changes:
        if change.kind is Kind.SCALED:
            W = W * change.numbers[0]
        if change.kind is Kind.CONJUGATED:
            W = W.conj()
    return W.T if any(change.kind is Kind.TRANSPOSED for change in changes) else W


def _with(case, change):
    """A case with a change of its kernel or of the arguments of `cm.conv`."""
    kind, numbers, K, space = change.kind, change.numbers, case.kernel, case.space
    if kind is Kind.FLIPPED:
        return replace(case, kernel=np.flip(K, tuple(space[a] for a in numbers)))
    if kind is Kind.KERNEL_ROLLED:
        return replace(case, kernel=np.roll(K, numbers, space))
    if kind is Kind.KERNEL_CHANNELS:
        return replace(case, kernel=K.swapaxes(0, 1) if case.channels == "first" else K.swapaxes(-1, -2))
    if kind is Kind.KERNEL_ORDER:
        first = K if case.channels == "first" else np.moveaxis(K, space, range(-case.d, 0))
        pairs = first.reshape(-1, *first.shape[first.ndim - case.d :])
        read = np.array([pair.ravel().reshape(pair.shape, order="F") for pair in pairs]).reshape(first.shape)
        return replace(case, kernel=read if case.channels == "first" else np.moveaxis(read, range(-case.d, 0), space))
    if kind is Kind.SHIFTED:
        pads = tuple((lo - o, hi + o) for (lo, hi), o in zip(case.pads, numbers, strict=True))
        return replace(case, pads=pads)
    if kind is Kind.BOUNDARY:
        return replace(case, boundary=tuple(names[0] for names in numbers))
    if kind is Kind.PADDING:
        return replace(case, pads=numbers)
    return case


def six(case, rng):
    """The six mistakes that are made most: each as the changes that name it."""
    other = [name for name in BOUNDARIES if name != case.boundary[0]]
    shift = [0] * case.d
    shift[-1] = 1
    both = ("outputs", "inputs")
    mistakes = {
        "flipped": Change(Kind.FLIPPED, tuple(range(case.d))),
        "shifted": Change(Kind.SHIFTED, tuple(shift)),
        "boundary": Change(Kind.BOUNDARY, ((other[rng.integers(4)],),) * case.d),
        "transposed": Change(Kind.TRANSPOSED),
    }
    if case.d > 1:
        mistakes["column-major"] = Change(Kind.ORDER, (), both)
    if case.channels and case.d > 1:
        mistakes["layout"] = Change(Kind.LAYOUT, (), both)
    return mistakes


def names(explanation, change):
    """Whether an explanation is this change, by one of its names."""
    (first, *others) = explanation
    if others or first.kind is not change.kind:
        return False
    if change.kind is Kind.BOUNDARY:
        return all(name in rules for (name,), rules in zip(change.numbers, first.numbers, strict=True))
    return first == change
