//! Limits on how many sessions are served at once: sessions are opened and held until one is refused.
//!
//! # Decisions
//! - The first search goes in steps that double, a few openings at a time. A refusal alone shows no limit: a slot of an earlier
//!   session may not be free yet. One session is let go, and how long its slot takes to be free again is measured; when
//!   that time has passed with the place full, one more is asked for. Only if that is refused too the limit is where it
//!   showed.
//! - It is measured twice more, each time when the slots have had their time: the last that fit at once with as many more,
//!   and then in small steps. A listener that counts only one of the two ways right is unstable.
//! - Whom a limit counts is shown by other clients: one from the same network, one from another.
//! - Open sessions that end while one more is refused are held against the listener only if they live when none is. They
//!   give signs of life while something is waited for; if they end all the same, nothing is counted by them.

mod scope;

use std::time::Duration;

use super::field::{Field, Found, Halt};
use super::finding::{Finding, Verdict};
use super::kind::{LimitKind, SessionScope};
use super::looks::bound;
use crate::experiment::search::Search;
use crate::generator::probe::{AT_ONCE, CloseMode, OpenOutcome, Probe, ProbeOptions, ProbeRefusal};

/// So many are asked for before it is looked whether one was refused.
const CHUNK: usize = 8;
/// Sessions that come at once: half of them fit, and half do not.
const STORM: u64 = 16;
/// The first wait before a slot is asked for again; each is longer than the one before.
const AGAIN: Duration = Duration::from_millis(5);
/// The longest of them where slots were seen to become free.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// How often a place that turns out to be larger is filled up further.
const FURTHER: u64 = 6;
/// Open sessions give a sign of life as often as this while something is waited for.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);

/// Who comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Crowd {
    /// All from one address.
    OneHost,
    /// Each from its own, and from as many networks as there are.
    ManyHosts,
}

/// Looks for a limit on sessions at once.
pub(super) fn find(
    field: &mut Field<'_>,
    kind: LimitKind,
    scope: SessionScope,
    finding: &mut Finding,
) -> Found<()> {
    let whole = is_whole(scope);
    if scope == SessionScope::Tls && !field.is_encrypted() {
        return Err(Halt::Foreign("its sessions are not encrypted: give --tls starttls or implicit".into()));
    }
    let hosts = field.probes.hosts();
    if whole && hosts < 2 {
        return Err(Halt::Foreign(
            "all sessions come from one address: give the target several `sources`".into(),
        ));
    }
    let crowd = if whole { Crowd::ManyHosts } else { Crowd::OneHost };
    let most = bound(finding.expected, field.setting.bounds.sessions, field.setting.bounds.connections / 4);
    let most = if whole { most.min(hosts) } else { most };
    let order = if whole { scope::spread(field, most) } else { Vec::new() };
    let quiet_since = field.probes.now();
    Room { field, crowd, order, bound: most, held: Vec::new(), asked: 0, quiet_since, signs: 0 }
        .search(kind, scope, finding)
}

fn is_whole(scope: SessionScope) -> bool {
    matches!(scope, SessionScope::Listener | SessionScope::TargetHost)
}

/// How filling the place ended.
enum Filled {
    /// Nothing was refused up to the bound.
    All,
    /// So many are served, and one more was refused, twice.
    Refused(u64, ProbeRefusal),
    /// Of so many open sessions some were ended when one more was refused.
    Ended(u64, ProbeRefusal),
}

/// The sessions that are held.
struct Room<'f, 'h> {
    field: &'f mut Field<'h>,
    crowd: Crowd,
    /// The client addresses of a crowd from many hosts.
    order: Vec<u64>,
    bound: u64,
    held: Vec<Probe>,
    /// Openings so far: the number of the next client.
    asked: u64,
    /// Since when the session that was quiet for longest is quiet.
    quiet_since: Duration,
    /// How often the open sessions gave a sign of life.
    signs: u32,
}

