"""What linear algebra asks of a map: singular values, norms and bounds, and what else its spectrum tells."""

from convmtx.spectra.certified import Certified
from convmtx.spectra.derived import cond, rank, singular_value_bounds, smallest_singular_value, symbol
from convmtx.spectra.norm import norm, norm_bound, sup_norm
from convmtx.spectra.project import clip, project, spectral_normalize
from convmtx.spectra.square import eigvals, logdet, trace
from convmtx.spectra.values import SingularTensors, svd, svdvals

__all__ = [
    "Certified",
    "SingularTensors",
    "clip",
    "cond",
    "eigvals",
    "logdet",
    "norm",
    "norm_bound",
    "project",
    "rank",
    "singular_value_bounds",
    "smallest_singular_value",
    "spectral_normalize",
    "sup_norm",
    "svd",
    "svdvals",
    "symbol",
    "trace",
]
