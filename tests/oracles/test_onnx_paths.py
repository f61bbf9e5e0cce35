"""``report.map``: maps along graphs that are made here, beside onnxruntime, and the errors of those that have none."""

import numpy as np
import pytest

import convmtx as cm

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from .test_onnx_nodes import runtime  # noqa: E402

make = helper.make_node
rng = np.random.default_rng(0)
F32 = lambda *shape: rng.standard_normal(shape).astype(np.float32)  # noqa: E731


def graph(nodes, constants, shape, output="y", more=()):
    """A model of x and constants."""
    held = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape), *more]
    made = helper.make_graph(nodes, "g", inputs, [helper.make_empty_tensor_value_info(output)], held)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


SKIPS = [  # a block with two skips, joined along the channels, of which half is taken away again
    make("Conv", ["x", "W", "b"], ["c"], pads=[1, 1, 1, 1]), make("Add", ["c", "x"], ["s"]),
    make("Sub", ["bias", "s"], ["d"]), make("Concat", ["d", "x", "s"], ["j"], axis=1),
    make("Conv", ["j", "V"], ["v"]), make("Add", ["v", "s"], ["a"]), make("Mean", ["a", "x", "v"], ["m"]),
    make("AveragePool", ["m"], ["y"], kernel_shape=[2, 2], strides=[2, 2]),
]  # fmt: skip
#: As an exporter writes it: the batch goes into the tokens and back, and heads are moved in front.
TOKENS = [
    make("Reshape", ["x", "flat"], ["f"]), make("MatMul", ["f", "M"], ["p"]), make("Add", ["p", "pb"], ["q"]),
    make("Reshape", ["q", "heads"], ["h"]), make("Transpose", ["h"], ["t"], perm=[2, 0, 1, 3]),
    make("Gather", ["t", "first"], ["k"]), make("Where", ["mask", "k", "zero"], ["w"]),
    make("ReduceSum", ["w", "axes"], ["r"], keepdims=0), make("Concat", ["r", "r"], ["y"], axis=0),
]  # fmt: skip


def tokens(batch):
    """The constants of TOKENS."""
    return {
        "M": F32(6, 8), "pb": F32(8), "first": np.array(1), "zero": np.float32(0), "axes": np.array([-1]),
        "mask": rng.random((batch, 5, 4)) > 0.5, "flat": np.array([-1, 6]), "heads": np.array([batch, 5, 2, 4]),
    }  # fmt: skip


