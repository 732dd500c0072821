"""What the benchmarks share: rows, bounded commands, one clock for both sides, arithmetic counted, tables."""
