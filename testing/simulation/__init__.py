"""The simulator: a loop on virtual time, a disk, a network, and a world of real journals on them, from one seed."""
