"""Every wrong argument gets one clear error before any work: call, what came, what was expected, what to do."""

import itertools
from fractions import Fraction

import numpy as np
import pytest

import convmtx as cm
from convmtx.arguments import number
from convmtx.errors import shown

K2, K4 = np.ones((2, 3)), np.ones((2, 3, 4, 6))
HAAR = [1, 1], [-1, 1]


def conv(kernel=K2, shape=(5, 6), **options):
    return cm.conv(kernel, shape, **options)


def back(kernel=K2, shape=(5, 6), **options):
    return cm.conv_transpose(kernel, shape, **options)


WRONG = [  # id, call, error, what the message must say
    ("a map by its class", lambda: cm.ConvOperator(1), TypeError, "ConvOperator: geometry is an int. Expected a Geometry and an array. Use convmtx.conv"),
    ("a map without a kernel", lambda: cm.ConvOperator(conv().geometry), TypeError, "ConvOperator: a geometry without an array. Expected a Geometry"),
    ("a map of kernels by its class", lambda: cm.KernelOperator(1), TypeError, "KernelOperator: geometry is an int. Expected a Geometry and an array. Use convmtx.kernel_operator"),
    ("a result by its class", lambda: cm.Certified(1), TypeError, "Certified: kind=None. Expected one of 'exact', 'upper'"),
    ("a result of no kind", lambda: cm.Certified(1, "sure", ""), ValueError, "Certified: kind='sure'. Expected one of 'exact', 'upper'"),
    ("wavelet of one filter", lambda: cm.dwt(8, [[1, 1]]), TypeError, "dwt: wavelet=[[1, 1]]. Expected a name such as 'db4', an object with dec_lo and dec_hi, or the pair"),
    ("filters of two lengths", lambda: cm.dwt(8, ([1, 1], [1, 2, 3, 4])), ValueError, "dwt: filters of shapes (2,) and (4,). Expected two of one even length. Fill the shorter one"),
    ("filters of odd length", lambda: cm.dwt(8, ([1, 2, 1], [1, 0, -1])), ValueError, "dwt: filters of shapes (3,) and (3,). Expected two of one even length"),
    ("filters of text", lambda: cm.dwt(8, (["a", "b"], [1, 1])), TypeError, "dwt: dec_lo has dtype <U1. Expected integers, floats"),
    ("wavelets of too few axes", lambda: cm.dwt((4, 5), ["haar"]), ValueError, "dwt: wavelet=['haar'] has 1 entries. Expected one for each of the 2"),
    ("mode of numpy.pad", lambda: cm.dwt(8, HAAR, mode="edge"), ValueError, "dwt: mode='edge'. Expected one of 'zero', 'constant', 'symmetric', 'periodic', 'reflect', 'periodization', 'antisymmetric', 'antireflect', 'smooth'. Pass mode='constant'."),
    ("unknown mode", lambda: cm.dwt(8, HAAR, mode=2), TypeError, "dwt: mode=2. Expected one of 'zero'"),
    ("level below 0", lambda: cm.dwt(8, HAAR, -1), ValueError, "dwt: level=-1. Expected an integer >= 0"),
    ("level of 10^9", lambda: cm.dwt(8, HAAR, 10**9), ValueError, "dwt: level=1000000000. Expected at most 40, which halve the largest axis to one entry"),
    ("axis twice", lambda: cm.dwt((4, 5), HAAR, axes=(1, -1)), ValueError, "dwt: axes=(1, -1). Expected different axes of an array of 2. Pass numbers from -2 to 1, each once"),
    ("axis too many", lambda: cm.dwt((4, 5), HAAR, axes=2), ValueError, "dwt: axes=2. Expected different axes of an array of 2"),
    ("bands of 20 axes", lambda: cm.dwt((2,) * 20, HAAR), ValueError, "dwt: 20 axes, with 2^20 bands. Expected at most 16 axes to transform. Name some in axes"),
    ("reflected entry", lambda: cm.dwt(2, HAAR, 2, "reflect"), ValueError, "dwt: mode='reflect' for an axis of 1 entry. Expected at least 2 entries, as in PyWavelets"),
    ("coefficients of another size", lambda: cm.dwt(8, HAAR).coefficients(np.ones(7)), ValueError, "coefficients: y has shape (7,). Expected (*batch, 8)"),
    ("bool kernel", lambda: conv(K2 > 0), TypeError, "conv: kernel has dtype bool. Expected integers, floats or complex"),
    ("object kernel", lambda: conv(K2.astype(object)), TypeError, "conv: kernel has dtype object"),
    ("text kernel", lambda: conv("abc"), TypeError, "conv: kernel has dtype <U3"),
    ("ragged kernel", lambda: conv([[1, 2], [3]]), TypeError, "conv: kernel of type list is not an array"),
    ("no kernel", lambda: conv(None), TypeError, "conv: kernel has dtype object"),
    ("dates", lambda: conv(np.zeros((2, 3), "M8[s]")), TypeError, "conv: kernel has dtype datetime64[s]"),
    ("masked kernel", lambda: conv(np.ma.masked_equal(K2, 0)), TypeError, "conv: kernel is a masked array"),
    ("number as kernel", lambda: conv(3.0), ValueError, "conv: kernel of shape (). Expected at least one axis"),
    ("empty kernel", lambda: conv(np.ones((0, 3))), ValueError, "conv: kernel of shape (0, 3). Expected at least one axis"),
    ("kernel of too few axes", lambda: conv(np.ones(3)), ValueError, "conv: kernel of shape (3,) with input_shape=(5, 6)"),
    ("kernel of too many axes", lambda: conv(K4), ValueError, "Leave the batch out of input_shape"),
    ("channels without space", lambda: conv(K2, (5,)), ValueError, "conv: kernel of shape (2, 3) with input_shape=(5,)"),
    ("empty input", lambda: conv(K2, (0, 6)), ValueError, "conv: input_shape[0]=0. Expected an integer >= 1"),
    ("no input", lambda: conv(K2, ()), ValueError, "conv: input_shape=(). Expected at least one spatial axis"),
    ("text as shape", lambda: conv(K2, "56"), TypeError, "conv: input_shape='56'"),
    ("float in shape", lambda: conv(K2, (5.0, 6)), TypeError, "conv: input_shape[0]=5.0. Expected an integer >= 1"),
    ("nothing as shape", lambda: conv(K2, None), TypeError, "conv: input_shape=None"),
    ("array as shape", lambda: conv(K2, np.ones((5, 6))), TypeError, "conv: input_shape is an array of shape (5, 6). Expected a tuple of sizes. Pass x.shape."),
    ("stride 0", lambda: conv(stride=0), ValueError, "conv: stride=0. Expected an integer >= 1. Pass stride=1 or more."),
    ("stride -1", lambda: conv(stride=(1, -1)), ValueError, "conv: stride[1]=-1. Expected an integer >= 1"),
    ("stride 1.5", lambda: conv(stride=1.5), TypeError, "conv: stride=1.5. Expected an integer >= 1. Pass an int."),
    ("stride True", lambda: conv(stride=True), TypeError, "conv: stride=True. Expected an integer >= 1"),
    ("stride text", lambda: conv(stride="2"), TypeError, "conv: stride='2'"),
    ("three strides", lambda: conv(stride=(1, 1, 1)), ValueError, "stride=[1, 1, 1] has 3 entries. Expected one for each of the 2"),
    ("dilation 0", lambda: conv(dilation=0), ValueError, "conv: dilation=0. Expected an integer >= 1"),
    ("input dilation 0", lambda: conv(input_dilation=[1, 0]), ValueError, "conv: input_dilation[1]=0"),
    ("unknown padding", lambda: conv(padding="reflect"), ValueError, "conv: padding='reflect'. Expected one of 'valid', 'same'"),
    ("padding float", lambda: conv(padding=0.5), TypeError, "conv: padding=0.5. Expected an integer"),
    ("padding dict", lambda: conv(padding={0: 1}), TypeError, "conv: padding={0: 1}"),
    ("padding None", lambda: conv(padding=None), TypeError, "conv: padding=None"),
    ("three ends", lambda: conv(padding=[(1, 2, 3), 1]), ValueError, "padding[0]=(1, 2, 3) has 3 entries. Expected an integer or a pair"),
    ("pads of one axis", lambda: cm.conv([1, 2], 5, padding=(1, 2)), ValueError, "pass padding=[(1, 2)]"),
    ("names per axis", lambda: conv(padding=["same", "same"]), TypeError, "conv: padding[0]='same'"),
    ("kernel too large", lambda: conv(np.ones((6, 3))), ValueError, "conv: axis 0 has 5 positions after padding (0, 0) and the kernel spans 6"),
    ("dilated too far", lambda: conv(dilation=(1, 3)), ValueError, "conv: axis 1 has 6 positions after padding (0, 0) and the kernel spans 7"),
    ("cropped away", lambda: conv(padding=-3), ValueError, "conv: axis 0 has -1 positions after padding (-3, -3)"),
    ("unknown boundary", lambda: conv(boundary="periodic"), ValueError, "conv: boundary='periodic'. Expected one of 'zero', 'wrap'"),
    ("ndimage's mirror", lambda: conv(boundary="mirror"), ValueError, "numpy.pad and convmtx call it 'reflect': pass boundary='reflect'"),
    ("ndimage's nearest", lambda: conv(boundary="nearest"), ValueError, "pass boundary='edge'"),
    ("ndimage's grid-wrap", lambda: conv(boundary="grid-wrap"), ValueError, "pass boundary='wrap'"),
    ("ndimage's grid-mirror", lambda: conv(boundary="grid-mirror"), ValueError, "pass boundary='symmetric'"),
    ("ndimage's grid-constant", lambda: conv(boundary="grid-constant"), ValueError, "pass boundary='zero'"),
    ("boundary None", lambda: conv(boundary=None), TypeError, "conv: boundary=None. Expected one of"),
    ("one boundary of two", lambda: conv(boundary=["wrap"]), ValueError, "boundary=['wrap'] has 1 entries. Expected one for each of the 2"),
    ("groups 0", lambda: conv(K4, (5, 6, 4), groups=0), ValueError, "conv: groups=0. Expected an integer >= 1"),
    ("groups without channels", lambda: conv(groups=2), ValueError, "Groups need channel axes, and this kernel has none"),
    ("wrong channels", lambda: conv(K4, (5, 6, 5)), ValueError, "The kernel's C/groups axis needs 4 input channels for groups=1, not 5"),
    ("wrong order", lambda: conv(K4, (4, 5, 6)), ValueError, "Check channels='last' and the order of the kernel's axes"),
    ("channels not divisible", lambda: conv(np.ones((2, 3, 1, 6)), (5, 6, 4), groups=4), ValueError, "Expected a number of output channels divisible by groups=4"),
    ("channels in the middle", lambda: conv(channels="middle"), ValueError, "conv: channels='middle'. Expected one of 'last', 'first'"),
    ("channels NHWC", lambda: conv(channels="NHWC"), ValueError, "conv: channels='NHWC'"),
    ("channels number", lambda: conv(channels=-1), TypeError, "conv: channels=-1. Expected one of 'last', 'first'"),
    ("flip 1", lambda: conv(flip=1), TypeError, "conv: flip=1. Expected True or False"),
    ("flip text", lambda: conv(flip="yes"), TypeError, "conv: flip='yes'"),
    ("unknown engine", lambda: conv(engine="cuda"), ValueError, "conv: engine='cuda'. Expected one of 'auto', 'direct'"),
    ("engine None", lambda: conv(engine=None), TypeError, "conv: engine=None"),
    ("transposed stride", lambda: back(stride=0), ValueError, "conv_transpose: stride=0"),
    ("transposed padding", lambda: back(padding="all"), ValueError, "conv_transpose: padding='all'"),
    ("all cut away", lambda: back(padding=4), ValueError, "conv_transpose: axis 0 would have -2 outputs after cutting. Expected at least one. Cut less with padding."),
    ("negative output padding", lambda: back(output_padding=-1), ValueError, "conv_transpose: output_padding=-1. Expected an integer >= 0"),
    ("output shape 0", lambda: back(output_shape=(0, 4)), ValueError, "conv_transpose: output_shape[0]=0"),
    ("output shape of rank 3", lambda: back(output_shape=(6, 8, 2)), ValueError, "output_shape=[6, 8, 2] has 3 entries"),
    ("output shape out of reach", lambda: back(padding=1, output_shape=(9, 6)), ValueError, "output_shape[0]=9. With padding=1 axis 0 can have 4 to 4 outputs"),
    ("transposed channels", lambda: back(K4, (5, 6, 4)), ValueError, "The kernel's C_in axis needs 6 input channels for groups=1, not 4"),
    ("transposed groups", lambda: back(K4, (5, 6, 6), groups=4), ValueError, "Expected a number of input channels divisible by groups=4"),
    ("transposed engine", lambda: back(engine="gpu"), ValueError, "conv_transpose: engine='gpu'"),
    ("transposed bool", lambda: back(K2 > 0), TypeError, "conv_transpose: kernel has dtype bool"),
    ("convmtx of nothing", lambda: cm.convmtx([], 3), ValueError, "convmtx: h of shape (0,) with n=3. Expected a kernel that is not empty"),
    ("convmtx of size 0", lambda: cm.convmtx([1], 0), ValueError, "convmtx: n=0. Expected an integer >= 1"),
    ("convmtx of float size", lambda: cm.convmtx([1], 3.5), TypeError, "convmtx: n=3.5"),
    ("convmtx rank", lambda: cm.convmtx(K2, 3), ValueError, "convmtx: h of shape (2, 3) with n=3"),
    ("convmtx mode", lambda: cm.convmtx([1], 3, "circular"), ValueError, "convmtx: mode='circular'. Expected one of 'full', 'same', 'valid'"),
    ("convmtx form", lambda: cm.convmtx([1], 3, form="csr"), ValueError, "convmtx: form='csr'. Expected one of 'sparse', 'dense'"),
    ("convmtx order", lambda: cm.convmtx([1], 3, order="K"), ValueError, "convmtx: order='K'"),
    ("convmtx bool", lambda: cm.convmtx([True], 3), TypeError, "convmtx: h has dtype bool"),
    ("input shape", lambda: conv()(np.ones((6, 5))), ValueError, "op(x): x has shape (6, 5). Expected (*batch, 5, 6)"),
    ("flat input", lambda: conv()(np.ones(30)), ValueError, "For a flattened array use op @ v"),
    ("short input", lambda: conv()(np.ones(6)), ValueError, "op(x): x has shape (6,)"),
    ("bool input", lambda: conv()(np.ones((5, 6), bool)), TypeError, "op(x): x has dtype bool"),
    ("object input", lambda: conv()(np.full((5, 6), None)), TypeError, "op(x): x has dtype object"),
    ("vector for matvec", lambda: conv().matvec(np.ones(29)), ValueError, "matvec: v has shape (29,). Expected (30,) or (30, k)"),
    ("tensor for @", lambda: conv() @ np.ones((5, 6)), ValueError, "For an array that is not flattened call op(x)"),
    ("cube for @", lambda: conv() @ np.ones((30, 2, 2)), ValueError, "op @ v: v has shape (30, 2, 2)"),
    ("other kernel", lambda: conv().with_kernel(np.ones((3, 2))), ValueError, "with_kernel: kernel has shape (3, 2). Expected (2, 3)"),
    ("other bool kernel", lambda: conv().with_kernel(K2 > 0), TypeError, "with_kernel: kernel has dtype bool"),
    ("format", lambda: conv().to_sparse("lil"), ValueError, "to_sparse: format='lil'. Expected one of 'csr', 'csc', 'coo', 'bsr', 'dia'"),
    ("format number", lambda: conv().to_sparse(3), TypeError, "to_sparse: format=3"),
    ("order of sparse", lambda: conv().to_sparse(order="A"), ValueError, "to_sparse: order='A'. Expected one of 'C', 'F'"),
    ("order of dense", lambda: conv().to_dense("A"), ValueError, "to_dense: order='A'"),
    ("half precision", lambda: conv(K2.astype(np.float16)).to_sparse(), TypeError, "to_sparse: the matrix has dtype float16. SciPy's sparse arrays hold"),
    ("zero step", lambda: conv().to_sparse(rows=slice(0, 5, 0)), TypeError, "to_sparse: rows=slice(0, 5, 0) (slice step cannot be zero). Expected a slice"),
    ("float slice", lambda: conv().to_sparse(rows=slice(0.0, 5)), TypeError, "to_sparse: rows=slice(0.0, 5, None)"),
    ("ragged rows", lambda: conv().to_sparse(rows=[1, [2]]), TypeError, "to_sparse: rows=[1, [2]]"),
    ("stride of 30 digits", lambda: conv(stride=10**30), ValueError, "Expected a size that 64-bit positions can be counted with"),
    ("padding of 20 digits", lambda: conv(padding=10**20), ValueError, "Expected a size that 64-bit positions"),
    ("matrix beyond 64 bits", lambda: conv(shape=(2**40, 2**40)), ValueError, "Rows, columns and positions are counted in 64 bits"),
    ("33 axes", lambda: cm.conv(np.ones((1,) * 33), (1,) * 33), ValueError, "input_shape has 33 axes. Expected at most 24"),
    ("multiple beyond the type", lambda: conv(K2.astype(np.int8)) * 300, ValueError, "a * op: 300 does not fit in int8"),
    ("sums beyond the type", lambda: conv(np.full((2, 3), 100, np.int8), boundary="edge", padding=2).to_dense(), ValueError, "a boundary folds taps onto one position, and their sum 300 does not fit in int8"),
    ("sums of a view", lambda: cm.conv(np.full(3, 100, np.int8), 2, boundary="wrap", padding=2).tensor_view(), ValueError, "their sum 200 does not fit in int8"),
    ("sparse for @", lambda: conv() @ conv().to_sparse(), ValueError, "op1 @ op2: a matrix has shape (16, 30). Expected (30, N)"),
    ("row too far", lambda: conv().to_sparse(rows=[0, 16]), IndexError, "to_sparse: row 16. The matrix has rows 0 to 15, or -16 to -1"),
    ("row too low", lambda: conv().to_sparse(rows=[-17]), IndexError, "to_sparse: row -17"),
    ("float rows", lambda: conv().to_sparse(rows=[0.5]), TypeError, "to_sparse: rows of dtype float64 and shape (1,). Expected a slice"),
    ("rows without end", lambda: conv().to_sparse(rows=Endless()), ValueError, "has 1000000000000 entries. Expected at most 4194304. Pass an ndarray"),
    ("rows that raise", lambda: conv().to_sparse(rows=Evil()), TypeError, "to_sparse: rows=<Evil> (evil evil"),
    ("range of rows too far", lambda: conv().to_sparse(rows=range(10**30)), IndexError, "to_sparse: row 999999999999999999999999999999. The matrix has rows 0 to 15"),
    ("range of rows too low", lambda: conv().to_sparse(rows=range(5, -18, -1)), IndexError, "to_sparse: row -17. The matrix has rows 0 to 15"),
    ("one row", lambda: conv().to_sparse(rows=3), TypeError, "to_sparse: rows of dtype int64 and shape ()"),
    ("mask of another length", lambda: conv().to_sparse(rows=[True, False]), TypeError, "or a mask of 16 entries"),
    ("view of a reflecting map", lambda: conv(padding=1, boundary="reflect").tensor_view(), ValueError, "tensor_view: axis 0 has boundary 'reflect'"),
    ("channels for a batch", lambda: conv(np.ones((8, 3, 3, 3)), (16, 3, 32, 32), channels="first"), ValueError, "Expected one kernel axis more than input axes: (F, C/groups, *k) for channels='first'. Leave the batch out: pass input_shape=(3, 32, 32)."),
    ("channels for a transposed batch", lambda: back(np.ones((8, 3, 3, 3)), (16, 8, 9, 9), channels="first"), ValueError, "(C_in, C_out/groups, *k) for channels='first'. Leave the batch out: pass input_shape=(8, 9, 9)."),
    ("a batch of the other layout", lambda: conv(np.ones((8, 3, 3, 3)), (16, 3, 32, 32), channels="last"), ValueError, "Leave the batch out: pass input_shape=(3, 32, 32) and channels='first'."),
    ("a batch without channels", lambda: conv(np.ones((8, 3, 3, 3)), (1, 3, 32, 32)), ValueError, "the kernel spans 8. Expected a kernel that fits. Leave the batch out: pass input_shape=(3, 32, 32) and channels='first'."),
    ("several batch axes", lambda: conv(np.ones((8, 3, 3, 3)), (5, 16, 3, 32, 32)), ValueError, "Leave the batch out: pass input_shape=(3, 32, 32) and channels='first'."),
    ("the other layout", lambda: conv(np.ones((8, 3, 3, 3)), (3, 32, 32)), ValueError, "needs 3 input channels for groups=1, not 32. It fits with channels='first'."),
    ("channels without channels", lambda: conv(channels="last"), ValueError, "kernel of shape (2, 3) with input_shape=(5, 6) and channels='last'. Expected one kernel axis more than input axes: (*k, C/groups, F) for channels='last'. Leave channels out for a convolution without channels."),
    ("channels of kernel_operator", lambda: cm.kernel_operator(np.ones((5, 6)), (2, 3), channels="first"), ValueError, "kernel_operator: kernel of shape (2, 3) with input_shape=(5, 6) and channels='first'. Expected one kernel axis more"),
    ("channels of sup_norm", lambda: cm.sup_norm(K2, channels="first"), ValueError, "sup_norm: kernel of shape (2, 3) with channels='first'. Expected channel axes"),
    ("channels of sup_norm unknown", lambda: cm.sup_norm(K2, channels="middle"), ValueError, "sup_norm: channels='middle'"),
    ("input for its shape", lambda: conv(K2, np.ones((1000, 1000))), TypeError, "conv: input_shape is an array of shape (1000, 1000). Expected a tuple of sizes. Pass x.shape."),
    ("list for its shape", lambda: conv(K2, np.ones((9, 9)).tolist()), TypeError, "Expected a tuple of sizes. Pass the shape of the array, as with numpy.shape(x)."),
    ("swapped", lambda: conv((8, 8), K2), TypeError, "conv: kernel=(8, 8) and input_shape=<ndarray of shape (2, 3)>. Expected the kernel first, then the shape. Swap them."),
    ("swapped numbers", lambda: back(8, np.ones(3)), TypeError, "conv_transpose: kernel=8 and input_shape=<ndarray of shape (3,)>. Expected the kernel first, then the shape. Swap them."),
    ("map as shape", lambda: conv(K2, conv()), TypeError, "conv: input_shape is a ConvOperator. Expected a tuple of sizes. Pass op.in_shape."),
    ("map as kernel_shape", lambda: cm.kernel_operator(K2, conv()), TypeError, "kernel_operator: kernel_shape is a ConvOperator"),
    ("sparse as shape", lambda: conv(K2, conv().to_sparse()), TypeError, "conv: input_shape=<csr_array of shape (16, 30)>. Expected a tuple of sizes"),
    ("map as stride", lambda: conv(stride=conv()), TypeError, "conv: stride=<ConvOperator of shape (16, 30)>. Expected an integer >= 1"),
    ("map as boundary", lambda: conv(boundary=conv()), TypeError, "conv: boundary=<ConvOperator of shape (16, 30)>. Expected one of"),
    ("map as kernel", lambda: conv(conv()), TypeError, "conv: kernel is a ConvOperator. Expected an array. Pass its dense matrix if that is meant"),
    ("sparse as kernel", lambda: conv(conv().to_sparse()), TypeError, "conv: kernel is a csr_array. Expected an array"),
    ("bytes as shape", lambda: conv(K2, b"56"), TypeError, "conv: input_shape=b'56'"),
    ("no filters", lambda: conv(np.ones((2, 3, 4, 0)), (5, 6, 4)), ValueError, "conv: kernel of shape (2, 3, 4, 0). Expected at least one filter, and axis 3 has none"),
    ("no filters first", lambda: conv(np.ones((0, 4, 2, 3)), (4, 5, 6), channels="first"), ValueError, "Expected at least one filter, and axis 0 has none"),
    ("no channels", lambda: conv(np.ones((2, 3, 0, 6)), (5, 6, 4)), ValueError, "conv: kernel of shape (2, 3, 0, 6). Expected at least one channel, and axis 2 has none"),
    ("no channels of inputs", lambda: conv(K4, (5, 6, 0)), ValueError, "conv: input_shape[2]=0"),
    ("SAME", lambda: conv(padding="SAME"), ValueError, "conv: padding='SAME'. Expected one of 'valid', 'same', 'same_lower', 'full'. Pass padding='same'."),
    ("VALID", lambda: conv(padding="VALID"), ValueError, "Pass padding='valid'."),
    ("SAME_UPPER", lambda: back(padding="SAME_UPPER"), ValueError, "conv_transpose: padding='SAME_UPPER'. Expected one of 'valid', 'same', 'same_lower', 'full'. Pass padding='same'."),
    ("causal", lambda: conv(padding="causal", dilation=(3, 1)), ValueError, "conv: padding='causal'. Expected one of 'valid', 'same', 'same_lower', 'full'. Pass padding=[(3, 0), (2, 0)]."),
    ("causal transposed", lambda: back(padding="causal"), ValueError, "Pass padding=[(0, 1), (0, 2)]."),
    ("boundary as padding", lambda: conv(padding="circular"), ValueError, "That is a boundary: pass boundary='wrap', and padding for how far it reaches."),
    ("padding as boundary", lambda: conv(boundary="same"), ValueError, "That is a padding: pass padding='same', and boundary for what lies there."),
    ("periodic", lambda: conv(boundary="periodic"), ValueError, "numpy.pad and convmtx call it 'wrap': pass boundary='wrap'."),
    ("Reflect", lambda: conv(boundary="Reflect"), ValueError, "Pass boundary='reflect'."),
    ("misspelled", lambda: conv(boundary="relfect"), ValueError, "Check the spelling: is 'reflect' meant."),
    ("OpenCV's default", lambda: conv(boundary="BORDER_REFLECT_101"), ValueError, "pass boundary='reflect'."),
    ("OpenCV's reflect", lambda: conv(boundary="BORDER_REFLECT"), ValueError, "pass boundary='symmetric'."),
    ("OpenCV's number", lambda: conv(boundary=4), TypeError, "conv: boundary=4. Expected a name; OpenCV's cv2.BORDER_REFLECT_101 has this number. numpy.pad and convmtx call it 'reflect': pass boundary='reflect'."),
    ("dirichlet", lambda: conv(boundary="dirichlet"), ValueError, "pass boundary='zero'."),
    ("neumann", lambda: conv(boundary="neumann"), ValueError, "Pass boundary='symmetric' for values in cells, or 'reflect' for values on grid points."),
    ("numpy.pad's mean", lambda: conv(boundary="mean"), ValueError, "There is no such rule: extend the array before, as with numpy.pad"),
    ("Keras' channels", lambda: conv(channels="channels_first"), ValueError, "Pass channels='first'."),
    ("channels NHWC translated", lambda: conv(channels="NHWC"), ValueError, "Pass channels='last'."),
    ("CSR", lambda: conv().to_sparse("CSR"), ValueError, "to_sparse: format='CSR'. Expected one of 'csr', 'csc', 'coo', 'bsr', 'dia'. Pass format='csr'."),
    ("csc_matrix", lambda: conv().T.to_sparse("csc_matrix"), ValueError, "Pass format='csc'."),
    ("Full", lambda: cm.convmtx([1], 3, "Full"), ValueError, "convmtx: mode='Full'. Expected one of 'full', 'same', 'valid'. Pass mode='full'."),
    ("order c", lambda: conv().to_dense("c"), ValueError, "to_dense: order='c'. Expected one of 'C', 'F'. Pass order='C'."),
    ("affine of an array", lambda: cm.Affine(np.eye(3), np.ones(3)), TypeError, "Affine: op is <ndarray of shape (3, 3)>. Expected a linear map of convmtx. Make one, as with convmtx.conv."),
    ("affine of an affine map", lambda: cm.Affine(cm.Affine(conv(), np.ones((4, 4))), np.ones((4, 4))), TypeError, "Affine: op is Affine (5, 6) -> (4, 4). Expected a linear map of convmtx. Pass A.op"),
    ("affine after a map", lambda: cm.Affine(conv(), np.ones((4, 4))) @ conv(), TypeError, "affine1 @ affine2: the right one is <ConvOperator of shape (16, 30)>. Expected two affine maps"),
    ("input of another shape", lambda: cm.kernel_operator(B, (2, 3)).with_input(np.ones(5)), ValueError, "with_input: x has shape (5,). Expected (5, 6)"),
    ("asarray without copy", lambda: np.asarray(conv(), copy=False), ValueError, "numpy.asarray(op): copy=False"),
    ("no time to tune", lambda: cm.tune(seconds=0), ValueError, "tune: seconds=0. Expected a positive number. Pass seconds=40."),
    ("bar of tune", lambda: cm.tune(progress=1), TypeError, "tune: progress=1. Expected True or False"),
]  # fmt: skip


