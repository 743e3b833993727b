"""Load tests: a seeded workload in, latencies and throughput out."""
