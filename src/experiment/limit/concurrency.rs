//! Limits on the number of sessions at once: sessions are opened and held until one is refused.
//!
//! # Decisions
//! - The first search doubles the number of sessions, with a few openings at a time. One refusal does not show the limit,
//!   because the slot of an earlier session may not be released yet. So one session is closed, and the release of its slot
//!   is measured. After that time, with all slots taken, one more session is tried. The limit is known only if this session
//!   is refused, too.
//! - The limit is measured twice more, each time after the release: once with many openings at once around the limit, and
//!   once in small steps. If the listener counts only one of the two correctly, the limit is unstable.
//! - Other clients show which clients the limit counts together: one client of the same network, and one of another.
//! - Open sessions that end while one more is refused are a fault of the listener only if they stay open when no session
//!   is refused. During waits each open session sends a NOOP every few seconds. If sessions end nevertheless, they cannot
//!   be used to count a limit.

mod scope;

use std::time::Duration;

use super::kind::{LimitKind, SessionScope};
use super::prober::{Halt, Probed, Prober};
use super::repeats::bound;
use super::result::{LimitResult, LimitVerdict};
use super::value_search::ValueSearch;
use crate::generator::probe::{AT_ONCE, CloseMode, OpenOutcome, Probe, ProbeOptions, ProbeRefusal};

/// The least number of sessions that are opened before the search checks whether one of them was refused.
const CHUNK: usize = 8;
/// The number of sessions that are opened at once around the limit. Half of them fit.
const STORM: u64 = 16;
/// The first wait before a slot is tried again; each further wait is twice as long as the previous one.
const AGAIN: Duration = Duration::from_millis(5);
/// The longest of these waits once a release was measured.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// The largest number of searches if more sessions are served after each release.
const FURTHER: u64 = 6;
/// The interval of the NOOPs of open sessions during waits.
const NOOP_INTERVAL: Duration = Duration::from_secs(5);

/// The client addresses of the sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Clients {
    /// All sessions come from one address.
    OneHost,
    /// Each session comes from its own address if there are enough, and from as many networks as there are.
    ManyHosts,
}

/// Measures a limit on sessions at once.
pub(super) fn find(
    prober: &mut Prober<'_>,
    kind: LimitKind,
    scope: SessionScope,
    result: &mut LimitResult,
) -> Probed<()> {
    let whole = counts_all(scope);
    if scope == SessionScope::Tls && !prober.is_encrypted() {
        return Err(Halt::NotMeasurable(
            "the sessions are not encrypted: give --tls starttls or implicit".into(),
        ));
    }
    let hosts = prober.probes.hosts();
    if whole && hosts < 2 {
        return Err(Halt::NotMeasurable(
            "all sessions come from one address: give the target several `sources`".into(),
        ));
    }
    let crowd = if whole { Clients::ManyHosts } else { Clients::OneHost };
    let most = bound(result.expected, prober.setting.bounds.sessions, prober.setting.bounds.connections / 4);
    // Each host has one session fewer than it may have, so that no session is refused because of its host.
    let each = prober.per_host.map_or(1, |served| served.saturating_sub(1).max(1));
    let most = if whole { most.min(hosts.saturating_mul(each)) } else { most };
    let order = if whole { scope::spread(prober, most) } else { Vec::new() };
    let quiet_since = prober.probes.now();
    HeldSessions { prober, crowd, order, bound: most, held: Vec::new(), asked: 0, quiet_since, signs: 0 }
        .search(kind, scope, result)?;
    if !whole && scope == SessionScope::Host {
        prober.per_host = result.at_least;
    }
    Ok(())
}

fn counts_all(scope: SessionScope) -> bool {
    matches!(scope, SessionScope::Listener | SessionScope::TargetHost)
}

/// How the opening of sessions ended.
enum FillEnd {
    /// No session was refused up to the bound.
    All,
    /// This many sessions were served, and one more was refused twice.
    Refused(u64, ProbeRefusal),
    /// Some of this many open sessions ended when one more was refused.
    Ended(u64, ProbeRefusal),
}