def fit(**options):
    return cm.fit_kernel(np.arange(6.0), kernel_shape=2, **{"y": np.ones(5), **options})


CIRCLE = cm.conv(K2, (5, 6), padding="same", boundary="wrap")
B = np.ones((5, 6))
NAN = np.where(np.arange(30).reshape(5, 6) == 7, np.nan, 1.0)
WRONG_SOLVES = [
    ("op no map", lambda: cm.solve(None, B), TypeError, "solve: op is a NoneType. Expected a map of convmtx, a matrix or an operator. Make one, as with convmtx.conv"),
    ("op affine", lambda: cm.solve(cm.Affine(CIRCLE, B), B), TypeError, "solve: op is an Affine. Expected a map of convmtx, a matrix or an operator. Pass A.op, the linear part"),
    ("kernel with nan", lambda: cm.solve(conv(K2 * np.nan), np.ones((4, 4))), ValueError, "solve: the kernel contains inf or nan"),
    ("nan in b", lambda: cm.solve(CIRCLE, NAN), ValueError, "solve: b contains inf or nan. Expected finite numbers. Replace them, or leave them out by mask=numpy.isfinite(b) of cm.solve, cm.choose_damp or cm.wiener."),
    ("inf in b", lambda: cm.factorize(CIRCLE).solve(B * np.inf), ValueError, "solve: b contains inf or nan"),
    ("b of another shape", lambda: cm.solve(CIRCLE, np.ones((6, 5))), ValueError, "solve: b has shape (6, 5). Expected (*batch, 5, 6). Batch axes come first"),
    ("b of too few axes", lambda: cm.solve(CIRCLE, np.ones(6)), ValueError, "solve: b has shape (6,)"),
    ("flattened b", lambda: cm.solve(CIRCLE, np.ones(30)), ValueError, "solve: b has shape (30,). Expected (*batch, 5, 6). A flattened array has to be reshaped"),
    ("bool b", lambda: cm.solve(CIRCLE, B > 0), TypeError, "solve: b has dtype bool"),
    ("masked b", lambda: cm.factorize(CIRCLE).solve(np.ma.masked_equal(B, 0)), TypeError, "solve: b is a masked array. Expected every entry. Pass x.filled(0) if that is meant; cm.solve(op, b) leaves out what is masked"),
    ("object b", lambda: cm.solve(CIRCLE, None), TypeError, "solve: b has dtype object"),
    ("negative damp", lambda: cm.solve(CIRCLE, B, damp=-0.1), ValueError, "solve: damp=-0.1. Expected a finite number >= 0. cm.choose_damp(op, b, 'gcv') finds one"),
    ("nan as damp", lambda: cm.solve(CIRCLE, B, damp=np.nan), ValueError, "solve: damp=nan. Expected a finite number >= 0"),
    ("inf as damp", lambda: cm.factorize(CIRCLE, damp=np.inf), ValueError, "factorize: damp=inf"),
    ("complex damp", lambda: cm.pinv(CIRCLE, damp=1j), ValueError, "pinv: damp=1j. Expected a finite number >= 0"),
    ("damp of each", lambda: cm.preconditioner(CIRCLE, damp=[1.0, 2.0]), ValueError, "preconditioner: damp=[1.0, 2.0]"),
    ("text as damp", lambda: cm.solve(CIRCLE, B, damp="gcv"), ValueError, "solve: damp='gcv'"),
    ("regularizer of another shape", lambda: cm.solve(CIRCLE, B, damp=1, regularizer=cm.conv(K2, (6, 5))), ValueError, "solve: regularizer takes (6, 5) and op takes (5, 6). Expected equal input shapes. Make it for inputs of shape (5, 6)"),
    ("regularizer without damp", lambda: cm.solve(CIRCLE, B, regularizer=CIRCLE), ValueError, "solve: a regularizer with damp=0. It would have no effect. Pass damp > 0, or leave it out"),
    ("regularizer no map", lambda: cm.solve(CIRCLE, B, damp=1, regularizer="R"), TypeError, "regularizer is a str. Expected a map of convmtx"),
    ("regularizer no matrix", lambda: cm.solve(CIRCLE, B, damp=1, regularizer=K2[0]), ValueError, "regularizer has shape (3,). Expected a matrix (M, N)"),
    ("unknown method", lambda: cm.solve(CIRCLE, B, method="cg"), ValueError, "solve: method='cg'. Expected one of 'auto', 'blocks'"),
    ("unknown method of factorize", lambda: cm.factorize(CIRCLE, method="cg"), ValueError, "factorize: method='cg'. Expected one of"),
    ("unknown method of pinv", lambda: cm.pinv(CIRCLE, method="cg"), ValueError, "pinv: method='cg'. Expected one of"),
    ("unknown method of inv", lambda: cm.inv(CIRCLE, method=None), TypeError, "inv: method=None"),
    ("method that does not apply", lambda: cm.solve(CIRCLE, B, method="substitution"), ValueError, "solve: method='substitution'. It does not apply to this problem"),
    ("preconditioner for no convolution", lambda: cm.solve(2 * CIRCLE @ cm.permutation((6, 5), "HW", "WH"), np.ones((5, 6)), damp=1, method="preconditioned"), ValueError, "Expected a convolution. Leave the preconditioner out, as method='lsmr' does"),
    ("preconditioner of a wide map", lambda: cm.solve(conv(), np.ones((4, 4)), method="preconditioned"), ValueError, "op has more inputs than outputs and damp is 0"),
    ("rtol 0", lambda: cm.solve(CIRCLE, B, rtol=0), ValueError, "solve: rtol=0. Expected a number between 0 and 1. For example 1e-8"),
    ("rtol 1", lambda: cm.factorize(CIRCLE).solve(B, rtol=1.0), ValueError, "solve: rtol=1.0. Expected a number between 0 and 1"),
    ("rtol nan", lambda: cm.solve(CIRCLE, B, rtol=np.nan), ValueError, "solve: rtol=nan"),
    ("rtol True", lambda: cm.solve(CIRCLE, B, rtol=True), ValueError, "solve: rtol=True"),
    ("rtol text", lambda: cm.solve(CIRCLE, B, rtol="1e-8"), ValueError, "solve: rtol='1e-8'"),
    ("maxiter 0", lambda: cm.solve(CIRCLE, B, maxiter=0), ValueError, "solve: maxiter=0. Expected an integer >= 1"),
    ("maxiter 1.5", lambda: cm.solve(CIRCLE, B, maxiter=1.5), TypeError, "solve: maxiter=1.5. Expected an integer >= 1"),
    ("callback no function", lambda: cm.solve(CIRCLE, B, callback=3), ValueError, "solve: callback is an int. Expected a function of the iterate. For example callback=print"),
    ("progress text", lambda: cm.solve(CIRCLE, B, progress="bar"), TypeError, "solve: progress='bar'. Expected True or False"),
    ("throw 1", lambda: cm.solve(CIRCLE, B, throw=1), TypeError, "solve: throw=1. Expected True or False"),
    ("x0 of another shape", lambda: cm.solve(CIRCLE, B, x0=np.ones((6, 5))), ValueError, "solve: x0 has shape (6, 5). Expected (*batch, 5, 6)"),
    ("x0 of another batch", lambda: cm.solve(CIRCLE, np.ones((2, 5, 6)), x0=np.ones((3, 5, 6))), ValueError, "solve: x0 has shape (3, 5, 6). Expected (2, 5, 6), as b has. Pass one start, or one for each"),
    ("x0 of a batch for one", lambda: cm.solve(CIRCLE, B, x0=np.ones((2, 5, 6))), ValueError, "solve: x0 has shape (2, 5, 6)"),
    ("nan in x0", lambda: cm.solve(CIRCLE, B, x0=NAN), ValueError, "solve: x0 contains inf or nan. Expected finite numbers. Replace them, as with numpy.nan_to_num(x0), or leave x0 out."),
    ("masked x0", lambda: cm.solve(CIRCLE, B, x0=np.ma.masked_equal(B, 0)), TypeError, "solve: x0 is a masked array"),
    ("pinv of no map", lambda: cm.pinv("K"), TypeError, "pinv: op is a str. Expected a map of convmtx"),
    ("inv of no map", lambda: cm.inv(K2[0]), ValueError, "inv: op has shape (3,). Expected a matrix (M, N)"),
    ("inv of a wide map", lambda: cm.inv(conv()), ValueError, "inv: op has a matrix of 16 x 30. Expected a square one. Use cm.pinv(op)"),
    ("inverse of another shape", lambda: cm.pinv(CIRCLE)(np.ones((6, 5))), ValueError, "op(x): x has shape (6, 5). Expected (*batch, 5, 6)"),
    ("kind of preconditioner", lambda: cm.preconditioner(CIRCLE, "ilu"), ValueError, "preconditioner: kind='ilu'. Expected one of 'embedded', 'strang'"),
    ("preconditioner of no map", lambda: cm.preconditioner(K2), ValueError, "preconditioner: op is a DenseMap"),
    ("normal 1", lambda: cm.preconditioner(CIRCLE, normal=1), TypeError, "preconditioner: normal=1. Expected True or False"),
    ("itself with damping", lambda: cm.preconditioner(CIRCLE, "strang", damp=1, normal=False), ValueError, "preconditioner: normal=False with damp=1 and a matrix of 30 x 30. Expected a square map without damping"),
    ("itself and not square", lambda: cm.preconditioner(conv(), normal=False), ValueError, "preconditioner: normal=False with damp=0.0 and a matrix of 16 x 30"),
    ("snr 0", lambda: cm.wiener(CIRCLE, B, 0), ValueError, "wiener: snr is not a finite real number > 0. Expected a ratio of powers. For example 1e3"),
    ("snr negative somewhere", lambda: cm.wiener(CIRCLE, B, NAN - 2), ValueError, "wiener: snr is not a finite real number > 0"),
    ("snr of another shape", lambda: cm.wiener(CIRCLE, B, np.ones((6, 5))), ValueError, "wiener: snr has shape (6, 5). Expected (5, 6), as numpy.fft.fftn has"),
    ("snr as text", lambda: cm.wiener(CIRCLE, B, "high"), TypeError, "wiener: snr has dtype <U4"),
    ("nan for Wiener", lambda: cm.wiener(CIRCLE, NAN, 3.0), ValueError, "wiener: b contains inf or nan. Expected finite numbers. Replace them, or leave them out by mask=numpy.isfinite(b) of cm.solve, cm.choose_damp or cm.wiener"),
    ("noise missing", lambda: cm.choose_damp(CIRCLE, B, "discrepancy"), ValueError, "choose_damp: rule='discrepancy' with noise=None. The discrepancy principle needs the noise"),
    ("noise for gcv", lambda: cm.choose_damp(CIRCLE, B, "gcv", noise=0.1), ValueError, "choose_damp: rule='gcv' with noise=0.1"),
    ("noise 0", lambda: cm.choose_damp(CIRCLE, B, "discrepancy", noise=0.0), ValueError, "choose_damp: noise=0.0. Expected a finite number > 0"),
    ("rule", lambda: cm.choose_damp(CIRCLE, B, "aic"), ValueError, "choose_damp: rule='aic'. Expected one of 'gcv', 'rgcv', 'lcurve', 'discrepancy'"),
    ("nothing to choose by", lambda: cm.choose_damp(CIRCLE, 0 * B), ValueError, "choose_damp: op or b is zero. Expected something to solve"),
    ("nan for choosing", lambda: cm.choose_damp(CIRCLE, NAN), ValueError, "choose_damp: b contains inf or nan. Expected finite numbers. Replace them, or leave them out by mask=numpy.isfinite(b) of cm.solve, cm.choose_damp or cm.wiener"),
    ("nothing measured to choose by", lambda: cm.choose_damp(CIRCLE, B, mask=B < 0), ValueError, "choose_damp: no output was measured. Expected some weight above 0. Check mask and weights"),
    ("empty list of regularizers", lambda: cm.solve(CIRCLE, B, regularizer=[], damp=1), ValueError, "solve: regularizer is an empty list. Expected at least one map. Leave it out"),
    ("flat regularizer", lambda: cm.solve(CIRCLE, B, regularizer=np.eye(30), damp=1), ValueError, "solve: regularizer takes (30,) and op takes (5, 6). Expected equal input shapes. Pass cm.aslinearmap(regularizer, in_shape=(5, 6))"),
    ("regularizer of another size", lambda: cm.choose_damp(CIRCLE, B, regularizer=np.eye(9)), ValueError, "choose_damp: regularizer takes (9,) and op takes (5, 6). Expected equal input shapes. Make it for inputs of shape (5, 6)"),
    ("flat regularizer in a list", lambda: cm.solve(CIRCLE, B, regularizer=[CIRCLE, np.eye(30)], damp=1), ValueError, "solve: regularizer[1] takes (30,) and regularizer[0] takes (5, 6). Expected equal input shapes. Pass cm.aslinearmap(regularizer[1], in_shape=(5, 6))"),
    ("bool weights", lambda: cm.solve(CIRCLE, B, weights=B > 0), TypeError, "solve: weights have dtype bool. Expected numbers. Use mask= for an array that is True where b was measured"),
    ("ragged mask", lambda: cm.solve(CIRCLE, B, mask=[[True], [True, False]]), TypeError, "solve: mask of type list is not an array"),
    ("bool weights in a list", lambda: cm.solve(CIRCLE, B, weights=[True] * 6), TypeError, "solve: weights have dtype bool. Expected numbers. Use mask="),
    ("bool weights for a kernel", lambda: fit(weights=B[0, :5] > 0), TypeError, "fit_kernel: weights have dtype bool. Expected numbers. Use mask= for an array that is True where y was measured"),
    ("negative weights for a kernel", lambda: fit(weights=-B[0, :5]), ValueError, "fit_kernel: weights are not all finite real numbers >= 0. Expected the weight of each output. Pass how much each entry of y counts, such as 1 / variance of its noise, and 0 where it was not measured"),
    ("mask of numbers for a kernel", lambda: fit(mask=B[0, :5]), TypeError, "fit_kernel: mask has dtype float64. Expected True where y was measured. Use weights= for numbers"),
    ("nan for a kernel", lambda: fit(y=NAN[1, :5]), ValueError, "fit_kernel: y contains inf or nan. Expected finite numbers. Pass mask=numpy.isfinite(y)"),
    ("nothing measured for a kernel", lambda: fit(mask=B[0, :5] < 0), ValueError, "fit_kernel: no output was measured. Expected some weight above 0. Check mask and weights"),
    ("no counts measured", lambda: cm.richardson_lucy(CIRCLE, B, mask=B < 0), ValueError, "richardson_lucy: no output was measured. Expected some weight above 0. Check mask and weights"),
    ("flattened b for choosing", lambda: cm.choose_damp(CIRCLE, np.ones(30)), ValueError, "choose_damp: b has shape (30,)"),
    ("null space of no map", lambda: cm.null_space(K2[0]), ValueError, "null_space: op has shape"),
    ("negative tol", lambda: cm.null_space(CIRCLE, -1.0), ValueError, "null_space: tol=-1.0. Expected a number >= 0"),
    ("nan as tol", lambda: cm.null_space(CIRCLE, np.nan), ValueError, "null_space: tol=nan. Expected a number >= 0"),
    ("text as tol", lambda: cm.null_space(CIRCLE, "small"), (TypeError, ValueError), "null_space: tol="),
]  # fmt: skip
WRONG += WRONG_SOLVES


