"""Private set intersection: which records several parties have in common, and none of the others.

`records` brings ids to one form, `curve` encrypts them, `protocol` finds those that all have. docs/matching.md has who
learns what. Needs the extra `matching`.
"""

from parties.psi.curve import check_library
from parties.psi.protocol import Counted, Matched, TooFewMatches, count, match
from parties.psi.records import Records, keyed_records

__all__ = ["Counted", "Matched", "Records", "TooFewMatches", "check_library", "count", "keyed_records", "match"]
