//! Weights as Winograd's products read them, and the way back for their gradient.

use crate::network::kernels::winograd::transform::{self, PATCH, POSITIONS};
use crate::network::kernels::{CHANNELS, Channels};
use crate::simd::{Job, Lanes};

/// Length of the packed weights.
pub fn packed_len(channels_in: usize, channels_out: usize) -> usize {
    POSITIONS * channels_out.div_ceil(CHANNELS) * channels_in.next_multiple_of(CHANNELS) * CHANNELS
}

/// Index of the weight from channel `i` to channel `o` at `position` in packed weights.
fn packed_at(channels_in: usize, channels_out: usize, [position, i, o]: [usize; 3]) -> usize {
    ((position * channels_out.div_ceil(CHANNELS) + o / CHANNELS) * channels_in.next_multiple_of(CHANNELS) + i)
        * CHANNELS
        + o % CHANNELS
}

/// Packs a kernel `[3, 3, channels_in, channels_out]`, or, `transposed`, that of its input gradient: taps turned
/// around, channels in and out exchanged.
pub struct Pack<'a> {
    pub kernel: &'a [f32],
    pub channels_in: usize,
    pub channels_out: usize,
    pub transposed: bool,
    /// [`packed_len`] floats; those of padded channels are not written.
    pub packed: &'a mut [f32],
}

impl Pack<'_> {
    /// Tap `tap` from channel `i` to channels `o..o + 16` of the convolution that is packed, zero beyond the last channel.
    #[inline(always)]
    fn taps(&self, tap: usize, i: usize, o: usize) -> Channels {
        let mut values = [0.0; CHANNELS];
        if self.transposed {
            let n = CHANNELS.min(self.channels_in - o);
            let column = self.kernel[((8 - tap) * self.channels_in + o) * self.channels_out + i..].iter();
            values[..n].iter_mut().zip(column.step_by(self.channels_out)).for_each(|(value, from)| *value = *from);
        } else {
            let n = CHANNELS.min(self.channels_out - o);
            let from = (tap * self.channels_in + i) * self.channels_out + o;
            values[..n].copy_from_slice(&self.kernel[from..from + n]);
        }
        values
    }
}

impl Job for Pack<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let (n_in, n_out) =
            if self.transposed { (self.channels_out, self.channels_in) } else { (self.channels_in, self.channels_out) };
        assert_eq!(self.packed.len(), packed_len(n_in, n_out), "packed weights");
        for o in (0..n_out).step_by(CHANNELS) {
            for i in 0..n_in {
                let taps: [Channels; 9] = std::array::from_fn(|tap| self.taps(tap, i, o));
                for lane in (0..CHANNELS).step_by(L::N) {
                    // SAFETY: `packed` has room at each position.
                    unsafe {
                        let tap = |tap: usize| lanes.load(taps[tap].as_ptr().add(lane));
                        let mut half = [[lanes.splat(0.0); 3]; PATCH];
                        for kx in 0..3 {
                            let column = transform::kernel(lanes, [tap(kx), tap(3 + kx), tap(6 + kx)]);
                            column.into_iter().zip(&mut half).for_each(|(value, row)| row[kx] = value);
                        }
                        for (row, values) in half.into_iter().enumerate() {
                            for (column, value) in transform::kernel(lanes, values).into_iter().enumerate() {
                                let at = packed_at(n_in, n_out, [row * PATCH + column, i, o]) + lane;
                                lanes.store(self.packed[at..].as_mut_ptr(), value);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The way back from packed gradients to the gradient of a kernel `[3, 3, channels_in, channels_out]`.
pub struct Unpack<'a> {
    pub packed: &'a [f32],
    pub channels_in: usize,
    pub channels_out: usize,
    pub gradient: &'a mut [f32],
}

impl Job for Unpack<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let (n_in, n_out) = (self.channels_in, self.channels_out);
        assert_eq!(self.packed.len(), packed_len(n_in, n_out), "packed gradient");
        for o in (0..n_out).step_by(CHANNELS) {
            for i in 0..n_in {
                let mut taps = [[0.0; CHANNELS]; 9];
                for lane in (0..CHANNELS).step_by(L::N) {
                    // SAFETY: 16 channels are readable at each position.
                    unsafe {
                        let mut half = [[lanes.splat(0.0); 3]; PATCH];
                        for (row, half) in half.iter_mut().enumerate() {
                            let mut values = [lanes.splat(0.0); PATCH];
                            for (column, value) in values.iter_mut().enumerate() {
                                let at = packed_at(n_in, n_out, [row * PATCH + column, i, o]) + lane;
                                *value = lanes.load(self.packed[at..].as_ptr());
                            }
                            *half = transform::kernel_gradient(lanes, values);
                        }
                        for kx in 0..3 {
                            let column = transform::kernel_gradient(lanes, half.map(|row| row[kx]));
                            for (ky, value) in column.into_iter().enumerate() {
                                lanes.store(taps[3 * ky + kx].as_mut_ptr().add(lane), value);
                            }
                        }
                    }
                }
                let n = CHANNELS.min(n_out - o);
                for (tap, values) in taps.iter().enumerate() {
                    let to = (tap * n_in + i) * n_out + o;
                    self.gradient[to..to + n].copy_from_slice(&values[..n]);
                }
            }
        }
    }
}
