"""What the agent offers on the device itself: the control socket."""
