"""A class of a user's own, with the fewest methods, gets NumPy's answers or one clear error from every function."""

from fractions import Fraction

import numpy as np
import pytest

import convmtx as cm

EPS = np.finfo(float).eps
RNG = np.random.default_rng(0)
SQUARE, TALL = RNG.standard_normal((6, 6)), RNG.standard_normal((8, 6))
#: Imaginary parts of a complex map.
TURN = RNG.standard_normal((8, 6))


def numbers(shape):
    """Random numbers, the same in every order of the tests."""
    return np.random.default_rng(1).standard_normal(shape)


class Own(cm.LinearMap):
    """A matrix, applied by NumPy."""

    def __init__(self, matrix, out_shape=None):
        self.matrix = matrix
        self._out = out_shape or ((2, 3) if len(matrix) == 6 else (4, 2))

    @property
    def in_shape(self):
        return (2, 3)

    @property
    def out_shape(self):
        return self._out

    @property
    def dtype(self):
        return self.matrix.dtype

    def _apply(self, x):
        return (x.reshape(len(x), 6) @ self.matrix.T).reshape(len(x), *self.out_shape)

    def _apply_transposed(self, y):
        return (y.reshape(len(y), -1) @ self.matrix).reshape(len(y), 2, 3)


class Liar(Own):
    """A map that computes in single precision, whatever its input."""

    def _apply(self, x):
        return super()._apply(x).astype(np.float32)


def with_nan(matrix):
    matrix = matrix.copy()
    matrix[1, 2] = np.nan
    return matrix


KINDS = {
    "real": lambda A: A,
    "complex": lambda A: A + 1j * TURN[: len(A)],
    "single": lambda A: A.astype(np.float32),
    "integers": lambda A: np.round(3 * A).astype(np.int64),
}


@pytest.fixture(params=list(KINDS))
def square(request):
    return Own(KINDS[request.param](SQUARE))


@pytest.fixture(params=list(KINDS))
def tall(request):
    return Own(KINDS[request.param](TALL))


def double(op):
    """The matrix in double precision."""
    return op.matrix.astype(np.result_type(op.dtype, float))


def singular(op):
    return np.linalg.svd(double(op), compute_uv=False)


def holds(result, value, size):
    """``result`` is the value to rounding, and its bounds hold it, for which NumPy may be wrong as much."""
    near = 100 * EPS * size
    assert np.abs(result.value - value).max(initial=0) <= near
    for part in (np.real, np.imag):
        assert (part(result.lower) - near <= part(value)).all()
        assert (part(value) <= part(result.upper) + near).all()


# Forms and algebra


def test_forms(tall):
    A = tall.matrix
    assert np.array_equal(tall.to_dense(), A)
    assert np.array_equal(tall.to_dense("F"), A.reshape(4, 2, 2, 3).transpose(1, 0, 3, 2).reshape(8, 6))
    assert np.array_equal(tall.to_tensor(), A.reshape(4, 2, 2, 3))
    assert np.array_equal(np.asarray(tall), A)
    assert tall.to_dense().dtype == A.dtype
    for form in ("csr", "csc", "coo", "bsr", "dia"):
        assert np.array_equal(tall.to_sparse(form).toarray(), A)
    assert np.array_equal(tall.to_sparse(rows=[5, 0, 5]).toarray(), A[[5, 0, 5]])
    assert np.array_equal(tall.to_sparse("csr", "F", rows=[1]).toarray(), tall.to_dense("F")[1:2])
    assert np.array_equal(tall.T.to_sparse(rows=[2, 3]).toarray(), A.T[[2, 3]])


def test_half_precision():
    op = Own(TALL.astype(np.float16))
    assert np.array_equal(op.to_dense(), op.matrix)
    holds(cm.norm(op), singular(op)[0], singular(op)[0])


