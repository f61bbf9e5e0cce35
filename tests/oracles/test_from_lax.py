"""Every parameter of JAX's convolution beside the map made of it."""

import numpy as np
import pytest

import convmtx as cm

jax = pytest.importorskip("jax")
jax.config.update("jax_enable_x64", True)
RNG = np.random.default_rng(0)
DEFAULT = {1: ("NCH", "OIH", "NCH"), 2: ("NCHW", "OIHW", "NCHW"), 3: ("NCDHW", "OIDHW", "NCDHW")}

CASES = [
    (1, None, {"padding": "SAME", "window_strides": (2,)}),
    (2, ("NHWC", "HWIO", "NHWC"), {"padding": "SAME_LOWER", "window_strides": (2, 1), "rhs_dilation": (1, 2)}),
    (2, ("NHWC", "OIHW", "NCHW"), {"padding": [(1, 2), (-1, 3)], "lhs_dilation": (2, 3)}),
    (2, ("CNHW", "IHWO", "WNHC"), {"padding": "VALID"}),
    (2, ("NWHC", "WIHO", "NHWC"), {"padding": [(2, 0), (0, 1)], "lhs_dilation": (2, 1), "window_strides": (1, 3)}),
    (2, ("HWNC", "HWIO", "CHWN"), {"padding": "SAME", "feature_group_count": 2}),
    (3, ("NDHWC", "DHWIO", "NDHWC"), {"padding": [(0, 1), (2, 0), (1, 1)], "window_strides": (1, 2, 2)}),
    (2, ("NCHW", "OIHW", "NCHW"), {"padding": "SAME", "batch_group_count": 3}),
    (2, ("HNWC", "OHWI", "NHCW"), {"padding": "VALID", "batch_group_count": 2}),
]


@pytest.mark.parametrize(("d", "numbers", "options"), CASES)
@pytest.mark.parametrize("as_numbers", [False, True])
@pytest.mark.parametrize("with_batch", [True, False])
def test_every_parameter(d, numbers, options, as_numbers, with_batch):
    lhs, taps, out = numbers or DEFAULT[d]
    groups, samples = options.get("feature_group_count", 1), options.get("batch_group_count", 1)
    if samples > 1 and not with_batch:
        return
    size = dict(zip("DHW", (4, 6, 7), strict=True))
    sizes = size | {"N": samples, "C": 4}
    kernel = {"O": 2 * groups * samples, "I": 4 // groups, "D": 2, "H": 3, "W": 2}
    x = RNG.standard_normal([sizes[a] for a in lhs])
    K = RNG.standard_normal([kernel[a] for a in taps])
    call = {"window_strides": (1,) * d, **options}
    expected = np.asarray(jax.lax.conv_general_dilated(x, K, dimension_numbers=numbers, **call))
    if as_numbers and numbers:
        numbers = jax.lax.conv_dimension_numbers(x.shape, K.shape, numbers)
    shape = x.shape if with_batch else tuple(n for n, a in zip(x.shape, lhs, strict=True) if a != "N")
    layer = cm.from_lax(K, shape, dimension_numbers=numbers, **options)
    one = x if samples > 1 else np.squeeze(x, lhs.index("N"))
    expected = np.squeeze(expected, out.index("N"))

    assert layer.out_shape == expected.shape
    assert np.allclose(layer(one), expected)
    assert np.allclose(layer.op.to_dense() @ one.ravel(), expected.ravel())
    assert np.allclose(layer.op.to_sparse() @ one.ravel(), expected.ravel())
    y = RNG.standard_normal(expected.shape)
    assert np.allclose(layer.op.H(y).ravel(), layer.op.to_dense().T @ y.ravel())


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((1, 4, 6), {}, "Expected 4 sizes, or 3 without the batch"),
        ((4, 2, 6, 6), {"batch_group_count": 2}, "One output takes 2 inputs"),
        ((1, 2, 6, 6), {"dimension_numbers": ("NCHW", "OIHW", "NCHX")}, "Expected NC and the same letters"),
        ((1, 2, 6, 6), {"dimension_numbers": ("NCHW", "OIHW")}, "Expected three layouts of 4 axes"),
        ((1, 2, 6, 6), {"padding": "FULL"}, "padding='FULL'"),
        ((1, 2, 6, 6), {"padding": "SAME", "lhs_dilation": (1, 2)}, "padding='SAME' with lhs_dilation"),
        ((1, 2, 6, 6), {"window_strides": (1,)}, "window_strides"),
        ((1, 2, 6, 6), {"padding": None}, "padding=None. Expected 'SAME'"),
        ((1, 2, 6, 6), {"padding": [(1, 1), 2]}, "Expected 'SAME'"),
        ((1, 2, 6, 6), {"padding": [(1, 1), (1, 0.5)]}, "Expected 'SAME'"),
        ((1, 2, 6, 6), {"padding": [(1, 1)]}, "padding"),
        ((1, 2, 6, 6), {"dimension_numbers": 5}, "Expected three layouts"),
        ((1, 2, 6, 6), {"dimension_numbers": "NHWC"}, "Expected three layouts"),
        ((1, 2, 6, 6), {"dimension_numbers": (1, 2, 3)}, "Expected three layouts"),
        ((1, 2, 6, 6), {"dimension_numbers": ((0, 1, 2, 2), (0, 1, 2, 3), (0, 1, 2, 3))}, "the same letters"),
        ((1, 2, 6, 6), {"dimension_numbers": ("NCHW", "OIHW", (0, 1, 2, 3))}, "the same letters"),
    ],
)
def test_what_does_not_belong_together_is_refused(shape, options, message):
    with pytest.raises(cm.ConvmtxError, match=message):
        cm.from_lax(np.ones((2, 2, 3, 3)), (1, 4) if message.startswith("Expected 4") else shape, **options)


def test_kernels_without_space_are_refused():
    with pytest.raises(cm.UnsupportedError, match="at least one spatial axis"):
        cm.from_lax(np.ones((4, 2)), (1, 2), dimension_numbers=("NC", "OI", "NC"))
