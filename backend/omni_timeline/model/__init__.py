"""Clips and a prompt become answers. The only importer of torch and transformers."""
