"""Types of the maps of ONNX nodes: entries of their matrices do not overflow before the numbers of the tensors do."""

import numpy as np
import pytest

import convmtx as cm

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper  # noqa: E402

from .test_onnx_nodes import runtime  # noqa: E402
from .test_onnx_paths import graph  # noqa: E402

make = helper.make_node
AXIS = {"a": np.array(1)}
GROWING = {  # matrices with entries above 127
    "a sum": ([make("Sum", ["x"] * 200, ["y"])], {}, (1, 3)),
    "sums of sums": ([make("CumSum", [s, "a"], [t]) for s, t in ("xb", "bc", "cy")], AXIS, (1, 20)),
    "doubled": ([make("Add", [s, s], [t]) for s, t in zip("xbcdefgh", "bcdefghy", strict=True)], {}, (1, 3)),
    "tiles": ([make("Tile", ["x", "r"], ["t"]), make("CumSum", ["t", "a"], ["y"])],
              {"r": np.array([1, 300]), **AXIS}, (1, 2)),
    "repeated": ([make("Expand", ["x", "r"], ["t"]), make("Einsum", ["t"], ["y"], equation="ij->i")],
                 {"r": np.array([1, 300])}, (1, 1)),
    "branches": ([make("Neg", ["x"], ["b"]), *(make("Sum", ["x", s, s, s], [t]) for s, t in zip("bcdefg", "cdefgy",
                 strict=True))], {}, (1, 3)),
    "picked": ([make("Gather", ["x", "i"], ["t"], axis=1), make("ReduceSum", ["t", "a"], ["y"])],
               {"i": np.zeros(300, int), "a": np.array([1])}, (1, 2)),
    "cast": ([make("Cast", ["x"], ["t"], to=TensorProto.DOUBLE), make("Sum", ["t"] * 200, ["y"])], {}, (1, 3)),
}  # fmt: skip


@pytest.mark.parametrize("name", GROWING)
def test_entries_of_matrices_do_not_overflow(name):
    nodes, constants, shape = GROWING[name]
    model = graph(nodes, constants, shape)
    A = cm.from_onnx(model).map("y")
    inputs = np.eye(np.prod(shape), dtype=np.float32).reshape(-1, *shape)
    columns = [runtime(model, x)[0].reshape(-1) for x in inputs]

    assert np.abs(columns).max() > 127
    assert np.array_equal(A.op.to_dense(), np.transpose(columns))
    assert np.array_equal(A.op.to_sparse().toarray(), np.transpose(columns))
    assert np.array_equal(A.op.T(np.ones(A.out_shape)).reshape(-1), np.sum(columns, 1))


def test_the_gram_matrix_of_an_enlargement_does_not_overflow():
    model = graph([make("Resize", ["x", "", "s"], ["y"])], {"s": np.float32([1, 1, 16, 16])}, (1, 1, 2, 2))
    A = cm.from_onnx(model).map("y").op
    columns = np.transpose([runtime(model, x)[0].ravel() for x in np.eye(4, dtype=np.float32).reshape(4, 1, 1, 2, 2)])
    assert np.array_equal(cm.gram(A).to_dense(), columns.T @ columns)


NAMES = ("INT4", "UINT4", "INT8", "UINT8", "INT16", "UINT16", "INT32", "UINT32", "INT64", "UINT64")


@pytest.mark.parametrize("before", NAMES)
@pytest.mark.parametrize("after", NAMES)
def test_integers_become_others_only_if_none_wraps(before, after):

    ml_dtypes = pytest.importorskip("ml_dtypes")
    code = [getattr(TensorProto, name) for name in (before, after)]
    value = helper.make_tensor_value_info("x", code[0], (1, 3))
    node, end = make("Cast", ["x"], ["y"], to=code[1]), helper.make_empty_tensor_value_info("y")
    model = helper.make_model(
        helper.make_graph([node], "g", [value], [end]), opset_imports=[helper.make_opsetid("", 21)], ir_version=10
    )
    info, other = (ml_dtypes.iinfo(helper.tensor_dtype_to_np_dtype(number)) for number in code)
    report = cm.from_onnx(model)
    fits = int(other.min) <= int(info.min) and int(info.max) <= int(other.max)
    assert bool(report.layers) == fits
    assert fits or "it rounds or wraps numbers" in report.skipped["y"]