/// The sessions that are held.
struct HeldSessions<'f, 'h> {
    prober: &'f mut Prober<'h>,
    crowd: Clients,
    /// The client addresses in the order of their use, if there are many.
    order: Vec<u64>,
    bound: u64,
    held: Vec<Probe>,
    /// The number of openings so far. It determines the address of the next client.
    asked: u64,
    /// The time of the last NOOPs of the open sessions, or of the first opening.
    quiet_since: Duration,
    /// The number of NOOPs that each open session sent.
    signs: u32,
}

impl HeldSessions<'_, '_> {
    fn search(&mut self, kind: LimitKind, scope: SessionScope, result: &mut LimitResult) -> Probed<()> {
        let (served, refusal) = match self.confirmed(result)? {
            FillEnd::All => {
                result.not_reached(self.held.len() as u64);
                result.judge(0);
                return Ok(());
            }
            FillEnd::Refused(served, refusal) => (served, refusal),
            FillEnd::Ended(served, refusal) => return self.ended(result, served, &refusal),
        };
        (result.looked, result.repeats) = (1, 1);
        result.exactly(served);
        self.prober.shown(result, refusal.step, &refusal.event, refusal.session);
        self.prober.probes.close(&[refusal.session], CloseMode::Close);
        let foreign = self.scope(kind, scope, result, served)?;
        self.stay_usable(result, served)?;
        if self.crowd == Clients::ManyHosts && self.counts_networks(result, served)? {
            return Ok(());
        }
        self.counted_apart(result)?;
        if result.release_ms.is_some() {
            self.again(result, served)?;
        }
        if !foreign && result.verdict == LimitVerdict::Obstructed {
            result.judge(0);
        }
        if result.release_ms.is_none() {
            result.verdict = LimitVerdict::Unstable;
            result.remark("no slot was released: a rate limit with a long window looks the same");
        }
        if result.inside_alive == Some(false) {
            result.verdict = LimitVerdict::Unsafe;
            result.remark("open sessions within the limit were ended when one more was refused");
        }
        Ok(())
    }

    /// Opens sessions until the next one is refused, and is refused again after each slot had time for its release.
    /// Afterwards as many sessions are open as were served, or one fewer if a closed session was not replaced.
    fn confirmed(&mut self, result: &mut LimitResult) -> Probed<FillEnd> {
        for _ in 0..FURTHER {
            let (served, refusal) = match self.fill(result)? {
                FillEnd::Refused(served, refusal) => (served, refusal),
                other => return Ok(other),
            };
            if self.held.is_empty() {
                return Err(Halt::Refused(Box::new(refusal)));
            }
            let Some(release) = self.release(result)? else {
                // Without a release the limit cannot be confirmed: the number that was served counts.
                return Ok(FillEnd::Refused(served, refusal));
            };
            self.prober.probes.close(&[refusal.session], CloseMode::Close);
            result.release_ms = Some(release.as_secs_f64() * 1e3);
            self.prober.release = self.prober.release.max(release);
            let settling = self.prober.settling();
            self.rest(settling)?;
            result.trials += 1;
            let (inside, refused) = self.come(1)?;
            if let (0, Some(refused)) = (inside, refused) {
                return Ok(FillEnd::Refused(self.held.len() as u64, refused));
            }
        }
        Err(Halt::NotMeasurable(format!(
            "after each wait of {:.1} s more sessions were served, {} at last: a rate limit is enforced before a limit of \
             sessions at once",
            self.prober.release.as_secs_f64(),
            self.held.len()
        )))
    }

