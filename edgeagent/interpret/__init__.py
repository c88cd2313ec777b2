"""From a model's outputs to predictions. One pure decoder per family of models."""
