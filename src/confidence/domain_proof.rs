//! Another channel is noticed, the own one is not: synthetic voices through the front end, as they are and by telephone.

use rayon::prelude::*;

use super::*;
use crate::audio::write_wav;
use crate::augment::Wanted;
use crate::corpora::{design, synthesise};
use crate::extract::{Copy, Extractor, Nobody};
use crate::recordings::Buffers;
use crate::signal::profile::profile;
use crate::units::{SampleRate, Seed};

const RATE: SampleRate = SampleRate(22_050);
const N_MELS: usize = 128;
/// Seven emotions, two statements.
const OF_SPEAKER: usize = 14;

/// Statistics of what 16 speakers say, or of the copies of it that an augmentation makes.
fn heard(speakers: std::ops::Range<usize>, augmentation: Option<&str>) -> Vec<Statistics> {
    let wanted: Vec<Wanted> = augmentation.map(|name| Wanted::Named(name.into())).into_iter().collect();
    let extractor = Extractor::new(&profile("paper").expect("known"), &wanted, Seed(1)).expect("an extractor");
    let number = u32::from(augmentation.is_some());
    let utterances = design(16, 2, 1);
    let asked = &utterances[speakers.start * OF_SPEAKER..speakers.end * OF_SPEAKER];
    asked
        .par_iter()
        .map(|utterance| {
            let wave = write_wav(&synthesise(Seed(7), utterance, RATE), RATE).expect("a file");
            let mut buffers = Buffers::holding(wave);
            let recording = extractor.reader().decode(None, &mut buffers).and_then(|one| one.heard()).expect("sound");
            let copy = Copy { number, donors: &[], voices: &Nobody };
            let mut found = None;
            extractor
                .extract(&recording, &[copy], &mut extractor.scratch(), |one| {
                    found = Statistics::of(one.log_mel, N_MELS);
                    Ok(())
                })
                .expect("a spectrogram");
            found.expect("frames")
        })
        .collect()
}

#[test]
fn other_channels_are_strange_and_unheard_speakers_are_not() {
    let domain = Domain::fit(&heard(0..4, None), None).expect("56 recordings");
    let unheard = heard(4..12, None);
    let limits = |of: &[Statistics]| -> Option<Limits> {
        let items: Vec<(Distances, u32)> = of.iter().map(|one| (domain.distances(one, None), one.n_frames)).collect();
        Limits::fit(&items, 8)
    };
    let domain = Domain { limits: limits(&unheard), ..domain };
    domain.check().expect("sound");
    let limits = domain.limits.expect("112 recordings");
    let strange = |of: &[Statistics]| {
        let n = of.iter().filter(|one| limits.ratio(domain.distances(one, None)) > 1.0).count();
        n as f64 / of.len() as f64
    };
    let own = strange(&heard(12..16, None));
    assert!(own <= 0.04, "{own} of the own channel");
    for (channel, least) in [("telephone", 0.95), ("band-limit", 0.9), ("white-noise", 0.95)] {
        let share = strange(&heard(12..16, Some(channel)));
        assert!(share >= least, "{channel}: {share}");
    }
}

#[test]
fn a_model_without_limits_flags_nothing_and_one_with_them_says_why() {
    let heard: Vec<Statistics> = (0..60)
        .map(|item| {
            let log_mel: Vec<f32> = (0..80).map(|at| Seed(item).normal_pair(at).0 as f32).collect();
            Statistics::of(&log_mel, 8).expect("ten frames")
        })
        .collect();
    let domain = Domain::fit(&heard, None).expect("60 recordings");
    let ordinary: Vec<f32> = (0..80).map(|at| Seed(5).normal_pair(at).0 as f32).collect();
    let far: Vec<f32> = ordinary.iter().map(|value| value * 30.0).collect();
    let judged = |limits: Option<Limits>, log_mel: &[f32]| {
        let confidence = Confidence { domain: Some(Domain { limits, ..domain.clone() }), ..Confidence::default() };
        confidence.judge(&[0.9, 0.1], (log_mel, 8), None)
    };
    assert_eq!(judged(None, &far), Judgement::default());
    let limits = Limits { statistics: 3.0, embedding: None, least_frames: 6, n_items: 100, n_speakers: 4 };
    assert_eq!(judged(Some(limits), &ordinary).abstain, None);
    let strange = judged(Some(limits), &far);
    assert_eq!(strange.abstain, Some(Reason::OutOfDomain));
    assert!(strange.domain_distance.is_some_and(|distance| distance > 1.0));
    let short: Vec<f32> =
        (0..8).flat_map(|mel| (0..10).map(move |t| if t < 5 { (mel * t) as f32 } else { 0.0 })).collect();
    assert_eq!(judged(Some(limits), &short).abstain, Some(Reason::TooShort));
    assert_eq!(judged(Some(limits), &[0.0; 80]).abstain, Some(Reason::TooShort));
}
