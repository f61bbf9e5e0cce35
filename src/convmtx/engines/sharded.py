"""Arrays of JAX that are spread over devices: each device computes its own part, and keeps it.

JAX knows how an array is spread when it compiles, and not when it traces. So JAX is given functions that it calls then
(`custom_partitioning`): how both arrays and the result are cut, and the program of one device. Batch, groups, filters
and channels are cut as they come. Spatial axes are cut into blocks (`blocks`), whose borders neighbours send. A sum
over something that is cut is added up over the devices. Every engine then computes what a device holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from inspect import signature
from itertools import permutations
from math import prod
from typing import Any, NamedTuple

import numpy as np

from convmtx._xp import is_traced
from convmtx.engines.blocks import Cut, cut
from convmtx.engines.contractions import JOINED, LETTERS, OPERANDS, shape_of
from convmtx.geometry import Axis
from convmtx.typing import Array, Shape

#: Compute one of taps, inputs and outputs from the other two on one device: wanted, axes, groups, both arrays.
Compute = Callable[[str, Sequence[Axis], int, Array, Array], Array]


class Placement(NamedTuple):
    """Axes of a mesh that cut the arrays of a convolution."""

    #: Size of each axis of the mesh.
    mesh: dict[str, int]
    #: For "b", "g", "f", "c" and each spatial axis "0", "1", ...: the axes of the mesh that cut it.
    names: dict[str, tuple[str, ...]]
    #: Spatial axes that are cut for the computation; others are computed whole by each device.
    cuts: dict[int, Cut]

    def parts(self, factor: str) -> int:
        """Return the number of parts of a factor."""
        return prod(self.mesh[name] for name in self.names.get(factor, ()))


def multiply(compute: Compute, wanted: str, axes: tuple[Axis, ...], groups: int, first: Array, second: Array) -> Array:
    """Compute taps, inputs or outputs from the other two, each device its own part."""
    from jax import numpy
    from jax.experimental.custom_partitioning import custom_partitioning

    plan = partial(_plan, wanted, axes, groups)

    def result(first: Array, second: Array) -> Array:  # JAX reads its shape
        return numpy.zeros(shape_of(wanted, axes, groups, first.shape, second.shape), second.dtype)

    def infer(mesh: Any, arrays: Any, result: Any) -> Any:
        return plan(_mesh(mesh, arrays), arrays, result)[2]

    def partition(mesh: Any, arrays: Any, result: Any) -> Any:
        mesh = _mesh(mesh, arrays)
        placement, operands, outcome = plan(mesh, arrays, result)
        return mesh, partial(_on_one_device, compute, wanted, axes, groups, placement), outcome, operands

    function: Any = custom_partitioning(result)  # type: ignore[no-untyped-call]
    hints = _rule(wanted, len(axes), groups, first.shape, second.shape)
    if not any(p.kind is p.VAR_KEYWORD for p in signature(function.def_partition).parameters.values()):
        hints = {}  # older versions ask `infer`
    function.def_partition(partition, infer, decode_shardings=False, **hints)
    return function(first, second)


def _mesh(mesh: Any, arrays: Any) -> Any:
    """Return the mesh of a program; where no array names one, a line of its devices."""
    from jax.sharding import Mesh

    if not mesh.empty:
        return mesh
    devices = max((array.sharding.device_set for array in arrays), key=len)
    return Mesh(sorted(devices, key=lambda device: device.id), ("devices",))


def _factors(name: str, groups: int, d: int) -> list[str]:
    """Return the factor that cuts each axis of an array, "" for none.

    Channels and filters of several groups lie behind the groups, so groups alone are cut.
    """
    free = [letter if groups == 1 or letter in "bg" else "" for letter in LETTERS[name]]
    at = JOINED[name]
    joined = free[at] if groups > 1 else free[at + 1]
    space = [""] * d if name == "taps" else [str(j) for j in range(d)]
    return [*free[:at], joined, *free[at + 2 :], *space]


def _rule(wanted: str, d: int, groups: int, first: Shape, second: Shape) -> dict[str, Any]:
    """Return the rule by which JAX hands on shardings before it compiles, and the sizes that the rule does not show."""
    pairs = first[0] // groups, first[1]
    if wanted == "taps":
        pairs = second[1] // groups, first[1] // groups
    per_group = {"g": groups, "f": pairs[0], "c": pairs[1]}

    def axes_of(name: str) -> str:
        letters, at = LETTERS[name], JOINED[name]
        both = [letter for letter in letters[at : at + 2] if per_group[letter] > 1] or letters[at : at + 1]
        named = [*letters[:at], " ".join(both) if len(both) == 1 else f"({' '.join(both)})", *letters[at + 2 :]]
        return " ".join([*named, *(f"{'k' if name == 'taps' else 's'}{j}" for j in range(d))])

    rule = f"{', '.join(map(axes_of, OPERANDS[wanted]))} -> {axes_of(wanted)}"
    words = rule.replace(",", " ").split()
    sizes = {
        letter: size
        for letter, size in per_group.items()
        if letter not in words and any(letter in word.strip("()") for word in words)
    }
    return {"sharding_rule": rule, **sizes}


def beside(array: Array, other: Array) -> Array:
    """Return an array on the mesh of another one, for JAX refuses programs of two meshes; whole on each device."""
    import jax

    def mesh(array: Array) -> Any:
        return None if is_traced(array) else getattr(array.sharding, "mesh", None)

    if mesh(array) is None or mesh(array) == mesh(other):
        return array
    if is_traced(other):  # its mesh is not known yet, so what is the same on each device becomes a constant
        return jax.numpy.asarray(np.asarray(array)) if array.is_fully_replicated else array
    if mesh(other) is None:
        return array
    moved: Array = jax.device_put(array, _sharding(mesh(other), ()))
    return moved


def _sharding(mesh: Any, entries: Iterable[Any]) -> Any:
    from jax.sharding import NamedSharding, PartitionSpec

    return NamedSharding(mesh, PartitionSpec(*entries))  # type: ignore[no-untyped-call]


def spec_of(wanted: str, axes: Sequence[Axis], groups: int, first: Any, second: Any, shape: Shape) -> Any:
    """Return how a product is cut if its types say so (JAX's explicit axes of a mesh): a sharding, or None.

    What cannot be cut evenly is not cut: JAX has no arrays with uneven blocks.
    """
    shardings = [array.sharding for array in (first, second) if hasattr(array, "sharding")]  # not in older versions
    meshes = [sharding.mesh for sharding in shardings if not sharding.mesh.empty]
    if not meshes:
        return None
    specs = [[(e,) if isinstance(e, str) else tuple(e or ()) for e in sharding.spec] for sharding in shardings]
    shapes = [tuple(first.shape), tuple(second.shape), shape]
    names = _names(wanted, len(axes), groups, meshes[0].shape, shapes, [*specs, [()] * len(shape)])
    entries = [names.get(factor, ()) for factor in _factors(wanted, groups, len(axes))]
    even = [size % prod(meshes[0].shape[n] for n in entry) == 0 for size, entry in zip(shape, entries, strict=True)]
    return _sharding(meshes[0], (e if e and fits else None for e, fits in zip(entries, even, strict=True)))


def placed(array: Array, like: Any) -> Array:
    """Return an array cut as another one's type says."""
    import jax

    sharding = getattr(like, "sharding", None)
    if sharding is None or sharding.mesh.empty or jax.typeof(array).sharding == sharding:
        return array
    moved: Array = jax.sharding.reshard(array, sharding)  # type: ignore[no-untyped-call]
    return moved


def _names(
    wanted: str, d: int, groups: int, mesh: Any, shapes: Sequence[Shape], specs: Sequence[Sequence[tuple[str, ...]]]
) -> dict[str, tuple[str, ...]]:
    """Choose the axes of the mesh that cut each factor, given those that cut each axis of both arrays and the result.

    The data says first how it is cut, then the result, then the taps.
    """
    chosen, taken = dict[str, tuple[str, ...]](), set[str]()
    arrays = zip((*OPERANDS[wanted], wanted), shapes, specs, strict=True)
    for name, shape, spec in sorted(arrays, key=lambda array: (array[0] == "taps", array[0] == wanted)):
        for factor, size, entry in zip(_factors(name, groups, d), shape, spec, strict=True):
            parts = prod(mesh[axis] for axis in entry)
            even = factor.isdigit() or (groups if factor == "g" else size) % parts == 0
            if factor and parts > 1 and even and factor not in chosen and not taken & set(entry):
                chosen[factor] = entry
                taken |= set(entry)
    return chosen


def _plan(wanted: str, axes: tuple[Axis, ...], groups: int, mesh: Any, arrays: Any, result: Any) -> Any:
    """Return the placement on a mesh, and the shardings of both arrays and of the result."""
    shapes = [tuple(array.shape) for array in (*arrays, result)]
    specs = [_spec(mesh, array) for array in (*arrays, result)]
    names = _names(wanted, len(axes), groups, mesh.shape, shapes, specs)
    placement = Placement(dict(mesh.shape), names, {})
    for j, axis in enumerate(axes):
        along = names.get(str(j), ())
        one = cut(axis, along, mesh.shape) if along else None
        if one:
            placement.cuts[j] = one
    whole = {str(j) for j in range(len(axes)) if j not in placement.cuts}

    def sharding(name: str) -> Any:
        factors = _factors(name, groups, len(axes))
        held = [None if factor in whole and name != wanted else names.get(factor) for factor in factors]
        return _sharding(mesh, held)

    return placement, tuple(sharding(name) for name in OPERANDS[wanted]), sharding(wanted)


def _spec(mesh: Any, array: Any) -> list[tuple[str, ...]]:
    """Return the axes of the mesh that cut each axis of an array; none where they are parts of an axis of the mesh.

    JAX would raise an error for those, which programs make that reshape an axis that is cut.
    """
    ndim = len(array.shape)
    tiles = getattr(getattr(array, "sharding", None), "_to_xla_hlo_sharding", lambda _: None)(ndim)
    if tiles is None or tiles.is_replicated():
        return [()] * ndim
    counts = tuple(tiles.tile_assignment_dimensions())
    devices = np.empty(mesh.size, int)
    devices[list(tiles.tile_assignment_devices())] = np.arange(mesh.size)
    places = np.unravel_index(devices, counts)[:ndim]
    turns = dict(zip(mesh.axis_names, np.indices(mesh.devices.shape).reshape(mesh.devices.ndim, -1), strict=True))

    def cutting(count: int, place: Any) -> tuple[str, ...]:
        for length in range(1, len(turns) + 1):
            for names in permutations(turns, length):
                sizes = tuple(mesh.shape[name] for name in names)
                if prod(sizes) == count and (np.ravel_multi_index([turns[n] for n in names], sizes) == place).all():
                    return tuple(name for name in names if mesh.shape[name] > 1)
        return ()

    return [cutting(n, place) if n > 1 else () for n, place in zip(counts, places, strict=False)]


def _on_one_device(
    compute: Compute,
    wanted: str,
    axes: tuple[Axis, ...],
    groups: int,
    placement: Placement,
    first: Array,
    second: Array,
) -> Array:
    """Compute the part of one device, from its parts of both arrays."""
    import jax

    arrays = dict(zip(OPERANDS[wanted], (first, second), strict=True))
    local = [placement.cuts[j].local if j in placement.cuts else axis for j, axis in enumerate(axes)]
    groups //= placement.parts("g")

    if "output" in arrays:
        for j, block in placement.cuts.items():
            arrays["output"] = block.mask(arrays["output"], j + 2)
    if "input" in arrays:
        for j, block in placement.cuts.items():
            arrays["input"] = block.reach(arrays["input"], j + 2)
    part = compute(wanted, local, groups, *arrays.values())
    if wanted == "input":
        for j, block in reversed(placement.cuts.items()):
            part = block.give_back(part, j + 2)
    summed = [letter for letter in placement.names if not letter.isdigit() and letter not in LETTERS[wanted]]
    if wanted == "taps":
        summed += map(str, placement.cuts)
    over = tuple(name for factor in summed for name in placement.names[factor])
    if over:
        part = jax.lax.psum(part, over)  # type: ignore[no-untyped-call]
    if wanted != "taps":
        for factor, names in placement.names.items():
            if factor.isdigit() and int(factor) not in placement.cuts:
                part = _own_piece(part, int(factor) + 2, names, placement.parts(factor))
    return part


def _own_piece(whole: Array, at: int, names: tuple[str, ...], parts: int) -> Array:
    """Return the block of this device along an axis that each device has computed whole."""
    from jax import lax, numpy

    size = -(-whole.shape[at] // parts)
    pads = [(0, parts * size - whole.shape[at]) if j == at else (0, 0) for j in range(whole.ndim)]
    return lax.dynamic_slice_in_dim(numpy.pad(whole, pads), lax.axis_index(names) * size, size, at)
