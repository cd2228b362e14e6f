//! Limits on how many are served at once: sessions are opened and held until one is refused.
//!
//! # Decisions
//! - The first search goes in steps that double, each opened at once; then, with the place full, one more is asked for by
//!   itself. Looked at again, all that fit and a few more come at once, and then one after the other: a listener that
//!   counts only one of the two ways right is unstable.
//! - Whom a limit counts is told by another client: where a second address still enters, the limit is the host's.

use std::time::Duration;

use super::Kind;
use super::field::{Field, Found, Halt};
use super::finding::{Finding, Verdict};
use super::looks::bound;
use crate::collector::Condition;
use crate::experiment::search::Search;
use crate::generator::hands::{Leave, Opened, Refusal, Session, Way};

/// Further sessions that come at once with those that fit.
const STORM: u64 = 8;
/// The first wait before a place is asked for again; each is longer than the one before.
const AGAIN: Duration = Duration::from_millis(5);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Who comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Crowd {
    /// All from one address.
    OneHost,
    /// Each from its own.
    ManyHosts,
}

impl Crowd {
    fn way(self, n: u64) -> Way {
        Way { host: if self == Crowd::OneHost { 0 } else { n }, ..Way::default() }
    }
}

/// Looks for a limit on sessions at once.
pub(super) fn find(field: &mut Field<'_>, kind: &Kind, finding: &mut Finding) -> Found<()> {
    let whole = matches!(kind.name, "too-many-connections-to-listener" | "too-many-connections-to-host");
    if kind.name == "too-many-tls-sessions" && !field.setting.tls {
        return Err(Halt::Foreign("its sessions are not encrypted: give --tls starttls or implicit".into()));
    }
    let hosts = field.hands.hosts();
    if whole && hosts < 2 {
        return Err(Halt::Foreign(
            "all sessions come from one address: give the target several `sources`".into(),
        ));
    }
    let crowd = if whole { Crowd::ManyHosts } else { Crowd::OneHost };
    let bound = bound(finding.expected, field.setting.bounds.sessions);
    let bound = if whole { bound.min(hosts) } else { bound };
    let mut room = Room { field, crowd, bound, held: Vec::new(), asked: 0 };
    let found = room.search(kind, finding);
    room.empty();
    found
}

/// The sessions that are held.
struct Room<'f, 'h> {
    field: &'f mut Field<'h>,
    crowd: Crowd,
    bound: u64,
    held: Vec<Session>,
    /// Openings so far: the number of the next client.
    asked: u64,
}

impl Room<'_, '_> {
    fn search(&mut self, kind: &Kind, finding: &mut Finding) -> Found<()> {
        let (first, refusal) = self.fill(finding)?;
        finding.looked = 1;
        finding.repeats = 1;
        let Some(refusal) = refusal else {
            finding.unmet(first);
            finding.judge(0);
            return Ok(());
        };
        finding.exactly(first);
        self.field.shown(finding, refusal.step, &refusal.by, refusal.session);
        let foreign = self.scope(kind, finding, first)?;
        let alive = finding.inside_alive != Some(false) && self.field.alive(&self.held.clone()) == first;
        finding.inside_alive = Some(alive);
        finding.release_ms = self.release(finding)?;
        self.kinds_apart(finding)?;
        self.again(finding, first)?;
        if !foreign && finding.verdict != Verdict::Unstable {
            finding.judge(0);
        }
        if finding.inside_alive == Some(false) {
            finding.verdict = Verdict::Unsafe;
            finding.remark("of those inside the limit some did not answer any more while it bit");
        }
        Ok(())
    }

    /// Fills the place: how many it holds, and how the one beyond was refused, if one was.
    fn fill(&mut self, finding: &mut Finding) -> Found<(u64, Option<Refusal>)> {
        let mut search = Search::new(4, self.bound, finding.expected);
        let mut refused = None;
        while let Some(total) = search.next() {
            finding.trials += 1;
            let here = self.held.len() as u64;
            let (inside, last) = self.come(total.saturating_sub(here).max(1))?;
            refused = last.or(refused);
            // Each that came in is one that is served, whatever became of the others of the same step.
            let served = here + inside;
            if served > search.at_least() {
                search.tell(served, true);
            }
            let Some(refusal) = &refused else { continue };
            // Whoever throws out those inside has free places again.
            if self.field.alive(&self.held.clone()) < served {
                finding.inside_alive = Some(false);
                return Ok((served, refused));
            }
            // With the place as full as the step has left it, one more by itself decides.
            self.field.hands.leave(&[refusal.session], Leave::Close);
            finding.trials += 1;
            let (one, last) = self.come(1)?;
            if one == 0 {
                return Ok((served, last));
            }
            refused = None;
            search.tell(served + 1, true);
        }
        Ok((self.held.len() as u64, None))
    }

    /// Lets `count` more come at once: how many got in, and the first that did not.
    fn come(&mut self, count: u64) -> Found<(u64, Option<Refusal>)> {
        self.field.afford()?;
        let ways: Vec<Way> = (self.asked..self.asked + count).map(|n| self.crowd.way(n)).collect();
        self.asked += count;
        let (mut inside, mut refused) = (0, None);
        for opened in self.field.hands.open(&ways) {
            match opened {
                Opened::In(session) => {
                    self.held.push(session);
                    inside += 1;
                }
                Opened::Out(refusal) => match &refused {
                    None => refused = Some(refusal),
                    Some(_) => self.field.hands.leave(&[refusal.session], Leave::Close),
                },
                Opened::Own(why) => return Err(Halt::Own(why)),
            }
        }
        Ok((inside, refused))
    }

