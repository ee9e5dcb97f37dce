"""From a prompt to an edited video: `grammar` reads it into `edits`, `reel` turns them into filters, `cutter` runs."""
