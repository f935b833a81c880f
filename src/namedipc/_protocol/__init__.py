"""The protocol without I/O: bytes in, events out. Nothing here touches a descriptor, a clock or a loop."""