    /// Opens sessions until one is refused, and then a single further one is refused, too.
    fn fill(&mut self, result: &mut LimitResult) -> Probed<FillEnd> {
        let mut search = ValueSearch::new(4, self.bound, result.expected).known(self.held.len() as u64);
        while let Some(total) = search.next() {
            result.trials += 1;
            let here = self.held.len() as u64;
            let (inside, refused) = self.come(total.saturating_sub(here).max(1))?;
            // Each session that opened counts as served, whatever happened to the others of the same step.
            let served = here + inside;
            if served > search.at_least() {
                search.tell(served, true);
            }
            let Some(refusal) = refused else { continue };
            if !self.dead()?.is_empty() {
                return Ok(FillEnd::Ended(served, refusal));
            }
            // With all served sessions open, a single further session decides.
            self.prober.probes.close(&[refusal.session], CloseMode::Close);
            result.trials += 1;
            let (one, refused) = self.come(1)?;
            if let (0, Some(refused)) = (one, refused) {
                return Ok(FillEnd::Refused(served, refused));
            }
            search.tell(served + 1, true);
        }
        self.rest(Duration::ZERO)?;
        Ok(FillEnd::All)
    }

    /// Handles open sessions that ended when a session beyond `served` was refused. Measures whether open sessions end
    /// again, and whether they end only when one more is refused.
    fn ended(&mut self, result: &mut LimitResult, served: u64, refusal: &ProbeRefusal) -> Probed<()> {
        (result.looked, result.trials) = (2, result.trials + 1);
        self.prober.shown(result, refusal.step, &refusal.event, refusal.session);
        // The release time of a slot is not known yet.
        self.prober.release = self.prober.release.max(Duration::from_secs(1));
        if self.live_alone(served, Duration::from_secs(1), 2)? != Some(true) {
            return Err(Halt::NotMeasurable(format!(
                "open sessions end by themselves, also when none is refused: with {served} of them the search cannot continue"
            )));
        }
        self.empty();
        self.prober.settle();
        let (_, refused) = self.come(served)?;
        self.turn_away(refused);
        let (inside, refused) = self.come(1)?;
        self.turn_away(refused);
        if inside == 0 && !self.dead()?.is_empty() {
            result.repeats = 2;
            result.exactly(served);
            result.inside_alive = Some(false);
            result.verdict = LimitVerdict::Unsafe;
            result.remark("open sessions within the limit were ended when one more was refused, twice");
        } else {
            result.between(0, served + inside, "open sessions ended once when one more was refused");
            result.verdict = LimitVerdict::Unstable;
        }
        Ok(())
    }

    /// Sends a NOOP in each open session, and returns the sessions that have ended.
    fn dead(&mut self) -> Probed<Vec<Probe>> {
        let dead = self.prober.dead(&self.held)?;
        self.quiet_since = self.prober.probes.now();
        self.signs += 1;
        Ok(dead)
    }

    /// Waits with all sessions open, and sends NOOPs in them.
    ///
    /// # Errors
    /// Open sessions ended during the wait, so they cannot be used to count a limit.
    fn rest(&mut self, length: Duration) -> Probed<()> {
        let until = self.prober.probes.now() + length;
        loop {
            self.prober.afford()?;
            let left = until.saturating_sub(self.prober.probes.now());
            self.prober.probes.pause(left.min(NOOP_INTERVAL));
            let (held, gone) = (self.held.len(), self.dead()?.len());
            if gone > 0 {
                return Err(Halt::NotMeasurable(format!(
                    "{gone} of {held} open sessions ended while they were held, although each was asked with NOOP: no limit of \
                     sessions at once can be measured"
                )));
            }
            if left <= NOOP_INTERVAL {
                return Ok(());
            }
        }
    }

    fn way(&self, n: u64) -> ProbeOptions {
        let host = match self.crowd {
            Clients::OneHost => 0,
            Clients::ManyHosts => {
                let turn = usize::try_from(n).unwrap_or(usize::MAX) % self.order.len().max(1);
                self.order.get(turn).copied().unwrap_or(n)
            }
        };
        ProbeOptions { host, ..ProbeOptions::default() }
    }

