"""The gateway's management endpoints below /_esblend."""
