"""Measures of a trained model: what it is evaluated by, apart from the run that trained it."""
