"""The two shells: each moves bytes between one descriptor and the protocol, waits, and turns errno into an error."""
