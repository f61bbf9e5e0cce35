"""A function of one array that has to be linear: how it is called, and the checks that it is linear."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from convmtx._xp import as_numpy
from convmtx.errors import ArgumentError, ArgumentTypeError, ConvmtxError, shown
from convmtx.geometry import resolve
from convmtx.maps.foreign import image_of, images_of
from convmtx.maps.own_maps import is_rounding
from convmtx.typing import AnyArray, Array, PerAxis, Shape

#: Bytes of inputs and outputs that exist at a time, unless one alone takes more: 64 MiB.
_BLOCK_BYTES = 1 << 26


@dataclass(frozen=True, slots=True)
class Calling:
    """The kind of arrays that a function takes."""

    #: Empty array of their library, type and device.
    template: Array
    #: Whether one input needs a batch axis in front.
    needs_batch: bool
    #: Whether the function takes a batch of any length to the batch of the images.
    takes_batch: bool = False

    def images(self, f: Callable[[Any], Any], X: AnyArray, out_shape: Shape) -> AnyArray:
        """Return the images (B, *out_shape) of a batch of NumPy."""
        if self.takes_batch:
            return images_of(f, X[None], (len(X), *out_shape), self.template)[0]
        if self.needs_batch:
            return images_of(f, X[:, None], (1, *out_shape), self.template)[:, 0]
        return images_of(f, X, out_shape, self.template)


class Box:
    """The linear part of a function of one array, applied to batches of arrays of NumPy.

    Law: ``box(X)[b] == f(X[b]) - f(0)``. The function may be one of NumPy, PyTorch or JAX: it gets arrays of the first
    library and type that it can be called with. They are copies, which it may write to. A batch is passed to it whole
    if the images of a batch are those of its arrays.

    Parameters
    ----------
    f : callable
        Takes one array of ``in_shape``.
    in_shape : int or tuple of int
        Shape of one input.
    adjoint : callable, optional
        The adjoint of f, from arrays of ``out_shape`` to arrays of ``in_shape``.
    dtype : dtype, optional
        Type of the inputs. By default it is float64, or float32 if f does not take float64, or the type of the
        parameters of a `torch.nn.Module`. It is complex if f takes real inputs to complex outputs and takes complex
        inputs too.
    prefers_integers : bool
        Whether inputs are 64-bit integers, whose images are exact, if f takes integers to integers and rounds neither
        them nor fractions.

    Attributes
    ----------
    in_shape, out_shape : tuple of int
        Shapes of one input and one output.
    in_dtype, dtype : numpy.dtype
        Type of the inputs, and type of the outputs, which is that of the entries of the matrix.
    offset : ndarray or None
        f(0); None if it is zero.
    noise : float
        Largest difference of f(x + y) and f(x) + f(y), relative to the largest magnitude of f(x).
    samples : tuple of ndarray
        Random inputs ``(3, *in_shape)`` of the checks, and the linear part of their images.
    applications : int
        Number of inputs that f was applied to, with those of the checks: 9, or 6 if f raises an error for a batch; and
        at most 6 more with ``prefers_integers``.

    Raises
    ------
    ValueError
        If f cannot be called, if two calls with one input differ, if it is not linear but for an offset, if it is
        linear over the real numbers alone and its inputs are complex, or if it returns inf, nan or an empty array.
        At most four applications show that f is random, or that the image of -2 x is not -2 f(x).
    TypeError
        If f is not a function, or ``dtype`` is not a type of numbers.
    """

    def __init__(
        self,
        f: Callable[[Any], Any],
        in_shape: PerAxis,
        *,
        adjoint: Callable[[Any], Any] | None = None,
        dtype: Any = None,
        prefers_integers: bool = False,
    ) -> None:
        for name, function in (("f", f), ("adjoint", f if adjoint is None else adjoint)):
            if not callable(function):
                raise ArgumentTypeError(f"{name}={shown(function)}", "Expected a function", "Pass one of one array")
        self.in_shape = resolve.shape("in_shape", in_shape)
        self.applications = 0
        self._f, self._adjoint = f, adjoint
        kind = None if dtype is None else _number_type(dtype)
        if prefers_integers and self._takes_integers():
            kind = np.dtype(np.int64)
        self._calling, image = _choose(f, self.in_shape, kind)
        if kind is None and image.dtype.kind == "c":
            with suppress(ArgumentError):  # a Fourier transform of real inputs alone stays real
                self._calling, image = _choose(f, self.in_shape, image.dtype)
        self.out_shape, self.dtype = image.shape, image.dtype
        if not image.size:
            raise ArgumentError(f"f returns an array of shape {image.shape}", "Expected numbers", "Check in_shape")
        self.in_dtype: np.dtype[Any] = as_numpy(self._calling.template).dtype
        self._check(image)

    def __call__(self, X: AnyArray) -> AnyArray:
        """Return the linear part of f of a batch ``(B, *in_shape)``, of shape ``(B, *out_shape)``."""
        images = self._images(X)
        return images if self.offset is None else images - self.offset

    def blocks(self, count: int) -> Iterator[range]:
        """Yield so many numbers in blocks, for each of which inputs and outputs take about 64 MiB."""
        bytes_of_one = prod(self.in_shape) * self.in_dtype.itemsize + prod(self.out_shape) * self.dtype.itemsize
        step = max(_BLOCK_BYTES // (bytes_of_one or 1), 1)
        for start in range(0, count, step):
            yield range(start, min(start + step, count))

    @property
    def is_exact(self) -> bool:
        """Whether the images are integers, which are exact."""
        return self.dtype.kind in "iu"

    @cached_property
    def adjoint(self) -> Box | None:
        """Box of the adjoint, or None without one.

        Law: ``<f(x), y> == <x, adjoint(y)>``. An adjoint with other shapes or other inner products is refused.
        """
        if self._adjoint is None:
            return None
        back = Box(self._adjoint, self.out_shape, dtype=np.result_type(self.in_dtype, self.dtype))
        if back.out_shape != self.in_shape:
            got = f"adjoint returns an array of shape {back.out_shape}"
            raise ArgumentError(got, f"Expected in_shape={self.in_shape}", "Pass the adjoint of f")
        (X, images), (Y, backs) = self.samples, (part[1:] for part in back.samples)  # other numbers than x
        terms = images[0].conj() * Y[0], X[0].conj() * backs[0]
        size = np.abs(terms[0]).sum() + np.abs(terms[1]).sum()
        if not is_rounding(terms[0].sum() - terms[1].sum(), size, X[0].size + Y[0].size):
            got, expected = "adjoint is not the adjoint of f", "Expected <f(x), y> == <x, adjoint(y)>"
            raise ArgumentError(got, expected, "Pass the adjoint of f, or leave adjoint out")
        return back

    def _takes_integers(self) -> bool:
        """Whether f takes integers to integers without rounding them, and rounds no fractions, if it takes any."""
        return self._scales(np.dtype(np.int64), "iu") is True and self._scales(np.dtype(float), "iuf") is not False

    def _scales(self, dtype: np.dtype[Any], kinds: str) -> bool | None:
        """Whether f takes -2 x to -2 f(x) + 3 f(0), for x of a type; None if it does not take that to these kinds."""
        x = random_arrays(2, self.in_shape, dtype)[0]  # that of `_choose`
        try:
            calling, image = _choose(self._f, self.in_shape, dtype)
            self.applications += 1
            if image.dtype.kind not in kinds:
                return None
            self.applications += 2
            scaled, offset = calling.images(self._f, np.stack([-(x + x), np.zeros_like(x)]), image.shape)
        except Exception:  # a function may raise anything for an array that it does not take
            return None
        return is_rounding(scaled + image + image - 3 * offset, np.stack([image, scaled, offset]), x.size)

    def _images(self, X: AnyArray) -> AnyArray:
        """Return f of each array of a batch, and count them."""
        self.applications += len(X)
        images = self._calling.images(self._f, X, self.out_shape)
        if not np.isfinite(images).all():
            raise ArgumentError("f returns inf or nan", "Expected finite numbers", "Check f, and the type of its input")
        return images

    def _check(self, image: AnyArray) -> None:
        """Find the offset of f, whose first image is known; refuse f if it is random or not linear."""
        x, y = random_arrays(2, self.in_shape, self.in_dtype)
        self.applications += 1
        if not is_rounding(self._images(x[None])[0] - image, image, x.size):
            got, expected = "f is random: two calls with one input differ", "Expected a linear function"
            raise ArgumentError(got, expected, "Switch dropout and noise off, as with module.eval()")
        offset = self._images(np.zeros_like(x)[None])[0]
        self.offset = offset if offset.any() else None
        scaled = self._images(self._scaled(x)[None])[0]
        self._require_scaled(x, image, scaled, offset)
        second, both = self._images(np.stack([y, x + y]))
        difference, images = both - second - image + offset, np.stack([image, second, scaled])
        if not is_rounding(difference, images, x.size):
            raise _not_linear("f is a function that does not take x + y to f(x) + f(y)")
        self.noise = float(np.abs(difference).max(initial=0) / (np.abs(image).max(initial=0) or 1))
        self.samples = np.stack([x, y, self._scaled(x)]), images - offset
        self._take_batches(images)

    def _scaled(self, x: AnyArray) -> AnyArray:
        """Return -2 x, or -2i x if inputs are complex; of integers as they wrap around."""
        return x * -2j if self.in_dtype.kind == "c" else -(x + x)

    def _require_scaled(self, x: AnyArray, image: AnyArray, scaled: AnyArray, offset: AnyArray) -> None:
        """Refuse f unless the linear part of its image of -2 x, or -2i x, is so many times that of x."""
        linear = image - offset
        sizes = np.stack([image, scaled, offset])
        if is_rounding(scaled - offset - self._scaled(linear), sizes, x.size):
            return
        if self.in_dtype.kind == "c":
            real = self._images(-(x + x)[None])[0] - offset
            if is_rounding(real + linear + linear, sizes, x.size):
                got, expected = "f is real-linear only: it does not take i x to i f(x)", "Expected a linear function"
                raise ArgumentError(got, expected, "Pass dtype=float for its matrix on real inputs")
        raise _not_linear("f is a function that does not take -2 x to -2 f(x)")

    def _take_batches(self, images: AnyArray) -> None:
        """Pass batches whole from here on if f takes the samples to their images in one call."""
        X, batched = self.samples[0], replace(self._calling, takes_batch=True)
        try:
            whole = batched.images(self._f, X, self.out_shape)
        except Exception:  # a function may raise anything for a batch that it does not take
            return
        self.applications += len(X)
        if is_rounding(whole - images, images, X[0].size):
            self._calling = batched


def _choose(f: Callable[[Any], Any], in_shape: Shape, dtype: np.dtype[Any] | None) -> tuple[Calling, AnyArray]:
    """Return the first kind of array that f can be called with, and its image of a random one."""
    refusals: list[Exception] = []
    for template in _templates(f, dtype):
        x = random_arrays(2, in_shape, as_numpy(template).dtype)[0]
        for needs_batch in (False, True):
            try:
                image = image_of("f(x)", f, x[None] if needs_batch else x, template)
            except Exception as error:  # a function may raise anything for an array that it does not take
                refusals.append(error)
                continue
            if not needs_batch or image.shape[:1] == (1,):
                return Calling(template, needs_batch), image[0] if needs_batch else image
    if isinstance(refusals[0], ConvmtxError):
        raise refusals[0]
    why = f"{type(refusals[0]).__name__}: {refusals[0]}"
    got, expected = f"f raises {why}", f"Expected a function of an array of shape {in_shape}"
    raise ArgumentError(got, expected, "Pass the in_shape, and the dtype, that f takes") from refusals[0]


def _templates(f: Any, dtype: np.dtype[Any] | None) -> Iterator[Array]:
    """Yield empty arrays of the libraries and types that f may take; only libraries that are imported."""
    modules: dict[str, Any] = sys.modules
    torch, jax = modules.get("torch"), modules.get("jax")
    dtypes = [np.dtype(float), np.dtype(np.float32)] if dtype is None else [dtype]
    if torch and isinstance(f, torch.nn.Module):
        for tensor in (*f.parameters(), *f.buffers()):
            if tensor.is_floating_point() or tensor.is_complex():
                yield tensor.detach().new_empty(0, dtype=dtype and torch.from_numpy(np.empty(0, dtype)).dtype)
                break
    else:
        yield np.empty(0, dtypes[0])
    if torch:
        yield from (torch.from_numpy(np.empty(0, kind)) for kind in dtypes)
    if jax:  # which makes float32 of float64, unless that is switched on
        yield jax.numpy.asarray(np.empty(0, dtypes[0]))


def _number_type(dtype: Any) -> np.dtype[Any]:
    """Return an argument ``dtype`` as a type of numbers of NumPy."""
    with suppress(TypeError):
        kind = np.dtype(dtype)
        if kind.kind in "iufc":
            return kind
    raise ArgumentTypeError(f"dtype={shown(dtype)}", "Expected a type of numbers", "Pass float, complex or int")


def random_arrays(count: int, shape: Shape, dtype: np.dtype[Any], seed: int = 0) -> AnyArray:
    """Return ``(count, *shape)`` random numbers: normal ones, or integers that are not zero.

    Integers of b bits stay below 2^(b/3), so that a sum of some products with taps of that size does not wrap around.
    """
    rng, shape = np.random.default_rng(seed), (count, *shape)
    if dtype.kind in "iu":
        signs = 1 if dtype.kind == "u" else rng.choice([-1, 1], shape)
        return (signs * rng.integers(1, 1 << (8 * dtype.itemsize // 3), shape, endpoint=True)).astype(dtype)
    numbers = rng.standard_normal(shape)
    return (numbers + 1j * rng.standard_normal(shape) if dtype.kind == "c" else numbers).astype(dtype)


def _not_linear(got: str) -> ArgumentError:
    """Return the error of a function that is not linear."""
    return ArgumentError(got, "Expected a linear one", "Pass its Jacobian, or the linear part of it")
