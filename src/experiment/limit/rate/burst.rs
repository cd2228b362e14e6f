//! Bursts of attempts, which meet the limit of a rate.

use std::time::Duration;

use super::{Probed, Prober, RateProbe};
use crate::generator::probe::{CloseMode, Probe, ProbeOutcome};
use crate::smtp::Step;

/// The longest time of a burst.
const COUNTING: Duration = Duration::from_secs(20);

/// A burst: attempts without a pause until one is refused, or the largest number or time is reached.
pub(super) struct Burst {
    pub start: Duration,
    pub served: u64,
    pub took: Duration,
    pub refused: Option<(Step, ProbeOutcome, Probe)>,
}

/// Makes a burst of at most this many attempts.
pub(super) fn burst(prober: &mut Prober<'_>, item: &mut dyn RateProbe, most: u64) -> Probed<Burst> {
    let start = prober.probes.now();
    let mut served = 0;
    let refused = loop {
        if served >= most || prober.probes.now() - start > COUNTING {
            break None;
        }
        match item.one(prober)? {
            Ok(()) => served += 1,
            Err(refused) => break Some(refused),
        }
    };
    Ok(Burst { start, served, took: prober.probes.now() - start, refused })
}

/// Makes a burst and closes the session of its refusal.
pub(super) fn refused_burst(prober: &mut Prober<'_>, item: &mut dyn RateProbe, most: u64) -> Probed<Burst> {
    let mut burst = burst(prober, item, most)?;
    if let Some((_, _, session)) = burst.refused.take() {
        prober.probes.close(&[session], CloseMode::Close);
    }
    Ok(burst)
}
