"""Configuration: Structs (`model`), layers (`load`), faults with line and remedy (`check`)."""
