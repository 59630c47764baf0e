"""The lattices that ship: counters, sets, registers, maps and products that join, and constraints that meet."""
