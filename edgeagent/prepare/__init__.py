"""From samples to tensors: pictures, windows of sensor values, sound."""
