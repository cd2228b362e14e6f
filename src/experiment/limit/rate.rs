//! Rate limits: the search opens sessions or sends messages one after the other as fast as they are served, so that no
//! limit on sessions at once is reached. After a refusal it pauses until one more is served.
//!
//! # Decisions
//! - A round is a burst, which ends with the first refusal, and a silence, which ends when one more attempt is served.
//!   The recovery is measured from the first attempt of the burst, because this attempt is the first to leave a sliding
//!   window, and it starts a fixed window.
//! - Attempts before a burst count, too. So rounds follow each other, each after a silence as long as the previous
//!   recovery, until two rounds agree.
//! - The listener may count refused attempts, too, so that attempts without a pause could keep a window closed for ever.
//!   So the first round tries after silences of doubling length, and later rounds try only a few times near the end of
//!   the window, and once clearly before it.
//! - A listener may count in each full minute. The time to the next attempt then depends on the clock and not on the burst:
//!   rounds seldom agree, and a window is confirmed by a burst at another time of its minute.
//! - After the recovery a window serves as many as before, and a token bucket serves one.
//! - Slots of sessions that are released late look like a window. They are detected by sessions that are held open for
//!   longer than the window.
//! - The value is a rate per minute, so that it can be compared with the configured rate. It is as expected only if the
//!   bracket is narrow.

mod burst;

use std::time::Duration;

use self::burst::{Burst, burst, refused_burst};
use super::kind::LimitKind;
use super::prober::{Halt, Probed, Prober, unreadable};
use super::repeats::{MOST, bound, other_limit};
use super::result::{LimitResult, LimitVerdict};
use crate::generator::probe::{CloseMode, OpenOutcome, Probe, ProbeOptions, ProbeOutcome};
use crate::smtp::Step;

/// The first silence after a refusal; each further silence is twice as long as the previous one.
const FIRST_SILENCE: Duration = Duration::from_millis(250);
/// The longest wait for a recovery. Windows are often one minute.
const WINDOW: Duration = Duration::from_secs(130);
/// The largest number of rounds.
const ROUNDS: u64 = 8;
/// The number of rounds after which sessions from before the search no longer count.
const SETTLED: u64 = 2;
/// The largest number of attempts near the end of a window.
const QUESTIONS: u64 = 16;
/// A bracket is narrow if its ends differ by at most this factor, or by at most one per minute.
const NARROW: f64 = 1.05;
/// The least difference that is allowed between two measurements of one window.
const JITTER: Duration = Duration::from_millis(10);
/// How much longer a window may be measured if the listener counts in whole seconds.
const WHOLE: Duration = Duration::from_secs(1);
/// The pauses before the bursts that confirm a window, as parts of it. They meet a window of each full minute at other times.
const UNEVEN: [f64; 3] = [1.37, 1.71, 1.13];
/// A longer window is confirmed once, because a search has 20 minutes for all limits.
const LONG: Duration = Duration::from_secs(30);
/// The part of a known window after which nothing is served yet.
const BEFORE: f64 = 0.75;
/// A shorter window may be counted in whole seconds, and is not asked before its end.
const SHORT: Duration = Duration::from_secs(5);
/// The silence after the recovery, before the next round.
const MARGIN: Duration = Duration::from_secs(1);
/// The largest number of further bursts if no attempt was served after a recovery.
const LATER: u32 = 4;
/// The number of refills from which the rate of a bucket is computed.
const REFILLS: u64 = 24;
/// The longest time for these refills; fewer refills count then.
const FILLING: Duration = Duration::from_secs(40);

