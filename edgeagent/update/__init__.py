"""Model versions on disk and how a device comes by new ones."""
