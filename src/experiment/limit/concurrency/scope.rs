//! The scope of a limit on sessions at once: one client, a network, or all clients.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::{Clients, HeldSessions, counts_all};
use crate::condition::Condition;
use crate::experiment::limit::kind::{LimitKind, SessionScope};
use crate::experiment::limit::prober::{Probed, Prober};
use crate::experiment::limit::result::LimitResult;
use crate::generator::probe::ProbeOptions;

/// The largest number of client addresses that are used.
const MOST_HOSTS: u64 = 1 << 16;

/// Returns the client addresses by their networks.
fn networks(prober: &Prober<'_>) -> Vec<Vec<u64>> {
    let mut networks: BTreeMap<_, Vec<u64>> = BTreeMap::new();
    for host in 0..prober.probes.hosts().min(MOST_HOSTS) {
        networks.entry(prober.probes.network(host)).or_default().push(host);
    }
    networks.into_values().collect()
}

/// Returns the first `count` client addresses, taking one of each network in turn.
pub(super) fn spread(prober: &Prober<'_>, count: u64) -> Vec<u64> {
    let networks = networks(prober);
    let turns = networks.iter().map(Vec::len).max().unwrap_or(0);
    let order = (0..turns).flat_map(|turn| networks.iter().filter_map(move |hosts| hosts.get(turn).copied()));
    order.take(usize::try_from(count).unwrap_or(usize::MAX)).collect()
}

impl HeldSessions<'_, '_> {
    /// Finds out which clients the limit counts, from the results of other clients and from the reply. Returns true if
    /// another limit is enforced before the searched limit.
    pub(super) fn scope(
        &mut self,
        kind: LimitKind,
        scope: SessionScope,
        result: &mut LimitResult,
        served: u64,
    ) -> Probed<bool> {
        let named = result.condition.as_deref().and_then(|name| name.parse::<Condition>().ok());
        let elsewhere = self.elsewhere(scope, result)?;
        if scope == SessionScope::Host {
            self.prober.elsewhere = elsewhere;
        }
        // The search for the limit of one host may have found that another address is refused at this number, too.
        let as_one_host = self.crowd == Clients::ManyHosts
            && self.prober.elsewhere == Some(false)
            && self.prober.per_host == Some(served);
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
            // The observation counts more than the wording of the reply.
            (Some(true), _) => None,
            (None, None) if as_one_host && !is_wanted => {
                result.remark(format!(
                    "the reply does not say whom it counts, and one client host with another was refused at {served} as well: \
                     the listener may see all client addresses as one (a proxy or NAT)"
                ));
                None
            }
            (None, None) => None,
            // The limit may count networks, so observation and reply agree well enough.
            (Some(false), None) if is_wanted => None,
            (Some(false), None) => Some("a limit that counts all clients"),
            (None, Some(Condition::TooManyConnectionsFromHost)) if as_one_host => {
                result.hidden(
                    served,
                    "the listener may see all client addresses as one (a proxy or NAT): another address was refused at the \
                     same number",
                );
                return Ok(true);
            }
            // No client host was at its limit, so this is not a limit of one host, whatever the reply says.
            (None, Some(Condition::TooManyConnectionsFromHost)) if self.crowd == Clients::ManyHosts => {
                result.remark(
                    "the reply names one host, but no client host had as many sessions as one is served",
                );
                None
            }
            (_, Some(other)) => Some(other.as_str()),
        };
        // Limits that count all clients have two names. If no value is expected, the result gets the name in the reply.
        let is_other_name = counts_all(scope)
            && matches!(
                other,
                Some(Condition::TooManyConnectionsToHost | Condition::TooManyConnectionsToListener)
            );
        if let Some(other) = foreign.filter(|_| result.expected.is_none() && is_other_name) {
            result.name = other.to_owned();
        } else if let Some(other) = foreign {
            result.hidden(served, format!("{other} is enforced first, at {served}"));
            return Ok(true);
        }
        Ok(false)
    }

    /// Whether another client is still served, of the same network or of another. `None`: there is no other client to try.
    fn elsewhere(&mut self, scope: SessionScope, result: &mut LimitResult) -> Probed<Option<bool>> {
        let hosts = self.prober.probes.hosts();
        let of = |prober: &Prober<'_>, host: u64| prober.probes.network(host);
        if self.crowd == Clients::ManyHosts {
            let used = self.order.iter().take(self.held.len()).map(|host| of(self.prober, *host));
            let networks: BTreeSet<_> = used.collect();
            if networks.len() < 2 {
                result.remark(
                    "all client addresses are of one network (/24, or /64): whether the limit counts the network or all \
                     clients cannot be distinguished",
                );
            }
            return Ok(None);
        }
        if hosts < 2 || scope != SessionScope::Host {
            return Ok(None);
        }
        let own = of(self.prober, 0);
        let near = self.is_served(ProbeOptions { host: 1, ..ProbeOptions::default() })?;
        if near {
            result.remark("a client from another address was still served");
            return Ok(Some(true));
        }
        let far = (1..hosts.min(MOST_HOSTS)).find(|host| of(self.prober, *host) != own);
        if own.is_some()
            && of(self.prober, 1) == own
            && let Some(far) = far
            && self.is_served(ProbeOptions { host: far, ..ProbeOptions::default() })?
        {
            result.remark(
                "a client from another address of the same network was refused as well, one of another network was served: \
                 the limit counts networks",
            );
            return Ok(Some(true));
        }
        result.remark("a client from another address was refused as well");
        Ok(Some(false))
    }

    /// Whether the limit counts networks and not all clients of the listener. Then fewer sessions are served if the clients
    /// come from fewer networks.
    pub(super) fn counts_networks(&mut self, result: &mut LimitResult, served: u64) -> Probed<bool> {
        let mut networks = networks(self.prober);
        if networks.len() < 2 || result.release_ms.is_none() {
            return Ok(false);
        }
        // The clients come from the largest networks first, and so from as few networks as possible.
        networks.sort_by_key(|hosts| Reverse(hosts.len()));
        let packed = networks.concat();
        let mut least = served;
        // Closed sessions may still count. So this is tried twice, and each time compared with as many clients from many
        // networks.
        for _ in 0..2 {
            for few in [true, false] {
                let spread = few.then(|| std::mem::replace(&mut self.order, packed.clone()));
                self.empty();
                self.prober.settle();
                self.asked = 0;
                result.trials += 1;
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
        result.hidden(
            served,
            format!(
                "{least} were served from as few networks as possible, and {served} from many: a limit that counts networks is \
                 enforced first"
            ),
        );
        Ok(true)
    }
}
