"""From a prompt to frames: `storyboard` decides what is seen when, `film` draws it; all else is what scenes have."""
