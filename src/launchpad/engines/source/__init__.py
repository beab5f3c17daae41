"""What names mean in Python source, and what simple code would compute, found by reading: nothing is imported or run.

An engine's parser is built by code: constants, string lists, loops over dictionaries of keyword arguments. ``reader`` walks that
code as far as it is simple. The room refuses to guess (what it cannot follow is ``UNKNOWN``) and to know an engine.

================  ==================================================================================================
``values``        what a name can stand for: the nouns that all others pass around
``bounds``        how much is read at most, so that a hostile source ends in an error and never in a hang
``operations``    what operators make of known values; pure
``modules``       files, parsed once, and what the top of each binds
``targets``       what an assignment, a ``+=`` and a ``del`` change
``names``         what a name at the top of a file stands for, through imports
``classes``       what the files' classes hold: bases, attributes, members, annotated fields
``expressions``   what each kind of expression stands for, calls apart
``statements``    bodies, read in order, and what they return
``standins``      what a few builtin functions, and the methods of plain values, give
``calls``         calls of functions, classes and methods
``reader``        all of them, wired together
================  ==================================================================================================

A module imports only those above it in this list. Where reading one thing takes reading another of any kind (a class attribute
an expression, a call a function's body), ``reader`` hands in the way back up.
"""
