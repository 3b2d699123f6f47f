//! What steps promise: the same bytes for any threads, going on after a restore, refusals that leave the state alone.

use super::*;
use crate::network::network::Network;
use crate::network::proof::{batch, network_of, small_network, small_spec, specs, trainer};

#[test]
fn a_step_gives_the_same_bytes_for_any_number_of_threads() {
    for spec in specs() {
        let network = network_of(spec);
        let states: Vec<Vec<u8>> = [1, 2, 8]
            .into_iter()
            .map(|n_threads| {
                let mut trainer = trainer(&network, 9, n_threads, Isa::fastest());
                for step in 0..3 {
                    let (log_mel, labels) = batch(&network.spec, 9 - step, 30 + step as u64);
                    trainer.step(&log_mel, &labels, Some(Seed(step as u64))).expect("a good batch");
                }
                trainer.state().to_bytes()
            })
            .collect();
        assert!(states[0] == states[1] && states[0] == states[2]);
    }
}

#[test]
fn a_restored_run_goes_on_with_the_same_bytes() {
    let network = small_network();
    let mut through = trainer(&network, 4, 2, Isa::fastest());
    let mut stopped = trainer(&network, 4, 2, Isa::fastest());
    let step = |trainer: &mut Trainer, index: u64| {
        let (log_mel, labels) = batch(&network.spec, 4, 50 + index);
        trainer.step(&log_mel, &labels, Some(Seed(index))).expect("a good batch");
    };
    (0..4).for_each(|index| step(&mut through, index));
    (0..2).for_each(|index| step(&mut stopped, index));
    let bytes = stopped.state().to_bytes();
    let mut resumed = trainer(&network, 6, 1, Isa::fastest());
    resumed.restore(TrainerState::from_bytes(&network.spec, &bytes).expect("own bytes")).expect("own shapes");
    (2..4).for_each(|index| step(&mut resumed, index));
    assert!(through.state() == resumed.state());
    assert_eq!(resumed.state().iteration, 4);
}

#[test]
fn predictions_do_not_depend_on_the_batch_and_follow_training() {
    let network = small_network();
    let mut trainer = trainer(&network, 4, 2, Isa::fastest());
    let (log_mel, labels) = batch(&network.spec, 4, 60);
    let (mut together, mut alone) = (vec![0.0; 28], vec![0.0; 7]);
    trainer.predict(&log_mel, &mut together).expect("a good batch");
    for (one, together) in log_mel.chunks(12 * 34).zip(together.chunks(7)) {
        trainer.predict(one, &mut alone).expect("a good recording");
        assert_eq!(alone, together);
    }
    trainer.step(&log_mel, &labels, None).expect("a good batch");
    let mut after = together.clone();
    trainer.predict(&log_mel, &mut after).expect("a good batch");
    assert_ne!(after, together);
    let fresh = Network { spec: network.spec.clone(), parameters: trainer.state().parameters.clone() };
    fresh.predictor(1).expect("own shapes").predict(&log_mel, &mut together).expect("a good batch");
    assert_eq!(after, together);
}

#[test]
fn training_learns_a_small_batch_by_heart() {
    let spec = NetworkSpec { dropout: 0.0, ..small_spec() };
    let network = Network::initialise(spec, Seed(9)).expect("the small shapes divide");
    let mut trainer = trainer(&network, 6, 2, Isa::fastest());
    let (log_mel, labels) = batch(&network.spec, 6, 70);
    let mut outcomes = (0..300).map(|_| trainer.step(&log_mel, &labels, None).expect("a good batch"));
    let first = outcomes.next().expect("a step");
    let last = outcomes.last().expect("a step");
    assert!(last.loss < 0.3 * first.loss && last.correct == 6, "{first:?} {last:?}");
}

#[test]
fn bad_batches_are_refused_and_leave_the_state_alone() {
    let network = small_network();
    let mut trainer = trainer(&network, 2, 1, Isa::fastest());
    let before = trainer.state().clone();
    let (mut log_mel, labels) = batch(&network.spec, 2, 80);
    assert!(trainer.step(&log_mel, &labels[..1], None).is_err());
    assert!(trainer.step(&log_mel[1..], &labels, None).is_err());
    assert!(trainer.step(&log_mel, &[0, 7], None).is_err());
    let (three, three_labels) = batch(&network.spec, 3, 80);
    assert!(trainer.step(&three, &three_labels, None).is_err());
    log_mel[700] = f32::NAN;
    assert!(trainer.step(&log_mel, &labels, None).is_err());
    assert!(trainer.predict(&log_mel, &mut [0.0; 14]).is_err());
    assert!(*trainer.state() == before);
    log_mel[700] = 0.0;
    let mut diverged = before;
    diverged.parameters.tensors.last_mut().expect("dense.bias").values[0] = f32::INFINITY;
    trainer.restore(diverged.clone()).expect("own shapes");
    assert!(trainer.step(&log_mel, &labels, None).is_err(), "a loss that is not finite");
    assert!(*trainer.state() == diverged);
}
