"""Every prompt is a file of its own: `<agent>/<name>.md`, with a version; the loader reads, checks and renders them."""
