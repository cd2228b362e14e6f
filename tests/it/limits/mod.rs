//! Searches for limits: the embedded listener's are found exactly, and faulty listeners are told apart.

mod faulty;
mod found;
mod stage;
mod told_apart;
