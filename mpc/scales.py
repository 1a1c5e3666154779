"""Fixed-point scales that every program shares, and the sizes of what is done at once."""

from __future__ import annotations

FRACTION_BITS = 14  # of CrypTen's tensors: products stay far enough below 2**64 for its truncation
DATA_BITS = 13  # fractional bits of a table's entries
ITERATE_BITS = 18  # of weights once opened and truncated
SCORE_BITS = DATA_BITS + ITERATE_BITS
GUARD_SCORES = 1 << 17  # whose range is guarded at once: CrypTen's comparison takes memory of many times a word
MOMENTUM_BITS = 6
NEWTON_MOMENTUM = 51  # at most, at scale 2**MOMENTUM_BITS: four fifths
TABLE_BITS = 16  # of the dealer's sines and cosines
LOSS_BITS = 34  # of the summed loss before it is truncated
LOSS_LIMIT_BITS = 4  # a mean loss of 16 and more would wrap: such a run is worthless anyway
LOSS_DIGITS = 14  # fractional bits of a disclosed mean loss
DENSITY_BITS = 34  # of p (1 - p) before it is truncated
ROW_BITS = 14  # of p (1 - p) once truncated: what scales the rows of the table
MOMENTS = 2  # figures that are disclosed of a column of several owners: the sums of its values and of their squares
MEANS = 2  # the same of a column with gaps before they are filled: the sum of the values, and how many there are
LIMBS = 6  # words that such a sum is opened in
INFORMATION_BITS = 2 * DATA_BITS + ROW_BITS  # of X^T S X before it is rounded
