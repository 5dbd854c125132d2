"""Problems whose answers are known exactly, for docstrings and tests."""
