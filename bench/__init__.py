"""Benchmarks: what an upload costs against servers that cost next to nothing themselves."""
