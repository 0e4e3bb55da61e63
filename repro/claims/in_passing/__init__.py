"""What the papers say in passing: claims A18 to A26, B13 to B21, and C11 to C13.

Each is a handful of cells and a contrast or two between them; many cells are other notebooks' runs. A module a paper has
its `STATEMENTS`; judge and draw are the same for all (`statement`). Those that take the papers' own data are planned at
paper alone.
"""

from functools import partial

from repro.claims import Claim
from repro.claims.in_passing import democratizing, msr, small_projectors
from repro.claims.in_passing.statement import Statement, draw, judge

STATEMENTS: dict[str, Statement] = democratizing.STATEMENTS | msr.STATEMENTS | small_projectors.STATEMENTS
CLAIMS = tuple(
    Claim(id, s.plan, partial(judge, statement=s), partial(draw, statement=s)) for id, s in STATEMENTS.items()
)
