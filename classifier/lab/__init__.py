"""The laboratory: labelled captures from real software in Linux network namespaces.

``classifier lab list`` and ``classifier lab make`` are this room's two verbs; `docs/lab.md` says
how a scenario is written. Nothing here reads a live interface of the machine: what is captured are
links between namespaces that the laboratory itself has made.
"""
