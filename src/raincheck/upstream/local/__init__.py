"""The embedded model: weights pulled once, llama.cpp in a supervised child process, spoken to like any upstream."""
