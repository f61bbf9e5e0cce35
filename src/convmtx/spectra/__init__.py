"""What linear algebra asks of a map: singular values, norms and bounds, and what else its spectrum tells."""

from convmtx.spectra.certified import Certified as Certified
from convmtx.spectra.derived import cond as cond
from convmtx.spectra.derived import cond_of as cond_of
from convmtx.spectra.derived import rank as rank
from convmtx.spectra.derived import rank_of as rank_of
from convmtx.spectra.derived import singular_value_bounds as singular_value_bounds
from convmtx.spectra.derived import smallest_singular_value as smallest_singular_value
from convmtx.spectra.derived import symbol as symbol
from convmtx.spectra.eigenvalues import eigvals as eigvals
from convmtx.spectra.nullspace import null_space as null_space
from convmtx.spectra.operator_norm import norm as norm
from convmtx.spectra.operator_norm import norm_bound as norm_bound
from convmtx.spectra.operator_norm import sup_norm as sup_norm
from convmtx.spectra.projection import clip as clip
from convmtx.spectra.projection import project as project
from convmtx.spectra.projection import spectral_normalize as spectral_normalize
from convmtx.spectra.square import logdet as logdet
from convmtx.spectra.square import trace as trace
from convmtx.spectra.values import SingularTensors as SingularTensors
from convmtx.spectra.values import svd as svd
from convmtx.spectra.values import svdvals as svdvals
