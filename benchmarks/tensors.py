"""Maps of PyTorch tensors in the main memory: ours beside PyTorch's convolution, in one run, results compared.

    python benchmarks/tensors.py [--part forward|autograd|gradients] [--only TEXT] [--quick] [--json FILE]

``other / ours`` above 1 means that ours is the faster.
"""

from functools import partial

import numpy as np
from cases import Case, difference, plan_of, same, threaded, torch_convolution
from measuring import Times, main, medians, optional

from convmtx.engines.select import select

torch = optional("torch")

CASES = [
    Case((384, 384), (31, 31)), Case((512, 512), (7, 7)), Case((512, 512), (15, 15), dtype="f4"),
    Case((1024, 1024), (31, 31), dtype="f4", separable=True), Case((512, 512), (3, 3), dtype="f4", options=same()),
    Case((512, 512), (9, 9), options=same(boundary="reflect")),
    Case((256, 256), (5, 5), dtype="f4", options=same(boundary="wrap")),
    Case((512, 512), (5, 5), options={"stride": 2}), Case((1 << 18,), (31,)), Case((32, 32), (3, 3)),
    Case((64, 64, 64), (3, 3, 3)), Case((28, 28), (5, 5), batch=64),
    Case((56, 56), (3, 3), 64, 64, "f4", options=same()), Case((56, 56), (3, 3), 64, 64, options=same()),
    Case((14, 14), (3, 3), 512, 512, "f4"), Case((56, 56), (1, 1), 256, 64, "f4"),
    Case((28, 28), (3, 3), 128, 128, "f4", 8, options=same(groups=128)),
    Case((112, 112), (3, 3), 64, 64, "f4", options=same(groups=64)), Case((32, 32), (3, 3), 16, 32, "f4", 32),
    Case((224, 224), (7, 7), 3, 64, "f4", options={"stride": 2, "padding": 3}), Case((16000,), (9,), 16, 32, "f4"),
    Case((128, 128), (5, 5), 16, 16), Case((128, 128), (3, 3), 8, 8, options=same(boundary="wrap", dilation=2)),
    Case((24, 24, 24), (3, 3, 3), 8, 16, "f4"), Case((128, 128), (5, 5), 16, 16, "f4", adjoint=True, options=same()),
]  # fmt: skip


def grid(quick):
    return CASES[9::7] if quick else CASES


def forward(quick):
    """The map of tensors without gradients.

    Compared with `torch.nn.functional`, with its own number of threads and with one. Boundaries that PyTorch's
    convolution does not have are padded by `torch.nn.functional.pad`. tensor / NumPy: the time over that of the same
    map of a NumPy array; PyTorch is one of our engines for both. Aim: other / ours 1.5 in the geometric mean and
    nowhere below 0.8, tensor / NumPy at most 1.15.
    """
    for case in grid(quick):
        yield case.name, partial(applied, case)


def autograd(quick):
    """The map of tensors that need gradients.

    The same calls, with an input and a kernel that require gradients. Aim: as above.
    """
    for case in grid(quick):
        yield case.name, partial(recorded, case)


def gradients(quick):
    """The map and its gradients.

    The map, and then the gradients in the input and in the kernel of a sum of the outputs with random weights. Aim: as
    above.
    """
    for case in grid(quick):
        yield case.name, partial(differentiated, case)


def build(case, **keys):
    """The map of a tensor, or its transpose, PyTorch's function, the input, and the kernel."""
    rng = np.random.default_rng(0)
    kernel = torch.tensor(case.kernel(rng), **keys)
    op = case.op(kernel)
    x = torch.tensor(case.inputs(rng, op), **keys)
    return (op.T if case.adjoint else op), torch_convolution(case), x, kernel


def engine_of(case, kernel):
    """Engine that applies the tensors of a case."""
    plan = plan_of(case, case.op(kernel.detach().numpy()))
    return select("auto", plan, np.dtype(case.dtype), case.batch, tensors=True).engine.name


def applied(case, name, repeat):
    ours, convolution, x, kernel = build(case)
    array = case.op(kernel.numpy())
    by_numpy = partial(array.T if case.adjoint else array, x.numpy())
    ways = {"ours": partial(ours, x), "NumPy": by_numpy, **threaded(lambda: convolution(x, kernel))}
    return row(case, name, ways, repeat, kernel, ["NumPy"])


def recorded(case, name, repeat):
    ours, convolution, x, kernel = build(case, requires_grad=True)
    ways = {"ours": partial(ours, x), **threaded(lambda: convolution(x, kernel))}
    return row(case, name, ways, repeat, kernel)


def differentiated(case, name, repeat):
    ours, convolution, x, kernel = build(case, requires_grad=True)
    weights = torch.randn(ours(x).shape, dtype=x.dtype, generator=torch.Generator().manual_seed(0))

    def differentiate(call):
        y = call()
        return y, *torch.autograd.grad(y, (x, kernel), weights)

    ways = {"ours": partial(differentiate, partial(ours, x))}
    ways |= threaded(partial(differentiate, lambda: convolution(x, kernel)))
    return row(case, name, ways, repeat, kernel)


def in_numpy(result):
    """Arrays of NumPy of one result or several."""
    return [np.asarray(tensor.detach() if isinstance(tensor, torch.Tensor) else tensor) for tensor in
            (result if isinstance(result, tuple) else (result,))]  # fmt: skip


def row(case, name, ways, repeat, kernel, own=()):
    """Times of all ways; those in ``own`` are ours as well."""
    ways["ours"]()  # Numba compiles in the first call
    seconds, results = medians(ways, repeat, budget=0.5)
    arrays = {way: in_numpy(result) for way, result in results.items()}
    pairs = [zip(arrays[way], arrays["torch"], strict=True) for way in ("ours", *own)]
    worst = max(difference([mine], theirs) for pair in pairs for mine, theirs in pair)
    others = {way: taken for way, taken in seconds.items() if way.startswith("torch")}
    more = {f"tensor / {way}": seconds["ours"] / seconds[way] for way in own}
    return Times(
        name, seconds["ours"], others, None, worst, case.agrees(worst), more, engine_of(case, kernel)
    )  # fmt: skip


if __name__ == "__main__":
    parts = {"forward": forward, "autograd": autograd, "gradients": gradients}
    main(__doc__, parts if torch else {}, ["torch", "numba"])
