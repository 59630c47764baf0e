"""Moving frames of bytes between two parties."""
