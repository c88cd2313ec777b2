"""Diagnosis: `doctor` runs the checks of `checks/`; each finding says what to do about it."""
