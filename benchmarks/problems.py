"""Least squares problems: maps of all kinds, for `solves`."""

from typing import Any, NamedTuple

import numpy as np

import convmtx as cm


def bell(k, sigma):
    """A Gaussian of k taps that sum to 1."""
    taps = np.exp(-((np.arange(k) - (k - 1) / 2) ** 2) / (2 * sigma**2))
    return taps / taps.sum()


def motion(k):
    """A line of k taps along the diagonal."""
    return np.eye(k) / k


class Problem(NamedTuple):
    """Kernels of one law on images n, with c channels to f."""

    n: tuple
    k: tuple
    law: str = "random"
    damp: float = 0.0
    c: int = 1
    f: int = 1
    transposed: bool = False
    options: dict[str, Any] = {}  # noqa: RUF012  # never changed

    @property
    def name(self):
        """Name of the case in tables."""
        words = [f"{'x'.join(map(str, self.n))} k{'x'.join(map(str, self.k))} {self.law}"]
        words += [f"{self.c}->{self.f}"] if self.c * self.f > 1 else []
        words += ["transposed"] if self.transposed else []
        padding = self.options.get("padding", "valid")
        words += [padding if isinstance(padding, str) else "causal"]
        words += [f"{key} {value}" for key, value in self.options.items() if key in ("stride", "dilation")]
        boundary = self.options.get("boundary", "zero")
        words += [boundary if isinstance(boundary, str) else "+".join(boundary)]
        return " ".join([*words, f"damp {self.damp:g}"])

    def kernel(self):
        """Well conditioned (sharp, causal), random, or hardly invertible (Gauss, motion)."""
        channels = (self.f, self.c) if self.transposed else (self.c, self.f)
        K = np.random.default_rng(0).standard_normal((*self.k, *channels))
        K /= np.prod(K.shape[:-1]) ** 0.5
        if self.law in ("sharp", "causal"):
            K *= 0.3
            K[tuple(k - 1 if self.law == "causal" else k // 2 for k in self.k)] += np.eye(*channels)
        if self.law in ("Gauss", "motion"):
            image = motion(self.k[0]) if self.law == "motion" else outer(*(bell(k, k / 4) for k in self.k))
            K = np.multiply.outer(image, np.eye(*channels) + 0.2 * K[(0,) * len(self.k)])
        return K if self.c * self.f > 1 else K[..., 0, 0]

    def op(self):
        """The map."""
        shape = (*self.n, self.c) if self.c * self.f > 1 else self.n
        return (cm.conv_transpose if self.transposed else cm.conv)(self.kernel(), shape, **self.options)


def outer(*lines):
    return np.multiply.outer(lines[0], outer(*lines[1:])) if len(lines) > 1 else lines[0]


def same(boundary="zero", **options):
    return {"padding": "same", "boundary": boundary, **options}


PROBLEMS = [
    # one axis
    Problem((2048,), (7,), "sharp", options=same()), Problem((2048,), (9,), "Gauss", 1e-2, options=same()),
    Problem((65536,), (7,), "Gauss", 1e-1, options=same("edge")),
    Problem((4096,), (5,), "causal", options={"padding": [(4, 0)]}),
    Problem((2048,), (9,), "Gauss", options={"padding": "full"}), Problem((1024,), (9,)),
    Problem((512,), (5,), "random", 1e-3, 4, 8, options=same(stride=2)),
    Problem((4096,), (7,), "Gauss", 1e-3, options=same("wrap")),
    Problem((2048,), (5,), "sharp", options=same("reflect")),
    Problem((1024,), (7,), "Gauss", 1e-1, options=same(dilation=3)),
    Problem((512,), (4,), "random", 1e-2, 2, 2, True, options={"padding": "same", "stride": 2}),
    # images
    Problem((128, 128), (9, 9), "Gauss", 1e-1, options=same()),
    Problem((96, 96), (9, 9), "Gauss", 1e-2, options=same()),
    Problem((48, 48), (9, 9), "Gauss", 1e-3, options=same()), Problem((64, 64), (9, 9), "motion", 1e-2, options=same()),
    Problem((64, 64), (7, 7), "random", 1e-1, options=same()),
    Problem((96, 96), (9, 9), "Gauss", 1e-2, options=same("wrap")),
    Problem((32, 32), (3, 3), "random", 1e-2, 8, 8, options=same("wrap")),
    Problem((32, 32), (3, 3), "random", 1e-3, 2, 8, options=same("wrap", stride=2)),
    Problem((96, 96), (9, 9), "Gauss", 1e-2, options=same("symmetric")),
    Problem((48, 48), (5, 5), "random", 1e-1, options=same("symmetric")),
    Problem((96, 96), (7, 7), "Gauss", 1e-2, options=same("reflect")),
    Problem((32, 32), (3, 3), "random", 1e-1, 3, 3, options=same("reflect")),
    Problem((64, 64), (9, 9), "motion", 1e-1, options=same("edge")),
    Problem((32, 32), (3, 3), "sharp", 0.0, 4, 4, options=same("edge")),
    Problem((48, 48), (5, 5), options={"padding": "full"}),
    Problem((40, 40), (3, 3), "random", 0.0, 3, 16, options=same(stride=2)), Problem((64, 64), (5, 5)),
    Problem((64, 64), (3, 3), "sharp", options=same(dilation=2)),
    Problem((24, 24), (4, 4), "random", 1e-2, 4, 3, True, options={"padding": "same", "stride": 2}),
    Problem((64, 64), (3, 3), "causal", options={"padding": [(2, 0), (2, 0)]}),
    Problem((24, 24), (3, 3), "random", 1e-2, 8, 8, options=same()),
    Problem((64, 64), (5, 5), "random", 1e-2, options=same(("wrap", "zero"))),
    # volumes
    Problem((20, 20, 20), (3, 3, 3), "Gauss", 1e-1, options=same()),
    Problem((16, 16, 16), (3, 3, 3), "random", 1e-2, 2, 2, options=same("wrap")),
    Problem((16, 16, 16), (5, 5, 5), "Gauss", 1e-2, options=same("symmetric")),
    Problem((14, 14, 14), (3, 3, 3), "random", 0.0, 1, 2, options=same()),
]  # fmt: skip