    /// Whom the limit counts, told by a client from elsewhere and by the reply. True: it is another limit.
    fn scope(&mut self, kind: &Kind, finding: &mut Finding, first: u64) -> Found<bool> {
        let named = finding.condition.as_deref().and_then(|name| name.parse::<Condition>().ok());
        let elsewhere = match self.crowd {
            Crowd::OneHost
                if self.field.hands.hosts() > 1 && kind.name == "too-many-connections-from-host" =>
            {
                let way = Way { host: 1, ..Way::default() };
                let opened = self.field.hands.open(&[way]).pop();
                let inside = matches!(opened, Some(Opened::In(_)));
                match opened {
                    Some(Opened::In(session)) => self.field.hands.leave(&[session], Leave::Quit),
                    Some(Opened::Out(refusal)) => self.field.hands.leave(&[refusal.session], Leave::Close),
                    _ => {}
                }
                finding.remark(if inside {
                    "a client from another address still entered"
                } else {
                    "a client from another address was refused as well"
                });
                Some(inside)
            }
            _ => None,
        };
        let other = match named {
            Some(
                scope @ (Condition::TooManyConnectionsFromHost
                | Condition::TooManyConnectionsToHost
                | Condition::TooManyConnectionsToListener
                | Condition::TooManyTlsSessions),
            ) => Some(scope.as_str()).filter(|scope| *scope != kind.name),
            _ => None,
        };
        let foreign = match (elsewhere, other) {
            // What happens weighs more than what is said.
            (Some(true), _) | (None, None) => None,
            // It may count networks, or call it so: what is said and what happens agree well enough.
            (Some(false), None) if named.is_some_and(|scope| scope.as_str() == kind.name) => None,
            (Some(false), other) => Some(other.unwrap_or("a limit that counts all clients")),
            (None, other) => other,
        };
        // Two names for limits that count all clients: where nothing was expected, the one that the reply gives is right.
        let whole =
            |name: &str| matches!(name, "too-many-connections-to-listener" | "too-many-connections-to-host");
        if let Some(other) =
            foreign.filter(|other| finding.expected.is_none() && whole(kind.name) && whole(other))
        {
            finding.name = other.to_owned();
        } else if let Some(other) = foreign {
            finding.unmet(first);
            finding.verdict =
                if finding.expected.is_some() { Verdict::Obstructed } else { Verdict::NotReached };
            finding.remark(format!("{other} bit first, at {first}"));
            return Ok(true);
        }
        Ok(false)
    }

    /// Lets one go, and asks again and again until one comes in: how long that took. The place is full again afterwards.
    fn release(&mut self, finding: &mut Finding) -> Found<Option<f64>> {
        let Some(one) = self.held.pop() else { return Ok(None) };
        self.field.hands.leave(&[one], Leave::Quit);
        let (freed, bound) = (self.field.hands.now(), self.field.setting.bounds.release);
        let mut wait = AGAIN;
        loop {
            let (inside, refused) = self.come(1)?;
            if inside == 1 {
                return Ok(Some((self.field.hands.now() - freed).as_secs_f64() * 1e3));
            }
            if let Some(refusal) = refused {
                self.field.hands.leave(&[refusal.session], Leave::Close);
            }
            if self.field.hands.now() - freed >= bound {
                finding.remark(format!("release: never ({} s)", bound.as_secs()));
                return Ok(None);
            }
            self.field.hands.pause(wait);
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// Whether those without TLS are counted apart from those with it.
    fn kinds_apart(&mut self, finding: &mut Finding) -> Found<()> {
        if !self.field.setting.tls || self.crowd == Crowd::ManyHosts {
            return Ok(());
        }
        self.field.afford()?;
        match self.field.hands.open(&[Way { clear: true, ..Way::default() }]).pop() {
            Some(Opened::In(session)) => {
                finding.remark("a session without TLS still entered: the two are counted apart");
                self.field.hands.leave(&[session], Leave::Quit);
            }
            Some(Opened::Out(refusal)) => self.field.hands.leave(&[refusal.session], Leave::Close),
            Some(Opened::Own(why)) => return Err(Halt::Own(why)),
            None => {}
        }
        Ok(())
    }

    /// Looks twice more: all that fit and a few more at once, and then one after the other.
    fn again(&mut self, finding: &mut Finding, first: u64) -> Found<()> {
        let released = finding.release_ms.map(|ms| Duration::from_secs_f64(ms / 1e3));
        let mut others = Vec::new();
        for storm in [true, false] {
            self.empty();
            // As long as one place took, and a little.
            self.field.hands.pause(released.unwrap_or(Duration::ZERO) + AGAIN * 10);
            finding.looked += 1;
            finding.trials += 1;
            let mut count = 0;
            if storm {
                let (inside, refused) = self.come(first + STORM)?;
                self.turn_away(refused);
                count += inside;
            } else {
                // In steps that a listener sees one after the other, and one by one near the limit.
                while count <= first {
                    let step = (first.saturating_sub(count) / 2).clamp(1, 16);
                    let (inside, refused) = self.come(step)?;
                    count += inside;
                    if refused.is_some() {
                        self.turn_away(refused);
                        break;
                    }
                }
            }
            if count == first {
                finding.repeats += 1;
            } else {
                others.push(count);
                let how = if storm { "all at once" } else { "one after the other" };
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

    fn turn_away(&mut self, refused: Option<Refusal>) {
        if let Some(refusal) = refused {
            self.field.hands.leave(&[refusal.session], Leave::Close);
        }
    }

    /// Lets all go.
    fn empty(&mut self) {
        let held = std::mem::take(&mut self.held);
        self.field.hands.leave(&held, Leave::Quit);
    }
}
