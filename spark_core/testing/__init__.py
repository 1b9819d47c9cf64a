"""For the tests of plugins: each contract's conformance suite, and fakes that pass it.

Needs the extra ``spark-core[testing]``; nothing else in spark_core imports this package.
"""
