//! Synthetic skin pictures with known truth.
