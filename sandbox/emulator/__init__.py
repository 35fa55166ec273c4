"""A stand-in for the WhatsApp Cloud API, and the customers on the other side of it.

It checks requests as Meta does, answers with Meta's shapes and errors, and posts signed webhooks. The product is
given its address as it would be given graph.facebook.com, and cannot tell. Everything here lives in memory.
"""