    /// Opens `count` more sessions. Returns the number that was served, and the first refusal.
    fn come(&mut self, count: u64) -> Probed<(u64, Option<ProbeRefusal>)> {
        self.come_by(count, AT_ONCE)
    }

    /// Opens `count` more sessions like [`HeldSessions::come`], with `at_once` openings at a time.
    fn come_by(&mut self, count: u64, at_once: usize) -> Probed<(u64, Option<ProbeRefusal>)> {
        self.prober.afford()?;
        if self.held.is_empty() {
            (self.quiet_since, self.signs) = (self.prober.probes.now(), 0);
        }
        let ways: Vec<ProbeOptions> = (self.asked..self.asked + count).map(|n| self.way(n)).collect();
        let (mut inside, mut refused) = (0, None);
        // After a refusal no more sessions are opened: each opening that gets no answer lasts until its time-out.
        for few in ways.chunks(at_once.max(CHUNK)) {
            self.asked += few.len() as u64;
            for opened in self.prober.probes.open_by(few, at_once) {
                match opened {
                    OpenOutcome::Open(session) => {
                        self.held.push(session);
                        inside += 1;
                    }
                    OpenOutcome::Refused(refusal) => match &refused {
                        None => refused = Some(refusal),
                        Some(_) => self.prober.probes.close(&[refusal.session], CloseMode::Close),
                    },
                    OpenOutcome::OwnFailure(_) if self.prober.probes.left().is_zero() => {
                        return Err(Halt::Spent("time"));
                    }
                    OpenOutcome::OwnFailure(why) => return Err(Halt::Own(why)),
                }
            }
            if refused.is_some() {
                break;
            }
        }
        Ok((inside, refused))
    }

    /// Whether one more session with these options is served. The session is closed at once.
    fn is_served(&mut self, way: ProbeOptions) -> Probed<bool> {
        self.prober.afford()?;
        match self.prober.probes.open(&[way]).pop() {
            Some(OpenOutcome::Open(session)) => {
                self.prober.probes.close(&[session], CloseMode::Quit);
                Ok(true)
            }
            Some(OpenOutcome::Refused(refusal)) => {
                self.prober.probes.close(&[refusal.session], CloseMode::Close);
                Ok(false)
            }
            Some(OpenOutcome::OwnFailure(why)) => Err(Halt::Own(why)),
            None => Ok(false),
        }
    }

    /// Checks whether the open sessions stayed usable while one more was refused.
    fn stay_usable(&mut self, result: &mut LimitResult, served: u64) -> Probed<()> {
        let quiet = self.prober.probes.now().saturating_sub(self.quiet_since);
        let gone = self.dead()?.len();
        if gone == 0 {
            result.inside_alive = Some(true);
            return Ok(());
        }
        if self.live_alone(served, quiet.max(Duration::from_secs(1)), self.signs)? == Some(true) {
            result.inside_alive = Some(false);
            return Ok(());
        }
        result.remark(format!(
            "{gone} open sessions ended while they were held, and not only when one more was refused: the idle timeout is \
             shorter than the search"
        ));
        Ok(())
    }

    /// Whether `served` sessions stay open while no session is refused: first idle for `quiet`, and then for `signs` NOOPs.
    /// If they end without a refusal, too, the refusal is not the reason. `None`: the listener now serves fewer sessions.
    fn live_alone(&mut self, served: u64, quiet: Duration, signs: u32) -> Probed<Option<bool>> {
        self.empty();
        self.prober.settle();
        let (inside, refused) = self.come(served)?;
        self.turn_away(refused);
        if inside < served {
            return Ok(None);
        }
        self.prober.probes.pause(quiet);
        for _ in 0..signs {
            if !self.dead()?.is_empty() {
                return Ok(Some(false));
            }
        }
        Ok(Some(true))
    }