@pytest.mark.parametrize(("make", "error", "text"), [w[1:] for w in WRONG], ids=[w[0] for w in WRONG])
def test_wrong_arguments(make, error, text):
    with pytest.raises(error) as caught:
        make()
    message = str(caught.value)

    assert text in message
    assert isinstance(caught.value, cm.ConvmtxError)
    assert message.endswith(".")
    assert message.count(". ") >= 2  # call and what came, what was expected, what to do
    assert "\n" not in message


def test_a_tensor_of_another_library_is_refused_not_converted():
    class Tensor:
        def __dlpack__(self):
            raise AssertionError

        def __array__(self, dtype=None, copy=None):
            return K2

    with pytest.raises(TypeError, match=r"kernel is a .*Tensor\. Expected an array of NumPy, PyTorch"):
        conv(Tensor())


class Chunked:
    """An array that is computed when it is needed, as Dask's, or read, as Zarr's, and that counts how often."""

    def __init__(self, shape, dtype="f8"):
        self.shape, self.dtype, self.ndim, self.count = shape, np.dtype(dtype), len(shape), 0

    def __array__(self, dtype=None, copy=None):
        self.count += 1
        return np.ones(self.shape, self.dtype)


def test_an_array_that_would_be_computed_as_a_whole_is_refused_beyond_64_mebibytes():
    large, small = Chunked((4096, 2049)), Chunked((4096, 2048))
    op = cm.conv(K2, large.shape)
    for call in (
        lambda: op(large), lambda: op @ large, lambda: op.matvec(large), lambda: cm.conv(large, (4096, 4096)),
        lambda: op([large]), lambda: cm.kernel_operator(large, (2, 2)), lambda: cm.solve(op.T @ op, large),
        lambda: cm.Affine(op, large), lambda: op.with_kernel(large),
    ):  # fmt: skip
        with pytest.raises(
            cm.ArgumentTypeError, match=r"of 64 MiB\. Expected an array in memory.* Pass numpy\.asarray"
        ):
            call()
    assert large.count == 0
    assert cm.conv(K2, small.shape)(small).max() == 6
    assert small.count == 1
    graph = type("Graph", (Chunked,), {"compute": None})(large.shape)
    with pytest.raises(cm.ArgumentTypeError, match=r"Pass x\.compute\(\), or a part at a time, as with x\[:100\]"):
        op(graph)


