"""What a user types: models, adapted ones, results and studies as objects; data in and out as frames and arrays.

Everything here calls what the command line calls. It stands before the rooms, so none of them knows of it.
"""
