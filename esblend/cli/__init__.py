"""The `esblend` command: the entry point, the gateway client and the console."""
