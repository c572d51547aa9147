"""Fuzzing: generators of hostile input, shared by the tests and the soak.

Every input follows from a seed and the number of its round. A failure prints both, and the input, which belongs into
`regressions/` once the fault is mended.
"""
