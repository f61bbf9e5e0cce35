"""Models of one node, for the tests to take apart."""

import numpy as np
import pytest

pytest.importorskip("onnx")

from onnx import TensorProto, helper, numpy_helper


def of_node(kind, constants, attributes, shape, opset=21):
    """A node of x (1, *shape) and constants to y, as a model."""
    node = helper.make_node(kind, ["x", *constants], ["y"], **attributes)
    sizes = {"x": [1, *shape], "y": [f"n{j}" for j in range(1 + len(shape))]}
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, each) for name, each in sizes.items()]
    held = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph([node], "one", ends[:1], ends[1:], held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