impl Room<'_, '_> {
    fn search(&mut self, kind: LimitKind, scope: SessionScope, finding: &mut Finding) -> Found<()> {
        let (served, refusal) = match self.confirmed(finding)? {
            Filled::All => {
                finding.unmet(self.held.len() as u64);
                finding.judge(0);
                return Ok(());
            }
            Filled::Refused(served, refusal) => (served, refusal),
            Filled::Ended(served, refusal) => return self.ended(finding, served, &refusal),
        };
        (finding.looked, finding.repeats) = (1, 1);
        finding.exactly(served);
        self.field.shown(finding, refusal.step, &refusal.event, refusal.session);
        self.field.probes.close(&[refusal.session], CloseMode::Close);
        let foreign = self.scope(kind, scope, finding, served)?;
        self.stay_usable(finding, served)?;
        if self.crowd == Crowd::ManyHosts && self.counts_networks(finding, served)? {
            return Ok(());
        }
        self.counted_apart(finding)?;
        if finding.release_ms.is_some() {
            self.again(finding, served)?;
        }
        if !foreign && finding.verdict == Verdict::Obstructed {
            finding.judge(0);
        }
        if finding.release_ms.is_none() {
            finding.verdict = Verdict::Unstable;
            finding.remark(
                "no slot was seen to be free again: a limit by time with a long window looks the same",
            );
        }
        if finding.inside_alive == Some(false) {
            finding.verdict = Verdict::Unsafe;
            finding.remark("open sessions within the limit were ended when one more was refused");
        }
        Ok(())
    }

    /// Fills the place until the next is refused, and is refused again when every slot has had its time to be free.
    /// Afterwards as many are held as were served.
    fn confirmed(&mut self, finding: &mut Finding) -> Found<Filled> {
        for _ in 0..FURTHER {
            let (served, refusal) = match self.fill(finding)? {
                Filled::Refused(served, refusal) => (served, refusal),
                other => return Ok(other),
            };
            if self.held.is_empty() {
                return Err(Halt::Refused(Box::new(refusal)));
            }
            let Some(release) = self.release(finding)? else {
                // Nothing more can be learnt here: what was held is what is served.
                return Ok(Filled::Refused(served, refusal));
            };
            self.field.probes.close(&[refusal.session], CloseMode::Close);
            finding.release_ms = Some(release.as_secs_f64() * 1e3);
            self.field.release = self.field.release.max(release);
            let settling = self.field.settling();
            self.rest(settling)?;
            finding.trials += 1;
            let (inside, refused) = self.come(1)?;
            if let (0, Some(refused)) = (inside, refused) {
                return Ok(Filled::Refused(self.held.len() as u64, refused));
            }
        }
        Err(Halt::Foreign(format!(
            "each time that {:.1} s had passed more sessions were served, {} at last: a limit by time is met before one of \
             sessions at once",
            self.field.release.as_secs_f64(),
            self.held.len()
        )))
    }

    /// Opens sessions until one is refused, and one more by itself is refused as well.
    fn fill(&mut self, finding: &mut Finding) -> Found<Filled> {
        let mut search = Search::new(4, self.bound, finding.expected).known(self.held.len() as u64);
        while let Some(total) = search.next() {
            finding.trials += 1;
            let here = self.held.len() as u64;
            let (inside, refused) = self.come(total.saturating_sub(here).max(1))?;
            // Each that came in is one that is served, whatever became of the others of the same step.
            let served = here + inside;
            if served > search.at_least() {
                search.tell(served, true);
            }
            let Some(refusal) = refused else { continue };
            if !self.dead().is_empty() {
                return Ok(Filled::Ended(served, refusal));
            }
            // With the place as full as the step has left it, one more by itself decides.
            self.field.probes.close(&[refusal.session], CloseMode::Close);
            finding.trials += 1;
            let (one, refused) = self.come(1)?;
            if let (0, Some(refused)) = (one, refused) {
                return Ok(Filled::Refused(served, refused));
            }
            search.tell(served + 1, true);
        }
        self.rest(Duration::ZERO)?;
        Ok(Filled::All)
    }

    /// Open sessions ended when one more was refused, with `served` of them: whether they do so again, and only then.
    fn ended(&mut self, finding: &mut Finding, served: u64, refusal: &ProbeRefusal) -> Found<()> {
        (finding.looked, finding.trials) = (2, finding.trials + 1);
        self.field.shown(finding, refusal.step, &refusal.event, refusal.session);
        // How long a slot takes to be free is not known yet.
        self.field.release = self.field.release.max(Duration::from_secs(1));
        if self.live_alone(served, Duration::from_secs(1), 2)? != Some(true) {
            return Err(Halt::Foreign(format!(
                "open sessions end while they are held, also when none is refused: with {served} of them the search cannot go on"
            )));
        }
        self.empty();
        self.field.settle();
        let (_, refused) = self.come(served)?;
        self.turn_away(refused);
        let (inside, refused) = self.come(1)?;
        self.turn_away(refused);
        if inside == 0 && !self.dead().is_empty() {
            finding.repeats = 2;
            finding.exactly(served);
            finding.inside_alive = Some(false);
            finding.verdict = Verdict::Unsafe;
            finding.remark("open sessions within the limit were ended when one more was refused, twice");
        } else {
            finding.between(0, served + inside, "open sessions ended once when one more was refused");
            finding.verdict = Verdict::Unstable;
        }
        Ok(())
    }