def test_files_of_arrays_are_read_up_to_64_mebibytes(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        large = file.create_dataset("large", (10**6, 10**4), "f4", chunks=(100, 100))
        small = file.create_dataset("small", data=np.arange(30.0).reshape(5, 6))
        assert np.array_equal(conv()(small), conv()(np.arange(30.0).reshape(5, 6)))
        refusal = r"x is a h5py\..*Dataset of 38146 MiB.* Pass dask\.array\.from_array\(x\), or .* cm\.run"
        with pytest.raises(cm.ArgumentTypeError, match=refusal):
            cm.conv(K2, large.shape)(large)


class Endless:
    def __len__(self):
        return 10**12

    def __getitem__(self, _):
        return 1.0


class Evil:
    """Raises whatever it is asked."""

    def _raise(self, *_, **__):
        message = "evil " * 1000
        raise RuntimeError(message)

    __array__ = __index__ = __float__ = __len__ = __getitem__ = __bool__ = __repr__ = __eq__ = _raise
    __hash__ = None


def deep(levels, width=1):
    nested = [1.0]
    for _ in range(levels):
        nested = [nested] * width
    return nested


ODD = {
    "range": range(10**12), "huge range": range(10**30), "count": itertools.count(), "generator": (i for i in [1]),
    "long": [None] * 10**6, "deep": deep(10**5), "wide": deep(60, 2), "nested range": [1, range(10**12)],
    "endless": Endless(), "evil": Evil(), "evils": [Evil()] * 2, "number": 10**5000, "text": "x" * 10**6,
    "mapping": {i: i for i in range(10**5)}, "array": np.zeros((1000, 1000)), "class": np.ndarray, "map": conv(), "module": np,
    "records": np.zeros(2, [(f"f{i}", "i4") for i in range(500)]), "dates": np.zeros(3, "M8[s]"), "lines": "a\nb",
}  # fmt: skip


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD.keys())
def test_odd_arguments_get_a_short_message_at_once(odd):
    op = conv()
    calls = [lambda name=name: conv(**{name: odd}) for name in (
        "kernel", "shape", "stride", "dilation", "padding", "boundary", "groups", "flip", "channels", "input_dilation",
        "engine")]  # fmt: skip
    calls += [
        lambda: back(output_padding=odd), lambda: back(padding=odd), lambda: cm.convmtx(odd, 3), lambda: op(odd),
        lambda: cm.convmtx([1], odd), lambda: cm.convmtx([1], 3, odd), lambda: cm.convmtx([1], 3, form=odd),
        lambda: op.matvec(odd), lambda: op * odd, lambda: op.T / odd, lambda: op.to_sparse(odd),
        lambda: op.to_dense(odd), lambda: op.explain(odd), lambda: cm.Affine(odd, K2), lambda: cm.Affine(op, odd),
        lambda: cm.permutation(odd, "HW", "WH"), lambda: cm.permutation((5, 6), odd, "WH"),
        lambda: cm.kernel_operator(odd, (2, 3)), lambda: cm.kernel_operator(K2, odd), lambda: cm.norm(op, odd),
        lambda: cm.norm(op, rtol=odd), lambda: cm.norm(op, progress=odd), lambda: cm.rank(op, odd),
        lambda: cm.project(op, odd), lambda: cm.project(op, 1.0, progress=odd), lambda: cm.symbol(op, 6, shift=odd),
        lambda: cm.solve(CIRCLE, B, damp=odd), lambda: cm.solve(CIRCLE, B, rtol=odd),
        lambda: cm.choose_damp(CIRCLE, B, "discrepancy", noise=odd), lambda: cm.plot.row_data(op, odd),
    ]  # fmt: skip
    messages = []
    for call in calls:
        try:
            call()  # an array may be what is wanted
        except cm.ConvmtxError as error:
            messages.append(str(error))

    assert len(messages) > len(calls) // 2
    assert max(map(len, messages)) <= 480
    assert "\n" not in "".join(messages)


