//! The dispatcher's view of the open sessions: which of them are idle, are being opened, or are leaving.

use std::time::Duration;

/// The key of an open session within its worker.
pub type SlotId = u32;

/// The dispatcher's view of one session.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Slot {
    /// The phase in which it was opened.
    pub phase: u32,
    /// Whether it is an arrival itself (unit `session`) rather than a session of the pool.
    pub bound: bool,
    /// Whether its arrival came from a closed load.
    pub closed: bool,
    /// Whether it was opened for a message of an open load; it belongs to the pool afterwards.
    pub first: bool,
    /// Whether the listener has served it: see [`Dispatch::served`](super::Dispatch::served).
    pub proven: bool,
    /// Whether it was idle at least once.
    pub rested: bool,
    /// Whether it is held idle until its phase ends.
    pub held: bool,
    /// Whether it is still being opened.
    pub opening: bool,
    /// When the dispatcher decided to open it.
    pub opened_at: Duration,
    /// Whether the listener refused it with a 5yz reply before it was ready.
    pub refused_for_good: bool,
    /// Whether it is leaving.
    pub leaving: bool,
    /// Whether it is being ended at once.
    pub aborted: bool,
    /// The number of arrivals in flight on it.
    pub in_flight: u32,
    /// The phase of the last arrival that it took.
    pub arrival_phase: u32,
    /// The number of arrivals that it has taken.
    pub served: u64,
    /// Its index among the idle sessions, maintained by [`Slots`].
    pub idle_at: Option<u32>,
}

impl Slot {
    /// Whether a closed load opened it, so that its failures cause pauses.
    pub fn is_paced(&self) -> bool {
        !self.first && (!self.bound || self.closed)
    }
}

/// All sessions of a worker.
#[derive(Debug, Default)]
pub(super) struct Slots {
    slots: Vec<Option<Slot>>,
    free: Vec<SlotId>,
    idle: Vec<SlotId>,
    live: u64,
    leaving: u64,
    opening: u64,
    in_flight: u64,
}

impl Slots {
    pub fn open(&mut self, slot: Slot) -> SlotId {
        self.live += 1;
        self.opening += u64::from(slot.opening);
        self.in_flight += u64::from(slot.in_flight);
        match self.free.pop() {
            Some(id) => {
                self.slots[id as usize] = Some(slot);
                id
            }
            None => {
                self.slots.push(Some(slot));
                SlotId::try_from(self.slots.len() - 1).expect("fewer sessions than descriptors")
            }
        }
    }

    pub fn close(&mut self, id: SlotId) -> Slot {
        self.unrest(id);
        let slot = self.slots[id as usize].take().expect("a session is closed once");
        self.free.push(id);
        self.live -= 1;
        self.leaving -= u64::from(slot.leaving);
        self.opening -= u64::from(slot.opening);
        self.in_flight -= u64::from(slot.in_flight);
        slot
    }

    pub fn of(&self, id: SlotId) -> &Slot {
        self.slots[id as usize].as_ref().expect("only open sessions are named")
    }

    pub fn of_mut(&mut self, id: SlotId) -> &mut Slot {
        self.slots[id as usize].as_mut().expect("only open sessions are named")
    }

    pub fn iter(&self) -> impl Iterator<Item = (SlotId, &Slot)> {
        (0..).zip(&self.slots).filter_map(|(id, slot)| slot.as_ref().map(|slot| (id, slot)))
    }

    pub fn established(&mut self, id: SlotId) {
        let slot = self.of_mut(id);
        if std::mem::take(&mut slot.opening) {
            self.opening -= 1;
        }
    }

    /// Notes that a session takes an arrival.
    pub fn take(&mut self, id: SlotId, phase: u32) {
        let slot = self.of_mut(id);
        slot.in_flight += 1;
        slot.served += 1;
        slot.arrival_phase = phase;
        self.in_flight += 1;
    }

    /// Notes the end of an arrival of a session.
    pub fn release(&mut self, id: SlotId) {
        self.of_mut(id).in_flight -= 1;
        self.in_flight -= 1;
    }

    /// Notes that a session is idle. Returns whether this is the first time and it has not served anything.
    pub fn rest(&mut self, id: SlotId) -> bool {
        let at = u32::try_from(self.idle.len()).expect("fewer sessions than descriptors");
        let slot = self.of_mut(id);
        let is_new = !slot.proven && !std::mem::replace(&mut slot.rested, true);
        if slot.idle_at.is_none() && !slot.leaving {
            slot.idle_at = Some(at);
            self.idle.push(id);
        }
        is_new
    }

    /// Takes an idle session, as a rule the one that became idle last: so the fewest sessions carry the load, and the
    /// others may time out.
    pub fn wake(&mut self) -> Option<SlotId> {
        let id = *self.idle.last()?;
        self.unrest(id);
        Some(id)
    }

    pub fn unrest(&mut self, id: SlotId) {
        if let Some(at) = self.of_mut(id).idle_at.take() {
            self.idle.swap_remove(at as usize);
            if let Some(&moved) = self.idle.get(at as usize) {
                self.of_mut(moved).idle_at = Some(at);
            }
        }
    }

    /// Marks a session as leaving, so that it is no longer idle.
    pub fn leave(&mut self, id: SlotId) {
        self.unrest(id);
        if !std::mem::replace(&mut self.of_mut(id).leaving, true) {
            self.leaving += 1;
        }
    }

    pub fn live(&self) -> u64 {
        self.live
    }

    /// Returns the number of sessions that are leaving.
    pub fn leaving(&self) -> u64 {
        self.leaving
    }

    /// Returns the number of open sessions that are not leaving.
    pub fn staying(&self) -> u64 {
        self.live - self.leaving
    }

    pub fn opening(&self) -> u64 {
        self.opening
    }

    pub fn idle(&self) -> u64 {
        self.idle.len() as u64
    }

    pub fn in_flight(&self) -> u64 {
        self.in_flight
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_sessions_come_back_last_first_and_may_vanish_anywhere() {
        let mut slots = Slots::default();
        let ids: Vec<_> = (0..4).map(|_| slots.open(Slot { opening: true, ..Slot::default() })).collect();
        assert_eq!((slots.live(), slots.opening()), (4, 4));
        for &id in &ids {
            slots.established(id);
            slots.rest(id);
        }
        slots.close(ids[1]);
        assert_eq!((slots.live(), slots.opening(), slots.idle()), (3, 0, 3));
        let mut woken = std::iter::from_fn(|| slots.wake()).collect::<Vec<_>>();
        woken.sort_unstable();
        assert_eq!(woken, [ids[0], ids[2], ids[3]]);
        assert_eq!(slots.open(Slot::default()), ids[1], "the number of a closed session is used again");
    }
}