    /// The open sessions that do not answer any more; all give a sign of life.
    fn dead(&mut self) -> Vec<Probe> {
        let dead = self.field.dead(&self.held);
        self.quiet_since = self.field.probes.now();
        self.signs += 1;
        dead.into_iter().map(|(session, _)| session).collect()
    }

    /// Waits with the place as it is.
    ///
    /// # Errors
    /// Open sessions end meanwhile: then nothing can be counted by them.
    fn rest(&mut self, length: Duration) -> Found<()> {
        let until = self.field.probes.now() + length;
        loop {
            self.field.afford()?;
            let left = until.saturating_sub(self.field.probes.now());
            self.field.probes.pause(left.min(SIGN_OF_LIFE));
            let (held, gone) = (self.held.len(), self.dead().len());
            if gone > 0 {
                return Err(Halt::Foreign(format!(
                    "{gone} of {held} open sessions ended while they were held, though they gave signs of life: no limit of \
                     sessions at once can be seen"
                )));
            }
            if left <= SIGN_OF_LIFE {
                return Ok(());
            }
        }
    }

    fn way(&self, n: u64) -> ProbeOptions {
        let host = match self.crowd {
            Crowd::OneHost => 0,
            Crowd::ManyHosts => {
                let turn = usize::try_from(n).unwrap_or(usize::MAX) % self.order.len().max(1);
                self.order.get(turn).copied().unwrap_or(n)
            }
        };
        ProbeOptions { host, ..ProbeOptions::default() }
    }

    /// Lets `count` more come: how many got in, and the first that did not.
    fn come(&mut self, count: u64) -> Found<(u64, Option<ProbeRefusal>)> {
        self.come_by(count, AT_ONCE)
    }

