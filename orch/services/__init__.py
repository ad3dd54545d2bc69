"""Services outside, which steps and programs call by name; and webhooks, which are told."""
