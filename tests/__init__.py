"""The tests. `conftest.py` has what all of them may use."""
