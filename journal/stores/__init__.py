"""Stores: the one place below the runtime that touches the disk and DuckDB."""
