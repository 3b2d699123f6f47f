//! What is planted in made-up predictions is found.
