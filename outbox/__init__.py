"""What goes out: every effect is a keyed row, committed before anything leaves."""
