"""The checks of `doctor`: a function each, by subject."""
