#!/bin/sh
exec speechkit run "$(dirname "$0")/recipe.py" "$@"
