"""Files of the repository brought to the device: over MQTT (contract §7), HTTPS, from a folder.

Nothing that comes this way is trusted: whoever asked checks length and hash by signed metadata.
"""
