"""What programs cost: kernels, their prices, and the marginal prices of e-nodes."""
