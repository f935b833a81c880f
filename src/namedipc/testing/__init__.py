"""For the tests of programs which use namedipc: a service without a name, one in the place of another, names elsewhere.

Nothing is faked: what is under test goes through the same protocol, limits and checks as between processes.
"""

from ._relocated import relocated
from ._stand_in import local, substitute

__all__ = ["local", "relocated", "substitute"]
