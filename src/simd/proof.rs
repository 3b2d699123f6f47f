//! Every operation of every instruction set, lane by lane against plain arithmetic.

use crate::simd::{Isa, Job, Lanes};

/// Values of every kind: signs, zeros, sizes that round, NaN and infinities.
const VALUES: [f32; 24] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.1,
    -0.3,
    3.5,
    1e-30,
    -1e30,
    7.7,
    16_777_217.0,
    -2.5,
    1.5,
    0.7,
    f32::NAN,
    f32::INFINITY,
    2.0,
    -8.25,
    1e-7,
    33.3,
    -0.9,
    6.25,
    f32::NEG_INFINITY,
    4.4,
];

/// What an operation gives for the lanes that `at` begins, by its own arithmetic.
struct Operations {
    at: usize,
}

fn bits(values: &[f32]) -> Vec<u32> {
    // Any NaN is as good as another.
    values.iter().map(|value| if value.is_nan() { u32::MAX } else { value.to_bits() }).collect()
}

impl Job for Operations {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let own = |shift: usize| -> Vec<f32> { (0..L::N).map(|lane| VALUES[(self.at + lane + shift) % 24]).collect() };
        let [a, b, c] = [0, 5, 11].map(own);
        let out = |value: L::V| {
            let mut out = vec![9.0; L::N];
            // SAFETY: `out` has one value for each lane.
            unsafe { lanes.store(out.as_mut_ptr(), value) };
            bits(&out)
        };
        let by_lane = |function: &dyn Fn(usize) -> f32| bits(&(0..L::N).map(function).collect::<Vec<f32>>());
        // SAFETY: each holds one value for each lane.
        let [va, vb, vc] = [&a, &b, &c].map(|values| unsafe { lanes.load(values.as_ptr()) });
        assert_eq!(out(lanes.splat(a[1])), by_lane(&|_| a[1]));
        assert_eq!(out(lanes.add(va, vb)), by_lane(&|lane| a[lane] + b[lane]));
        assert_eq!(out(lanes.sub(va, vb)), by_lane(&|lane| a[lane] - b[lane]));
        assert_eq!(out(lanes.mul(va, vb)), by_lane(&|lane| a[lane] * b[lane]));
        let (plain, fused) =
            (by_lane(&|lane| a[lane] * b[lane] + c[lane]), by_lane(&|lane| a[lane].mul_add(b[lane], c[lane])));
        assert_eq!(out(lanes.mul_add(va, vb, vc)), if L::N == 4 { plain } else { fused });
        let bytes: Vec<u8> = (0..L::N).map(|lane| (lane % 3) as u8 | if lane % 2 == 0 { 0x80 } else { 0 }).collect();
        // SAFETY: there is a byte for each lane.
        let indices = unsafe { lanes.load_indices(bytes.as_ptr()) };
        let kept = lanes.keep_where(indices, lanes.index(1), va);
        assert_eq!(out(kept), by_lane(&|lane| if lane % 3 == 1 { a[lane] } else { 0.0 }));
        let (larger, at) = lanes.keep_larger((va, indices), vb, lanes.index(77));
        assert_eq!(out(larger), by_lane(&|lane| if b[lane] > a[lane] { b[lane] } else { a[lane] }));
        let mut stored = vec![9; L::N];
        // SAFETY: there is room for a byte for each lane.
        unsafe { lanes.store_indices(stored.as_mut_ptr(), at) };
        let expected = |lane: usize| if b[lane] > a[lane] { 77 } else { (lane % 3) as u8 };
        assert_eq!(stored, (0..L::N).map(expected).collect::<Vec<u8>>());
    }
}

#[test]
fn every_operation_is_that_of_single_values() {
    for isa in Isa::available() {
        (0..24).for_each(|at| isa.run(Operations { at }));
    }
}

#[test]
fn the_fastest_is_the_first_and_every_machine_has_the_portable_one() {
    let available = Isa::available();
    assert_eq!(available.first(), Some(&Isa::fastest()));
    assert_eq!(available.last(), Some(&Isa::Portable));
    let names: Vec<String> = available.iter().map(|isa| format!("{isa:?}")).collect();
    assert!(["Avx512", "Avx2", "Portable"].map(String::from).ends_with(&names), "{names:?}");
}
