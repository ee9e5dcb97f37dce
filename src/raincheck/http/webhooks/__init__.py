"""Webhooks as their owners see them: endpoints, the secret of webhook_urls, and what was delivered."""
