"""How each contender does what it can do, as its own documentation recommends.

The law: a module imports its peer, and nobody imports the module but the processes which run it; each has `WORKS`.
"""