    /// The same, so many at a time.
    fn come_by(&mut self, count: u64, at_once: usize) -> Found<(u64, Option<ProbeRefusal>)> {
        self.field.afford()?;
        if self.held.is_empty() {
            (self.quiet_since, self.signs) = (self.field.probes.now(), 0);
        }
        let ways: Vec<ProbeOptions> = (self.asked..self.asked + count).map(|n| self.way(n)).collect();
        let (mut inside, mut refused) = (0, None);
        // Once one is refused no more come: each that is answered by silence costs its time.
        for few in ways.chunks(at_once.max(CHUNK)) {
            self.asked += few.len() as u64;
            for opened in self.field.probes.open_by(few, at_once) {
                match opened {
                    OpenOutcome::Open(session) => {
                        self.held.push(session);
                        inside += 1;
                    }
                    OpenOutcome::Refused(refusal) => match &refused {
                        None => refused = Some(refusal),
                        Some(_) => self.field.probes.close(&[refusal.session], CloseMode::Close),
                    },
                    OpenOutcome::OwnFailure(_) if self.field.probes.left().is_zero() => {
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

    /// One more from this client: whether it is served. It is let go at once.
    fn is_served(&mut self, way: ProbeOptions) -> Found<bool> {
        self.field.afford()?;
        match self.field.probes.open(&[way]).pop() {
            Some(OpenOutcome::Open(session)) => {
                self.field.probes.close(&[session], CloseMode::Quit);
                Ok(true)
            }
            Some(OpenOutcome::Refused(refusal)) => {
                self.field.probes.close(&[refusal.session], CloseMode::Close);
                Ok(false)
            }
            Some(OpenOutcome::OwnFailure(why)) => Err(Halt::Own(why)),
            None => Ok(false),
        }
    }

    /// Whether the open sessions stayed usable while one more was refused.
    fn stay_usable(&mut self, finding: &mut Finding, served: u64) -> Found<()> {
        let quiet = self.field.probes.now().saturating_sub(self.quiet_since);
        let gone = self.dead().len();
        if gone == 0 {
            finding.inside_alive = Some(true);
            return Ok(());
        }
        if self.live_alone(served, quiet.max(Duration::from_secs(1)), self.signs)? == Some(true) {
            finding.inside_alive = Some(false);
            return Ok(());
        }
        finding.remark(format!(
            "{gone} open sessions ended while they were held, and not only when one more was refused: the idle time-out is \
             shorter than the search"
        ));
        Ok(())
    }

    /// Whether as many live on that are held and quiet for as long, and give as many signs of life, while none is refused:
    /// if they end then too, it is not for the refusal. `None`: fewer are served.
    fn live_alone(&mut self, served: u64, quiet: Duration, signs: u32) -> Found<Option<bool>> {
        self.empty();
        self.field.settle();
        let (inside, refused) = self.come(served)?;
        self.turn_away(refused);
        if inside < served {
            return Ok(None);
        }
        self.field.probes.pause(quiet);
        for _ in 0..signs {
            if !self.dead().is_empty() {
                return Ok(Some(false));
            }
        }
        Ok(Some(true))
    }

    /// Lets one go, and asks again and again until one comes in: how long that took. The place is full again afterwards.
    fn release(&mut self, finding: &mut Finding) -> Found<Option<Duration>> {
        let Some(one) = self.held.pop() else { return Ok(None) };
        let freed = self.field.probes.now();
        self.field.probes.close(&[one], CloseMode::Quit);
        let bounds = &self.field.setting.bounds;
        // What counts by time serves again after its window: common ones are a minute.
        let bound = bounds.release.max(bounds.recovery);
        let mut wait = AGAIN;
        loop {
            let (inside, refused) = self.come(1)?;
            let took = self.field.probes.now() - freed;
            if inside == 1 {
                return Ok(Some(took));
            }
            self.turn_away(refused);
            if took >= bound {
                finding.remark(format!("release: never ({} s)", bound.as_secs()));
                return Ok(None);
            }
            self.rest(wait)?;
            // More and more seldom: refused attempts may count as well.
            wait *= 2;
        }
    }

    /// Whether those without TLS are counted apart from those with it.
    fn counted_apart(&mut self, finding: &mut Finding) -> Found<()> {
        if !self.field.is_encrypted() || self.crowd == Crowd::ManyHosts {
            return Ok(());
        }
        if self.is_served(ProbeOptions { clear: true, ..ProbeOptions::default() })? {
            finding.remark("a session without TLS was still served: the two are counted apart");
        }
        Ok(())
    }

    /// Measures twice more: the last that fit at once with as many more, and then in small steps. In each the last that fits is
    /// served, and one more is refused.
    fn again(&mut self, finding: &mut Finding, first: u64) -> Found<()> {
        let mut others = Vec::new();
        for storm in [true, false] {
            self.empty();
            self.field.settle();
            finding.looked += 1;
            finding.trials += 1;
            let count = self.filled(first, storm)?;
            if count == first {
                finding.repeats += 1;
            } else {
                others.push(count);
                let how = if storm { "many at once" } else { "few at a time" };
                finding
                    .remark(format!("{first} were served at first, and {count} when they came again, {how}"));
            }
        }
        if let (Some(low), Some(high)) = (others.iter().min(), others.iter().max()) {
            finding.between((*low).min(first), (*high).max(first), "it was not the same each time");
            finding.verdict = Verdict::Unstable;
        }
        Ok(())
    }

    /// Fills the place, `first` of which are known to fit: the last of them with as many more at once, or in small steps.
    /// Slots that are not free yet are waited for. How many were served.
    fn filled(&mut self, first: u64, storm: bool) -> Found<u64> {
        let begun = self.field.probes.now();
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
            let waited = self.field.probes.now().saturating_sub(begun);
            if count >= first || waited >= self.field.setting.bounds.release {
                return Ok(count);
            }
            // Its slots take longer than was seen.
            self.field.probes.pause(wait);
            self.field.release = self.field.release.max(self.field.probes.now().saturating_sub(begun));
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    fn turn_away(&mut self, refused: Option<ProbeRefusal>) {
        if let Some(refusal) = refused {
            self.field.probes.close(&[refusal.session], CloseMode::Close);
        }
    }

    /// Lets all go.
    fn empty(&mut self) {
        let held = std::mem::take(&mut self.held);
        self.field.probes.close(&held, CloseMode::Quit);
    }
}
