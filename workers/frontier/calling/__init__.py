"""One paid call: planned, within its limits, reserved, made once and booked."""
