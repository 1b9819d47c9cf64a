"""The gateway: one door to backends that speak OpenAI's API."""