MODELS = {
    "skips": (SKIPS, {"W": F32(3, 3, 3, 3), "b": F32(3), "V": F32(3, 9, 1, 1), "bias": F32(3, 1, 1)}, (2, 3, 6, 4)),
    "tokens": (TOKENS, tokens(3), (3, 5, 6)),
    "tokens of one": (TOKENS, tokens(1), (1, 5, 6)),
    "constants": ([make("Add", ["c", "x"], ["a"]), make("Mul", ["a", "c"], ["y"])], {"c": F32(1, 4)}, (2, 4)),
    "to one number and back": (
        [make("ReduceMean", ["x"], ["m"], axes=[1, 2], keepdims=0), make("Add", ["m", "one"], ["a"]),
         make("Unsqueeze", ["a", "axis"], ["u"]), make("Add", ["u", "row"], ["y"])],
        {"one": np.float32(1), "axis": np.array([1]), "row": F32(1, 3)}, (1, 2, 4),
    ),
    "numbers of a batch": (
        [make("ReduceSum", ["x", "axis"], ["m"], keepdims=0), make("Add", ["m", "three"], ["a"]),
         make("Unsqueeze", ["a", "axis"], ["y"])],
        {"axis": np.array([1]), "three": F32(3)}, (3, 4),
    ),
    "the same twice": ([make("Concat", ["x", "x"], ["y"], axis=0)], {}, (1, 4)),
    "two of the first axis": (
        [make("Neg", ["x"], ["n"]), make("Concat", ["n", "x"], ["a"], axis=0), make("Add", ["a", "c"], ["y"])],
        {"c": F32(2, 4)}, (1, 4),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_a_map_along_the_graph_makes_what_the_graph_makes(name):
    nodes, constants, shape = MODELS[name]
    model, own = graph(nodes, constants, shape), np.random.default_rng(1)
    x = own.standard_normal(shape).astype(np.float32)
    (expected,), A = runtime(model, x), cm.from_onnx(model).map("y")
    assert A.whole == (name not in ("skips", "constants"))
    assert A(x).shape == expected.shape
    assert np.allclose(A(x), expected, rtol=1e-4, atol=1e-4)
    one = x if A.whole else x[:1]
    rows = A.op.to_sparse() @ one.reshape(-1).astype(float)
    assert np.allclose(rows.reshape(A.out_shape) + A.offset, A(one).reshape(A.out_shape), rtol=1e-4, atol=1e-4)
    y = own.standard_normal(A.out_shape)
    assert np.isclose((A.op.H(y) * one.reshape(A.in_shape)).sum(), (y * A.op(one.reshape(A.in_shape))).sum(), rtol=1e-4)


def test_a_map_between_tensors_inside_the_graph():
    nodes, constants, shape = MODELS["skips"]
    report = cm.from_onnx(graph([*nodes, make("Relu", ["y"], ["r"])], constants, shape))
    s = F32(2, 3, 6, 4)
    assert np.allclose(report.map("d", "s")(s), constants["bias"] - s)
    assert np.array_equal(report.map("x")(s), s)
    assert (report.map("d", "s").input_name, report.map("y").input_name) == ("s", "x")
    for output, start, reason in [
        ("y", "s", "'y' depends on 's', 'x'"), ("r", None, "node 9 of 9, which makes 'r': Relu: it bends each number"),
        ("s", "d", "'s' depends on 'x'"), ("other", None, "'other' is not a tensor"),
        ("y", "other", "'other' is not a tensor"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=r"report\.map: ") as error:
            report.map(output, start)
        assert reason in str(error.value)


def test_a_map_of_two_inputs_says_so():
    z = helper.make_tensor_value_info("z", TensorProto.FLOAT, (2, 4))
    report = cm.from_onnx(graph([make("Sub", ["x", "z"], ["y"])], {}, (2, 4), more=[z]))
    assert "linear in several tensors" in str(report)
    with pytest.raises(cm.UnsupportedError, match="'y' depends on 'x', 'z'"):
        report.map("y")


def test_long_chains_and_skips_are_one_map_without_recursion():
    nodes = [
        make("Add", [f"t{j}" if j else "x", f"t{max(j - 1, 0)}" if j > 1 else "x"], [f"t{j + 1}"]) for j in range(60)
    ]
    nodes += [make("Neg", [f"t{j}"], [f"t{j + 1}"]) for j in range(60, 2060)]
    report = cm.from_onnx(graph(nodes, {}, (1, 2), "t2060"))
    x, before, now = np.float64([1, -2]), np.float64([1, -2]), np.float64([2, -4])
    for _ in range(59):
        before, now = now, now + before
    assert np.array_equal(report.map("t2060")(x), now)
    assert len(str(report).splitlines()) <= 40
    assert len(report.table().splitlines()) == 1 + 2060


def test_an_if_of_constants_is_the_branch_that_it_takes():
    value = helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)
    double = helper.make_graph([make("Mul", ["x", "two"], ["inner"])], "then", [], [value])
    bend = helper.make_graph([make("Relu", ["x"], ["inner"])], "else", [], [value])
    nodes = [
        make("Size", ["x"], ["n"]),
        make("Equal", ["n", "eight"], ["is"]),
        make("If", ["is"], ["i"], then_branch=double, else_branch=bend),
        make("Neg", ["i"], ["y"]),
    ]
    model = graph(nodes, {"two": np.float32(2), "eight": np.array(8)}, (2, 4))
    x = F32(2, 4)
    A = cm.from_onnx(model).map("y")
    assert np.array_equal(A(x), -2 * x)
    assert np.array_equal(runtime(model, x)[0], A(x))


def test_functions_of_the_model_are_written_out():
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    model = graph([make("twice", ["x"], ["y"], domain="own")], {}, (2, 4))
    model.functions.append(helper.make_function("own", "twice", ["a"], ["b"], [make("Add", ["a", "a"], ["b"])], opsets))
    model.opset_import.append(opsets[1])
    x = F32(2, 4)
    assert np.array_equal(cm.from_onnx(model).map("y")(x), 2 * x)


def test_nodes_in_any_order_are_sorted_and_cycles_named():
    nodes = [make("Neg", ["a"], ["y"]), make("Add", ["x", "one"], ["a"])]
    x = F32(2, 4)
    assert np.allclose(cm.from_onnx(graph(nodes, {"one": np.float32(1)}, (2, 4))).map("y")(x), -1 - x)
    nodes = [make("Add", ["x", "b"], ["a"]), make("Neg", ["a"], ["b"])]
    with pytest.raises(cm.ModelFileError, match="a cycle: 'a' -> 'b' -> 'a'"):
        cm.from_onnx(graph(nodes, {}, (2, 4), "b"))


def test_maps_that_begin_at_an_input_with_a_default_value():
    d = helper.make_tensor_value_info("d", TensorProto.FLOAT, (1, 3))
    model = graph([make("Neg", ["d"], ["y"]), make("Mul", ["x", "c"], ["z"])], {"d": F32(1, 3), "c": F32(4)}, (2, 4))
    model.graph.input.append(d)
    report, x = cm.from_onnx(model), F32(1, 3)
    assert np.array_equal(report.map("y")(x), -x)
    assert np.array_equal(report.map("y", "d")(x), -x)
    assert report.map("y").input_name == "d"
    for name, start, error, reason in [
        (["y"], None, TypeError, "output is a list"), ("y", ["d"], TypeError, "input is a list"),
        (3, None, TypeError, "output is an int"), ("z", "c", ValueError, "'c' is a constant of the model"),
        ("z", "d", ValueError, "'z' depends on 'x'. Expected 'd' alone"),
    ]:  # fmt: skip
        with pytest.raises(error, match=r"report\.map: ") as raised:
            report.map(name, start)
        assert reason in str(raised.value)


def test_what_to_do_about_a_node_on_the_way():
    nodes = [make("Relu", ["x"], ["r"]), make("Neg", ["r"], ["y"]), make("Flatten", ["x"], ["f"], axis=2)]
    for shape, output, remedy in [
        ((2, 4, 4), "r", "Pass another output."), ((2, 4, 4), "y", "Pass input= behind it."),
        ((2, "n", 4), "f", "Pass input_shapes for 'x'. Every node on the way to 'f' must be affine. Do this first."),
    ]:  # fmt: skip
        with pytest.raises(cm.UnsupportedError) as error:
            cm.from_onnx(graph(nodes, {}, shape)).map(output)
        assert str(error.value).endswith(remedy)
        assert ".." not in str(error.value)
