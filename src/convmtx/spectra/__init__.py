"""Singular values, norms, eigenvalues and determinants of maps, with what is certain of each."""

from convmtx.spectra.certified import Certified as Certified
from convmtx.spectra.condition import cond as cond
from convmtx.spectra.condition import cond_of as cond_of
from convmtx.spectra.condition import rank as rank
from convmtx.spectra.condition import rank_of as rank_of
from convmtx.spectra.condition import singular_value_bounds as singular_value_bounds
from convmtx.spectra.condition import smallest_singular_value as smallest_singular_value
from convmtx.spectra.determinant import logdet as logdet
from convmtx.spectra.determinant import trace as trace
from convmtx.spectra.eigenvalues import eigvals as eigvals
from convmtx.spectra.norms import norm as norm
from convmtx.spectra.norms import norm_bound as norm_bound
from convmtx.spectra.norms import sup_norm as sup_norm
from convmtx.spectra.nullspace import null_space as null_space
from convmtx.spectra.projection import clip as clip
from convmtx.spectra.projection import project as project
from convmtx.spectra.projection import spectral_normalize as spectral_normalize
from convmtx.spectra.symbols import symbol as symbol
from convmtx.spectra.values import SingularTensors as SingularTensors
from convmtx.spectra.values import svd as svd
from convmtx.spectra.values import svdvals as svdvals