def test_algebra(tall, square):
    A, B = tall.matrix, square.matrix
    conv = cm.conv(np.array([[1.0, -2.0]]), (2, 3), padding="same")
    C = conv.to_dense()
    near = 100 * EPS * (1 + np.abs(A).sum() * np.abs(B).sum())
    near = max(near, 1e-3 if np.float32 in (A.dtype, B.dtype) else 0)
    for op, matrix in [
        (tall.T, A.T),
        (tall.H, A.conj().T),
        (tall.conj(), A.conj()),
        (tall.conj().conj(), A),
        (2 * tall - tall / 4, 1.75 * A),
        (-tall, -A),
        (tall @ square, A @ B),
        (square + conv, B + C),
        (conv @ square, C @ B),
        ((tall @ conv).H, (A @ C).conj().T),
        ((1j * tall).H, (1j * A).conj().T),
    ]:
        assert np.abs(op.to_dense() - matrix).max() <= near
        assert np.abs(op.to_sparse().toarray() - matrix).max() <= near
        x = numbers((3, *op.in_shape))
        assert np.abs(op(x).reshape(3, -1) - x.reshape(3, -1) @ matrix.T).max() <= near
        y = numbers(op.shape[0])
        assert np.abs(op.rmatvec(y) - matrix.conj().T @ y).max() <= near
        assert np.abs(y @ op - y @ matrix).max() <= near


def test_affine_maps(tall):
    offset = np.arange(8.0).reshape(4, 2)
    layer = cm.Affine(tall, offset)
    x = numbers((2, 3))
    assert np.abs(layer(x) - tall(x) - offset).max() < 1e-12
    A = layer.augmented()
    assert np.array_equal(A.to_dense(), np.column_stack([tall.matrix, offset.ravel()]))
    size = np.linalg.norm(A.to_dense())
    holds(cm.norm(A), np.linalg.norm(A.to_dense().astype(complex), 2), size)


def test_a_map_is_sealed_after_its_init(tall):
    with pytest.raises(cm.ImmutableError, match=r"Own\.matrix"):
        tall.matrix = None
    assert "Own" in tall._repr_html_()
    assert "matrix" in tall._repr_html_()


# Spectra


def test_norms(tall):
    A, size = double(tall), singular(tall)[0]
    for order in (2, 1, np.inf, "fro"):
        holds(cm.norm(tall, order), np.linalg.norm(A, order), 3 * size)
    holds(cm.norm(tall.H @ tall), size**2, size**2)


def test_singular_values(tall):
    values = singular(tall)
    holds(cm.svdvals(tall), values, values[0])
    holds(cm.svdvals(tall, 2), values[:2], values[0])
    holds(cm.svdvals(tall, 2, which="smallest"), values[-2:], values[0])
    holds(cm.smallest_singular_value(tall), values[-1], values[0])
    holds(cm.cond(tall), values[0] / values[-1], (values[0] / values[-1]) ** 2)
    assert int(cm.rank(tall)) == 6
    assert len(cm.null_space(tall)) == 0


def test_singular_tensors(tall):
    result = cm.svd(tall, 2)
    U, s, V = (np.asarray(part) for part in (result.U, result.s, result.V))
    A = double(tall)
    assert np.abs(s - singular(tall)[:2]).max() < 1e-12 * s[0]
    assert np.abs(V.reshape(2, -1) @ A.T - s[:, None] * U.reshape(2, -1)).max() < 1e-7 * s[0]


def test_what_is_not_of_full_rank():
    op = Own(np.outer(np.arange(1.0, 9.0), np.ones(6)))
    kernel = cm.null_space(op)
    assert int(cm.rank(op)) == 1
    assert kernel.shape == (5, 2, 3)
    assert np.abs(op(kernel)).max() < 1e-12


