"""Every Conv, ConvTranspose and ConvInteger case that the onnx package ships for its backends."""

import importlib
import re
from pathlib import Path

import numpy as np
import pytest

import convmtx as cm

onnx = pytest.importorskip("onnx")
import onnx.backend.test.case.node as node_cases  # noqa: E402
from onnx.backend.test.loader import DATA_DIR, load_model_tests  # noqa: E402

OPS = ("Conv", "ConvTranspose", "ConvInteger")
SOURCES = [
    path for path in sorted(Path(node_cases.__path__[0]).glob("*.py"))
    if re.search(rf'make_node\(\s*"({"|".join(OPS)})"', path.read_text(encoding="utf-8"))
]  # fmt: skip


def single(model):
    """Whether the model is one node of the kinds looked at."""
    return len(model.graph.node) == 1 and model.graph.node[0].op_type in OPS


def written():
    """(name, model, [(inputs, outputs)]) of the cases that onnx writes as Python."""
    for path in SOURCES:  # a case registers when its module is imported
        importlib.import_module(f"{node_cases.__name__}.{path.stem}")
    for case in node_cases._NodeTestCases:
        if single(case.model):
            yield case.name, case.model, case.data_sets


def stored():
    """The same of the cases that onnx keeps as files."""
    for kind in ("pytorch-converted", "pytorch-operator", "simple"):
        for case in load_model_tests(kind=kind):
            folder = Path(case.model_dir)
            model = onnx.load(folder / "model.onnx")
            if single(model):
                yield case.name, model, [tensors(data) for data in sorted(folder.glob("test_data_set_*"))]


def tensors(folder):
    """The inputs and the outputs kept in one folder."""
    return tuple(
        [
            onnx.numpy_helper.to_array(onnx.load_tensor(folder / f"{kind}_{j}.pb"))
            for j in range(len(list(folder.glob(f"{kind}_*.pb"))))
        ]
        for kind in ("input", "output")
    )


WRITTEN, STORED = sorted(written(), key=lambda case: case[0]), sorted(stored(), key=lambda case: case[0])
CASES = WRITTEN + STORED


def operands(model, inputs):
    """The node's inputs in its order: what is fed, and what the model holds."""
    held = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    fed = [value.name for value in model.graph.input if value.name not in held]
    values = held | dict(zip(fed, inputs, strict=True))
    return [values[name] for name in model.graph.node[0].input]


def operator(node, K, in_shape):
    """The node as an operator; an attribute that is not known fails."""
    given = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    options = {"channels": "first", "groups": given.pop("group", 1)}
    assert given.pop("kernel_shape", list(K.shape[2:])) == list(K.shape[2:])
    for theirs, ours in {"strides": "stride", "dilations": "dilation"}.items():
        if theirs in given:
            options[ours] = given.pop(theirs)
    name, pads = given.pop("auto_pad", b"NOTSET").decode(), given.pop("pads", None)
    named = {"NOTSET": "valid", "VALID": "valid", "SAME_UPPER": "same", "SAME_LOWER": "same_lower"}[name]
    explicit = name == "NOTSET" and pads is not None and "output_shape" not in given
    options["padding"] = list(zip(pads[: len(pads) // 2], pads[len(pads) // 2 :], strict=True)) if explicit else named
    if node.op_type == "ConvTranspose":
        options |= {name: given.pop(name) for name in ("output_padding", "output_shape") if name in given}
    assert not given
    return (cm.conv_transpose if node.op_type == "ConvTranspose" else cm.conv)(K, in_shape, **options)


def along(values, axis, ndim):
    """A vector (or one number) laid along one of ``ndim`` axes."""
    shape = [1] * ndim
    shape[axis] = -1
    return np.reshape(values, shape)


@pytest.mark.parametrize(("model", "data_sets"), [pytest.param(*case[1:], id=case[0]) for case in CASES])
def test_shipped_case(model, data_sets):
    node = model.graph.node[0]
    for inputs, (y,) in data_sets:
        x, K, *rest = operands(model, inputs)
        shift = np.zeros(1)
        if node.op_type == "ConvInteger":  # linear in what is left of x above its zero point
            zeros = [*rest, np.zeros(1, np.int64)][:2]
            x = x.astype(np.int64) - zeros[0]
            K = K.astype(np.int64) - along(zeros[1].astype(np.int64), 0, K.ndim)
        elif rest:
            (shift,) = rest  # the bias
        op = operator(node, K.astype(np.float64), x.shape[1:])
        S, columns = op.to_sparse(), x.reshape(len(x), -1).T.astype(np.float64)
        answers = [op(x), (S @ columns).T.reshape(y.shape)]
        if np.prod(op.shape) < 10**6:
            answers.append((op.to_dense() @ columns).T.reshape(y.shape))
        # Theirs is summed in float32, one rounding a term; of integers both are exact.
        terms = np.diff(S.indptr).max() * np.abs(K).max() * np.abs(x).max()
        atol = np.finfo(y.dtype).eps * terms if y.dtype.kind == "f" else 0
        for answer in answers:
            np.testing.assert_allclose(answer + along(shift, 1, y.ndim), y, rtol=0, atol=atol)


def test_no_shipped_case_is_missing():
    calls = sum(len(re.findall(r"^ +expect\(", path.read_text(encoding="utf-8"), re.M)) for path in SOURCES)
    folders = len(list(Path(DATA_DIR).glob("*/test_*[Cc]onv*/model.onnx")))
    assert (len(WRITTEN), len(STORED)) == (calls, folders)
    assert calls > 0
    assert folders > 0
    assert {model.graph.node[0].op_type for _, model, _ in CASES} == set(OPS)
    assert all(data_sets for _, _, data_sets in CASES)
