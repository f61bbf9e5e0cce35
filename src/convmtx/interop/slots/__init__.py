"""Maps for homomorphic encryption: matrices as generalized diagonals, and the slots in which channels are packed.

An encrypted vector can be added to another, multiplied slot by slot by known numbers, and rotated. Rotations are
expensive, so a matrix is arranged by the rotations that it needs: by its diagonals, which wrap around.
"""

from convmtx.interop.slots.diagonals import Diagonals as Diagonals
from convmtx.interop.slots.diagonals import to_diagonals as to_diagonals
from convmtx.interop.slots.places import multiplex as multiplex
from convmtx.interop.slots.rotations import Rotations as Rotations