def test_square_maps(square):
    A, size = double(square), singular(square)[0]
    values = np.linalg.eigvals(A)
    result = np.asarray(cm.eigvals(square))
    assert np.abs(np.sort_complex(result) - np.sort_complex(values)).max() < 1e-10 * size
    holds(cm.trace(square), np.trace(A), 6 * size)
    holds(cm.logdet(square), np.linalg.slogdet(A)[1], 6 * size / singular(square)[-1])


def test_large_maps_are_taken_apart_by_iterations():
    """The certified ends of an iteration rest on magnitudes and roundings of the map's own class."""
    matrix = np.diag(np.linspace(1, 2, 3000)) + np.diag(np.full(2999, 0.25), 1)

    class Band(cm.LinearMap):
        in_shape, out_shape, dtype = (3000,), (3000,), np.dtype(float)

        def _apply(self, x):
            return np.linspace(1, 2, 3000) * x + 0.25 * np.pad(x, ((0, 0), (0, 1)))[:, 1:]

        def _apply_transposed(self, y):
            return np.linspace(1, 2, 3000) * y + 0.25 * np.pad(y, ((0, 0), (1, 0)))[:, :-1]

    op, x = Band(), numbers(3000)
    assert np.array_equal(op.to_sparse().toarray(), matrix)
    for method in ("auto", "lsmr", "sparse"):
        assert np.linalg.norm(cm.solve(op, matrix @ x, method=method).x - x) < 1e-6 * np.linalg.norm(x)
    result = cm.norm(op)
    assert result.lower <= result.upper
    gram = matrix.T @ matrix
    assert (np.linalg.norm(matrix, 1) * np.linalg.norm(matrix, np.inf)) ** 0.5 >= result.lower
    np.linalg.cholesky(result.upper**2 * (1 + 1e-12) * np.eye(3000) - gram)  # no singular value above the upper end


def test_bounds_hold_what_cancels():
    """Rounding is relative to the magnitudes of the factors, not to the entry of the product."""
    x, y = 1 / 3, 1 / 7
    first, second = np.zeros((6, 6)), np.zeros((6, 6))
    first[0, :2] = x, y
    second[:2, 0] = y, -x * (1 + 2.0**-50)
    exact = abs(sum(Fraction(a) * Fraction(b) for a, b in zip(first[0], second[:, 0], strict=True)))
    for op in (Own(first) @ Own(second), (Own(first) @ Own(second)).T):
        result = cm.norm(op)
        assert Fraction(float(result.lower)) <= exact <= Fraction(float(result.upper))


@pytest.mark.parametrize("name", ["norm_bound", "singular_value_bounds", "sup_norm", "clip", "project", "symbol"])
def test_what_is_for_convolutions_says_so(name):
    options = {"clip": (1.0,), "project": (1.0,), "symbol": (4,)}.get(name, ())
    with pytest.raises(cm.ConvmtxError, match=f"{name}: .*Own.*Expected a (convolution|kernel)"):
        getattr(cm, name)(Own(SQUARE), *options)
    with pytest.raises(cm.ConvmtxError, match=r"spectral_normalize: .*Own.*Expected a convolution"):
        cm.spectral_normalize(Own(SQUARE))


# Solves


@pytest.mark.parametrize("method", ["auto", "sparse", "dense", "lsmr"])
@pytest.mark.parametrize("damp", [0.0, 0.5])
def test_solutions(tall, method, damp):
    A, b = double(tall), numbers((2, 4, 2))
    stacked = np.concatenate([A, damp * np.eye(6)])
    expected = np.linalg.lstsq(stacked, np.concatenate([b.reshape(2, 8).T, np.zeros((6, 2))]), rcond=None)[0].T
    result = cm.solve(tall, b, damp=damp, method=method)
    assert np.abs(result.x.reshape(2, 6) - expected).max() < 1e-8


def test_regularizers(tall, square):
    A, R, b = double(tall), double(square), numbers(8)
    expected = np.linalg.lstsq(np.concatenate([A, 0.5 * R]), np.concatenate([b, np.zeros(6)]), rcond=None)[0]
    result = cm.solve(tall, b.reshape(4, 2), damp=0.5, regularizer=square)
    assert np.abs(result.x.ravel() - expected).max() < 1e-8


