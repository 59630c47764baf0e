"""Contract suites: what every implementation of a protocol must keep, written once and run against each."""
