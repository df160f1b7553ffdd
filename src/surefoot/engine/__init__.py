"""Training on Lightning Fabric: the optimizer, the loop, the log. The only folder that imports Fabric."""