def test_inverses(tall, square):
    B = np.linalg.inv(double(square))
    b = numbers(6)
    assert np.abs(cm.inv(square).to_dense() - B).max() < 1e-9 * np.abs(B).max()
    assert np.abs(cm.factorize(square).solve(b.reshape(2, 3)).x.ravel() - B @ b).max() < 1e-8 * np.abs(B).max()
    A = np.linalg.pinv(double(tall))
    assert np.abs(cm.pinv(tall).to_dense() - A).max() < 1e-9 * np.abs(A).max()
    values = 1 / singular(square)[::-1]
    holds(cm.norm(cm.inv(square)), values[0], 100 * values[0] ** 2)


def test_wiener_filter_and_choice_of_damping(tall):
    A, x = double(tall), np.arange(1.0, 7.0)
    b = (A @ x).real + numbers(8)
    damped = np.linalg.solve(A.conj().T @ A + 0.01 * np.eye(6), A.conj().T @ b)
    assert np.abs(cm.wiener(tall, b.reshape(4, 2), 100.0).ravel() - damped).max() < 1e-8

    # The least generalized cross-validation, among damping factors up to the norm.
    U, s, _ = np.linalg.svd(A)
    c = np.abs(U.conj().T @ b) ** 2
    damps = np.geomspace(1e-3 * s[0], s[0], 2001)[:, None]
    left = np.concatenate([(damps**2 / (s**2 + damps**2)), np.ones((2001, 2))], axis=1)
    scores = (left**2 @ c) / left.sum(axis=1) ** 2
    damp = float(cm.choose_damp(tall, b.reshape(4, 2)).damp)
    near = np.concatenate([damp**2 / (s**2 + damp**2), np.ones(2)])
    assert near**2 @ c / near.sum() ** 2 <= scores.min() * (1 + 1e-6)


def test_no_preconditioner():
    with pytest.raises(cm.UnsupportedError, match=r"preconditioner: .*Expected a convolution"):
        cm.preconditioner(Own(SQUARE))


# Other libraries


def test_modules_of_pytorch(tall):
    torch = pytest.importorskip("torch")
    x = torch.ones(5, 2, 3, dtype=torch.float64, requires_grad=tall.dtype.kind != "c")
    y = tall.to_torch()(x)
    assert np.abs(y.detach().numpy().reshape(5, -1) - np.ones((5, 6)) @ tall.matrix.T).max() < 1e-12
    if x.requires_grad:
        y.sum().backward()
        assert np.abs(x.grad.numpy().reshape(5, 6) - tall.matrix.sum(axis=0)).max() < 1e-5


def test_arrays_of_other_libraries():
    torch = pytest.importorskip("torch")
    x, other = torch.ones(2, 3), cm.conv(torch.ones(1, 2), (2, 3), padding="same")
    op = Own(SQUARE)
    for call in (lambda: op(x), lambda: (2 * op)(x), lambda: op @ x.ravel(), lambda: (op @ op)(x)):
        with pytest.raises(cm.ArgumentTypeError, match=r"takes? arrays of NumPy"):
            call()
    for call in (lambda: op + other, lambda: other @ op, lambda: op - other):
        with pytest.raises(cm.ArgumentTypeError, match="Maps of class Own take arrays of numpy"):
            call()
    with pytest.raises(cm.ArgumentTypeError, match=r"takes? arrays of NumPy"):
        cm.Affine(op, torch.ones(2, 3)).augmented()


