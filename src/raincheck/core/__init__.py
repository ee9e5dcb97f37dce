"""Words and rules: pure, instant, knowing nothing of stores, sockets or clocks but what is handed in."""
