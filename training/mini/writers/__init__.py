"""lamm-mini's data as files: training records, benchmark suites, examples."""
