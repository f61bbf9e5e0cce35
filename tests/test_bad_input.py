"""Every wrong argument gets one clear error before any work: call, what came, what was wanted, what to do."""

import numpy as np
import pytest

import convmtx as cm

K2, K4 = np.ones((2, 3)), np.ones((2, 3, 4, 6))


def conv(kernel=K2, shape=(5, 6), **options):
    return cm.conv(kernel, shape, **options)


def back(kernel=K2, shape=(5, 6), **options):
    return cm.conv_transpose(kernel, shape, **options)


WRONG = [  # id, call, error, what the message must say
    ("bool kernel", lambda: conv(K2 > 0), TypeError, "conv: kernel has dtype bool. Wanted integers, floats or complex"),
    ("object kernel", lambda: conv(K2.astype(object)), TypeError, "conv: kernel has dtype object"),
    ("text kernel", lambda: conv("abc"), TypeError, "conv: kernel has dtype <U3"),
    ("ragged kernel", lambda: conv([[1, 2], [3]]), TypeError, "conv: kernel of type list is no array"),
    ("no kernel", lambda: conv(None), TypeError, "conv: kernel has dtype object"),
    ("dates", lambda: conv(np.zeros((2, 3), "M8[s]")), TypeError, "conv: kernel has dtype datetime64[s]"),
    ("masked kernel", lambda: conv(np.ma.masked_equal(K2, 0)), TypeError, "conv: kernel is a masked array"),
    ("number as kernel", lambda: conv(3.0), ValueError, "conv: kernel of shape (). Wanted at least one axis"),
    ("empty kernel", lambda: conv(np.ones((0, 3))), ValueError, "conv: kernel of shape (0, 3). Wanted at least one axis"),
    ("kernel of too few axes", lambda: conv(np.ones(3)), ValueError, "conv: kernel of shape (3,) with input_shape=(5, 6)"),
    ("kernel of too many axes", lambda: conv(K4), ValueError, "Leave the batch out of input_shape"),
    ("channels without space", lambda: conv(K2, (5,)), ValueError, "conv: kernel of shape (2, 3) with input_shape=(5,)"),
    ("empty input", lambda: conv(K2, (0, 6)), ValueError, "conv: input_shape[0]=0. Wanted an integer >= 1"),
    ("no input", lambda: conv(K2, ()), ValueError, "conv: input_shape=(). Wanted at least one spatial axis"),
    ("text as shape", lambda: conv(K2, "56"), TypeError, "conv: input_shape='56'"),
    ("float in shape", lambda: conv(K2, (5.0, 6)), TypeError, "conv: input_shape[0]=5.0. Wanted an integer >= 1"),
    ("nothing as shape", lambda: conv(K2, None), TypeError, "conv: input_shape=None"),
    ("array as shape", lambda: conv(K2, np.ones((5, 6))), TypeError, "conv: input_shape[0]="),
    ("stride 0", lambda: conv(stride=0), ValueError, "conv: stride=0. Wanted an integer >= 1. Pass stride=1 or more."),
    ("stride -1", lambda: conv(stride=(1, -1)), ValueError, "conv: stride[1]=-1. Wanted an integer >= 1"),
    ("stride 1.5", lambda: conv(stride=1.5), TypeError, "conv: stride=1.5. Wanted an integer >= 1. Pass an int."),
    ("stride True", lambda: conv(stride=True), TypeError, "conv: stride=True. Wanted an integer >= 1"),
    ("stride text", lambda: conv(stride="2"), TypeError, "conv: stride='2'"),
    ("three strides", lambda: conv(stride=(1, 1, 1)), ValueError, "stride=[1, 1, 1] has 3 entries. Wanted one for each of the 2"),
    ("dilation 0", lambda: conv(dilation=0), ValueError, "conv: dilation=0. Wanted an integer >= 1"),
    ("input dilation 0", lambda: conv(input_dilation=[1, 0]), ValueError, "conv: input_dilation[1]=0"),
    ("unknown padding", lambda: conv(padding="reflect"), ValueError, "conv: padding='reflect'. Wanted one of 'valid', 'same'"),
    ("padding float", lambda: conv(padding=0.5), TypeError, "conv: padding=0.5. Wanted an integer"),
    ("padding dict", lambda: conv(padding={0: 1}), TypeError, "conv: padding={0: 1}"),
    ("padding None", lambda: conv(padding=None), TypeError, "conv: padding=None"),
    ("three ends", lambda: conv(padding=[(1, 2, 3), 1]), ValueError, "padding[0]=(1, 2, 3) has 3 entries. Wanted an integer or a pair"),
    ("pads of one axis", lambda: cm.conv([1, 2], 5, padding=(1, 2)), ValueError, "pass padding=[(1, 2)]"),
    ("names per axis", lambda: conv(padding=["same", "same"]), TypeError, "conv: padding[0]='same'"),
    ("kernel too large", lambda: conv(np.ones((6, 3))), ValueError, "conv: axis 0 has 5 positions after padding (0, 0) and the kernel spans 6"),
    ("dilated too far", lambda: conv(dilation=(1, 3)), ValueError, "conv: axis 1 has 6 positions after padding (0, 0) and the kernel spans 7"),
    ("cropped away", lambda: conv(padding=-3), ValueError, "conv: axis 0 has -1 positions after padding (-3, -3)"),
    ("unknown boundary", lambda: conv(boundary="periodic"), ValueError, "conv: boundary='periodic'. Wanted one of 'zero', 'wrap'"),
    ("ndimage's mirror", lambda: conv(boundary="mirror"), ValueError, "numpy.pad and convmtx call it 'reflect': pass boundary='reflect'"),
    ("ndimage's nearest", lambda: conv(boundary="nearest"), ValueError, "pass boundary='edge'"),
    ("ndimage's grid-wrap", lambda: conv(boundary="grid-wrap"), ValueError, "pass boundary='wrap'"),
    ("ndimage's grid-mirror", lambda: conv(boundary="grid-mirror"), ValueError, "pass boundary='symmetric'"),
    ("ndimage's grid-constant", lambda: conv(boundary="grid-constant"), ValueError, "pass boundary='zero'"),
    ("boundary None", lambda: conv(boundary=None), TypeError, "conv: boundary=None. Wanted one of"),
    ("one boundary of two", lambda: conv(boundary=["wrap"]), ValueError, "boundary=['wrap'] has 1 entries. Wanted one for each of the 2"),
    ("groups 0", lambda: conv(K4, (5, 6, 4), groups=0), ValueError, "conv: groups=0. Wanted an integer >= 1"),
    ("groups without channels", lambda: conv(groups=2), ValueError, "Groups need channel axes, and this kernel has none"),
    ("wrong channels", lambda: conv(K4, (5, 6, 5)), ValueError, "The kernel's C/groups axis wants 4 input channels for groups=1, not 5"),
    ("wrong order", lambda: conv(K4, (4, 5, 6)), ValueError, "Check channels='last' and the order of the kernel's axes"),
    ("channels not divisible", lambda: conv(np.ones((2, 3, 1, 6)), (5, 6, 4), groups=4), ValueError, "Wanted a number of output channels divisible by groups=4"),
    ("channels in the middle", lambda: conv(channels="middle"), ValueError, "conv: channels='middle'. Wanted one of 'last', 'first'"),
    ("channels NHWC", lambda: conv(channels="NHWC"), ValueError, "conv: channels='NHWC'"),
    ("channels number", lambda: conv(channels=-1), TypeError, "conv: channels=-1. Wanted one of 'last', 'first'"),
    ("flip 1", lambda: conv(flip=1), TypeError, "conv: flip=1. Wanted True or False"),
    ("flip text", lambda: conv(flip="yes"), TypeError, "conv: flip='yes'"),
    ("unknown engine", lambda: conv(engine="cuda"), ValueError, "conv: engine='cuda'. Wanted one of 'auto', 'direct'"),
    ("engine None", lambda: conv(engine=None), TypeError, "conv: engine=None"),
    ("transposed stride", lambda: back(stride=0), ValueError, "conv_transpose: stride=0"),
    ("transposed padding", lambda: back(padding="all"), ValueError, "conv_transpose: padding='all'"),
    ("all cut away", lambda: back(padding=4), ValueError, "conv_transpose: axis 0 would have -2 outputs after cutting. Wanted at least one. Cut less with padding."),
    ("negative output padding", lambda: back(output_padding=-1), ValueError, "conv_transpose: output_padding=-1. Wanted an integer >= 0"),
    ("output shape 0", lambda: back(output_shape=(0, 4)), ValueError, "conv_transpose: output_shape[0]=0"),
    ("output shape of rank 3", lambda: back(output_shape=(6, 8, 2)), ValueError, "output_shape=[6, 8, 2] has 3 entries"),
    ("output shape out of reach", lambda: back(padding=1, output_shape=(9, 6)), ValueError, "output_shape[0]=9. With padding=1 axis 0 can have 4 to 4 outputs"),
    ("transposed channels", lambda: back(K4, (5, 6, 4)), ValueError, "The kernel's C_in axis wants 6 input channels for groups=1, not 4"),
    ("transposed groups", lambda: back(K4, (5, 6, 6), groups=4), ValueError, "Wanted a number of input channels divisible by groups=4"),
    ("transposed engine", lambda: back(engine="gpu"), ValueError, "conv_transpose: engine='gpu'"),
    ("transposed bool", lambda: back(K2 > 0), TypeError, "conv_transpose: kernel has dtype bool"),
    ("convmtx of nothing", lambda: cm.convmtx([], 3), ValueError, "convmtx: h of shape (0,) with n=3. Wanted a kernel that is not empty"),
    ("convmtx of size 0", lambda: cm.convmtx([1], 0), ValueError, "convmtx: n=0. Wanted an integer >= 1"),
    ("convmtx of float size", lambda: cm.convmtx([1], 3.5), TypeError, "convmtx: n=3.5"),
    ("convmtx rank", lambda: cm.convmtx(K2, 3), ValueError, "convmtx: h of shape (2, 3) with n=3"),
    ("convmtx mode", lambda: cm.convmtx([1], 3, "circular"), ValueError, "convmtx: mode='circular'. Wanted one of 'full', 'same', 'valid'"),
    ("convmtx form", lambda: cm.convmtx([1], 3, form="csr"), ValueError, "convmtx: form='csr'. Wanted one of 'sparse', 'dense'"),
    ("convmtx order", lambda: cm.convmtx([1], 3, order="K"), ValueError, "convmtx: order='K'"),
    ("convmtx bool", lambda: cm.convmtx([True], 3), TypeError, "convmtx: h has dtype bool"),
    ("input shape", lambda: conv()(np.ones((6, 5))), ValueError, "op(x): x has shape (6, 5). Wanted (*batch, 5, 6)"),
    ("flat input", lambda: conv()(np.ones(30)), ValueError, "For a flattened array use op @ v"),
    ("short input", lambda: conv()(np.ones(6)), ValueError, "op(x): x has shape (6,)"),
    ("bool input", lambda: conv()(np.ones((5, 6), bool)), TypeError, "op(x): x has dtype bool"),
    ("object input", lambda: conv()(np.full((5, 6), None)), TypeError, "op(x): x has dtype object"),
    ("vector for matvec", lambda: conv().matvec(np.ones(29)), ValueError, "matvec: v has shape (29,). Wanted (30,) or (30, k)"),
    ("tensor for @", lambda: conv() @ np.ones((5, 6)), ValueError, "For an array that is not flattened call op(x)"),
    ("cube for @", lambda: conv() @ np.ones((30, 2, 2)), ValueError, "op @ v: v has shape (30, 2, 2)"),
    ("other kernel", lambda: conv().with_kernel(np.ones((3, 2))), ValueError, "with_kernel: kernel has shape (3, 2). Wanted (2, 3)"),
    ("other bool kernel", lambda: conv().with_kernel(K2 > 0), TypeError, "with_kernel: kernel has dtype bool"),
    ("format", lambda: conv().to_sparse("lil"), ValueError, "to_sparse: format='lil'. Wanted one of 'csr', 'csc', 'coo', 'bsr', 'dia'"),
    ("format number", lambda: conv().to_sparse(3), TypeError, "to_sparse: format=3"),
    ("order of sparse", lambda: conv().to_sparse(order="A"), ValueError, "to_sparse: order='A'. Wanted one of 'C', 'F'"),
    ("order of dense", lambda: conv().to_dense("A"), ValueError, "to_dense: order='A'"),
    ("half precision", lambda: conv(K2.astype(np.float16)).to_sparse(), TypeError, "to_sparse: the kernel has dtype float16. SciPy's sparse arrays hold"),
    ("zero step", lambda: conv().to_sparse(rows=slice(0, 5, 0)), TypeError, "to_sparse: rows=slice(0, 5, 0) (slice step cannot be zero). Wanted a slice"),
    ("float slice", lambda: conv().to_sparse(rows=slice(0.0, 5)), TypeError, "to_sparse: rows=slice(0.0, 5, None)"),
    ("ragged rows", lambda: conv().to_sparse(rows=[1, [2]]), TypeError, "to_sparse: rows=[1, [2]]"),
    ("stride of 30 digits", lambda: conv(stride=10**30), ValueError, "Wanted a size that 64-bit positions can be counted with"),
    ("padding of 20 digits", lambda: conv(padding=10**20), ValueError, "Wanted a size that 64-bit positions"),
    ("matrix beyond 64 bits", lambda: conv(shape=(2**40, 2**40)), ValueError, "Rows, columns and positions are counted in 64 bits"),
    ("33 axes", lambda: cm.conv(np.ones((1,) * 33), (1,) * 33), ValueError, "input_shape has 33 axes. Wanted at most 24"),
    ("multiple beyond the type", lambda: conv(K2.astype(np.int8)) * 300, ValueError, "a * op: 300 is no int8"),
    ("sums beyond the type", lambda: conv(np.full((2, 3), 100, np.int8), boundary="edge", padding=2).to_dense(), ValueError, "a boundary folds taps onto one position, and their sum 200 is no int8"),
    ("sums of a view", lambda: cm.conv(np.full(3, 100, np.int8), 2, boundary="wrap", padding=2).tensor_view(), ValueError, "their sum 200 is no int8"),
    ("sparse for @", lambda: conv() @ conv().to_sparse(), TypeError, "For a SciPy sparse array use op.to_sparse() @ S"),
    ("row too far", lambda: conv().to_sparse(rows=[0, 16]), IndexError, "to_sparse: row 16. The matrix has rows 0 to 15, or -16 to -1"),
    ("row too low", lambda: conv().to_sparse(rows=[-17]), IndexError, "to_sparse: row -17"),
    ("float rows", lambda: conv().to_sparse(rows=[0.5]), TypeError, "to_sparse: rows of dtype float64 and shape (1,). Wanted a slice"),
    ("one row", lambda: conv().to_sparse(rows=3), TypeError, "to_sparse: rows of dtype int64 and shape ()"),
    ("mask of another length", lambda: conv().to_sparse(rows=[True, False]), TypeError, "or a mask of 16 entries"),
    ("view of a reflecting map", lambda: conv(padding=1, boundary="reflect").tensor_view(), ValueError, "tensor_view: axis 0 has boundary 'reflect'"),
    ("asarray without copy", lambda: np.asarray(conv(), copy=False), ValueError, "numpy.asarray(op, copy=False): an operator"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "error", "text"), [w[1:] for w in WRONG], ids=[w[0] for w in WRONG])
