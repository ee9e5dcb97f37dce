"""Videos in three dialects: natively, as OpenAI has them and as xAI does, over one domain (`core/videos.py`)."""
