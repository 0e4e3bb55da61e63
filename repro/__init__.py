"""An executable companion to three papers on joint-embedding self-supervised learning."""