/// Makes attempts of the kind that a rate limit counts, one after the other.
trait RateProbe {
    /// Makes one attempt; inner `Err`: the refusal.
    fn one(&mut self, prober: &mut Prober<'_>) -> Probed<Result<(), (Step, ProbeOutcome, Probe)>>;
}

/// Measures the limit on new connections per unit of time.
pub(super) fn connections(prober: &mut Prober<'_>, kind: LimitKind, result: &mut LimitResult) -> Probed<()> {
    find(prober, kind, result, &mut ConnectionProbe)?;
    if result.at_most.is_some() { held_count(prober, result) } else { Ok(()) }
}

/// Measures the limit on messages per unit of time.
pub(super) fn messages(prober: &mut Prober<'_>, kind: LimitKind, result: &mut LimitResult) -> Probed<()> {
    find(prober, kind, result, &mut MessageProbe)
}

/// Adapts the result to a listener that counts its window in whole seconds: such a window lasts up to one second longer
/// than configured.
fn whole_seconds(result: &mut LimitResult, served: u64, recovery: &Recovery) {
    let seconds = recovery.least.as_secs();
    // The precision of the measured end is added.
    if seconds == 0 || recovery.most > Duration::from_secs(seconds) + WHOLE + recovery.most / 20 {
        return;
    }
    let (low, high) = (result.at_least.unwrap_or(0), result.at_most.unwrap_or(0));
    let rate = per_minute(served, Duration::from_secs(seconds));
    let remark =
        format!("{served} in {seconds} s are {rate} a minute, if its window is counted in whole seconds");
    match result.expected {
        _ if rate <= high => {}
        None => {
            result.between(low, rate, "its window may be counted in whole seconds");
            result.remark(remark);
        }
        Some(expected) if result.verdict == LimitVerdict::Differs && expected.abs_diff(rate) <= 1 => {
            result.between(low, rate.max(expected), "its window may be counted in whole seconds");
            result.verdict = LimitVerdict::AsExpected;
            result.remark(remark);
        }
        Some(expected) if result.verdict == LimitVerdict::Differs && (low..=rate).contains(&expected) => {
            result.between(low, rate, "its window may be counted in whole seconds");
            result.verdict = LimitVerdict::Unstable;
            result.remark(remark);
        }
        Some(_) => {}
    }
}

/// The time from the start of a burst until one more is served: longer than `least`, and at most `most`.
#[derive(Clone, Copy, Debug)]
struct Recovery {
    least: Duration,
    most: Duration,
}

impl Recovery {
    fn is_narrow(self) -> bool {
        self.most.as_secs_f64() <= self.least.as_secs_f64() * NARROW
    }

