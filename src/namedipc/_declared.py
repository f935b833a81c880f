"""What the first declaration of a service loads: what reads its interface, and all that its blocking verbs need.

The law: whoever has declared a service may drop its rights before it opens it, and may then be unable to read a module.
Only trio's halves come with the verb that is entered in trio.
"""

from ._client import Client
from ._reach import Route, by_name, stand_in_for
from ._schema import Schema
from ._serving import Recipe

__all__ = ["Client", "Recipe", "Route", "Schema", "by_name", "stand_in_for"]
