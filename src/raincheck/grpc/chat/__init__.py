"""`xai_api.Chat`: completions, streamed, deferred and stored."""
