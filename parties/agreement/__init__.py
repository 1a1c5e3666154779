"""What is agreed: plans, contracts and their costs, and what a node's policy makes of them."""
