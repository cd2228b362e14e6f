//! Searches for limits: those of the embedded listener are found exactly, faulty listeners are distinguished, and no
//! result about a thousand drawn listeners is wrong.

mod controls;
mod drawn;
mod faulty;
mod found;
mod hops;
mod scripted;
mod stage;
mod strangers;
mod told_apart;
