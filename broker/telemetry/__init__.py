"""What a broker tells of itself: logs, metrics, traces, and a record of who changed what."""
