"""The chat model that needs no key and no network: rules that choose among what stands in the prompt.

It never writes prose of its own. What it gives is a tool call, a closed decision, a passage word for word with its
source, a numbered choice, or a hand-off. Same input, same output.
"""
