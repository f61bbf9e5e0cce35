"""Numbers of any type as arguments: taken as what they are, or refused in one line of bounded length."""

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

import convmtx as cm

OP, B = cm.conv([[1.0, 2], [3, 9]], (4, 4), padding="same", boundary="reflect"), np.arange(16.0).reshape(4, 4)
F = cm.factorize(OP)


class Stranger:
    def __float__(self):
        raise RuntimeError("no number")

    __repr__ = __float__


def tensor(**options):
    return pytest.importorskip("torch").tensor(0.25, **options)


ARGUMENTS = {
    "damp": (lambda v: cm.solve(OP, B, damp=v), "a finite number >= 0"),
    "damp of factorize": (lambda v: cm.factorize(OP, damp=v), "a finite number >= 0"),
    "damp of pinv": (lambda v: cm.pinv(OP, damp=v), "a finite number >= 0"),
    "damp of preconditioner": (lambda v: cm.preconditioner(OP, damp=v), "a finite number >= 0"),
    "rtol": (lambda v: cm.solve(OP, B, rtol=v), "a number between 0 and 1"),
    "rtol of a factorization": (lambda v: F.solve(B, rtol=v), "a number between 0 and 1"),
    "noise": (lambda v: cm.choose_damp(OP, B, "discrepancy", noise=v), "a finite number > 0"),
}
WRONG = {
    "beyond floats": lambda: 10**400,
    "beyond what Python prints": lambda: 10**5000,
    "negative": lambda: -1,
    "nan": lambda: float("nan"),
    "extended": lambda: np.longdouble("1e4000"),
    "complex": lambda: 0.25 + 0j,
    "True": lambda: True,
    "NumPy's True": lambda: np.True_,
    "text": lambda: "0.25" * 10**5,
    "nothing": lambda: None,
    "array": lambda: np.full(10**5, 0.25),
    "list": lambda: [0.25] * 10**5,
    "object array": lambda: np.array(0.25, object),
    "map": lambda: OP,
    "stranger": Stranger,
    "a tensor that requires grad": lambda: tensor(requires_grad=True),
}


@pytest.mark.parametrize("name", ARGUMENTS)
@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_no_number_is_refused_in_a_line(name, wrong):
    call, wanted = ARGUMENTS[name]
    with pytest.raises(cm.ArgumentError) as caught:
        call(WRONG[wrong]())
    text = str(caught.value)
    assert f"{name.split()[0]}=" in text
    assert wanted in text or (name, wrong) == ("noise", "nothing")  # which is no noise at all
    assert len(text) < 300
    assert "\n" not in text
    if "grad" in wrong:
        assert f"pass float({name.split()[0]}.detach())" in text


@pytest.mark.parametrize(
    "value",
    [np.float16(0.25), np.longdouble(0.25), np.array(0.25), Fraction(1, 4), lambda: tensor(),
     lambda: tensor(dtype=pytest.importorskip("torch").bfloat16)],
    ids=["half", "extended", "0-d", "fraction", "tensor", "bfloat16"],
)  # fmt: skip
def test_numbers_of_any_type_are_numbers(value):
    value = value() if callable(value) else value
    expected = cm.solve(OP, B, damp=0.25).x
    assert np.array_equal(cm.solve(OP, B, damp=value).x, expected)
    assert np.array_equal(cm.factorize(OP, damp=value).solve(B, rtol=value).x, expected)


@pytest.mark.parametrize(
    "wrong", [10**5000, "x" * 10**6, [0] * 10**6, Stranger()], ids=["integer", "text", "list", "stranger"]
)
@pytest.mark.parametrize("name", ["maxiter", "method", "progress", "throw", "callback"])
def test_other_arguments_are_refused_in_a_line(name, wrong):
    with pytest.raises(cm.ConvmtxError, match=f"solve: {name}") as caught:
        cm.solve(OP, B, **{name: wrong})
    assert len(str(caught.value)) < 500


def test_rules_and_noise_that_do_not_go_together():
    with pytest.raises(cm.ArgumentError, match=r"rule='gcv' with noise=<integer of \d+ bits>"):
        cm.choose_damp(OP, B, noise=10**5000)
    with pytest.raises(cm.ArgumentError):
        cm.solve(OP, B, damp=Decimal("nan"))


@pytest.mark.parametrize("method", ["auto", "band", "dense", "lsmr", "preconditioned"])
@pytest.mark.parametrize("kind", [np.longdouble, np.clongdouble])
def test_right_hand_sides_in_extended_precision_are_solved_in_double(method, kind):
    b = B.astype(kind) + (1j * B.T.astype(kind) if kind is np.clongdouble else 0)
    s = cm.solve(OP, b, method=method, x0=b, rtol=1e-13)
    expected = np.linalg.solve(OP.to_dense(), b.ravel().astype(np.complex128)).reshape(4, 4)
    assert s.x.dtype == (np.float64 if kind is np.longdouble else np.complex128)
    assert s.converged
    assert np.abs(s.x - expected).max() <= 1e-9 * np.abs(expected).max()
    assert np.abs(cm.inv(OP, method=method if method != "preconditioned" else "auto")(b) - expected).max() <= 1e-9
    assert np.isclose(cm.choose_damp(OP, b).damp, cm.choose_damp(OP, b.astype(s.x.dtype)).damp)
    with pytest.raises(cm.ArgumentError, match="b contains inf or nan"):
        cm.solve(OP, b * np.longdouble("1e4000"), method=method)


def test_what_cannot_be_left_out_is_not_said_to_be():
    gaps = np.where(B == 3, np.nan, B)
    with pytest.raises(cm.ArgumentError, match="Replace them, or leave them out"):
        cm.solve(OP, gaps)
    with pytest.raises(cm.ArgumentError, match="Replace them, or leave them out"):
        cm.pinv(OP)(gaps)
