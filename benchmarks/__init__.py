"""Speed, memory and bytes beside the bare runtime, in one run each."""
