"""``from dirtools import Dir``, as programs for the original package say it.

The dirtools of PyPI is for Python 2 alone, and no Python 3 can import it.
"""

from incremental_backups_tools import Dir

__all__ = ["Dir"]
