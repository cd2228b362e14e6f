//! The search for the capacity: its rules compared with the library of the RFC's authors, and whole searches against
//! listeners.

mod oracle;
mod whole;
