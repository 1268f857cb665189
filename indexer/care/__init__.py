"""Care for attached indices: status, doctor, verify, dead letters, credentials."""
