//! Searches for limits: the embedded listener's are found exactly, faulty listeners are distinguished, and nothing untrue is said
//! of a thousand that are drawn.

mod drawn;
mod faulty;
mod found;
mod stage;
mod strangers;
mod told_apart;
