"""The command line: one module per family of commands, and nothing imported before it is needed."""
