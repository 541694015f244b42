"""A fuzzer that knows the formats: it changes fields, chunks, opcodes and keys, and repairs lengths and checksums."""