def test_wrong_arguments(make, error, text):
    with pytest.raises(error) as caught:
        make()
    message = str(caught.value)

    assert text in message
    assert isinstance(caught.value, cm.ConvmtxError)
    assert message.endswith(".")
    assert message.count(". ") >= 2  # call and what came, what was wanted, what to do
    assert "\n" not in message


def test_a_tensor_of_another_library_is_refused_not_converted():
    class Tensor:
        def __dlpack__(self):
            raise AssertionError

        def __array__(self, dtype=None, copy=None):
            return K2

    with pytest.raises(TypeError, match=r"kernel is a .*Tensor\. Wanted an array of NumPy, PyTorch"):
        conv(Tensor())


@pytest.mark.parametrize("number", [np.int64(2), np.uint8(2), np.array(2)])
def test_numpy_integers_are_integers(number):
    same = cm.conv(K2, (5, 6), stride=2, padding=2, dilation=2)
    op = cm.conv(K2, np.array([5, 6]), stride=number, padding=number, dilation=[number, number])

    assert op.geometry == same.geometry
    assert all(type(v) is int for a in op.geometry.axes for v in (a.size, a.stride, a.lo, a.hi, a.dilation))


@pytest.mark.parametrize(
    ("padding", "pads"),
    [
        ("valid", [(0, 0), (0, 0)]), ("full", [(1, 1), (4, 4)]), ("same", [(0, 1), (2, 2)]),
        ("same_lower", [(1, 0), (2, 2)]), (2, [(2, 2), (2, 2)]), (-1, [(-1, -1), (-1, -1)]),
        ((1, 2), [(1, 1), (2, 2)]), ([(1, 2), 3], [(1, 2), (3, 3)]), (((0, 1), (-1, 5)), [(0, 1), (-1, 5)]),
        (np.array([[1, 2], [3, 4]]), [(1, 2), (3, 4)]),
    ],
)  # fmt: skip
def test_every_spelling_of_padding(padding, pads):
    op = cm.conv(K2, (9, 9), dilation=(1, 2), padding=padding)

    assert [(a.lo, a.hi) for a in op.geometry.axes] == pads


@pytest.mark.parametrize(("name", "same"), [("zeros", "zero"), ("circular", "wrap"), ("replicate", "edge")])
def test_pytorchs_names_of_boundaries(name, same):
    a, b = (cm.conv(K2, (5, 6), padding=2, boundary=n) for n in (name, same))

    assert a.geometry == b.geometry


def test_lists_and_plain_numbers_are_kernels():
    assert cm.conv([[1, 2], [3, 4]], [3, 3]).to_dense().dtype == np.int64
    assert cm.conv([1.5], 2).to_dense().tolist() == [[1.5, 0], [0, 1.5]]


def test_kernels_and_inputs_of_foreign_byte_order():
    K, x = np.arange(6.0).reshape(2, 3), np.arange(30).reshape(5, 6)
    op, foreign = conv(K), conv(K.astype(">f8"))

    assert foreign.dtype == np.float64
    assert np.array_equal(foreign.to_sparse().toarray(), op.to_dense())
    assert np.array_equal(foreign(x.astype(">i4")), op(x))


def test_zero_sized_batches_are_batches():
    assert conv()(np.ones((0, 5, 6))).shape == (0, 4, 4)
