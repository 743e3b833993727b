"""Load tests: a seeded workload becomes latencies and throughput."""
