//! Another channel is noticed, the own one is not.