def test_models_of_onnx(tall):
    onnx = pytest.importorskip("onnx")
    if tall.dtype.kind != "f":
        with pytest.raises(cm.UnsupportedError, match=r"to_onnx: a map of (complex128|int64)"):
            tall.to_onnx()
        return
    reference = pytest.importorskip("onnx.reference")
    model = tall.to_onnx()
    onnx.checker.check_model(model)
    x = numbers((5, 2, 3)).astype(tall.dtype)
    (y,) = reference.ReferenceEvaluator(model).run(None, {"x": x})
    assert np.abs(y - tall(x)).max() <= 1e-5


def test_operators_of_pylops(tall):
    pytest.importorskip("pylops")
    operator, v = cm.to_pylops(tall), numbers(6)
    assert np.abs(operator @ v - tall.matrix @ v).max() < 1e-12
    assert operator.dims == (2, 3)


# Pictures


def test_pictures(tall):
    pytest.importorskip("matplotlib")
    from convmtx import plot

    A = double(tall)
    assert np.array_equal(plot.matrix_data(tall).values, A)
    assert np.abs(plot.spectrum_data(tall).values - singular(tall)).max() < 1e-12 * singular(tall)[0]
    data = plot.row_data(tall, (1, 0))
    assert np.array_equal(data.values, A[2][A[2] != 0])
    for name in ("cost", "kernel", "symbol"):
        for function in (getattr(plot, name), getattr(plot, f"{name}_data")):
            with pytest.raises(cm.UnsupportedError, match=rf"plot.{function.__name__}: op is an Own. Expected"):
                function(tall)
    with pytest.raises(cm.ConvmtxError, match=r"explore: op is an Own"):
        cm.explore(tall)


# What is not finite, and not in double precision

QUESTIONS = {
    "norm": cm.norm,
    "one norm": lambda op: cm.norm(op, 1),
    "svdvals": cm.svdvals,
    "two svdvals": lambda op: cm.svdvals(op, 2),
    "svd": lambda op: cm.svd(op, 2),
    "smallest_singular_value": cm.smallest_singular_value,
    "cond": cm.cond,
    "rank": cm.rank,
    "null_space": cm.null_space,
    "eigvals": cm.eigvals,
    "trace": cm.trace,
    "logdet": cm.logdet,
    "solve": lambda op: cm.solve(op, np.ones((2, 3))),
    "iterated solve": lambda op: cm.solve(op, np.ones((2, 3)), method="lsmr"),
    "penalized solve": lambda op: cm.solve(Own(SQUARE), np.ones((2, 3)), damp=1.0, regularizer=op),
    "factorize": cm.factorize,
    "inv": cm.inv,
    "pinv": lambda op: cm.pinv(op).to_dense(),
    "wiener": lambda op: cm.wiener(op, np.ones((2, 3)), 0.1),
    "choose_damp": lambda op: cm.choose_damp(op, np.ones((2, 3))),
}


@pytest.mark.parametrize("name", list(QUESTIONS))
@pytest.mark.parametrize("kind", ["itself", "transposed", "sum", "product"])
def test_nan_is_refused(name, kind):
    op = Own(with_nan(SQUARE))
    op = {"itself": op, "transposed": op.T, "sum": op + op, "product": Own(SQUARE) @ op}[kind]
    call = name.split()[-1]
    with pytest.raises(cm.ArgumentError, match=rf"^{call}: .* an Own contains inf or nan"):
        QUESTIONS[name](op)


def test_outputs_in_less_than_double_precision_are_refused():
    with pytest.raises(cm.ArgumentTypeError, match="solve: a Liar takes float64 to float32"):
        cm.solve(Liar(SQUARE), np.ones((2, 3)), method="lsmr")


def test_an_own_form_is_taken():
    """A class that knows its entries gives them itself, and no operation of ours changes what it holds."""
    from scipy.sparse import csr_array

    held = csr_array(SQUARE)

    class Known(Own):
        def _sparse(self, order, rows):
            assert order == "C"
            return held if rows is None else held[np.asarray(rows)]

    op = Known(SQUARE)
    assert np.array_equal((3 * op).to_sparse().toarray(), 3 * SQUARE)
    assert np.array_equal(op.conj().to_sparse(rows=[2]).toarray(), SQUARE[2:3])
    holds(cm.norm(op), singular(op)[0], singular(op)[0])
    assert np.array_equal(held.toarray(), SQUARE)


