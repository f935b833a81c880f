"""What the type checkers must accept, with the exact type, and what they must refuse.

Of all this pytest runs only the declarations of `accepted_*` (see `tests/test_typing.py`). `scripts/check
types` has mypy --strict and pyright read it: each `assert_type` must hold, each `type: ignore` must be needed.
"""