def test_values_are_named_in_few_words():
    assert shown([1, "a", (2.5,), None]) == "[1, 'a', (2.5,), None]"
    assert shown(list(range(100))) == "[0, 1, 2, 3, 4, 5, ...]"
    assert shown(np.zeros((3, 4))) == "<ndarray of shape (3, 4)>"
    assert shown(10**400) == "<integer of 1329 bits>"
    assert shown({1: 2}) == "{1: 2}"
    assert len(shown(["x" * 1000] * 1000)) <= 80


@pytest.mark.parametrize("value", [2, 2.0, np.float32(2), np.longdouble(2), np.array(2), Fraction(2), np.uint8(2)])
def test_a_number_is_any_single_finite_one(value):
    assert number("name", value) == 2.0
    assert type(number("name", value)) is float


@pytest.mark.parametrize("value", [
    None, True, np.bool_(True), "2", 2j, np.complex64(2), np.nan, np.inf, -np.inf, 10**400, np.array([2.0]), [2.0],
    np.array("2"), np.timedelta64(2, "s"), np.array(True), object(), Evil(), float,
])  # fmt: skip
def test_what_is_no_finite_number_is_refused(value):
    with pytest.raises(cm.ArgumentError, match=r"^name=.*\. Expected a finite number\. Pass a float\.$"):
        number("name", value)


def test_a_tensor_is_a_number_unless_its_gradient_would_be_lost():
    torch = pytest.importorskip("torch")
    assert number("name", torch.tensor(2.5)) == 2.5
    with pytest.raises(cm.ArgumentError, match=r"No gradient flows through it: pass float\(damp\.detach\(\)\)"):
        cm.solve(CIRCLE, B, damp=torch.tensor(0.5, requires_grad=True))


def test_a_limit_of_the_caller_is_not_written_to():
    limit = np.array(1.0)
    cm.project(conv(7 * K2), limit)
    assert limit == 1.0


@pytest.mark.parametrize("two", [np.int64(2), np.uint8(2), np.array(2)])
def test_numpy_integers_are_integers(two):
    same = cm.conv(K2, (5, 6), stride=2, padding=2, dilation=2)
    op = cm.conv(K2, np.array([5, 6]), stride=two, padding=two, dilation=[two, two])

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


def test_strings_of_numpy_are_names():
    op = cm.conv([1.0, 2.0], 9, engine=np.str_("fft"), padding=np.str_("same"), boundary=np.str_("wrap"))
    assert op.explain().engine == "fft"
    assert op.out_shape == (9,)


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