# What a class says of itself, and what it returns


class Twice(cm.LinearMap):
    """Twice the input, with a type and sizes that are not yet those of a map."""

    in_shape, out_shape, dtype = 4, [4], "<f8"

    def _apply(self, x):
        return 2 * x

    def _apply_transposed(self, y):
        return 2 * y


@pytest.mark.parametrize("dtype", [float, np.float64, "<f8", np.dtype(float)])
def test_shapes_and_types_are_made_the_usual_ones(dtype):
    op = type("Own", (Twice,), {"dtype": dtype, "__module__": __name__})()
    assert (op.in_shape, op.out_shape, op.dtype) == ((4,), (4,), np.dtype(float))
    assert np.array_equal(op.to_dense(), 2 * np.eye(4))
    assert cm.norm(op).value == 2


@pytest.mark.parametrize(
    ("name", "value"), [("dtype", "words"), ("in_shape", 1.5), ("dtype", property(lambda _: float))]
)
def test_other_shapes_and_types_are_refused(name, value):
    with pytest.raises(cm.ConvmtxError, match=rf"^Own: Own.{name}"):
        type("Own", (Twice,), {name: value, "__module__": __name__})()


@pytest.mark.parametrize("wrong", [lambda y: y[:, :-1], lambda y: y[0], lambda y: y.tolist(), lambda _: None])
def test_wrong_outputs_name_the_method(wrong):
    methods = {"_apply": lambda _, x: wrong(2 * x), "__module__": __name__}
    op = type("Own", (Twice,), methods)()
    for call in (
        cm.norm,
        cm.svdvals,
        lambda op: op(np.ones((3, 4))),
        lambda op: op.to_dense(),
        lambda op: (op + op).T.T(np.ones(4)),
    ):
        with pytest.raises(cm.ConvmtxError, match=r"Own._apply returns .*Mend Own._apply"):
            call(op)


def test_a_wrong_transpose_is_refused():
    op = type("Own", (Twice,), {"_apply_transposed": lambda _, y: 3 * y, "__module__": __name__})()
    for call in (cm.norm, cm.svdvals, lambda op: cm.solve(op, np.ones(4)), lambda op: op.to_sparse(rows=[1])):
        with pytest.raises(cm.ArgumentError, match=r"is not the transpose of Own._apply"):
            call(op)


@pytest.mark.parametrize("scale", [1e200, 1e155, 1e-200, 1e-310])
def test_extreme_entries(scale):
    op, b = Own(SQUARE * scale), np.ones((2, 3))
    assert np.isclose(cm.norm(op).value / scale, np.linalg.norm(SQUARE, 2))
    for method in ("auto", "lsmr", "dense"):
        result = cm.solve(op, b * scale, method=method)
        assert result.converged
        assert np.allclose(result.x.ravel(), np.linalg.solve(SQUARE, np.ones(6)))


def test_differences_of_equal_maps_are_zero():
    p = cm.permutation((3000, 1), "HW", "WH")
    assert cm.norm(p - p).value == 0
    assert cm.svdvals(p - p, 2)[0] == 0


def test_right_hand_sides_of_other_libraries_are_refused():
    torch = pytest.importorskip("torch")
    with pytest.raises(cm.ArgumentTypeError, match="solve: b is an array of torch"):
        cm.solve(Own(SQUARE), torch.ones(2, 3))


def test_nothing_of_a_map_is_deleted():
    with pytest.raises(cm.ImmutableError, match=r"_kernel was deleted"):
        del cm.conv([1, 2], 5)._kernel
    with pytest.raises(cm.ConvmtxError, match=r"Use convmtx.conv"):
        cm.ConvOperator(1, 2, 3)
