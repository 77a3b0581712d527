"""The `speechkit` command. Commands are loaded when they are asked for; `main.COMMANDS` lists them."""
