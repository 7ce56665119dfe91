"""The stages of a run, one a module; each module has one STAGE. Their order: edgegd.pipeline.registry."""
