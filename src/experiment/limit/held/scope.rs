//! Whom a limit of sessions at once counts: one client, a network, or all.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::{Crowd, Room, is_whole};
use crate::condition::Condition;
use crate::experiment::limit::field::{Field, Found};
use crate::experiment::limit::finding::Finding;
use crate::experiment::limit::kind::{LimitKind, SessionScope};
use crate::generator::probe::ProbeOptions;

/// No more client addresses than this are looked at.
const MOST_HOSTS: u64 = 1 << 16;

/// Client addresses by their networks.
fn networks(field: &Field<'_>) -> Vec<Vec<u64>> {
    let mut networks: BTreeMap<_, Vec<u64>> = BTreeMap::new();
    for host in 0..field.probes.hosts().min(MOST_HOSTS) {
        networks.entry(field.probes.network(host)).or_default().push(host);
    }
    networks.into_values().collect()
}

/// Client addresses in an order that takes one of each network in turn; the `count` first.
pub(super) fn spread(field: &Field<'_>, count: u64) -> Vec<u64> {
    let networks = networks(field);
    let turns = networks.iter().map(Vec::len).max().unwrap_or(0);
    let order = (0..turns).flat_map(|turn| networks.iter().filter_map(move |hosts| hosts.get(turn).copied()));
    order.take(usize::try_from(count).unwrap_or(usize::MAX)).collect()
}

impl Room<'_, '_> {
    /// Whom the limit counts, shown by other clients and by the reply. True: it is another limit.
    pub(super) fn scope(
        &mut self,
        kind: LimitKind,
        scope: SessionScope,
        finding: &mut Finding,
        served: u64,
    ) -> Found<bool> {
        let named = finding.condition.as_deref().and_then(|name| name.parse::<Condition>().ok());
        let elsewhere = self.elsewhere(scope, finding)?;
        let is_wanted = named == kind.condition();
        let other = named.filter(|named| {
            !is_wanted
                && matches!(
                    named,
                    Condition::TooManyConnectionsFromHost
                        | Condition::TooManyConnectionsToHost
                        | Condition::TooManyConnectionsToListener
                        | Condition::TooManyTlsSessions
                )
        });
        let foreign = match (elsewhere, other) {
            // What happens weighs more than what is said.
            (Some(true), _) | (None, None) => None,
            // It may count networks, or call it so: what is said and what happens agree well enough.
            (Some(false), None) if is_wanted => None,
            (Some(false), None) => Some("a limit that counts all clients"),
            // Each client came from an address of its own: it is no limit of one address, whatever the reply says.
            (None, Some(Condition::TooManyConnectionsFromHost)) if self.crowd == Crowd::ManyHosts => {
                finding
                    .remark("the reply speaks of one host, and each session came from an address of its own");
                None
            }
            (_, Some(other)) => Some(other.as_str()),
        };
        // Two names for limits that count all clients: where nothing was expected, the one that the reply gives is right.
        let is_other_name = is_whole(scope)
            && matches!(
                other,
                Some(Condition::TooManyConnectionsToHost | Condition::TooManyConnectionsToListener)
            );
        if let Some(other) = foreign.filter(|_| finding.expected.is_none() && is_other_name) {
            finding.name = other.to_owned();
        } else if let Some(other) = foreign {
            finding.hidden(served, format!("{other} was met first, at {served}"));
            return Ok(true);
        }
        Ok(false)
    }

    /// Whether clients from elsewhere are still served: of the same network, and of another. `None`: it cannot be asked.
    fn elsewhere(&mut self, scope: SessionScope, finding: &mut Finding) -> Found<Option<bool>> {
        let hosts = self.field.probes.hosts();
        let of = |field: &Field<'_>, host: u64| field.probes.network(host);
        if self.crowd == Crowd::ManyHosts {
            let used = self.order.iter().take(self.held.len()).map(|host| of(self.field, *host));
            let networks: BTreeSet<_> = used.collect();
            if networks.len() < 2 {
                finding.remark(
                    "all client addresses are of one network (/24, or /64): whether the limit counts the network or all \
                     clients cannot be told",
                );
            }
            return Ok(None);
        }
        if hosts < 2 || scope != SessionScope::Host {
            return Ok(None);
        }
        let own = of(self.field, 0);
        let near = self.is_served(ProbeOptions { host: 1, ..ProbeOptions::default() })?;
        if near {
            finding.remark("a client from another address was still served");
            return Ok(Some(true));
        }
        let far = (1..hosts.min(MOST_HOSTS)).find(|host| of(self.field, *host) != own);
        if own.is_some()
            && of(self.field, 1) == own
            && let Some(far) = far
            && self.is_served(ProbeOptions { host: far, ..ProbeOptions::default() })?
        {
            finding.remark(
                "a client from another address of the same network was refused as well, one of another network was served: \
                 the limit counts networks",
            );
            return Ok(Some(true));
        }
        finding.remark("a client from another address was refused as well");
        Ok(Some(false))
    }

    /// Whether the limit counts networks: then as many clients from fewer networks are not served. Where it does, the finding
    /// is none of the whole listener.
    pub(super) fn counts_networks(&mut self, finding: &mut Finding, served: u64) -> Found<bool> {
        let mut networks = networks(self.field);
        if networks.len() < 2 || finding.release_ms.is_none() {
            return Ok(false);
        }
        // The largest network first, and no more of them than are needed.
        networks.sort_by_key(|hosts| Reverse(hosts.len()));
        let packed = networks.concat();
        let mut least = served;
        // Twice, and each time as many from several networks are served: what was left before may still count.
        for _ in 0..2 {
            for few in [true, false] {
                let spread = few.then(|| std::mem::replace(&mut self.order, packed.clone()));
                self.empty();
                self.field.settle();
                self.asked = 0;
                finding.trials += 1;
                let (inside, refused) = self.come(served)?;
                self.turn_away(refused);
                if let Some(spread) = spread {
                    self.order = spread;
                }
                if (inside < served) != few {
                    return Ok(false);
                }
                least = least.min(inside);
            }
        }
        finding.hidden(
            served,
            format!(
                "{least} were served from as few networks as can be, and {served} from many: a limit that counts networks was \
                 met first"
            ),
        );
        Ok(true)
    }
}
