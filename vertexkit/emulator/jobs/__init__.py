"""Training jobs as processes: what they are given, how they run, what they write, how they end."""
