"""What a group does: exact evidence for a class, and what happens without it.

    passed = trace(model, x)                       # trace.py: one forward pass, kept
    ledger(model, passed).contributions            # ledger.py: exact, last block
    what_if(model, passed, Intervention(OFF))      # outcome.py, interventions.py: gates replaced
    ablate_groups(model, passed, "layer3.5")       # ablations.py: every group taken away in turn
    approximate_evidence(model, passed, "layer3.5")  # gradients.py: an approximation
    variant(model, normalise=False)                # variants.py: the method with a part changed
    faithfulness(model, x, maps, index)            # faithfulness.py: is a map right?

Exact are the ledger, interventions and ablations (up to the rounding of float32); gradient x
activation is an approximation. No function here changes the network it is given.
"""
