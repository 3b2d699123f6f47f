//! The windows of frames that the network sees, as images of a time-distributed layer.

/// Windows of `width` frames, one every `hop` frames, that lie wholly within `n_frames`; none when there are too few.
///
/// Source: paper 4: `1 + (508 - 128) div 64 = 6`.
pub fn n_windows(n_frames: usize, width: usize, hop: usize) -> usize {
    match n_frames.checked_sub(width) {
        Some(rest) => 1 + rest / hop,
        None => 0,
    }
}

/// First frame of each window.
pub fn window_starts(n_frames: usize, width: usize, hop: usize) -> impl ExactSizeIterator<Item = usize> {
    (0..n_windows(n_frames, width, hop)).map(move |window_idx| window_idx * hop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_paper_has_six_windows() {
        assert_eq!(window_starts(508, 128, 64).collect::<Vec<_>>(), [0, 64, 128, 192, 256, 320]);
    }

    #[test]
    fn windows_lie_within_the_frames_and_no_further_one_would() {
        for n_frames in 0..60 {
            for width in 1..12 {
                for hop in 1..9 {
                    let starts: Vec<usize> = window_starts(n_frames, width, hop).collect();
                    assert!(starts.iter().all(|start| start + width <= n_frames));
                    assert!(starts.len() * hop + width > n_frames, "{n_frames} {width} {hop}");
                    assert_eq!(starts.is_empty(), n_frames < width);
                }
            }
        }
    }
}
