//! Which instructions an inner loop is compiled for; the values never depend on it.

/// Chosen once, when something is planned; every loop has all forms and a test that they give the same bits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kernel {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// The foundation with the DQ and VL extensions, as on every server since 2017.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Kernel {
    /// The fastest one that this processor can run.
    pub(crate) fn fastest() -> Self {
        *Self::known().last().expect("the portable one is always known")
    }

    /// All that this processor can run, from the slowest to the fastest.
    pub(crate) fn known() -> Vec<Self> {
        let mut known = vec![Self::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            if std::arch::is_x86_feature_detected!("avx2") {
                known.push(Self::Avx2);
            }
            let has_avx512 = std::arch::is_x86_feature_detected!("avx512f")
                && std::arch::is_x86_feature_detected!("avx512dq")
                && std::arch::is_x86_feature_detected!("avx512vl");
            if known.len() == 2 && has_avx512 {
                known.push(Self::Avx512);
            }
        }
        known
    }
}