    /// Closes one session and tries to open another until it is served. Returns how long that took, with all slots taken
    /// again; `None`: no session was served.
    fn release(&mut self, result: &mut LimitResult) -> Probed<Option<Duration>> {
        let Some(one) = self.held.pop() else { return Ok(None) };
        let freed = self.prober.probes.now();
        self.prober.probes.close(&[one], CloseMode::Quit);
        let bounds = &self.prober.setting.bounds;
        // A rate limit serves again after its window, which is often a minute.
        let bound = bounds.release.max(bounds.recovery);
        let mut wait = AGAIN;
        loop {
            let (inside, refused) = self.come(1)?;
            let took = self.prober.probes.now() - freed;
            if inside == 1 {
                return Ok(Some(took));
            }
            self.turn_away(refused);
            if took >= bound {
                result.remark(format!("release: never ({} s)", bound.as_secs()));
                return Ok(None);
            }
            self.rest(wait)?;
            // The listener may count refused attempts, too, so they become rarer.
            wait *= 2;
        }
    }

    /// Checks whether sessions without TLS are counted separately from sessions with TLS.
    fn counted_apart(&mut self, result: &mut LimitResult) -> Probed<()> {
        if !self.prober.is_encrypted() || self.crowd == Clients::ManyHosts {
            return Ok(());
        }
        if self.is_served(ProbeOptions { clear: true, ..ProbeOptions::default() })? {
            result.remark(
                "a session without TLS was still served: sessions with and without TLS are counted apart",
            );
        }
        Ok(())
    }

    /// Measures the limit twice more: with many sessions at once around the limit, and then in small steps.
    fn again(&mut self, result: &mut LimitResult, first: u64) -> Probed<()> {
        let mut others = Vec::new();
        for storm in [true, false] {
            self.empty();
            self.prober.settle();
            result.looked += 1;
            result.trials += 1;
            let count = self.filled(first, storm)?;
            if count == first {
                result.repeats += 1;
            } else {
                others.push(count);
                let how = if storm { "many at once" } else { "few at a time" };
                result.remark(format!("{first} were served at first, and {count} in a repeat with {how}"));
            }
        }
        if let (Some(low), Some(high)) = (others.iter().min(), others.iter().max()) {
            result.between((*low).min(first), (*high).max(first), "the repeats differ");
            result.verdict = LimitVerdict::Unstable;
        }
        Ok(())
    }

    /// Opens sessions until more than `first` are served or one is refused; `first` are known to fit. With `storm` the last
    /// of these are opened together with as many more, otherwise in small steps. Waits for slots that are not released
    /// yet. Returns the number of sessions that were served.
    fn filled(&mut self, first: u64, storm: bool) -> Probed<u64> {
        let start = self.prober.probes.now();
        let mut wait = AGAIN;
        loop {
            let here = self.held.len() as u64;
            let left = first.saturating_sub(here);
            let (inside, refused) = match storm {
                true if left > STORM / 2 => self.come(left - STORM / 2)?,
                true => self.come_by(left + STORM / 2, STORM as usize)?,
                false => self.come((left / 2).clamp(1, 16))?,
            };
            let was_refused = refused.is_some();
            self.turn_away(refused);
            let count = here + inside;
            if !was_refused && count <= first {
                continue;
            }
            let waited = self.prober.probes.now().saturating_sub(start);
            if count >= first || waited >= self.prober.setting.bounds.release {
                return Ok(count);
            }
            // The release takes longer than was measured.
            self.prober.probes.pause(wait);
            self.prober.release = self.prober.release.max(self.prober.probes.now().saturating_sub(start));
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    fn turn_away(&mut self, refused: Option<ProbeRefusal>) {
        if let Some(refusal) = refused {
            self.prober.probes.close(&[refusal.session], CloseMode::Close);
        }
    }

    /// Closes all open sessions.
    fn empty(&mut self) {
        let held = std::mem::take(&mut self.held);
        self.prober.probes.close(&held, CloseMode::Quit);
    }
}
