"""Short calls of a map on NumPy arrays, beside SciPy's product with the same matrix, in one run, results compared.

    python benchmarks/small.py [--part calls] [--only TEXT] [--quick] [--json FILE]

``other / ours`` above 1 means that ours is the faster.
"""

from dataclasses import replace
from functools import partial

import numpy as np
from cases import Case, choose_engine, difference, same, without
from measuring import ABOVE, Times, main, medians

CASES = [
    Case((256,), (7,)), Case((256,), (7,), options=same(boundary="reflect")), Case((1000,), (21,), dtype="f4"),
    Case((64,), (5,), batch=16), Case((32, 32), (3, 3)), Case((32, 32), (3, 3), options=same()),
    Case((32, 32), (3, 3), dtype="f4", options=same(boundary="wrap")), Case((48, 48), (5, 5), dtype="f4"),
    Case((16, 16), (3, 3), 8, 8), Case((16, 16), (3, 3), 8, 8, "f4", options=same()), Case((8, 8), (3, 3), 3, 4),
    Case((64, 64), (3, 3), options={"stride": 2}), Case((12, 12, 12), (3, 3, 3)), Case((32, 32), (3, 3), dtype="i8"),
    Case((32, 32), (3, 3), dtype="c16"), Case((28, 28), (5, 5), dtype="f4", batch=4), Case((8, 8), (3, 3), batch=16),
    Case((16, 16), (3, 3), 8, 8, "f4", options=same(groups=8)), Case((8, 8), (1, 1), 16, 16),
]  # fmt: skip


def calls(quick):
    """Calls of less than 100 microseconds.

    `op(x)`, the adjoint `op.H(y)`, and `op @ v` for flat vectors, compared with the product of the same matrix in CSR
    form, which SciPy keeps. PyTorch is not one of our engines here. arithmetic: the time of the steps that a map keeps
    for its next call, run alone; of the other implementation if there are no such steps. above: the microseconds that
    a call of ours takes beside its arithmetic, to check the input, copy it and return a new array. Times are the least
    of all turns. Aim: at most 8 microseconds above.
    """
    for case in CASES[::6] if quick else CASES:
        for call in ("op(x)", "op.H(y)", "op @ v"):
            if case.batch == 1 or call != "op @ v":
                yield f"{case.name}, {call}", partial(called, replace(case, adjoint=call == "op.H(y)"), call)


def called(case, call, name, repeat):
    rng = np.random.default_rng(0)
    kernel = case.kernel(rng)
    with without("torch"):
        op = case.op(kernel)
        x = case.inputs(rng, op)
        matrix = op.to_sparse().T.conj().tocsr() if case.adjoint else op.to_sparse()
        flat = x.ravel() if case.batch == 1 else np.ascontiguousarray(x.reshape(case.batch, -1).T)
        if call == "op @ v":
            ways = {"ours": lambda: op @ flat}
        else:
            array = x if case.batch > 1 else x[0]
            ways = {"ours": lambda: (op.H if case.adjoint else op)(array)}
        ways["csr"] = lambda: matrix @ flat
        ours = ways["ours"]()
        steps = kept_steps(case, op)
        if steps:
            ways["steps"] = lambda: [step() for step in steps]
        seconds, results = medians(ways, 3 * repeat, typical=min)
        engine, _ = choose_engine(case, op)
    expected = results["csr"].T.reshape(ours.shape)
    arithmetic = seconds.get("steps", seconds["csr"])
    worst = difference([results["ours"]], expected)
    more = {ABOVE: 1e6 * (seconds["ours"] - arithmetic), "arithmetic, us": 1e6 * arithmetic}
    note = engine if steps else f"{engine}, nothing kept"
    return Times(
        name, seconds["ours"], {"csr": seconds["csr"]}, None, worst, case.agrees(worst), more, note,
    )  # fmt: skip


def kept_steps(case, op):
    """Steps that the map keeps for its next call, on memory of their own; none if it keeps none."""
    inner = op.H if case.adjoint and isinstance(op.H, type(op)) else op
    programs = [program for kept in inner._application._calls._free.values() for program in kept or ()]
    return getattr(programs[-1], "steps", []) if programs else []


if __name__ == "__main__":
    main(__doc__, {"calls": calls})
