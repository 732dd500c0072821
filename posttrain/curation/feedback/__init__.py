"""Logs of a live endpoint, with the thumbs that its users gave, to rows for KTO."""