    /// Combines two measurements of one window; `None`: they differ by more than a clock, a busy machine and
    /// `tolerance` explain.
    fn and(self, other: Recovery, tolerance: Duration) -> Option<Recovery> {
        let both = Recovery { least: self.least.max(other.least), most: self.most.min(other.most) };
        if both.least < both.most {
            return Some(both);
        }
        let either = Recovery { least: self.least.min(other.least), most: self.most.max(other.most) };
        let apart = both.least - both.most;
        (apart <= JITTER.max(either.most / 40).max(tolerance)).then_some(either)
    }
}

fn find(
    prober: &mut Prober<'_>,
    kind: LimitKind,
    result: &mut LimitResult,
    item: &mut dyn RateProbe,
) -> Probed<()> {
    // The number that must be served in a minute to show that the limit is higher.
    let most = bound(result.expected, prober.setting.bounds.messages, MOST);
    result.trials += 1;
    (result.looked, result.repeats) = (1, 1);
    let first = burst(prober, item, most)?;
    let Some((step, outcome, session)) = first.refused else {
        // The rate is per minute, so a burst of less than a minute shows only that its own number is allowed.
        let longer = first.took.max(Duration::from_secs(60));
        result.not_reached(per_minute(first.served, longer));
        let seconds = first.took.as_secs_f64();
        result.remark(format!("{} {} in {seconds:.1} s reached no rate limit", first.served, unit(kind)));
        result.judge(0);
        if result.verdict == LimitVerdict::NotEnforced {
            // A listener may allow 100 an hour at once, which is two a minute.
            result.verdict = LimitVerdict::NotReached;
            result.remark("a larger burst or a window of more than a minute would allow them: not proved");
        }
        return Ok(());
    };
    unreadable(&outcome)?;
    prober.shown(result, step, &outcome.event, session);
    prober.probes.close(&[session], CloseMode::Close);
    if first.served == 0 {
        return Err(Halt::Failed(step, Box::new(outcome)));
    }
    let (first_served, first_took) = (first.served, first.took);
    let agreed = agree(prober, kind, result, item, Burst { refused: None, ..first }, most)?;
    let Agreement { served, recovery } = match agreed {
        Ok(agreement) => agreement,
        Err(why) => {
            let Some(other) = other_limit(kind, result) else { return Err(Halt::NotMeasurable(why)) };
            let tried = per_minute(first_served, first_took.max(Duration::from_secs(60)));
            result.hidden(tried, format!("{other} is enforced first, after {first_served} {}", unit(kind)));
            return Ok(());
        }
    };
    // After this pause a window serves its whole number at once. After a further recovery it does so again, but a bucket
    // serves only its refill.
    prober.probes.pause(recovery.most + MARGIN);
    result.trials += 1;
    let whole = refused_burst(prober, item, most)?;
    let again = after_recovery(prober, item, &whole, recovery, most)?;
    let is_window = again.is_whole(served);
    if is_window && whole.took > recovery.most / 3 {
        too_slow(result, kind, &whole, recovery);
    } else if is_window && !begins_with_burst(prober, item, served, recovery, most)? {
        result.between(
            0,
            per_minute(served, recovery.least),
            "the window does not begin with the first of a burst",
        );
        result.verdict = LimitVerdict::Unstable;
        result.remark(format!(
            "{served} {} are served in a window, and it may be one of each full minute",
            unit(kind)
        ));
    } else if is_window {
        window(result, kind, served, &recovery);
        narrow(result, recovery.is_narrow());
        whole_seconds(result, served, &recovery);
    } else if again.later > 0 && again.later * 2 <= served.max(2) {
        bucket(prober, result, kind, item, first_served.max(served), &recovery)?;
        narrow(result, false);
    } else {
        result.between(
            0,
            per_minute(first_served.max(served), recovery.least),
            "neither a window nor a bucket",
        );
        result.verdict = LimitVerdict::Unstable;
        result.remark(format!(
            "{served} {} are served at once, and {} of them {:.1} s later",
            unit(kind),
            again.later,
            recovery.most.as_secs_f64()
        ));
    }
    Ok(())
}

/// The result of two rounds that agree: the number of attempts served before a refusal, and the recovery.
struct Agreement {
    served: u64,
    recovery: Recovery,
}

/// Measures the recovery after a burst until two rounds agree. Inner `Err`: why no two rounds agree, in words.
fn agree(
    prober: &mut Prober<'_>,
    kind: LimitKind,
    result: &mut LimitResult,
    item: &mut dyn RateProbe,
    mut burst: Burst,
    most: u64,
) -> Probed<Result<Agreement, String>> {
    let mut known: Option<(u64, Recovery)> = None;
    let mut agreed = false;
    for round in 0..ROUNDS {
        if round > 0 {
            let window = known.map_or(Duration::ZERO, |(_, recovery)| recovery.most);
            prober.probes.pause(window + MARGIN);
            result.trials += 1;
            burst = refused_burst(prober, item, most)?;
        }
        // A bucket that is not full serves a different number each time, but needs the same time for one more.
        let before = known.filter(|(served, _)| *served == burst.served || round > SETTLED);
        let Some(recovery) = recovery(prober, item, &burst, before.map(|(_, recovery)| recovery))? else {
            return Err(Halt::NotMeasurable(format!(
                "{} {} were served, and then none for {} s: the window is longer than the search waits",
                burst.served,
                unit(kind),
                WINDOW.as_secs()
            )));
        };
        if round == 0 {
            result.release_ms = Some((recovery.most.saturating_sub(burst.took)).as_secs_f64() * 1e3);
        }
        // A window in whole seconds lasts up to one second longer.
        let tolerance = if round > SETTLED { WHOLE } else { Duration::ZERO };
        let both = before.and_then(|(_, before)| before.and(recovery, tolerance));
        agreed = both.is_some();
        let recovery = both.unwrap_or(recovery);
        let before = before.map_or(0, |(served, _)| served);
        known = Some((burst.served.max(before), recovery));
        if agreed && recovery.is_narrow() {
            break;
        }
    }
    Ok(known
        .filter(|(served, _)| agreed && *served > 0)
        .map(|(served, recovery)| Agreement { served, recovery })
        .ok_or_else(|| {
            format!(
                "no two of {ROUNDS} rounds agree: after the last burst of {} one more was served within {:.1} s",
                burst.served,
                known.map_or(0.0, |(_, recovery)| recovery.most.as_secs_f64())
            )
        }))
}

/// The numbers of attempts that are served after one recovery.
struct AfterRecovery {
    /// The number served at once.
    first: u64,
    /// The number served in the first burst in which any attempt was served.
    later: u64,
}

impl AfterRecovery {
    fn is_whole(&self, served: u64) -> bool {
        self.first >= served
    }
}

fn after_recovery(
    prober: &mut Prober<'_>,
    item: &mut dyn RateProbe,
    whole: &Burst,
    recovery: Recovery,
    most: u64,
) -> Probed<AfterRecovery> {
    let until = whole.start + recovery.most.mul_f64(1.02) + whole.took;
    prober.probes.pause(until.saturating_sub(prober.probes.now()));
    let first = refused_burst(prober, item, most)?.served;
    let mut later = first;
    for _ in 0..LATER {
        // After a refusal a bucket holds less than one token, so the next token may come up to a whole refill later.
        if later > 0 {
            break;
        }
        prober.probes.pause(recovery.most);
        later = refused_burst(prober, item, most)?.served;
    }
    Ok(AfterRecovery { first, later })
}

/// Whether a window begins with the first attempt of a burst, at any time: shortly before its end nothing is served, and
/// after it something is. A window of each full minute or hour ends at its own time.
fn begins_with_burst(
    prober: &mut Prober<'_>,
    item: &mut dyn RateProbe,
    served: u64,
    window: Recovery,
    most: u64,
) -> Probed<bool> {
    // Where refused attempts count as well, the attempts of this check are not to fill the window. A short one may be counted in
    // whole seconds.
    if served < 4 || window.least < SHORT {
        return Ok(true);
    }
    let confirmations = if window.most > LONG { 1 } else { UNEVEN.len() };
    for part in UNEVEN.into_iter().take(confirmations) {
        prober.probes.pause(window.most.mul_f64(part) + MARGIN);
        let burst = refused_burst(prober, item, most)?;
        let ends = [window.least.mul_f64(BEFORE), window.most.mul_f64(1.02) + WHOLE + burst.took];
        for (at, is_after) in ends.into_iter().zip([false, true]) {
            prober.probes.pause((burst.start + at).saturating_sub(prober.probes.now()));
            let is_served = match item.one(prober)? {
                Ok(()) => true,
                Err((_, outcome, session)) => {
                    prober.probes.close(&[session], CloseMode::Close);
                    unreadable(&outcome)?;
                    false
                }
            };
            if is_served != is_after {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// Reports a burst that takes too long: the refill of a bucket during the burst cannot be distinguished from its content
/// at the start.
fn too_slow(result: &mut LimitResult, kind: LimitKind, whole: &Burst, recovery: Recovery) {
    result.between(
        0,
        per_minute(whole.served, recovery.least).max(1),
        "a burst takes nearly as long as the window",
    );
    result.verdict = LimitVerdict::Unstable;
    result.remark(format!(
        "{} {} took {:.1} s, and one more was served {:.1} s after the first: they are too slow to show a window",
        whole.served,
        unit(kind),
        whole.took.as_secs_f64(),
        recovery.most.as_secs_f64()
    ));
}

/// Sets the verdict; a wide bracket confirms no expected value.
fn narrow(result: &mut LimitResult, is_narrow: bool) {
    result.judge(0);
    let (Some(low), Some(high)) = (result.at_least, result.at_most) else { return };
    let is_narrow = is_narrow || high <= low + 1 || high as f64 <= low as f64 * NARROW + 1.0;
    if result.verdict == LimitVerdict::AsExpected && !is_narrow {
        result.verdict = LimitVerdict::Unstable;
        result.remark("the expected value lies within the bracket, which is too wide to confirm it");
    }
}

/// Returns the times of the attempts after a burst, since its start. For a known window the first attempt is clearly before
/// its end: if it is served, the window does not begin with the burst, as one of each full minute. Near the end there are a
/// few attempts. All of them are at most as many as the window serves, because refused attempts may count, too. Otherwise
/// each silence is twice as long as the previous one.
fn questions(burst: &Burst, known: Option<Recovery>) -> Vec<Duration> {
    let mut at = Vec::new();
    let mut next = burst.took + FIRST_SILENCE;
    if let Some(known) = known {
        let count = u32::try_from(burst.served.saturating_sub(1).clamp(1, QUESTIONS)).unwrap_or(1);
        let step = (known.most - known.least) / (count + 1);
        at.extend(Some(known.least.mul_f64(BEFORE)).filter(|at| *at > burst.took && known.least >= SHORT));
        at.extend((1..=count).map(|n| known.least + step * n));
        next = known.most + known.most / 8;
    }
    let mut silence = FIRST_SILENCE.max(next / 4);
    while next <= WINDOW + burst.took {
        at.push(next);
        silence *= 2;
        next += silence;
    }
    at
}

/// Makes attempts after a burst until one is served. Returns the recovery; `None`: none was served.
fn recovery(
    prober: &mut Prober<'_>,
    item: &mut dyn RateProbe,
    burst: &Burst,
    known: Option<Recovery>,
) -> Probed<Option<Recovery>> {
    // The burst ended with a refusal, which is the last one so far.
    let mut least = burst.took;
    for at in questions(burst, known) {
        let until = burst.start + at;
        prober.probes.pause(until.saturating_sub(prober.probes.now()));
        let asked = prober.probes.now().saturating_sub(burst.start);
        match item.one(prober)? {
            Ok(()) => {
                let most = prober.probes.now().saturating_sub(burst.start);
                return Ok(Some(Recovery { least, most: most.max(least + Duration::from_millis(1)) }));
            }
            Err((_, outcome, session)) => {
                prober.probes.close(&[session], CloseMode::Close);
                unreadable(&outcome)?;
                least = asked;
            }
        }
    }
    Ok(None)
}

/// Returns the unit of the limit without "a minute".
fn unit(kind: LimitKind) -> &'static str {
    kind.unit().split(' ').next().unwrap_or_default()
}

fn per_minute(count: u64, time: Duration) -> u64 {
    (count as f64 * 60.0 / time.as_secs_f64().max(1e-3)) as u64
}

/// Writes to the result a window in which `served` attempts are served.
fn window(result: &mut LimitResult, kind: LimitKind, served: u64, recovery: &Recovery) {
    result.window_ms = Some(recovery.most.as_secs_f64() * 1e3);
    result.remark(format!(
        "{served} {} are served in a window of {:.1} to {:.1} s",
        unit(kind),
        recovery.least.as_secs_f64(),
        recovery.most.as_secs_f64()
    ));
    let (low, high) = (
        per_minute(served, recovery.most),
        (served as f64 * 60.0 / recovery.least.as_secs_f64().max(1e-3)).ceil(),
    );
    result.between(low, high as u64, "the length of the window is known only so far");
}

/// Measures the refill of a bucket by attempts at intervals of an eighth of the recovery, so that few are refused.
fn bucket(
    prober: &mut Prober<'_>,
    result: &mut LimitResult,
    kind: LimitKind,
    item: &mut dyn RateProbe,
    full: u64,
    recovery: &Recovery,
) -> Probed<()> {
    let step = (recovery.most / 8).max(Duration::from_millis(5));
    let start = prober.probes.now();
    // For the first and the last refill: the time of the last refusal before it, and the time at which it was served.
    let (mut refills, mut first, mut last) = (0u64, (start, start), (start, start));
    let mut missing = start;
    while refills < REFILLS && prober.probes.now() - start < FILLING {
        prober.probes.pause(step);
        let asked = prober.probes.now();
        match item.one(prober)? {
            Ok(()) => {
                refills += 1;
                last = (missing, asked);
                if refills == 1 {
                    first = last;
                }
            }
            Err((_, _, session)) => {
                prober.probes.close(&[session], CloseMode::Close);
                missing = asked;
            }
        }
    }
    if refills < 2 {
        return Err(Halt::NotMeasurable(format!(
            "{full} were served at once, and then only {refills} in {} s",
            FILLING.as_secs()
        )));
    }
    // Each refill came between the last refusal and the attempt that was served.
    let between = (refills - 1) as f64 * 60.0;
    let (shortest, longest) = (last.0.saturating_sub(first.1), last.1.saturating_sub(first.0));
    let (low, high) = (between / longest.as_secs_f64().max(1e-3), between / shortest.as_secs_f64().max(1e-3));
    result.window_ms = Some(6e4 / ((low + high) / 2.0));
    result.remark(format!(
        "about {full} {} are served at once, and then {:.2} a second",
        unit(kind),
        (low + high) / 120.0
    ));
    result.between(low as u64, high.ceil() as u64, "refills are measured by attempts at intervals");
    Ok(())
}

/// Checks whether the listener counts sessions for as long as they are open. Then the limit is not a rate limit, but a limit
/// on sessions at once whose slots are released late.
fn held_count(prober: &mut Prober<'_>, result: &mut LimitResult) -> Probed<()> {
    let Some(window) = result.window_ms.map(|ms| Duration::from_secs_f64(ms / 1e3)) else { return Ok(()) };
    prober.probes.pause(window + MARGIN);
    result.trials += 1;
    let before = refused_burst(prober, &mut ConnectionProbe, u64::MAX)?;
    prober.probes.pause(window + MARGIN);
    // Half of the number that is served is held. A bucket has been refilled during the pause.
    let hold = (before.served / 2).max(1);
    let mut held = Vec::new();
    for _ in 0..hold {
        prober.afford()?;
        match prober.probes.open(&[ProbeOptions::default()]).pop() {
            Some(OpenOutcome::Open(session)) => held.push(session),
            Some(OpenOutcome::Refused(refusal)) => prober.probes.close(&[refusal.session], CloseMode::Close),
            _ => return Ok(()),
        }
    }
    prober.probes.pause(window + MARGIN);
    let dead = prober.dead(&held)?.len();
    let beside = refused_burst(prober, &mut ConnectionProbe, before.served.saturating_add(1))?;
    let kept = held.len() as u64;
    prober.probes.close(&held, CloseMode::Quit);
    if dead > 0 {
        result.remark(
            "open sessions ended by themselves: whether sessions at once are limited cannot be measured",
        );
        result.verdict = LimitVerdict::Unstable;
    } else if beside.served + kept.div_ceil(2) <= before.served {
        result.not_reached(0);
        result.at_least = None;
        result.verdict = LimitVerdict::Obstructed;
        result.remark(format!(
            "with {kept} open sessions only {} more were served, and {} without: sessions at once are limited first, and \
             their slots are released late",
            beside.served, before.served
        ));
    }
    Ok(())
}

struct ConnectionProbe;

impl RateProbe for ConnectionProbe {
    fn one(&mut self, prober: &mut Prober<'_>) -> Probed<Result<(), (Step, ProbeOutcome, Probe)>> {
        prober.afford()?;
        match prober.probes.open(&[ProbeOptions::default()]).pop() {
            Some(OpenOutcome::Open(session)) => {
                prober.leave(session);
                Ok(Ok(()))
            }
            Some(OpenOutcome::Refused(refusal)) => {
                let outcome = ProbeOutcome { event: refusal.event, at: prober.probes.now() };
                Ok(Err((refusal.step, outcome, refusal.session)))
            }
            Some(OpenOutcome::OwnFailure(why)) => Err(Halt::Own(why)),
            None => Err(Halt::Own("no session was opened".to_owned())),
        }
    }
}

struct MessageProbe;

impl RateProbe for MessageProbe {
    fn one(&mut self, prober: &mut Prober<'_>) -> Probed<Result<(), (Step, ProbeOutcome, Probe)>> {
        // Each message has its own session, so that no limit on the messages of a session is reached.
        let session = prober.enter()?;
        let mailer = prober.mailer(None, 1);
        let letter = prober.letter(&mailer);
        match prober.send(session, &letter) {
            Ok(_) => {
                prober.leave(session);
                Ok(Ok(()))
            }
            Err((step, outcome)) => Ok(Err((step, outcome, session))),
        }
    }
}
