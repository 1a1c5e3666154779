"""What participants sign on what they did and saw, and how it is held against them."""
