"""What DVC is told of: stages, data sets, locks that killed commands leave. It is called, never imported."""
