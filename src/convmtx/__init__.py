"""A convolution is a linear map: as a tensor, a matrix, a sparse matrix, a view or an operator."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from convmtx.bounds import bounds as bounds
from convmtx.construct import conv as conv
from convmtx.construct import conv_transpose as conv_transpose
from convmtx.construct import convmtx as convmtx
from convmtx.construct import kernel_operator as kernel_operator
from convmtx.errors import ArgumentError as ArgumentError
from convmtx.errors import ArgumentTypeError as ArgumentTypeError
from convmtx.errors import ConvmtxError as ConvmtxError
from convmtx.errors import FormTooLargeError as FormTooLargeError
from convmtx.errors import ImmutableError as ImmutableError
from convmtx.errors import MissingExtraError as MissingExtraError
from convmtx.errors import ModelFileError as ModelFileError
from convmtx.errors import NotToeplitzError as NotToeplitzError
from convmtx.errors import RowIndexError as RowIndexError
from convmtx.errors import SolveError as SolveError
from convmtx.errors import UnsupportedError as UnsupportedError
from convmtx.fusing import Fused as Fused
from convmtx.fusing import fuse as fuse
from convmtx.interop import exports as _exports  # noqa: F401 - fills the registry of to_torch and to_onnx
from convmtx.maps.affine import Affine as Affine
from convmtx.maps.convolution import ConvOperator as ConvOperator
from convmtx.maps.diagonal import diagonal as diagonal
from convmtx.maps.diagonal import identity as identity
from convmtx.maps.explanation import Explanation as Explanation
from convmtx.maps.foreign import aslinearmap as aslinearmap
from convmtx.maps.gram import gram as gram
from convmtx.maps.kernel_operator import KernelOperator as KernelOperator
from convmtx.maps.kronecker import kron as kron
from convmtx.maps.linear_map import LinearMap as LinearMap
from convmtx.maps.local import local as local
from convmtx.maps.padding import pad as pad
from convmtx.maps.rearranged import permutation as permutation
from convmtx.maps.selection import select as select
from convmtx.maps.stacks import block_diag as block_diag
from convmtx.maps.stacks import concat as concat
from convmtx.maps.stacks import hstack as hstack
from convmtx.maps.stacks import vstack as vstack
from convmtx.maps.varying import varying as varying

if TYPE_CHECKING:  # `__getattr__` imports these on first use, which makes importing convmtx a third faster
    from convmtx import plot as plot
    from convmtx.explorer import explore as explore
    from convmtx.fitting import fit_kernel as fit_kernel
    from convmtx.interop.keras import from_keras as from_keras
    from convmtx.interop.lax import from_lax as from_lax
    from convmtx.interop.onnx import OnnxLayers as OnnxLayers
    from convmtx.interop.onnx import from_onnx as from_onnx
    from convmtx.interop.petsc import to_petsc as to_petsc
    from convmtx.interop.pylops import to_pylops as to_pylops
    from convmtx.interop.slots import Diagonals as Diagonals
    from convmtx.interop.slots import Rotations as Rotations
    from convmtx.interop.slots import multiplex as multiplex
    from convmtx.interop.slots import to_diagonals as to_diagonals
    from convmtx.interop.torch import from_torch as from_torch
    from convmtx.interop.wavelets import WaveletTransform as WaveletTransform
    from convmtx.interop.wavelets import dwt as dwt
    from convmtx.interop.xarray import apply as apply
    from convmtx.recognition.nearest import nearest as nearest
    from convmtx.recognition.probe import probe as probe
    from convmtx.recognition.recognition import Recognition as Recognition
    from convmtx.recognition.recognize import recognize as recognize
    from convmtx.resizing.resize import resize as resize
    from convmtx.solves.damping import Damping as Damping
    from convmtx.solves.damping import choose_damp as choose_damp
    from convmtx.solves.factorize import Factorization as Factorization
    from convmtx.solves.factorize import factorize as factorize
    from convmtx.solves.inverses import Inverse as Inverse
    from convmtx.solves.inverses import inv as inv
    from convmtx.solves.inverses import pinv as pinv
    from convmtx.solves.inverses import preconditioner as preconditioner
    from convmtx.solves.richardson_lucy import Estimate as Estimate
    from convmtx.solves.richardson_lucy import richardson_lucy as richardson_lucy
    from convmtx.solves.solution import Solution as Solution
    from convmtx.solves.solve import solve as solve
    from convmtx.solves.variance import Variance as Variance
    from convmtx.solves.wiener import wiener as wiener
    from convmtx.spectra import Certified as Certified
    from convmtx.spectra import SingularTensors as SingularTensors
    from convmtx.spectra import clip as clip
    from convmtx.spectra import cond as cond
    from convmtx.spectra import eigvals as eigvals
    from convmtx.spectra import logdet as logdet
    from convmtx.spectra import norm as norm
    from convmtx.spectra import norm_bound as norm_bound
    from convmtx.spectra import null_space as null_space
    from convmtx.spectra import project as project
    from convmtx.spectra import rank as rank
    from convmtx.spectra import singular_value_bounds as singular_value_bounds
    from convmtx.spectra import smallest_singular_value as smallest_singular_value
    from convmtx.spectra import spectral_normalize as spectral_normalize
    from convmtx.spectra import sup_norm as sup_norm
    from convmtx.spectra import svd as svd
    from convmtx.spectra import svdvals as svdvals
    from convmtx.spectra import symbol as symbol
    from convmtx.spectra import trace as trace
    from convmtx.storage.load import load as load
    from convmtx.storage.run import run as run
    from convmtx.storage.save import save as save
    from convmtx.tuning.tune import Tuning as Tuning
    from convmtx.tuning.tune import tune as tune

__version__ = "0.1.0"

__all__ = [
    "Affine",
    "ArgumentError",
    "ArgumentTypeError",
    "Certified",
    "ConvOperator",
    "ConvmtxError",
    "Damping",
    "Diagonals",
    "Estimate",
    "Explanation",
    "Factorization",
    "FormTooLargeError",
    "Fused",
    "ImmutableError",
    "Inverse",
    "KernelOperator",
    "LinearMap",
    "MissingExtraError",
    "ModelFileError",
    "NotToeplitzError",
    "OnnxLayers",
    "Recognition",
    "Rotations",
    "RowIndexError",
    "SingularTensors",
    "Solution",
    "SolveError",
    "Tuning",
    "UnsupportedError",
    "Variance",
    "WaveletTransform",
    "apply",
    "aslinearmap",
    "block_diag",
    "bounds",
    "choose_damp",
    "clip",
    "concat",
    "cond",
    "conv",
    "conv_transpose",
    "convmtx",
    "diagonal",
    "dwt",
    "eigvals",
    "explore",
    "factorize",
    "fit_kernel",
    "from_keras",
    "from_lax",
    "from_onnx",
    "from_torch",
    "fuse",
    "gram",
    "hstack",
    "identity",
    "inv",
    "kernel_operator",
    "kron",
    "load",
    "local",
    "logdet",
    "multiplex",
    "nearest",
    "norm",
    "norm_bound",
    "null_space",
    "pad",
    "permutation",
    "pinv",
    "plot",
    "preconditioner",
    "probe",
    "project",
    "rank",
    "recognize",
    "resize",
    "richardson_lucy",
    "run",
    "save",
    "select",
    "singular_value_bounds",
    "smallest_singular_value",
    "solve",
    "spectral_normalize",
    "sup_norm",
    "svd",
    "svdvals",
    "symbol",
    "to_diagonals",
    "to_petsc",
    "to_pylops",
    "trace",
    "tune",
    "varying",
    "vstack",
    "wiener",
]

#: Module of each name that is imported on first use; names that are not listed are of spectra.
_MODULES = {
    "Damping": "solves.damping",
    "Diagonals": "interop.slots",
    "Estimate": "solves.richardson_lucy",
    "Factorization": "solves.factorize",
    "Inverse": "solves.inverses",
    "OnnxLayers": "interop.onnx",
    "Recognition": "recognition.recognition",
    "Rotations": "interop.slots",
    "Solution": "solves.solve",
    "Tuning": "tuning",
    "Variance": "solves.variance",
    "WaveletTransform": "interop.wavelets",
    "choose_damp": "solves.damping",
    "dwt": "interop.wavelets",
    "explore": "explorer",
    "factorize": "solves.factorize",
    "fit_kernel": "fitting",
    "apply": "interop.xarray",
    "from_keras": "interop.keras",
    "from_lax": "interop.lax",
    "from_onnx": "interop.onnx",
    "from_torch": "interop.torch",
    "inv": "solves.inverses",
    "load": "storage",
    "multiplex": "interop.slots",
    "nearest": "recognition.nearest",
    "pinv": "solves.inverses",
    "preconditioner": "solves.inverses",
    "probe": "recognition.probe",
    "recognize": "recognition.recognize",
    "resize": "resizing.resize",
    "richardson_lucy": "solves.richardson_lucy",
    "run": "storage",
    "save": "storage",
    "solve": "solves.solve",
    "to_diagonals": "interop.slots",
    "to_petsc": "interop.petsc",
    "to_pylops": "interop.pylops",
    "tune": "tuning",
    "wiener": "solves.wiener",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name not in __all__:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    if name == "plot":
        return import_module("convmtx.plot")
    value = getattr(import_module(f"convmtx.{_MODULES.get(name, 'spectra')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List all public names, also those that are not imported yet."""
    return sorted({*globals(), *__all__})
