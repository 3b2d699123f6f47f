//! Damaged bytes to everything that reads bytes from outside: some hundred rounds of what `examples/fuzz.rs` does in thousands.

#[path = "../../examples/fuzz.rs"]
mod targets;

#[test]
fn damaged_bytes_are_an_error_or_a_value_and_never_a_panic() {
    let results = targets::run("all", 300, 1);
    assert_eq!(results.len(), 8);
    for (target, n_rounds, panicked) in results {
        assert!(n_rounds == 300 && panicked.is_empty(), "{target}: rounds {panicked:?} panicked");
    }
}
